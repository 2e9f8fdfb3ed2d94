package front

import "slices"

// Compaction keeps resident memory near live bytes after sizes have drifted: it picks the sparsest slab among some,
// moves its blocks to other slabs of the class, and gives it back to the system. Tables name their segment, entries
// are found by their key, so a block can be moved by changing one reference. Blocks that a walk has put aside cannot
// be moved, and where one stands cannot be told beforehand: while there are any, compaction rests.

// sampleSlabs is how many slabs compaction looks at to find a sparse one.
const sampleSlabs = 512

// Wasteful says whether resident memory is so far above live bytes that Compact should run.
func (f *Front) Wasteful() bool {
	a := f.arena
	return a.resident.Load()-a.live > a.live/12+1<<20
}

// Compact moves about most blocks and says whether it found anything to do.
func (f *Front) Compact(most int) bool {
	a := f.arena
	if slices.ContainsFunc(f.walks, func(w *Walk) bool { return w.held > 0 }) {
		return false
	}
	if f.emptying < 0 {
		si := f.pickSlab()
		if si < 0 {
			return false
		}
		s := &a.slabs[si]
		s.retired = true
		if s.listed {
			a.unlist(si)
		}
		f.emptying, f.emptied = si, 0
	}
	si := f.emptying
	s := &a.slabs[si]
	if s.class <= noSlab || !s.retired { // its last blocks were released, and its addresses may be something else's now
		f.emptying = -1
		return true
	}
	size := int64(a.class[s.class].size)
	for ; most > 0 && s.used > 0 && f.emptied < int(s.carved); f.emptied++ {
		r := Ref((int64(si)*slabUnit + int64(f.emptied)*size) >> 3)
		if whatOf(a.meta(r)) == 0 {
			continue
		}
		most--
		if !f.move(r, int(size)) {
			f.keepSlab(si)
			return true
		}
		s = &a.slabs[si]
	}
	if s.class == noSlab || !s.retired { // given back with its last block
		f.emptying = -1
	} else if f.emptied >= int(s.carved) {
		f.keepSlab(si)
	}
	return true
}

// keepSlab ends the emptying of a slab that holds a block which cannot be moved.
func (f *Front) keepSlab(si int32) {
	f.emptying = -1
	s := &f.arena.slabs[si]
	if s.class <= noSlab || !s.retired {
		return
	}
	s.retired = false
	if s.used == 0 {
		f.arena.dropSlab(si)
		return
	}
	if s.free != 0 || int32(s.carved) < f.arena.class[s.class].per {
		f.arena.list(si)
	}
}

// pickSlab finds a slab whose blocks fit into the free blocks of its class's other slabs.
func (f *Front) pickSlab() int32 {
	a := f.arena
	best, bestShare := int32(-1), 0.85
	for n := 0; n < sampleSlabs && n < len(a.slabs); n++ {
		f.sample++
		if f.sample >= len(a.slabs) {
			f.sample = 0
		}
		s := &a.slabs[f.sample]
		if s.class <= noSlab {
			continue
		}
		c := &a.class[s.class]
		if c.slabs < 2 || c.blocks > int64(c.slabs-1)*int64(c.per) {
			continue
		}
		if share := float64(s.used) / float64(c.per); share < bestShare {
			best, bestShare = int32(f.sample), share
		}
	}
	return best
}

// move copies a block elsewhere and changes the one reference to it; false if it cannot be moved.
func (f *Front) move(r Ref, size int) bool {
	a := f.arena
	if whatOf(a.meta(r)) == whatTable {
		seg := &f.segments[a.owner(r)]
		if seg.table != r {
			return false
		}
		to, err := a.alloc(size)
		if err != nil {
			return false
		}
		copy(a.bytes(to, size), a.bytes(r, size))
		seg.table = to
		a.release(r)
		return true
	}
	key := a.key(r)
	for _, sp := range f.spaces {
		if sp == nil || sp.nodes && !isNodeKey(key) {
			continue
		}
		l := f.Find(sp, f.slotOf(sp, key), f.hash(sp, key), key)
		if l.ref != r || !l.Known() {
			continue
		}
		to, err := a.alloc(size)
		if err != nil {
			return false
		}
		copy(a.bytes(to, size), a.bytes(r, size))
		f.setCell(&l, to)
		a.release(r)
		return true
	}
	return false
}
