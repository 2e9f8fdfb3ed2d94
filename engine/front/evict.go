package front

import "slices"

// evictHand goes round over the segments.
type evictHand struct {
	next  int
	idle  int // segments passed since one had anything to drop
	ranks []uint32
}

// emptySegments is how many segments without entries the hand passes as cheaply as it looks at one with entries.
const emptySegments = 64

// Evict drops clean entries until about want bytes are free, of each segment that it comes to those of the highest rank,
// and looks at no more than segments of them. rank judges recency words; nil: only tombstones go, all of them. It
// returns the bytes freed. Dropping is local: nothing is lost, since a clean entry equals its stored form (E2).
func (f *Front) Evict(want int64, segments int, rank func(use uint32) uint32) (freed int64) {
	before := f.arena.live
	for steps := segments * emptySegments; steps > 0 && before-f.arena.live < want && len(f.segments) > 0; {
		if f.hand.next >= len(f.segments) {
			f.hand.next = 0
		}
		if f.segments[f.hand.next].table == 0 {
			steps--
			f.hand.idle++
		} else {
			steps -= emptySegments
			entries := f.entries
			f.evictFrom(int32(f.hand.next), rank)
			if f.hand.idle++; f.entries < entries {
				f.hand.idle = 0
			}
		}
		f.hand.next++
	}
	return before - f.arena.live
}

// Evictable says whether Evict may find more to drop: it has not gone round in vain.
func (f *Front) Evictable() bool { return f.hand.idle <= len(f.segments) }

// evictFrom drops the quarter of a segment's clean entries that ranks highest.
func (f *Front) evictFrom(si int32, rank func(use uint32) uint32) {
	seg := &f.segments[si]
	if seg.table == 0 || f.spaces[seg.space] == nil || f.spaces[seg.space].dead {
		return
	}
	most, limit := f.evictLimit(seg, rank)
	sp := f.spaces[seg.space]
	for i := cellsOf(seg.homes) - 1; i >= 0 && most > 0; i-- {
		if seg.table == 0 || i >= cellsOf(seg.homes) {
			return // the table became smaller: the rest next time
		}
		c := f.cells(seg)[i]
		if c == 0 {
			continue
		}
		r := cellRef(c)
		m := f.arena.meta(r)
		if tagOf(m) != Clean || rank == nil && whatOf(m) != whatTombstone || rank != nil && rank(*f.arena.recency(r)) < limit {
			continue
		}
		key := f.arena.key(r)
		l := Loc{Space: sp, Slot: seg.slot, Hash: f.hash(sp, key), Key: key, slot: sp.slotFor(seg.slot), seg: si, cell: int32(i), ref: r}
		if whatOf(m) == whatEntry {
			f.setComplete(sp, l.slot, false)
		}
		f.dropEntry(&l)
		most--
	}
}

// evictLimit is how many entries of a segment are to go, and from what rank on.
func (f *Front) evictLimit(seg *segment, rank func(use uint32) uint32) (most int, limit uint32) {
	if rank == nil {
		return int(seg.n), 0
	}
	ranks := f.hand.ranks[:0]
	for _, c := range f.cells(seg) {
		if c != 0 && tagOf(f.arena.meta(cellRef(c))) == Clean {
			ranks = append(ranks, rank(*f.arena.recency(cellRef(c))))
		}
	}
	f.hand.ranks = ranks
	if len(ranks) == 0 {
		return 0, 0
	}
	slices.Sort(ranks)
	most = len(ranks)/4 + 1
	return most, ranks[len(ranks)-most]
}

// Free gives memory of dropped name spaces back, about most entries a call, and says whether more is left to do.
func (f *Front) Free(most int) (more bool) {
	for i, sp := range f.doomed {
		if f.needed(sp) {
			continue
		}
		if f.freeSome(sp, most) {
			return true
		}
		f.doomed = slices.Delete(f.doomed, i, i+1)
		f.spaces[sp.index] = nil
		return slices.ContainsFunc(f.doomed, func(sp *Space) bool { return !f.needed(sp) })
	}
	return false
}

// needed says whether a walk has yet to read a dropped name space.
func (f *Front) needed(sp *Space) bool {
	return slices.ContainsFunc(f.walks, func(w *Walk) bool { return !w.settling && w.covers(sp) })
}

// freeSome frees about most entries of a dropped name space; false when nothing is left.
func (f *Front) freeSome(sp *Space, most int) bool {
	for ; sp.frees < Slots; sp.frees++ {
		if most <= 0 {
			return true
		}
		s := sp.slot(uint16(sp.frees))
		if s == nil || s.seg == -1 {
			continue
		}
		list := sp.list(s)
		for len(list) > 0 && most > 0 {
			si := list[len(list)-1]
			list = list[:len(list)-1]
			most -= int(f.segments[si].n)
			f.freeSegment(si)
		}
		if len(list) > 0 {
			sp.multi[-s.seg-2] = list
			return true
		}
		s.seg = -1
	}
	return false
}

func (f *Front) freeSegment(si int32) {
	f.moves++
	seg := &f.segments[si]
	if seg.table != 0 {
		for _, c := range f.cells(seg) {
			if c == 0 {
				continue
			}
			r := cellRef(c)
			n, m := f.arena.blockLen(r), f.arena.meta(r)
			f.count(n, tagOf(m), -1)
			f.countTombstone(whatOf(m) == whatTombstone, n, -1)
			f.arena.release(r)
			f.entries--
		}
		f.arena.release(seg.table)
	}
	*seg = segment{}
	f.unused = append(f.unused, si)
}

// Clear drops every name space, and frees at once what no view needs any more; later calls of Free do the rest. No
// checkpoint may be under way.
func (f *Front) Clear() {
	for _, sp := range f.spaces {
		if sp != nil && !sp.dead && !sp.nodes {
			f.DropSpace(sp)
		}
	}
	for f.Free(1 << 62) {
	}
	if len(f.doomed) == 0 {
		f.spaces, f.segments, f.unused = nil, nil, nil
	}
}
