// Package front is the memory front of one shard: what changed since the last checkpoint, and what is hot.
//
// Invariants (the numbers are those of docs/architecture.md):
//
//	E1  an entry here, live or tombstone, is the truth about its key; without one, the store is
//	E2  a clean entry equals its stored form and may be dropped at any moment
//	E3  a dirty entry is dropped only after a checkpoint that contains it
//
// Keys are ordered by position: name space, slot, hash. A name space has 16384 slots, a slot one or more segments
// (segment.go), a segment a few hundred entries (entry.go), all of them blocks of the arena (arena.go), outside the Go
// heap. Walks (walk.go) read the whole in order, a bounded step at a time, as it was when they began.
//
// A Front has no lock of its own: methods that change it need its owner's exclusive lock, those that read the shared
// one. Recency alone is written under the shared lock, atomically.
package front

import (
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"sync/atomic"
	"unsafe"
)

// Slots is the number of slots of a name space.
const Slots = 16384

const pageSlots = 256

var errFull = errors.New("front: too many keys with equal hashes")

// Options say how a front is made.
type Options struct {
	Reserve int64                   // address space to reserve, bytes; default 1 TiB
	Hash    func(key []byte) uint64 // the position's hash, 48 bits; required
	Slot    func(key []byte) uint16 // the key's slot; required
}

// Front is the memory front of one shard.
type Front struct {
	arena    *arena
	opts     Options
	segments []segment
	unused   []int32 // numbers of segments that can be used again
	spaces   []*Space
	walks    []*Walk
	doomed   []*Space

	moves      uint64 // rises whenever an entry may have got another place: what Find returned before is not to be used
	cur        Tag    // the tag that changes get now
	dirtyBytes [3]int64
	dirtyKeys  [3]int64
	entries    int64
	tombstones int64        // bytes
	incomplete atomic.Int64 // slots of live name spaces with stored keys that have no entry
	hand       evictHand
	emptying   int32 // slab being emptied, -1: none
	emptied    int   // blocks of it that were looked at
	sample     int   // the slab that was looked at last
}

// Space is one name space's part of the front: of keys, or of the nodes of its large collections.
//
// Keys' hashes are spread evenly, so a slot's segments share all of their range. Nodes have their collection's number in
// the upper bits instead, so that a collection is one range: each has segments of its own, and what lies between belongs
// to none.
type Space struct {
	Number uint32
	Nodes  *Space // that of the nodes of its large collections; nil in one of nodes
	nodes  bool
	index  uint32
	live   int64
	timed  int64 // live keys with a time to live
	gaps   int64 // slots that are not complete
	pages  [Slots / pageSlots]*[pageSlots]slot
	sums   [Slots / pageSlots]int64 // live keys per page
	multi  [][]int32                // segments of slots that have several, by first hash
	dead   bool
	frees  int // progress of freeing it: next slot
}

// slot is what a name space knows of one slot. It holds no pointers.
type slot struct {
	seg      int32  // -1: none; at least 0: its one segment; below -1: Space.multi[-seg-2]
	count    uint32 // live keys, in front and store together
	stored   uint32 // keys in the store
	epoch    uint32 // rises whenever an entry leaves the front: a fill begun before must look again
	complete bool   // every key that the store has of this slot has an entry here: a miss is final
}

// New makes an empty front.
func New(o Options) (*Front, error) {
	if o.Reserve == 0 {
		o.Reserve = 1 << 40
	}
	a, err := newArena(o.Reserve)
	if err != nil {
		return nil, err
	}
	return &Front{arena: a, opts: o, cur: 1, emptying: -1}, nil
}

// hash is a key's place within its slot.
func (f *Front) hash(sp *Space, key []byte) uint64 {
	if sp.nodes {
		return nodeHash(key)
	}
	return f.opts.Hash(key)
}

func (f *Front) slotOf(sp *Space, key []byte) uint16 {
	if sp.nodes {
		return nodeSlot(key)
	}
	return f.opts.Slot(key)
}

// Close gives all memory back. Nothing obtained from the front may be used afterwards.
func (f *Front) Close() error { return f.arena.close() }

// Moves rises whenever an entry may have got another place. What Find returned is good while it stays the same.
func (f *Front) Moves() uint64 { return f.moves }

// AddSpace makes the part for a name space of keys. stored is the number of keys that the store has per slot, nil for
// none; timed is how many of them have a time to live.
func (f *Front) AddSpace(number uint32, stored []uint32, timed int64) *Space {
	return f.addSpace(&Space{Number: number, timed: timed}, stored)
}

// AddNodes makes the part for the nodes of a name space of keys.
func (f *Front) AddNodes(of *Space, number uint32, stored []uint32) {
	of.Nodes = f.addSpace(&Space{Number: number, nodes: true}, stored)
}

// OfNodes says whether it is a name space of nodes.
func (sp *Space) OfNodes() bool { return sp.nodes }

