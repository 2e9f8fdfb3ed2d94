package keyspace

import (
	"bytes"
	"sync"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
)

// Bounds of one step of upkeep under the exclusive lock: some tens of microseconds.
const (
	freeStep    = 512
	nodeStep    = 64 // nodes of collections that are gone: each may be the last of its slab, which goes back to the system
	evictStep   = 8  // segments
	compactStep = 256
)

// Upkeep does one bounded step of what goes on in the background: it frees dropped name spaces, drops clean entries
// while the front is over its budget, and compacts. It says whether more is to be done at once.
func (ks *Keyspace) Upkeep() (more bool) {
	ks.mu.Lock()
	defer ks.Unlock()
	f := ks.front
	more = f.Free(freeStep)
	more = ks.freeDeadLocked(nodeStep) || more
	if over, rank := ks.overBudget(); over > 0 {
		freed := f.Evict(over, evictStep, rank)
		ks.evicted.Add(freed)
		more = more || f.Evictable()
	}
	if f.Wasteful() {
		more = f.Compact(compactStep) || more
	}
	return more
}

// overBudget is how many bytes the front should lose, and what ranks the entries that may go.
func (ks *Keyspace) overBudget() (over int64, rank func(use uint32) uint32) {
	budget := ks.budget.Load()
	if budget == 0 {
		return 0, nil
	}
	live := withSlack(ks.front.Stats().Live)
	if live <= budget {
		return 0, nil
	}
	if !ks.memory.whole.Load() {
		return live - budget, ks.usage.rank()
	}
	// What comes back by itself is no reason to drop data: the entries that may go are those that have not changed for long,
	// which may be the most used, and then they would be evicted for being cold. If there is too much of it, writers wait.
	if used := withSlack(ks.front.Live() - ks.front.Returning()); used > patient(budget) {
		return used - patient(budget), ks.usage.rank()
	}
	return live - budget, nil // tombstones
}

// withSlack is the memory that entries of so many bytes take up: compaction leaves a twelfth unused, see front.Wasteful.
func withSlack(live int64) int64 { return live + live/12 }

// patient is how far the data in the front may grow before clean entries are dropped where all of it is to be in memory:
// meanwhile data is evicted, or writes are refused.
func patient(budget int64) int64 { return budget + budget/8 }

// Pressure says how the front stands against its budget. It needs no lock.
type Pressure int

const (
	// Easy: within the budget.
	Easy Pressure = iota
	// Over: entries must go; a checkpoint is wanted if most of them are dirty.
	Over
	// Hard: so far over the budget that writers have to wait.
	Hard
)

// Pressure compares the front's memory with its budget.
func (ks *Keyspace) Pressure() Pressure {
	budget, n := ks.budget.Load(), ks.front.Resident()
	easy := budget
	if ks.memory.whole.Load() {
		easy = patient(budget)
	}
	switch {
	case budget == 0 || n <= easy:
		return Easy
	case n <= budget+budget/4:
		return Over
	}
	return Hard
}

// dueScan remembers how far the search for keys whose time has come has got in the store's index, in passes from the
// index's beginning to what is due by then.
//
// Records up to trim belong to no key any more, and the next checkpoint removes them. That holds for the index as it
// is: a checkpoint brings in the records of keys that were dirty, and may thereby bring one with an earlier deadline.
// So each checkpoint ends what was known.
type dueScan struct {
	mu struct {
		sync.Mutex
		after store.DueKey // the last record looked at in this pass; zero: none
		until int64        // the pass goes so far
		found bool         // it met a key that is still to be deleted
		trim  int64        // no record up to here belongs to a key any more
	}
	hand [Databases]struct {
		slot uint16
		hash uint64
	}
}

func (d *dueScan) trimmable() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.trim
}

// reset forgets what is known of the index, which has changed.
func (d *dueScan) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.after, d.mu.trim = store.DueKey{}, 0
}

