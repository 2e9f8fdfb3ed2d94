package keyspace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// A fill brings a cold key from the store into the front. It may never overwrite news, nor enter what has become old
// while it was read. It notes the slot's epoch, which rises whenever an entry leaves the front, reads the store
// without a lock, and then enters what it read only where the front still has no entry and the epoch is the same. Then
// what it read is what the store has: had a checkpoint changed the record meanwhile, the entry that it was made from
// would still be there, or its going would have raised the epoch. (A placeholder in the table says the same for one
// key; the epoch says it for a whole slot, which is how most fills go, and takes no room.)
//
// Where memory allows, a fill loads the key's whole slot: one contiguous range, a few pages. Then the slot is
// complete, and a key that is not in the front is known to be absent.

// SlotFill is how many stored keys a slot may have to be loaded whole.
const SlotFill = 1024

const (
	slotBytes = 4 << 20 // bytes up to which it is
	attempts  = 8
)

// fills are the fetches under way. One fetch serves all who wait for the same slot or key.
type fills struct {
	mu struct {
		sync.Mutex
		under  map[fillKey]*fill
		closed bool
	}
	places chan struct{} // a token for each fetch at a time
	joined sync.WaitGroup
}

type fillKey struct {
	space *front.Space
	slot  uint16
	hash  uint64 // 0 for a whole slot
	whole bool
}

type fill struct {
	done chan struct{}
	err  error
}

var errClosed = errors.New("the key space is closed")

func (f *fills) init(workers int) {
	f.mu.under = map[fillKey]*fill{}
	f.places = make(chan struct{}, workers)
}

func (f *fills) close() {
	f.mu.Lock()
	f.mu.closed = true
	f.mu.Unlock()
	f.joined.Wait()
}

// start begins the fetch of a key, or joins the one under way.
func (ks *Keyspace) start(sp *front.Space, key []byte, stored uint32) *fill {
	slot, hash := ks.front.Place(sp, key)
	k := fillKey{space: sp, slot: slot}
	if k.whole = ks.roomForSlot(stored); !k.whole {
		k.hash = hash
	}
	f := &ks.fills
	f.mu.Lock()
	defer f.mu.Unlock()
	if have := f.mu.under[k]; have != nil {
		return have
	}
	x := &fill{done: make(chan struct{})}
	if f.mu.closed {
		x.err = errClosed
		close(x.done)
		return x
	}
	f.mu.under[k] = x
	key = bytes.Clone(key)
	f.joined.Go(func() {
		f.places <- struct{}{}
		if k.whole {
			x.err = ks.fetchSlot(sp, k.slot, key)
		} else {
			x.err = ks.fetchKey(sp, key)
		}
		<-f.places
		f.mu.Lock()
		delete(f.mu.under, k)
		f.mu.Unlock()
		close(x.done)
	})
	return x
}

func (ks *Keyspace) roomForSlot(stored uint32) bool {
	budget := ks.budget.Load()
	return stored <= SlotFill && (budget == 0 || ks.front.Resident() < budget-budget/8)
}

// coldLocked collects the fetches for those keys that only the store may have.
func (ks *Keyspace) coldLocked(keys []Key, wait []*fill) []*fill {
	f := ks.front
	for _, k := range keys {
		sp := ks.mu.dbs[k.DB]
		l := f.Find(sp, Slot(k.Key), ks.hash(k.Key), k.Key)
		if !l.Known() && !l.Final() {
			wait = append(wait, ks.start(sp, k.Key, sp.Stored(l.Slot)))
		}
	}
	return wait
}

// mostFills bounds the fetches that one caller starts at a time: a command may name a million cold keys.
const mostFills = 1024

// AllWarm says whether no key can be cold at all. It needs no lock: keys become cold by eviction and by reload only,
// and who is told so wrongly meets the cold key later.
func (ks *Keyspace) AllWarm() bool { return ks.front.AllComplete() }

// Prefetch starts the fetches of cold keys and does not wait for them.
func (ks *Keyspace) Prefetch(keys []Key) {
	if ks.AllWarm() {
		return
	}
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	ks.coldLocked(keys[:min(len(keys), mostFills)], nil)
}

// Warm fetches those of the keys that only the store has, and waits. They may be dropped again at any time.
func (ks *Keyspace) Warm(keys []Key) error {
	if ks.AllWarm() {
		return nil
	}
	for some := range slices.Chunk(keys, mostFills) {
		if err := ks.warm(some); err != nil {
			return err
		}
	}
	return nil
}

func (ks *Keyspace) warm(keys []Key) error {
	var wait []*fill
	for range attempts {
		ks.mu.RLock()
		wait = ks.coldLocked(keys, wait[:0])
		ks.mu.RUnlock()
		for _, f := range wait {
			<-f.done
			if f.err != nil {
				return f.err
			}
		}
		if len(wait) == 0 {
			return nil
		}
	}
	return nil
}

// loadLocked loads one cold key while the exclusive lock is held, and finds it again.
func (ks *Keyspace) loadLocked(l *front.Loc) error {
	v, found, err := ks.store.Get(store.Position{Namespace: l.Space.Number, Slot: l.Slot, Hash: l.Hash}, l.Key, nil)
	if err != nil {
		return err
	}
	if err := ks.enterLocked(l, v, found); err != nil {
		return err
	}
	*l = ks.front.Find(l.Space, l.Slot, l.Hash, l.Key)
	return nil
}