// Place is where a key stands in a name space.
func (f *Front) Place(sp *Space, key []byte) (slot uint16, hash uint64) {
	return f.slotOf(sp, key), f.hash(sp, key)
}

func (f *Front) addSpace(sp *Space, stored []uint32) *Space {
	i := slices.Index(f.spaces, nil)
	if i < 0 {
		i = len(f.spaces)
		f.spaces = append(f.spaces, nil)
	}
	sp.index = uint32(i)
	f.spaces[i] = sp
	for i, n := range stored {
		if n == 0 {
			continue
		}
		s := sp.slotFor(uint16(i))
		s.count, s.stored = n, n
		f.setComplete(sp, s, false)
		sp.live += int64(n)
		sp.sums[i/pageSlots] += int64(n)
	}
	return sp
}

// DropSpace forgets a name space and its nodes: the memory is freed by later calls of Free, once no walk needs it any
// more.
func (f *Front) DropSpace(sp *Space) {
	sp.dead = true
	f.incomplete.Add(-sp.gaps)
	f.doomed = append(f.doomed, sp)
	if sp.Nodes != nil {
		f.DropSpace(sp.Nodes)
	}
}

// Spaces are the name spaces that are not dropped, by number.
func (f *Front) Spaces() []*Space {
	var out []*Space
	for _, sp := range f.spaces {
		if sp != nil && !sp.dead {
			out = append(out, sp)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Number < out[j].Number })
	return out
}

func (sp *Space) slot(n uint16) *slot {
	if p := sp.pages[n/pageSlots]; p != nil {
		return &p[n%pageSlots]
	}
	return nil
}

func (sp *Space) slotFor(n uint16) *slot {
	p := sp.pages[n/pageSlots]
	if p == nil {
		p = new([pageSlots]slot)
		for i := range p {
			p[i] = slot{seg: -1, complete: true}
		}
		sp.pages[n/pageSlots] = p
	}
	return &p[n%pageSlots]
}

// Len is the number of live keys, in front and store together.
func (sp *Space) Len() int64 { return sp.live }

// SlotLen is the number of live keys of one slot.
func (sp *Space) SlotLen(n uint16) uint32 {
	if s := sp.slot(n); s != nil {
		return s.count
	}
	return 0
}

// Counts are the live keys of every slot; nil where there are none.
func (sp *Space) Counts() []uint32 {
	if sp.live == 0 {
		return nil
	}
	out := make([]uint32, Slots)
	for i := range out {
		out[i] = sp.SlotLen(uint16(i))
	}
	return out
}

// SlotAt returns the slot in which the n-th live key stands when they are counted slot by slot, and its place there.
func (sp *Space) SlotAt(n int64) (slot uint16, at int64) {
	for p, sum := range sp.sums {
		if n >= sum {
			n -= sum
			continue
		}
		for i := range sp.pages[p] {
			c := int64(sp.pages[p][i].count)
			if n < c {
				return uint16(p*pageSlots + i), n
			}
			n -= c
		}
	}
	return 0, 0
}

// LenOf is the number of live keys of those slots that in names.
func (sp *Space) LenOf(in func(slot uint16) bool) (n int64) {
	for p, sum := range sp.sums {
		if sum == 0 {
			continue
		}
		for i := range sp.pages[p] {
			if c := sp.pages[p][i].count; c > 0 && in(uint16(p*pageSlots+i)) {
				n += int64(c)
			}
		}
	}
	return n
}

// SlotAtOf is SlotAt among the keys of those slots that in names.
func (sp *Space) SlotAtOf(n int64, in func(slot uint16) bool) (slot uint16, at int64) {
	for p, sum := range sp.sums {
		if sum == 0 {
			continue
		}
		for i := range sp.pages[p] {
			c := int64(sp.pages[p][i].count)
			if c == 0 || !in(uint16(p*pageSlots+i)) {
				continue
			}
			if n < c {
				return uint16(p*pageSlots + i), n
			}
			n -= c
		}
	}
	return 0, 0
}

// Complete says whether a key of the slot that has no entry here is absent from the store as well.
func (sp *Space) Complete(n uint16) bool {
	s := sp.slot(n)
	return s == nil || s.complete
}

// Epoch is a number that rises whenever an entry of the slot leaves the front. Who read the store while it stayed the
// same, and finds no entry still, has read no old news.
func (sp *Space) Epoch(n uint16) uint32 {
	if s := sp.slot(n); s != nil {
		return s.epoch
	}
	return 0
}

// Stored is how many keys of the slot the store has.
func (sp *Space) Stored(n uint16) uint32 {
	if s := sp.slot(n); s != nil {
		return s.stored
	}
	return 0
}

// SetComplete notes that every stored key of the slot has an entry now.
func (f *Front) SetComplete(sp *Space, n uint16) { f.setComplete(sp, sp.slotFor(n), true) }

