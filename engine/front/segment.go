package front

// A segment holds the keys of one slot whose hashes lie in one range: a power of two in length, halved when the
// segment is full. Its table is a block of the arena:
//
//	meta   4 bytes  whatTable
//	owner  4 bytes  the segment's number
//	cells  8 bytes each
//
// A cell is zero, or a fingerprint of 24 bits over a Ref of 40. The fingerprint is the first bits of the hash that
// differ within the segment's range, so cells can be ordered by it. The table is open addressing with linear probing
// in order of fingerprint: a cell stands at its home (fingerprint scaled to the table) or behind it with no empty cell
// between, and all cells are in order. Walking it yields hash order; insertion and deletion move a few cells.
//
// segment itself holds no pointers, so a slice of millions costs the garbage collector nothing.
type segment struct {
	table Ref
	lo    uint64 // first hash of the range
	homes uint16 // cells that are a home; a few more stand behind them
	n     uint16 // cells in use
	bits  uint8  // the range holds 1<<bits hashes
	dirty uint8  // bit t-1: may hold entries with dirty tag t
	slot  uint16
	space uint32 // the name space's index in Front.spaces
}

const (
	keyHashBits = 48
	// NodeHashBits is how many bits a node's hash has: its collection's number, then value.NodeBits of its own.
	NodeHashBits = 63
	fpBits       = 24
	maxHomes     = 512
	tableHeader  = 8
)

// capacities are the table sizes, about a fifth apart: the finer they are, the fewer cells stand empty.
var capacities = [...]uint16{4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 288, 320, 384, 448, maxHomes}

func spill(homes uint16) int { return 3 + int(homes)/32 }

func cellsOf(homes uint16) int { return int(homes) + spill(homes) }

func room(homes uint16) int { return int(homes) * 7 / 8 }

type cell = uint64

func makeCell(fp uint32, r Ref) cell { return uint64(fp)<<refBits | uint64(r) }
func cellFP(c cell) uint32           { return uint32(c >> refBits) }
func cellRef(c cell) Ref             { return Ref(c & (1<<refBits - 1)) }

// fingerprint is monotonic in the hash within a segment's range.
func (s *segment) fingerprint(hash uint64) uint32 {
	d := hash - s.lo
	if s.bits > fpBits {
		return uint32(d >> (s.bits - fpBits))
	}
	return uint32(d << (fpBits - s.bits))
}

func home(fp uint32, homes uint16) int { return int(uint64(fp) * uint64(homes) >> fpBits) }

func (f *Front) cells(s *segment) []cell {
	n := cellsOf(s.homes)
	b := f.arena.at(s.table, tableHeader, n*8)
	return cellSlice(b, n)
}

// find returns the cell index of key, or -1.
func (f *Front) find(s *segment, hash uint64, key []byte) int {
	fp := s.fingerprint(hash)
	cells := f.cells(s)
	for i := home(fp, s.homes); i < len(cells); i++ {
		c := cells[i]
		if c == 0 {
			return -1
		}
		if have := cellFP(c); have > fp {
			return -1
		} else if have == fp && string(f.arena.key(cellRef(c))) == string(key) {
			return i
		}
	}
	return -1
}

// place inserts a cell into cells in order; false if there is no room behind its place.
func place(cells []cell, homes uint16, c cell) bool {
	fp := cellFP(c)
	i := home(fp, homes)
	for i < len(cells) && cells[i] != 0 && cellFP(cells[i]) <= fp {
		i++
	}
	end := i
	for end < len(cells) && cells[end] != 0 {
		end++
	}
	if end == len(cells) {
		return false
	}
	copy(cells[i+1:end+1], cells[i:end])
	cells[i] = c
	return true
}

// displace removes cell i and moves those behind it that are not at home.
func displace(cells []cell, homes uint16, i int) {
	for i+1 < len(cells) && cells[i+1] != 0 && home(cellFP(cells[i+1]), homes) <= i {
		cells[i] = cells[i+1]
		i++
	}
	cells[i] = 0
}