// Due looks for keys whose time has come at now, up to about most of them: in the store's index, and in the next
// stretch of the front, segments segments long. The leader proposes their deletion by name. One caller at a time.
func (ks *Keyspace) Due(now int64, most, segments int) (keys []Key, err error) {
	if keys, err = ks.dueStored(now, most); err != nil {
		return nil, err
	}
	for db := range Databases {
		for left := segments; left > 0 && len(keys) < most; left -= dueStep {
			var timed bool
			if keys, timed = ks.dueResident(db, now, keys); !timed {
				break
			}
		}
	}
	return keys, nil
}

// dueStep is how many segments are looked at before the lock is given back.
const dueStep = 16

// dueResident goes on with the pass over a data base's part of the front; timed is false if there is nothing to find.
func (ks *Keyspace) dueResident(db int, now int64, keys []Key) (_ []Key, timed bool) {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	sp := ks.mu.dbs[db]
	if sp.Timed() == 0 {
		return keys, false
	}
	h := &ks.due.hand[db]
	for range dueStep {
		to := ks.front.Range(sp, h.slot, h.hash, 1, func(r front.Record) {
			if !r.Tombstone && r.Expire != 0 && now > r.Expire && ks.Slots().State(r.Slot) == Owned {
				keys = append(keys, Key{db, bytes.Clone(r.Key)})
			}
		})
		if h.slot, h.hash = to.Slot, to.Hash; to.Slot >= front.Slots {
			h.slot, h.hash = 0, 0
		}
	}
	return keys, true
}

// dueStored goes on with the pass over the store's index.
func (ks *Keyspace) dueStored(now int64, most int) (keys []Key, err error) {
	d := &ks.due
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.after == (store.DueKey{}) {
		d.mu.until, d.mu.found = now-1, false // a key is due after its deadline, not at it
		d.mu.after.At = d.mu.trim
	}
	list, err := ks.store.Due(d.mu.until, d.mu.after, most)
	if err != nil {
		return nil, err
	}
	for _, k := range list {
		d.mu.after = k
		if !d.mu.found {
			d.mu.trim = max(d.mu.trim, k.At-1)
		}
		err := ks.store.KeyAt(k.Position, func(key, record []byte) error {
			it, err := decodeRecord(record)
			if err != nil {
				return err
			}
			db, live := ks.stillDue(k, key, it.Expire)
			if live {
				d.mu.found = true
				if ks.Slots().State(k.Slot) == Owned {
					keys = append(keys, Key{db, bytes.Clone(key)})
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(list) < most { // the pass is over
		if !d.mu.found && d.mu.until > d.mu.trim {
			d.mu.trim = d.mu.until
		}
		d.mu.after = store.DueKey{}
	}
	return keys, nil
}

// stillDue says whether key, which the store has with deadline stored at an index record's position, still has that
// record's deadline.
func (ks *Keyspace) stillDue(k store.DueKey, key []byte, stored int64) (db int, live bool) {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	for db, sp := range ks.mu.dbs {
		if sp.Number != k.Namespace {
			continue
		}
		l := ks.front.Find(sp, k.Slot, k.Hash, key)
		if !l.Known() {
			return db, !l.Final() && stored == k.At
		}
		it := ks.front.Item(&l)
		return db, !it.Tombstone && it.Expire == k.At
	}
	return 0, false
}

// Lock takes the exclusive lock, for an entry.
func (ks *Keyspace) Lock() { ks.mu.Lock() }

// Advance moves the state's clock to an entry's stamp, if that is ahead, and returns the time that the entry's
// commands see. The exclusive lock is held.
func (ks *Keyspace) Advance(stamp int64) (now int64) {
	if now = ks.clock.Load(); stamp > now {
		ks.clock.Store(stamp)
		now = stamp
	}
	return now
}

// Unlock gives the exclusive lock back.
func (ks *Keyspace) Unlock() {
	ks.noteMemoryLocked()
	ks.mu.Unlock()
}

// RLock takes the shared lock, for transactions that are Reading.
func (ks *Keyspace) RLock() { ks.mu.RLock() }

// RUnlock gives the shared lock back.
func (ks *Keyspace) RUnlock() { ks.mu.RUnlock() }