func (f *Front) setComplete(sp *Space, s *slot, complete bool) {
	if s.complete == complete {
		return
	}
	s.complete = complete
	d := int64(1)
	if complete {
		d = -1
	}
	sp.gaps += d
	if !sp.dead {
		f.incomplete.Add(d)
	}
}

// AllComplete says whether no key can be in the store alone. It needs no lock.
func (f *Front) AllComplete() bool { return f.incomplete.Load() == 0 }

// Timed is the number of live keys with a time to live, in front and store together.
func (sp *Space) Timed() int64 { return sp.timed }

// Dead says whether the name space was dropped.
func (sp *Space) Dead() bool { return sp.dead }

func (sp *Space) change(n uint16, s *slot, d int32) {
	s.count = uint32(int32(s.count) + d)
	sp.live += int64(d)
	sp.sums[n/pageSlots] += int64(d)
}

// segmentOf is the number of the segment of a slot that covers hash, or -1.
func (f *Front) segmentOf(sp *Space, s *slot, hash uint64) int32 {
	if s.seg >= -1 && !sp.nodes {
		return s.seg
	}
	si, _ := f.segmentAt(sp, s, hash)
	return si
}

// segmentAt is segmentOf; where no segment covers hash, next is where the next one begins, 0 if there is none.
func (f *Front) segmentAt(sp *Space, s *slot, hash uint64) (si int32, next uint64) {
	list := sp.list(s)
	low, high := 0, len(list) // the first segment that begins behind hash
	for low < high {
		mid := int(uint(low+high) / 2)
		if f.segments[list[mid]].lo > hash {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if low > 0 {
		if seg := &f.segments[list[low-1]]; hash-seg.lo < 1<<seg.bits {
			return list[low-1], 0
		}
	}
	if low < len(list) {
		return -1, f.segments[list[low]].lo
	}
	return -1, 0
}

// list is the segments of a slot, by first hash.
func (sp *Space) list(s *slot) []int32 {
	switch {
	case s.seg == -1:
		return nil
	case s.seg >= 0:
		return sp.single(s)
	}
	return sp.multi[-s.seg-2]
}

// single is list for a slot with one segment.
func (sp *Space) single(s *slot) []int32 { return unsafe.Slice(&s.seg, 1) }

// hashBits is how long the range of a slot's hashes is.
func (sp *Space) hashBits() uint8 {
	if sp.nodes {
		return NodeHashBits
	}
	return keyHashBits
}

func (f *Front) newSegment(s segment) int32 {
	if n := len(f.unused); n > 0 {
		i := f.unused[n-1]
		f.unused = f.unused[:n-1]
		f.segments[i] = s
		return i
	}
	f.segments = append(f.segments, s)
	return int32(len(f.segments) - 1)
}

// addSegment enters a new segment into its slot's list.
func (sp *Space) addSegment(f *Front, n uint16, ni int32) {
	s := sp.slotFor(n)
	if s.seg == -1 {
		s.seg = ni
		return
	}
	if s.seg >= 0 {
		sp.multi = append(sp.multi, []int32{s.seg})
		s.seg = -int32(len(sp.multi)) - 1
	}
	list := sp.multi[-s.seg-2]
	lo := f.segments[ni].lo
	i := sort.Search(len(list), func(i int) bool { return f.segments[list[i]].lo > lo })
	list = append(list, 0)
	copy(list[i+1:], list[i:])
	list[i] = ni
	sp.multi[-s.seg-2] = list
}

// Stats are figures about a front.
type Stats struct {
	Entries    int64 // entries, tombstones included
	DirtyKeys  int64
	DirtyBytes int64
	Live       int64 // bytes in blocks in use
	Resident   int64 // bytes that the system has given for blocks
	Segments   int64
	Doomed     int64 // name spaces that wait to be freed
	Tombstones int64 // bytes of entries that say of a key that it is absent
}

// Stats returns the front's figures.
func (f *Front) Stats() Stats {
	return Stats{
		Entries:    f.entries,
		DirtyKeys:  f.dirtyKeys[1] + f.dirtyKeys[2],
		DirtyBytes: f.dirtyBytes[1] + f.dirtyBytes[2],
		Live:       f.arena.live,
		Resident:   f.arena.resident.Load(),
		Segments:   int64(len(f.segments) - len(f.unused)),
		Doomed:     int64(len(f.doomed)),
		Tombstones: f.tombstones,
	}
}

// Resident is the memory that the front's blocks take up, bytes. It needs no lock.
func (f *Front) Resident() int64 { return f.arena.resident.Load() }

// DirtyBytes is the size of all entries that no checkpoint contains yet.
func (f *Front) DirtyBytes() int64 { return f.dirtyBytes[1] + f.dirtyBytes[2] }

func cellSlice(b []byte, n int) []cell {
	return unsafe.Slice((*cell)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

func putOwner(b []byte, owner int32) { binary.LittleEndian.PutUint32(b[4:], uint32(owner)) }

func (a *arena) owner(r Ref) int32 { return int32(atomic.LoadUint32(a.recency(r))) }
