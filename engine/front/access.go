package front

import (
	"sync/atomic"

	"github.com/larder-db/larder/engine/value"
)

// Loc is where a key stands, or would stand. It is valid until the next change of the front.
type Loc struct {
	Space *Space
	Slot  uint16
	Hash  uint64
	Key   []byte

	slot *slot
	seg  int32
	cell int32 // -1: no entry
	ref  Ref
}

// Find looks a key up.
func (f *Front) Find(sp *Space, slotNo uint16, hash uint64, key []byte) Loc {
	l := Loc{Space: sp, Slot: slotNo, Hash: hash, Key: key, seg: -1, cell: -1}
	s := sp.slot(slotNo)
	if s == nil {
		return l
	}
	l.slot = s
	l.seg = f.segmentOf(sp, s, hash)
	if l.seg < 0 {
		return l
	}
	seg := &f.segments[l.seg]
	if seg.table == 0 {
		return l
	}
	if i := f.find(seg, hash, key); i >= 0 {
		l.cell = int32(i)
		l.ref = cellRef(f.cells(seg)[i])
	}
	return l
}

// Known says whether the front has an entry for the key, live or tombstone.
func (l *Loc) Known() bool { return l.cell >= 0 }

// Final says whether a key without an entry is known to be absent.
func (l *Loc) Final() bool { return l.slot == nil || l.slot.complete }

// Item is the contents of the entry that Find found.
func (f *Front) Item(l *Loc) Item { return f.arena.item(l.ref) }

// Value is Item's value alone; live says that it is no tombstone.
func (f *Front) Value(l *Loc) (v []byte, live bool) {
	m := f.arena.meta(l.ref)
	at, k, n := f.arena.shape(l.ref, m)
	return f.arena.at(l.ref, at+k, n), whatOf(m) != whatTombstone
}

// Plain is Item without Tombstone and Expire; ok says that the entry has neither.
func (f *Front) Plain(l *Loc) (kind value.Kind, enc value.Encoding, v []byte, ok bool) {
	m := f.arena.meta(l.ref)
	at, k, n := f.arena.shape(l.ref, m)
	return kindOf(m), encOf(m), f.arena.at(l.ref, at+k, n), whatOf(m) == whatEntry && m&expireBit == 0
}

// Key is the key of the entry that Find found, as the arena has it.
func (f *Front) Key(l *Loc) []byte { return f.arena.key(l.ref) }

// Dirty says whether the entry that Find found differs from its stored form.
func (f *Front) Dirty(l *Loc) bool { return tagOf(f.arena.meta(l.ref)) != Clean }

// Touch sets the entry's recency word, as all parameters called clock do. The shared lock is enough.
func (f *Front) Touch(l *Loc, clock uint32) {
	if r := f.arena.recency(l.ref); atomic.LoadUint32(r) != clock {
		atomic.StoreUint32(r, clock)
	}
}

// Recency is the entry's recency word.
func (f *Front) Recency(l *Loc) uint32 { return atomic.LoadUint32(f.arena.recency(l.ref)) }

// Put makes it the key's dirty contents. it.Value may alias the entry's own bytes. The caller has made sure that a
// key without an entry is absent from the store.
func (f *Front) Put(l *Loc, it Item, clock uint32) error {
	if l.slot == nil {
		l.slot = l.Space.slotFor(l.Slot)
	}
	if l.cell < 0 {
		return f.add(l, it, f.cur, clock)
	}
	old := f.arena.meta(l.ref)
	l.countLive(whatOf(old) == whatEntry, old&expireBit != 0, -1)
	l.countLive(!it.Tombstone, it.Expire != 0, 1)
	n, long := blockBytes(len(l.Key), len(it.Value), it.Expire)
	size := f.arena.blockLen(l.ref)
	f.countTombstone(whatOf(old) == whatTombstone, size, -1)
	f.countTombstone(it.Tombstone, n, 1)
	if !f.wanted(l, old) && blockSize(size) == blockSize(n) && long == (old&longBit != 0) && (it.Expire != 0) == (old&expireBit != 0) {
		f.setTag(l.ref, old, size, Clean)
		f.arena.write(l.ref, l.Key, it, len(it.Value), f.cur, clock)
		f.count(n, f.cur, 1)
		f.markDirty(l.seg)
		return nil
	}
	r, err := f.arena.alloc(n)
	if err != nil {
		return err
	}
	f.arena.write(r, l.Key, it, len(it.Value), f.cur, clock)
	f.swap(l, old, size, r, n)
	return nil
}

// swap puts block r, of n bytes, in the place of the entry at l and gives the old block up.
func (f *Front) swap(l *Loc, old uint32, size int, r Ref, n int) {
	f.count(size, tagOf(old), -1)
	f.count(n, f.cur, 1)
	f.giveUp(l, old)
	f.setCell(l, r)
	f.markDirty(l.seg)
}

func (f *Front) setCell(l *Loc, r Ref) {
	f.moves++
	cells := f.cells(&f.segments[l.seg])
	cells[l.cell] = makeCell(cellFP(cells[l.cell]), r)
	l.ref = r
}

// add enters a key that has no entry.
func (f *Front) add(l *Loc, it Item, tag Tag, clock uint32) error {
	f.keepAbsence(l)
	n, _ := blockBytes(len(l.Key), len(it.Value), it.Expire)
	r, err := f.arena.alloc(n)
	if err != nil {
		return err
	}
	f.arena.write(r, l.Key, it, len(it.Value), tag, clock)
	if l.seg < 0 {
		l.seg = f.firstSegment(l.Space, l.Slot, l.Hash)
	}
	if err := f.insert(l.seg, l.Hash, r); err != nil {
		return err
	}
	f.entries++
	f.count(n, tag, 1)
	f.countTombstone(it.Tombstone, n, 1)
	if tag != Clean {
		f.markDirty(f.segmentOf(l.Space, l.slot, l.Hash))
		l.countLive(!it.Tombstone, it.Expire != 0, 1)
	}
	return nil
}

