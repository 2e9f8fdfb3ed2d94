package keyspace

import (
	"bytes"
	"sync/atomic"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
)

// memory is what is known of the front's memory without a lock, as of the last entry or step of upkeep.
type memory struct {
	whole   atomic.Bool // all data is to be in memory
	used    atomic.Int64
	freeing atomic.Bool
}

// noteMemoryLocked is called before the exclusive lock is given back.
func (ks *Keyspace) noteMemoryLocked() {
	ks.memory.used.Store(withSlack(ks.front.Live() - ks.front.Returning()))
	ks.memory.freeing.Store(ks.front.Doomed() || len(ks.mu.toFree) > 0)
}

// SetWhole says whether all data is to be in memory: then clean entries are dropped only where memory grows far beyond
// the budget, and somebody calls LoadSome.
func (ks *Keyspace) SetWhole(on bool) { ks.memory.whole.Store(on) }

// Used is the memory that the data in the front takes up, bytes, without what the next checkpoint or the end of a long
// read gives back.
func (ks *Keyspace) Used() int64 { return ks.memory.used.Load() }

// Freeing says whether data that was flushed, or a large collection that is gone, is still to be freed.
func (ks *Keyspace) Freeing() bool { return ks.memory.freeing.Load() }

// loadStep is how many keys LoadSome enters under the exclusive lock at a time.
const loadStep = 256

// LoadSome loads the next slot of data base db that is in part in the store alone: from 0 on its keys, from front.Slots on
// the nodes of its large collections. It returns where to go on; ok is false at the end. pace is called between steps.
// What it could not enter because the slot changed meanwhile stays cold.
func (ks *Keyspace) LoadSome(db, from int, pace func()) (next int, ok bool, err error) {
	ks.mu.RLock()
	spaces := [...]*front.Space{ks.mu.dbs[db], ks.mu.dbs[db].Nodes}
	for from < len(spaces)*front.Slots && spaces[from/front.Slots].Complete(uint16(from%front.Slots)) {
		from++
	}
	ks.mu.RUnlock()
	if from == len(spaces)*front.Slots {
		return from, false, nil
	}
	return from + 1, true, ks.loadSlot(spaces[from/front.Slots], uint16(from%front.Slots), pace)
}

// loadSlot fills all keys of a slot, however many there are, in bounded steps.
func (ks *Keyspace) loadSlot(sp *front.Space, slot uint16, pace func()) (err error) {
	ks.mu.RLock()
	epoch := sp.Epoch(slot)
	ks.mu.RUnlock()
	v, err := ks.store.View()
	if err != nil {
		return err
	}
	defer func() {
		if cerr := v.Close(); err == nil {
			err = cerr
		}
	}()
	it, err := v.Iter(store.InSlot(sp.Number, slot))
	if err != nil {
		return err
	}
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	for more := true; more; {
		var some []loaded
		if some, more, err = nextLoaded(it); err != nil {
			return err
		}
		done, err := ks.enter(sp, slot, epoch, func() error {
			for _, r := range some {
				_, hash := ks.front.Place(sp, r.key)
				l := ks.front.Find(sp, slot, hash, r.key)
				if l.Known() {
					continue
				}
				if err := ks.enterLocked(&l, r.record, true); err != nil {
					return err
				}
			}
			if !more {
				ks.front.SetComplete(sp, slot)
			}
			return nil
		})
		if err != nil || !done || sp.Dead() {
			return err
		}
		pace()
	}
	return nil
}

// loaded is a key with its record in the store.
type loaded struct{ key, record []byte }

// nextLoaded copies the iterator's next records.
func nextLoaded(it *store.Iter) (some []loaded, more bool, err error) {
	for size := 0; len(some) < loadStep && size < mergeBytes; {
		if !it.Next() {
			return some, false, it.Close()
		}
		record, err := it.Value()
		if err != nil {
			return nil, false, err
		}
		some = append(some, loaded{bytes.Clone(it.Key()), bytes.Clone(record)})
		size += len(record)
	}
	return some, true, nil
}
