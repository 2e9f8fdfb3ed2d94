package value

import (
	"bytes"
	"math/big"
	"math/rand/v2"
	"testing"
)

// randomBits is up to most bytes in which long runs of zeros and ones are likely.
func randomBits(r *rand.Rand, most int) []byte {
	b := make([]byte, r.IntN(most+1))
	for i := range b {
		b[i] = [...]byte{0, 0, 0, 0xff, 0xff, 0xff, byte(r.Uint32())}[r.IntN(7)]
	}
	if len(b) > 0 && r.IntN(2) == 0 { // one odd bit in a uniform string
		for i := range b {
			b[i] = b[0]
		}
		PutBit(b, uint64(r.IntN(len(b)*8)), r.IntN(2) == 0)
	}
	return b
}

func TestPutBit(t *testing.T) {
	b := make([]byte, 2)
	for _, c := range []struct {
		n    uint64
		on   bool
		was  int
		want []byte
	}{
		{0, true, 0, []byte{0x80, 0}},
		{15, true, 0, []byte{0x80, 1}},
		{15, true, 1, []byte{0x80, 1}},
		{0, false, 1, []byte{0, 1}},
		{0, false, 0, []byte{0, 1}},
	} {
		if was := PutBit(b, c.n, c.on); was != c.was || !bytes.Equal(b, c.want) {
			t.Errorf("bit %d, %v: was %d, leaves %x", c.n, c.on, was, b)
		}
	}
	if Bit(b, 15) != 1 || Bit(b, 16) != 0 || Bit(b, 1<<60) != 0 || Bit(nil, 0) != 0 {
		t.Error("Bit is wrong at or behind the end")
	}
}

func TestCountAndFindBitsAgainstSingleBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		b := randomBits(r, 90)
		if len(b) == 0 {
			continue
		}
		first := uint64(r.IntN(len(b) * 8))
		last := first + uint64(r.IntN(len(b)*8-int(first)))
		var ones int64
		found := [2]int64{-1, -1}
		for n := last + 1; n > first; n-- {
			bit := Bit(b, n-1)
			ones += int64(bit)
			found[bit] = int64(n - 1)
		}
		if got := CountBits(b, first, last); got != ones {
			t.Fatalf("%x from %d to %d: %d ones, want %d", b, first, last, got, ones)
		}
		for bit, want := range found {
			if got := FindBit(b, bit == 1, first, last); got != want {
				t.Fatalf("%x from %d to %d: first %d at %d, want %d", b, first, last, bit, got, want)
			}
		}
	}
}

func TestBitOpAgainstSingleBits(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	combine := map[BitOp]func(a, b int) int{
		BitAnd: func(a, b int) int { return a & b },
		BitOr:  func(a, b int) int { return a | b },
		BitXor: func(a, b int) int { return a ^ b },
		BitNot: func(a, _ int) int { return 1 - a },
	}
	for range 2000 {
		op := BitOp(r.IntN(4))
		sources := [][]byte{randomBits(r, 40)}
		for op != BitNot && r.IntN(3) > 0 {
			sources = append(sources, randomBits(r, 40))
		}
		before := bytes.Join(sources, []byte("|"))
		var got []byte
		for _, s := range sources {
			got = op.Fold(got, s)
		}
		longest := 0
		for _, s := range sources {
			longest = max(longest, len(s))
		}
		if len(got) != longest {
			t.Fatalf("%d bytes, want %d", len(got), longest)
		}
		for n := range uint64(longest * 8) {
			want := Bit(sources[0], n)
			if op == BitNot {
				want = combine[op](want, 0)
			}
			for _, s := range sources[1:] {
				want = combine[op](want, Bit(s, n))
			}
			if Bit(got, n) != want {
				t.Fatalf("operation %d of %x is %x, wrong at bit %d", op, sources, got, n)
			}
		}
		if !bytes.Equal(before, bytes.Join(sources, []byte("|"))) {
			t.Fatal("a source was changed")
		}
	}
}

// Fields against arithmetic without bounds.
func TestBitFieldArithmetic(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 20_000 {
		f := BitField{Signed: r.IntN(2) == 0, Bits: 1 + uint(r.IntN(63))}
		if f.Signed && r.IntN(5) == 0 {
			f.Bits = 64
		}
		low, high := new(big.Int), new(big.Int).Lsh(big.NewInt(1), f.Bits)
		if f.Signed {
			high.Rsh(high, 1)
			low.Neg(high)
		}
		span := new(big.Int).Sub(high, low)
		high.Sub(high, big.NewInt(1))

		v := f.wrap(r.Uint64() >> r.IntN(64))
		by := int64(r.Uint64()) >> r.IntN(64)
		sum := new(big.Int).Add(big.NewInt(v), big.NewInt(by))
		fits := sum.Cmp(low) >= 0 && sum.Cmp(high) <= 0

		wrapped := new(big.Int).Sub(sum, low)
		wrapped.Mod(wrapped, span).Add(wrapped, low)
		nearest := sum
		if sum.Cmp(low) < 0 {
			nearest = low
		} else if sum.Cmp(high) > 0 {
			nearest = high
		}
		if got, ok := f.Add(v, by, Wrap); !ok || got != wrapped.Int64() {
			t.Fatalf("%+v: %d + %d wraps to %d, want %d", f, v, by, got, wrapped)
		}
		if got, ok := f.Add(v, by, Saturate); !ok || got != nearest.Int64() {
			t.Fatalf("%+v: %d + %d saturates at %d, want %d", f, v, by, got, nearest)
		}
		if got, ok := f.Add(v, by, Fail); ok != fits || ok && got != sum.Int64() {
			t.Fatalf("%+v: %d + %d gives %d, %v", f, v, by, got, ok)
		}
	}
}

func TestBitFieldPlaces(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	for range 5000 {
		f := BitField{Signed: r.IntN(2) == 0, Bits: 1 + uint(r.IntN(63))}
		b := randomBits(r, 24)
		b = append(b, make([]byte, 8)...)
		offset := uint64(r.IntN(len(b)*8 - int(f.Bits) + 1))
		before := bytes.Clone(b)
		v := f.wrap(r.Uint64())
		f.Put(b, offset, v)
		if got := f.Get(b, offset); got != v {
			t.Fatalf("%+v at %d: put %d, got %d", f, offset, v, got)
		}
		for n := range uint64(len(b) * 8) {
			if (n < offset || n >= offset+uint64(f.Bits)) && Bit(b, n) != Bit(before, n) {
				t.Fatalf("%+v at %d changed bit %d", f, offset, n)
			}
		}
		cut := r.IntN(len(b))
		padded := append(bytes.Clone(b[:cut]), make([]byte, len(b)-cut)...)
		if got, want := f.Get(b[:cut], offset), f.Get(padded, offset); got != want {
			t.Fatalf("%+v at %d of %d bytes: %d, want %d", f, offset, cut, got, want)
		}
	}
}

func BenchmarkCountBits(b *testing.B) {
	s := make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		CountBits(s, 0, 1<<23-1)
	}
}

func BenchmarkBitOp(b *testing.B) {
	acc, s := make([]byte, 1<<20), make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		BitXor.Fold(acc, s)
	}
}
