// Package keyspace is one shard's state: the store as it was at index A, and the front with what changed since.
//
//	state = store@A ⊕ front
//
// It knows keys, data bases and time; it does not know commands, entries or Raft. One lock guards the whole: Apply
// holds it exclusively once per entry, readers share it, and what goes on in the background (checkpoints, fills,
// eviction, freeing) takes it for bounded steps only.
//
//	tx.go          what a command sees
//	fill.go        cold keys: from the store into the front
//	checkpoint.go  from the front into the store
//	scan.go        walking keys in the order of positions
//	upkeep.go      dropping, compaction, freeing; what is due
//	recency.go     how uses of keys are noted
//	memory.go      what data takes up; all of it in memory
//	evict.go       which keys are to be evicted
//	slots.go       which slots the shard owns, and how that changes
//	export.go      copying slots to another shard
//	import.go      and from another shard
package keyspace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
)

// Databases is the number of data bases: SELECT's argument is below it. A constant, since Apply may not depend on
// configuration.
const Databases = 16

// ErrState reports a stored state that cannot be read.
var ErrState = errors.New("the stored state of the key space cannot be read")

// Options say what a key space works on.
type Options struct {
	Store   *store.Store
	Random  func() uint64 // draws the hash seed of a new key space; required
	Budget  int64         // bytes that the front may hold; 0: no bound
	Reserve int64         // address space for the front; 0: its default
	Workers int           // cold keys fetched at a time; default 8
}

// Keyspace is one shard's state. Its methods may be called from any goroutine unless they say otherwise.
type Keyspace struct {
	store  *store.Store
	front  *front.Front // guarded by mu
	budget atomic.Int64

	mu struct {
		sync.RWMutex
		dbs     [Databases]*front.Space
		next    uint32   // the next name space's number
		dropped []uint32 // name spaces that the next checkpoint removes from the store
		seed    uint64

		collections uint64                    // number of the last large collection
		dead        map[collectionID]struct{} // large collections that are gone, but not from front and store
		toDrop      []deadCollection          // of these, what the next checkpoint removes from the store
		toFree      []deadCollection          // and what is still to be freed in the front

		migrations []migration // that the shard takes part in or did, by number
		forgotten  uint64      // the greatest number of a migration that is not remembered any more
		emptying   emptying
		exports    []*SlotExport
	}
	slots   atomic.Pointer[SlotTable] // changed under the exclusive lock; nil: all slots are owned
	clock   atomic.Int64              // greatest time stamp applied, Unix milliseconds
	usage   usage
	memory  memory
	fills   fills
	watched atomic.Pointer[Observer]
	due     dueScan
	evicted atomic.Int64
	stored  atomic.Int64

	checkpointing atomic.Bool
}

