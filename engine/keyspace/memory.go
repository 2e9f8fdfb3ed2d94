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

// note is called before the exclusive lock is given back.
func (m *memory) note(f *front.Front) {
	m.used.Store(withSlack(f.Live() - f.Returning()))
	m.freeing.Store(f.Doomed())
}

// SetWhole says whether all data is to be in memory: then clean entries are dropped only where memory grows far beyond
// the budget, and somebody calls LoadSome.
func (ks *Keyspace) SetWhole(on bool) { ks.memory.whole.Store(on) }

// Used is the memory that the data in the front takes up, bytes, without what the next checkpoint or the end of a long
// read gives back.
func (ks *Keyspace) Used() int64 { return ks.memory.used.Load() }

// Freeing says whether flushed data is still to be freed.
func (ks *Keyspace) Freeing() bool { return ks.memory.freeing.Load() }

// loadStep is how many keys LoadSome enters under the exclusive lock at a time.
const loadStep = 256

// LoadSome loads the next slot, from the given one on, of which some keys are in the store alone, and returns the slot
// behind it; ok is false if there was none up to the end of data base db. pace is called between steps. One caller at a
// time; what it could not enter because the slot changed meanwhile stays cold.
func (ks *Keyspace) LoadSome(db int, from uint16, pace func()) (next uint16, ok bool, err error) {
	ks.mu.RLock()
	sp := ks.mu.dbs[db]
	slot := from
	for slot < front.Slots && sp.Complete(slot) {
		slot++
	}
	ks.mu.RUnlock()
	if slot >= front.Slots {
		return slot, false, nil
	}
	return slot + 1, true, ks.loadSlot(sp, slot, pace)
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
				l := ks.front.Find(sp, slot, ks.hash(r.key), r.key)
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
