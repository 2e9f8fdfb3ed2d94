package value

// BitField is an integer of Bits bits inside a string, its most significant bit first: signed ones have 1 to 64 bits,
// unsigned ones 1 to 63. Values travel as int64, which holds both.
type BitField struct {
	Signed bool
	Bits   uint
}

// Overflow says what happens to a value that a field cannot hold.
type Overflow uint8

// The ways to treat an overflow.
const (
	Wrap     Overflow = iota // keep the low bits
	Saturate                 // the nearest value that the field can hold
	Fail                     // change nothing
)

// Get reads the field at bit offset of b; bits behind the end are zero.
func (f BitField) Get(b []byte, offset uint64) int64 {
	var v uint64
	for n := offset; n < offset+uint64(f.Bits); {
		// The rest of this byte, or as much of it as belongs to the field.
		take := min(8-n&7, offset+uint64(f.Bits)-n)
		var c byte
		if n>>3 < uint64(len(b)) {
			c = b[n>>3]
		}
		v = v<<take | uint64(c<<(n&7)>>(8-take))
		n += take
	}
	return f.wrap(v)
}

// Put writes the low bits of v to the field at bit offset of b, which must reach that far.
func (f BitField) Put(b []byte, offset uint64, v int64) {
	for n := uint64(0); n < uint64(f.Bits); n++ {
		PutBit(b, offset+n, v>>(uint64(f.Bits)-1-n)&1 == 1)
	}
}

// Convert brings v into the field's range as o says; ok is false where o is Fail and v does not fit.
func (f BitField) Convert(v int64, o Overflow) (_ int64, ok bool) {
	// As a 64-bit pattern a negative number is above an unsigned field's range, and so it counts as too large.
	if f.wrap(uint64(v)) == v {
		return v, true
	}
	return f.overflow(uint64(v), !f.Signed || v > 0, o)
}

// Add is v, a value of the field, plus by, brought into the field's range as o says; ok is false where o is Fail and
// the sum does not fit.
func (f BitField) Add(v, by int64, o Overflow) (_ int64, ok bool) {
	sum, fits := AddInts(v, by)
	if fits && f.wrap(uint64(sum)) == sum {
		return sum, true
	}
	return f.overflow(uint64(v)+uint64(by), by > 0, o)
}

// overflow is the outcome for a sum beyond the field's range, given modulo 2^64, above it or below it.
func (f BitField) overflow(sum uint64, above bool, o Overflow) (int64, bool) {
	switch {
	case o == Fail:
		return 0, false
	case o == Wrap:
		return f.wrap(sum), true
	case above:
		return f.max(), true
	default:
		return f.min(), true
	}
}

// wrap is the value that the low bits of v stand for.
func (f BitField) wrap(v uint64) int64 {
	unused := 64 - f.Bits
	if f.Signed {
		return int64(v<<unused) >> unused
	}
	return int64(v << unused >> unused)
}

func (f BitField) max() int64 {
	if f.Signed {
		return int64(uint64(1)<<(f.Bits-1) - 1)
	}
	return int64(uint64(1)<<f.Bits - 1)
}

func (f BitField) min() int64 {
	if f.Signed {
		return -1 << (f.Bits - 1)
	}
	return 0
}