// Open makes the key space from what the store holds.
func Open(o Options) (*Keyspace, error) {
	if o.Workers == 0 {
		o.Workers = 8
	}
	ks := &Keyspace{store: o.Store}
	ks.budget.Store(o.Budget)
	ks.fills.init(o.Workers)
	m, ok := o.Store.Meta()
	if !ok {
		ks.mu.seed = o.Random()
	}
	f, err := front.New(front.Options{Reserve: o.Reserve, Hash: ks.hash, Slot: Slot})
	if err != nil {
		return nil, err
	}
	ks.front = f
	if err = ks.rebuild(m, ok); err == nil && !ok {
		err = ks.found()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return ks, nil
}

// found writes the first checkpoint, at index 0: it makes the hash seed durable before any position depends on it.
func (ks *Keyspace) found() error {
	c, err := ks.BeginCheckpoint()
	if err != nil {
		return err
	}
	return c.Commit(0, 0, nil, 0)
}

// rebuild enters the name spaces that a checkpoint recorded into an empty front.
func (ks *Keyspace) rebuild(m store.Meta, ok bool) error {
	ks.mu.dropped, ks.mu.toDrop, ks.mu.toFree = nil, nil, nil
	ks.mu.dead = map[collectionID]struct{}{}
	ks.mu.migrations, ks.mu.forgotten, ks.mu.emptying = nil, 0, emptying{}
	if ok {
		return ks.decodeState(m.State)
	}
	ks.mu.next, ks.mu.collections = 0, 0
	ks.slots.Store(nil)
	for db := range ks.mu.dbs {
		ks.mu.dbs[db] = ks.newSpace()
	}
	return nil
}

// newSpace makes an empty name space.
func (ks *Keyspace) newSpace() *front.Space {
	ks.mu.next++
	return ks.addSpace(ks.mu.next-1, nil, 0, nil)
}

func (ks *Keyspace) addSpace(number uint32, stored []uint32, timed int64, nodes []uint32) *front.Space {
	sp := ks.front.AddSpace(number, stored, timed)
	ks.front.AddNodes(sp, number|store.Nodes, nodes)
	return sp
}

// hash is the part of a key's position that spreads it within its slot, 48 bits. It is seeded with a number of this
// cluster's own, so that nobody can make keys that collide.
func (ks *Keyspace) hash(key []byte) uint64 { return xxh3.HashSeed(key, ks.mu.seed) >> 16 }

// Close gives the front's memory back. The store stays open: it is the caller's.
func (ks *Keyspace) Close() error {
	ks.fills.close()
	ks.mu.Lock()
	defer ks.mu.Unlock()
	return ks.front.Close()
}

// Clock is the greatest time stamp applied, Unix milliseconds.
func (ks *Keyspace) Clock() int64 { return ks.clock.Load() }

// SetBudget changes the bytes that the front may hold; 0: no bound.
func (ks *Keyspace) SetBudget(n int64) { ks.budget.Store(n) }

// Reload drops the front, reads the state of the last checkpoint, and has again apply what came after it, all under
// the exclusive lock.
func (ks *Keyspace) Reload(again func() error) error {
	return ks.beginAnew(func() error { return nil }, again)
}

// Replace has swap put another state into the store, and goes on with that one: nothing of the front stays. All of it is
// under the exclusive lock. If swap fails, nothing has changed. CheckState has accepted the new state before: when Replace
// fails after swap, the key space is not usable.
func (ks *Keyspace) Replace(swap func() error) error {
	return ks.beginAnew(swap, func() error { return nil })
}

// CheckState says whether a store with this state can be opened.
func CheckState(state []byte) (err error) {
	ks := &Keyspace{}
	if ks.front, err = front.New(front.Options{Reserve: checkReserve, Hash: ks.hash, Slot: Slot}); err != nil {
		return err
	}
	return errors.Join(ks.decodeState(state), ks.front.Close())
}

// checkReserve is address space for a front that holds no entry.
const checkReserve = 64 << 20

func (ks *Keyspace) beginAnew(before, after func() error) error {
	if !ks.checkpointing.CompareAndSwap(false, true) {
		return ErrCheckpointing
	}
	defer ks.checkpointing.Store(false)
	ks.mu.Lock()
	defer ks.mu.Unlock()
	if ks.front.Walked() {
		return ErrViewed
	}
	if err := before(); err != nil {
		return err
	}
	m, ok := ks.store.Meta()
	ks.due.reset() // keys whose deletion is to be applied again are there again
	ks.clock.Store(0)
	ks.loseExports()
	ks.front.Clear()
	if err := ks.rebuild(m, ok); err != nil {
		return err
	}
	return after()
}

// ErrViewed reports that Reload or Replace was refused because of a long read under way: nothing was changed.
var ErrViewed = errors.New("a long read is under way")

// Layout of the state that a checkpoint carries (integers are uvarints unless said otherwise):
//
//	version     1 byte
//	seed        8 bytes, little-endian
//	clock       Unix milliseconds
//	next        number of the next name space
//	collections number of the last large collection
//	per data base: name space number, keys with a time to live, then the number of keys of
//	            each slot as pairs (slots without keys to skip, keys), ended by a skip to the last slot;
//	            then the same for the nodes of large collections
//	slots       see slots_state.go
//
// Version 1 had no large collections, version 2 no states of slots.
const stateVersion = 3

// turn is the part of the state that is read when a checkpoint begins, under the lock.
type turn struct {
	seed  uint64
	clock int64
	next  uint32
	dbs   [Databases]*front.Space
	timed [Databases]int64
	keys  int64

	collections uint64

	slots      *SlotTable
	migrations []migration
	forgotten  uint64
}

func (ks *Keyspace) turnLocked() turn {
	t := turn{seed: ks.mu.seed, clock: ks.clock.Load(), next: ks.mu.next, dbs: ks.mu.dbs, collections: ks.mu.collections}
	t.slots, t.migrations, t.forgotten = ks.Slots(), cloneMigrations(ks.mu.migrations), ks.mu.forgotten
	for db, sp := range t.dbs {
		t.timed[db] = sp.Timed()
		t.keys += sp.Len()
	}
	return t
}

// encode describes the state with the live keys per slot of its name spaces.
func (t *turn) encode(spaces []*front.Space, counts [][]uint32) []byte {
	b := []byte{stateVersion}
	b = binary.LittleEndian.AppendUint64(b, t.seed)
	b = binary.AppendUvarint(b, uint64(t.clock))
	b = binary.AppendUvarint(b, uint64(t.next))
	b = binary.AppendUvarint(b, t.collections)
	for db, sp := range t.dbs {
		b = binary.AppendUvarint(b, uint64(sp.Number))
		b = binary.AppendUvarint(b, uint64(t.timed[db]))
		for _, sp := range []*front.Space{sp, sp.Nodes} {
			var slots []uint32
			if i := slices.Index(spaces, sp); i >= 0 {
				slots = counts[i]
			}
			b = appendSlotCounts(b, slots)
		}
	}
	return t.appendSlots(b)
}

func appendSlotCounts(b []byte, slots []uint32) []byte {
	skip := uint64(0)
	for _, n := range slots {
		if n == 0 {
			skip++
			continue
		}
		b = binary.AppendUvarint(b, skip)
		b = binary.AppendUvarint(b, uint64(n))
		skip = 0
	}
	return binary.AppendUvarint(b, front.Slots)
}

type stateReader struct {
	b  []byte
	ok bool
}

func (r *stateReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.ok, r.b = false, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// slotCounts reads what appendSlotCounts wrote.
func (r *stateReader) slotCounts() []uint32 {
	slots := make([]uint32, front.Slots)
	for i := uint64(0); ; i++ {
		skip := r.uvarint()
		if !r.ok || skip > front.Slots {
			r.ok = false
			return nil
		}
		if i += skip; i >= front.Slots {
			return slots
		}
		slots[i] = uint32(r.uvarint())
	}
}

// StateSeed is the hash seed of a stored state.
func StateSeed(b []byte) (uint64, error) {
	if len(b) < 9 || b[0] == 0 || b[0] > stateVersion {
		return 0, fmt.Errorf("%w: unknown version", ErrState)
	}
	return binary.LittleEndian.Uint64(b[1:]), nil
}

func (ks *Keyspace) decodeState(b []byte) error {
	if len(b) < 9 || b[0] == 0 || b[0] > stateVersion {
		return fmt.Errorf("%w: unknown version", ErrState)
	}
	large := b[0] > 1
	ks.mu.seed = binary.LittleEndian.Uint64(b[1:])
	r := &stateReader{b: b[9:], ok: true}
	ks.clock.Store(int64(r.uvarint()))
	ks.mu.next = uint32(r.uvarint())
	if large {
		ks.mu.collections = r.uvarint()
	}
	ks.stored.Store(0)
	for db := range ks.mu.dbs {
		number := uint32(r.uvarint())
		timed := int64(r.uvarint())
		slots := r.slotCounts()
		var nodes []uint32
		if large {
			nodes = r.slotCounts()
		}
		if !r.ok {
			return fmt.Errorf("%w: bad slot counts", ErrState)
		}
		ks.mu.dbs[db] = ks.addSpace(number, slots, timed, nodes)
		ks.stored.Add(ks.mu.dbs[db].Len())
	}
	if b[0] > 2 {
		return ks.decodeSlots(r)
	}
	ks.slots.Store(nil)
	return nil
}

// Stored is about how many keys the store has.
func (ks *Keyspace) Stored() int64 { return ks.stored.Load() }

// Stats are figures about a key space.
type Stats struct {
	front.Stats
	Keys    [Databases]int64 // live keys per data base, without those of slots that show nowhere
	Timed   [Databases]int64 // of these, keys with a time to live
	Nodes   int64            // nodes of large collections
	Budget  int64
	Evicted int64 // clean entries dropped from the front so far, bytes
	Cold    bool  // some keys may be in the store alone
}

// Stats returns the key space's figures.
func (ks *Keyspace) Stats() Stats {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	s := Stats{Stats: ks.front.Stats(), Budget: ks.budget.Load(), Evicted: ks.evicted.Load(), Cold: !ks.front.AllComplete()}
	for db, sp := range ks.mu.dbs {
		s.Keys[db], s.Timed[db] = ks.visibleLen(sp), sp.Timed()
		s.Nodes += sp.Nodes.Len()
	}
	return s
}