// firstSegment makes the segment of a slot that has none for hash: that of the whole slot, or of a collection's nodes.
func (f *Front) firstSegment(sp *Space, slotNo uint16, hash uint64) int32 {
	x := segment{bits: keyHashBits, slot: slotNo, space: sp.index}
	if sp.nodes {
		x.bits, x.lo = value.NodeBits, hash>>value.NodeBits<<value.NodeBits
	}
	si := f.newSegment(x)
	sp.addSegment(f, slotNo, si)
	return si
}

// countLive keeps the numbers of live keys when one comes (d is 1) or goes (-1).
func (l *Loc) countLive(live, timed bool, d int32) {
	if !live {
		return
	}
	l.Space.change(l.Slot, l.slot, d)
	if timed {
		l.Space.timed += int64(d)
	}
}

// Reserve makes a slot without entries ready for n of them, so that its table does not grow step by step.
func (f *Front) Reserve(sp *Space, slotNo uint16, n int) error {
	s := sp.slotFor(slotNo)
	if s.seg != -1 || n == 0 || sp.nodes {
		return nil
	}
	homes := capacities[len(capacities)-1]
	for _, c := range capacities {
		if room(c) >= n {
			homes = c
			break
		}
	}
	si := f.newSegment(segment{bits: keyHashBits, slot: slotNo, space: sp.index})
	t, err := f.newTable(si, homes)
	if err != nil {
		f.segments[si] = segment{}
		f.unused = append(f.unused, si)
		return err
	}
	f.segments[si].table, f.segments[si].homes = t, homes
	s.seg = si
	return nil
}

// Fill enters what the store has of a key that has no entry: a clean entry, or a clean tombstone if the store has
// none. The caller has made sure that it is no old news (see Space.Epoch).
func (f *Front) Fill(l *Loc, it Item, clock uint32) error {
	if l.slot == nil {
		l.slot = l.Space.slotFor(l.Slot)
	}
	return f.add(l, it, Clean, clock)
}

// Remove deletes a live key: it leaves a dirty tombstone where the store may have the key, nothing otherwise.
func (f *Front) Remove(l *Loc, clock uint32) error {
	if l.slot.stored == 0 && !f.checkpointing() {
		l.countLive(true, f.arena.meta(l.ref)&expireBit != 0, -1)
		f.dropEntry(l)
		return nil
	}
	return f.Put(l, Item{Tombstone: true}, clock)
}

// dropEntry takes the entry at l out of the front.
func (f *Front) dropEntry(l *Loc) {
	old := f.arena.meta(l.ref)
	size := f.arena.blockLen(l.ref)
	f.count(size, tagOf(old), -1)
	f.countTombstone(whatOf(old) == whatTombstone, size, -1)
	f.entries--
	f.giveUp(l, old)
	f.removeCell(l.seg, int(l.cell))
	l.slot.epoch++
	l.cell, l.ref = -1, 0
}

// Grow resizes the string at l to n bytes, in place where its block allows, and returns its bytes, dirty and
// writable. New bytes are zero.
func (f *Front) Grow(l *Loc, n int, enc value.Encoding, clock uint32) ([]byte, error) {
	old := f.arena.meta(l.ref)
	at, k, have := f.arena.shape(l.ref, old)
	if n == have && encOf(old) == enc && !f.wanted(l, old) {
		f.soil(l, old, clock)
		return f.arena.at(l.ref, at+k, n), nil
	}
	it := f.arena.item(l.ref)
	need, long := blockBytes(len(l.Key), n, it.Expire)
	size := f.arena.blockLen(l.ref)
	inPlace := !f.wanted(l, old) && long == (old&longBit != 0)
	if inPlace && blockSize(size) != blockSize(need) {
		inPlace = f.arena.resizeLarge(l.ref, need)
	}
	it.Enc = enc
	v := it.Value
	it.Value = nil
	if inPlace {
		f.setTag(l.ref, old, size, Clean)
		f.arena.write(l.ref, l.Key, it, n, f.cur, clock)
		f.count(need, f.cur, 1)
		f.markDirty(l.seg)
	} else {
		r, err := f.arena.alloc(need)
		if err != nil {
			return nil, err
		}
		f.arena.write(r, l.Key, it, n, f.cur, clock)
		copy(f.arena.item(r).Value, v)
		f.swap(l, old, size, r, need)
	}
	out := f.arena.item(l.ref).Value
	if n > have {
		clear(out[have:])
	}
	return out, nil
}

// soil makes the entry at l, whose meta is m and which no walk wants, a dirty one.
func (f *Front) soil(l *Loc, m uint32, clock uint32) {
	if tagOf(m) != f.cur {
		f.setTag(l.ref, m, f.arena.blockLen(l.ref), f.cur)
		f.markDirty(l.seg)
	}
	f.Touch(l, clock)
}

// count keeps the figures of entries with a dirty tag.
func (f *Front) count(bytes int, t Tag, sign int64) {
	if t != Clean {
		f.dirtyBytes[t] += sign * int64(blockSize(bytes))
		f.dirtyKeys[t] += sign
	}
}

// setTag changes the tag of an entry of size bytes whose meta is m.
func (f *Front) setTag(r Ref, m uint32, size int, t Tag) {
	f.count(size, tagOf(m), -1)
	f.count(size, t, 1)
	f.arena.setMeta(r, withTag(m, t))
}

func (f *Front) markDirty(seg int32) { f.segments[seg].dirty |= 1 << (f.cur - 1) }
