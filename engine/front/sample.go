package front

import "sync/atomic"

// Sampled is a live entry that a sample met. Key aliases the arena.
type Sampled struct {
	Key []byte
	Item
	Use   uint32 // recency word
	Bytes int64  // what the entry takes up
}

// Place is a place in a name space's part of the front. One that is out of date is as good as any other.
type Place struct {
	slot uint16
	seg  int // among the slot's segments
	cell int
}

// RandomPlace picks a place by two random numbers: each key of front and store stands behind it with about the same
// probability.
func (f *Front) RandomPlace(sp *Space, key, cell uint64) Place {
	if sp.live == 0 {
		return Place{}
	}
	slotNo, _ := sp.SlotAt(int64(key % uint64(sp.live)))
	s := sp.slot(slotNo)
	p := Place{slot: slotNo}
	if s.seg == -1 {
		return p
	}
	list := sp.list(s)
	p.seg = int(cell >> 32 % uint64(len(list)))
	if n := f.segments[list[p.seg]].homes; n > 0 {
		p.cell = int(uint32(cell) % uint32(n))
	}
	return p
}

// sampling is a walk from a place once round the name space.
type sampling struct {
	want, look int
	timed      bool
	visit      func(Sampled)
}

// SampleFrom visits live entries from a place on, only those with a time to live if timed is set: want of them, unless
// it has come round or has looked at look entries before. It returns where it ended. The shared lock is enough; what
// visit gets is valid during the call.
func (f *Front) SampleFrom(sp *Space, at Place, want, look int, timed bool, visit func(Sampled)) (to Place) {
	w := sampling{want, look, timed, visit}
	start := at
	for passed := 0; passed <= Slots; {
		page := at.slot / pageSlots
		if sp.sums[page] == 0 { // nothing lives there
			n := pageSlots - int(at.slot%pageSlots)
			passed += n
			at = Place{slot: uint16((int(at.slot) + n) % Slots)}
			continue
		}
		end := Place{slot: at.slot, seg: 1 << 30}
		if passed == Slots {
			end = start
		}
		if s := sp.slot(at.slot); s.seg != -1 {
			if at = f.sampleSlot(sp.list(s), at, end, &w); w.want == 0 || w.look == 0 {
				return at
			}
		}
		passed++
		at = Place{slot: (at.slot + 1) % Slots}
	}
	return start
}

// sampleSlot goes on within a slot, up to end.
func (f *Front) sampleSlot(list []int32, at, end Place, w *sampling) Place {
	for ; at.seg < len(list) && at.seg <= end.seg; at.seg, at.cell = at.seg+1, 0 {
		seg := &f.segments[list[at.seg]]
		if seg.table == 0 {
			continue
		}
		cells := f.cells(seg)
		for ; at.cell < len(cells); at.cell++ {
			if at.seg == end.seg && at.cell >= end.cell {
				return at
			}
			if c := cells[at.cell]; c != 0 && f.sampleEntry(cellRef(c), w) {
				at.cell++
				return at
			}
		}
	}
	return at
}

// sampleEntry looks at one entry and says whether that was the last.
func (f *Front) sampleEntry(r Ref, w *sampling) (last bool) {
	m := f.arena.meta(r)
	w.look--
	if whatOf(m) == whatEntry && (!w.timed || m&expireBit != 0) {
		w.want--
		w.visit(Sampled{
			Key: f.arena.key(r), Use: atomic.LoadUint32(f.arena.recency(r)), Item: f.arena.item(r),
			Bytes: int64(blockSize(f.arena.blockLen(r))) + cellShare,
		})
	}
	return w.want == 0 || w.look == 0
}

// countTombstone keeps the figure of tombstones when one of a request of n bytes comes or goes.
func (f *Front) countTombstone(is bool, n int, sign int64) {
	if is {
		f.tombstones += sign * int64(blockSize(n))
	}
}

// Returning is the memory that comes back by itself: tombstones go with the checkpoint that contains them, and what
// walks have put aside goes with them.
func (f *Front) Returning() int64 {
	n := f.tombstones
	for _, w := range f.walks {
		n += w.held
	}
	return n
}

// Live is the size of the blocks in use, bytes.
func (f *Front) Live() int64 { return f.arena.live }

// Doomed says whether dropped name spaces wait to be freed.
func (f *Front) Doomed() bool { return len(f.doomed) > 0 }
