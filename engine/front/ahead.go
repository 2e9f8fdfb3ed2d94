package front

// Window is how many keys Approach is given at a time: a processor has about so many loads under way at once.
const Window = 16

// Sought is a key that is about to be looked up.
type Sought struct {
	Space *Space
	Slot  uint16
	Hash  uint64

	seg int32
	ref Ref
}

// Approach reads what Find and Item will read of a few keys, one step for all of them before the next: a lookup waits for
// memory four times in a row (slot, segment, table, entry), and this way the waits of all keys pass together. It finds
// nothing and changes nothing; what it returns says nothing, but keeps the loads from being optimised away.
func (f *Front) Approach(keys []Sought) (sum uint64) {
	for i := range keys {
		k := &keys[i]
		k.seg, k.ref = -1, 0
		if s := k.Space.slot(k.Slot); s != nil {
			k.seg = f.segmentOf(k.Space, s, k.Hash)
		}
	}
	for i := range keys {
		if k := &keys[i]; k.seg >= 0 {
			if s := &f.segments[k.seg]; s.table != 0 {
				k.ref = s.table + tableHeader/8 + Ref(home(s.fingerprint(k.Hash), s.homes))
			}
		}
	}
	for i := range keys {
		if k := &keys[i]; k.ref != 0 {
			k.ref = f.likely(k)
		}
	}
	for i := range keys {
		if k := &keys[i]; k.ref != 0 {
			sum += uint64(f.arena.meta(k.ref))
		}
	}
	return sum
}

// likely is the entry of the cell that has the key's fingerprint, 0 if there is none. k.ref is the fingerprint's home.
func (f *Front) likely(k *Sought) Ref {
	s := &f.segments[k.seg]
	fp := s.fingerprint(k.Hash)
	end := s.table + tableHeader/8 + Ref(cellsOf(s.homes))
	for r := k.ref; r < end; r++ {
		if c := *f.arena.word(r); cellFP(c) >= fp || c == 0 {
			if cellFP(c) == fp {
				return cellRef(c)
			}
			return 0
		}
	}
	return 0
}