// enterLocked makes what the store has of a key an entry of the front.
func (ks *Keyspace) enterLocked(l *front.Loc, record []byte, found bool) error {
	it := front.Item{Tombstone: true}
	if found {
		var err error
		if it, err = decodeRecord(record); err != nil {
			return err
		}
	}
	if l.Space.OfNodes() {
		if ks.deadLocked(l.Space.Number, l.Slot, l.Hash) {
			return nil
		}
		if found {
			if err := collection.CheckNode(it.Value); err != nil {
				return err
			}
		}
	} else if it.Kind > value.String || it.Enc == value.Large {
		if err := collection.CheckRoot(it.Value, it.Enc); err != nil {
			return err
		}
	}
	return ks.front.Fill(l, it, front.FreshUse(ks.usage.clock.Load()))
}

// fetchKey fills one key.
func (ks *Keyspace) fetchKey(sp *front.Space, key []byte) error {
	slot, hash := ks.front.Place(sp, key)
	for range attempts {
		ks.mu.RLock()
		epoch := sp.Epoch(slot)
		ks.mu.RUnlock()
		record, found, err := ks.store.Get(store.Position{Namespace: sp.Number, Slot: slot, Hash: hash}, key, nil)
		if err != nil {
			return err
		}
		if done, err := ks.enter(sp, slot, epoch, func() error {
			l := ks.front.Find(sp, slot, hash, key)
			if l.Known() {
				return nil
			}
			return ks.enterLocked(&l, record, found)
		}); done || err != nil {
			return err
		}
	}
	return nil
}

// enter runs fn under the exclusive lock if the slot's epoch is still the same.
func (ks *Keyspace) enter(sp *front.Space, slot uint16, epoch uint32, fn func() error) (done bool, err error) {
	ks.mu.Lock()
	defer ks.Unlock()
	if sp.Dead() {
		return true, nil
	}
	if sp.Epoch(slot) != epoch {
		return false, nil
	}
	return true, fn()
}

var errSlotTooBig = errors.New("the slot is too big to be loaded whole")

// loadedSlot is a slot's records as the store has them, back to back.
type loadedSlot struct {
	bytes []byte
	keys  []slotKey
}

// slotKey says where a record's key and value end in loadedSlot.bytes.
type slotKey struct {
	hash     uint64
	key, end int
}

// keepLoaded is the room that is kept for the next slot, bytes.
const keepLoaded = 256 << 10

var loadedPool = sync.Pool{New: func() any { return new(loadedSlot) }}

// fetchSlot fills all keys of a slot, or one key alone if the slot turns out too big.
func (ks *Keyspace) fetchSlot(sp *front.Space, slot uint16, key []byte) error {
	x := loadedPool.Get().(*loadedSlot)
	defer func() {
		if cap(x.bytes) <= keepLoaded {
			loadedPool.Put(x)
		}
	}()
	for range attempts {
		ks.mu.RLock()
		epoch := sp.Epoch(slot)
		ks.mu.RUnlock()
		x.bytes, x.keys = x.bytes[:0], x.keys[:0]
		complete, err := ks.store.LoadSlot(sp.Number, slot, SlotFill, func(hash uint64, key, record []byte) error {
			if len(x.bytes)+len(key)+len(record) > slotBytes {
				return errSlotTooBig
			}
			x.bytes = append(append(x.bytes, key...), record...)
			x.keys = append(x.keys, slotKey{hash, len(x.bytes) - len(record), len(x.bytes)})
			return nil
		})
		if err != nil || !complete { // too big, or damaged somewhere: the one key may do
			return ks.fetchKey(sp, key)
		}
		done, err := ks.enter(sp, slot, epoch, func() error { return ks.enterSlotLocked(sp, slot, x) })
		if err != nil { // some record of the slot is damaged: the one key may do
			return ks.fetchKey(sp, key)
		}
		if done {
			return nil
		}
	}
	return nil
}

// enterSlotLocked enters all keys of a slot that have no entry yet.
func (ks *Keyspace) enterSlotLocked(sp *front.Space, slot uint16, x *loadedSlot) error {
	if err := ks.front.Reserve(sp, slot, len(x.keys)); err != nil {
		return err
	}
	at := 0
	for _, k := range x.keys {
		key, record := x.bytes[at:k.key], x.bytes[k.key:k.end]
		at = k.end
		l := ks.front.Find(sp, slot, k.hash, key)
		if l.Known() {
			continue
		}
		if err := ks.enterLocked(&l, record, true); err != nil {
			return err
		}
	}
	ks.front.SetComplete(sp, slot)
	return nil
}

// Layout of a key's record in the store:
//
//	head    1 byte   kind of value (bits 0–3), encoding (4–5), with a time to live (6)
//	expire  8 bytes  little-endian Unix milliseconds, only with a time to live
//	value   the rest
const expireFlag = 1 << 6

func appendRecord(b []byte, it front.Item) []byte {
	head := byte(it.Kind) | byte(it.Enc)<<4
	if it.Expire != 0 {
		head |= expireFlag
	}
	b = append(b, head)
	if it.Expire != 0 {
		b = binary.LittleEndian.AppendUint64(b, uint64(it.Expire))
	}
	return append(b, it.Value...)
}

func decodeRecord(b []byte) (it front.Item, err error) {
	if len(b) < 1 || b[0]&expireFlag != 0 && len(b) < 9 {
		return it, fmt.Errorf("%w: a record of %d bytes", ErrState, len(b))
	}
	it.Kind, it.Enc = value.Kind(b[0]&15), value.Encoding(b[0]>>4&3)
	timed := b[0]&expireFlag != 0
	b = b[1:]
	if timed {
		it.Expire = int64(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	it.Value = b
	return it, nil
}