// newTable allocates an empty table.
func (f *Front) newTable(owner int32, homes uint16) (Ref, error) {
	n := tableHeader + cellsOf(homes)*8
	r, err := f.arena.alloc(n)
	if err != nil {
		return 0, err
	}
	b := f.arena.bytes(r, n)
	clear(b)
	b[0] = whatTable
	putOwner(b, owner)
	return r, nil
}

// insert puts a cell for hash into the slot's segment that si names, growing or splitting it when it is full.
func (f *Front) insert(si int32, hash uint64, r Ref) error {
	f.moves++
	for {
		s := &f.segments[si]
		if s.table == 0 {
			t, err := f.newTable(si, capacities[0])
			if err != nil {
				return err
			}
			s.table, s.homes, s.n = t, capacities[0], 0
		}
		if int(s.n) < room(s.homes) && place(f.cells(s), s.homes, makeCell(s.fingerprint(hash), r)) {
			s.n++
			return nil
		}
		next, err := f.enlarge(si, hash)
		if err != nil {
			return err
		}
		si = next
	}
}

// enlarge gives a full segment a larger table, or splits it; it returns the segment that covers hash afterwards.
func (f *Front) enlarge(si int32, hash uint64) (int32, error) {
	s := &f.segments[si]
	for _, c := range capacities {
		if c > s.homes {
			ok, err := f.rebuild(si, c)
			if err != nil || ok {
				return si, err
			}
		}
	}
	return f.split(si, hash)
}

// rebuild moves a segment's cells into a table of homes cells; false if they do not fit that way.
func (f *Front) rebuild(si int32, homes uint16) (bool, error) {
	t, err := f.newTable(si, homes)
	if err != nil {
		return false, err
	}
	s := &f.segments[si]
	old := f.cells(s)
	cells := cellSlice(f.arena.at(t, tableHeader, cellsOf(homes)*8), cellsOf(homes))
	for _, c := range old {
		if c != 0 && !place(cells, homes, c) {
			f.arena.release(t)
			return false, nil
		}
	}
	f.arena.release(s.table)
	s.table, s.homes = t, homes
	return true, nil
}

// split halves a segment's range. The upper half becomes a new segment.
func (f *Front) split(si int32, hash uint64) (int32, error) {
	s := &f.segments[si]
	sp := f.spaces[s.space]
	refs := make([]Ref, 0, s.n)
	apart := false // some hash differs, so that halving the range will tell keys apart
	for _, c := range f.cells(s) {
		if c != 0 {
			refs = append(refs, cellRef(c))
			apart = apart || f.hash(sp, f.arena.key(cellRef(c))) != hash
		}
	}
	if s.bits == 0 || !apart && int(s.n) >= room(maxHomes) {
		return 0, errFull // before anything has changed
	}
	mid := s.lo + 1<<(s.bits-1)
	ni := f.newSegment(segment{lo: mid, bits: s.bits - 1, slot: s.slot, space: s.space, dirty: s.dirty})
	s = &f.segments[si]
	slotNo := s.slot
	sp.addSegment(f, slotNo, ni)
	f.arena.release(s.table)
	s.table, s.homes, s.n = 0, 0, 0
	s.bits--
	// Where hashes crowd, an insertion splits a half again: each looks for its segment afresh.
	slot := sp.slot(slotNo)
	for _, r := range refs {
		h := f.hash(sp, f.arena.key(r))
		if err := f.insert(f.segmentOf(sp, slot, h), h, r); err != nil {
			return 0, err
		}
	}
	return f.segmentOf(sp, slot, hash), nil
}

// removeCell takes cell i out of a segment and makes the table smaller when it has become sparse.
func (f *Front) removeCell(si int32, i int) {
	f.moves++
	s := &f.segments[si]
	displace(f.cells(s), s.homes, i)
	s.n--
	if s.n == 0 {
		f.arena.release(s.table)
		s.table, s.homes = 0, 0
		return
	}
	if int(s.n) < int(s.homes)/2 && s.homes > capacities[0] {
		for _, c := range capacities {
			if room(c) > int(s.n)+int(s.n)/4 && c < s.homes {
				// A table that cannot be had is no loss: the old one goes on.
				_, _ = f.rebuild(si, c)
				return
			}
		}
	}
}
