package front

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// The arena is the memory that entries and tables live in: one reservation of address space outside the Go heap,
// so the garbage collector never sees it.
//
// Blocks up to maxSmall bytes come from slabs of equal blocks. A slab's free blocks form a list through their first
// word; blocks never used yet are not touched, so they cost no memory. Larger blocks have an address range of their
// own, a power of two in size, of which only the pages in use are resident: they grow in place up to it. A range
// that is given up is returned to the system at once and its addresses are used again for the next one of its size.
//
// Every live block's first byte is not zero; that is how a slab is walked when it is emptied (see compact.go).
//
// Why slabs and not a log of segments: a cache's values change in place far more often than their sizes drift, and
// then slabs move nothing, while a log-structured arena at the wanted 87 % of live bytes moves several bytes for
// each one written. What slabs lose when sizes drift, compaction wins back by emptying the sparsest.
type arena struct {
	mem   []byte
	base  unsafe.Pointer
	top   int64                // bytes of the reservation handed out so far
	free  [maxRangeBits]ranges // address ranges given back, by the logarithm of their size
	slabs []slab               // by address / slabUnit; the entry of a slab's first unit counts
	class []class

	live     int64        // bytes in blocks in use, as rounded to their class
	resident atomic.Int64 // bytes that the system has given us, as far as we know: slabs by touched blocks, large blocks by pages
}

type ranges []int64

const (
	slabUnit     = 64 << 10  // granularity of address ranges, the size of a small slab
	bigSlab      = 256 << 10 // slabs for blocks over smallBlock
	smallBlock   = 8 << 10
	maxSmall     = 32 << 10
	pageSize     = 4 << 10
	maxRangeBits = 44
)

// slab is the state of one slab. It holds no pointers.
type slab struct {
	class   int16  // index into arena.class, largeBlock for a large block's range, noSlab for none
	used    uint16 // blocks in use
	carved  uint16 // blocks ever used: those behind are untouched
	free    uint16 // first free block + 1, 0: none
	next    int32  // next slab with room in its class, -1: none; meaningful while listed
	prev    int32
	listed  bool
	retired bool // being emptied: no block is taken from it
	pages   int32
}

const (
	noSlab     = 0
	largeBlock = -1
)

// class is one size of block. Class 0 is not used.
type class struct {
	size   int32
	per    int32 // blocks per slab
	room   int32 // first slab with room, -1: none
	units  int32 // slabUnits per slab
	slabs  int32 // slabs of this class
	blocks int64 // blocks in use
}

// Ref names a block: its offset in the arena divided by 8. Zero is no block. It has at most 40 bits.
type Ref uint64

const refBits = 40

// classOf maps a size rounded up to 8 bytes, divided by 8, to its class.
var (
	classSizes = sizes()
	classIndex = index(classSizes)
)

// sizes are the block sizes: every multiple of 8 up to 512 bytes, then about an eighth apart, each cut so that a
// slab holds a whole number of blocks with little left over.
func sizes() []int32 {
	out := []int32{0}
	for n := int32(16); n <= 512; n += 8 {
		out = append(out, n)
	}
	last := int32(512)
	add := func(slabBytes int32) {
		for per := slabBytes / last; per >= 8; per-- {
			n := slabBytes / per &^ 7
			if n >= last+last/10 || per == 8 && n > last {
				out = append(out, n)
				last = n
			}
		}
	}
	add(slabUnit)
	add(bigSlab)
	return out
}

func index(sizes []int32) []uint8 {
	out := make([]uint8, maxSmall/8+1)
	c := 1
	for i := range out {
		for sizes[c] < int32(i)*8 {
			c++
		}
		out[i] = uint8(c)
	}
	return out
}

func newArena(reservation int64) (*arena, error) {
	var mem []byte
	var err error
	for n := reservation; ; n /= 2 {
		if mem, err = reserve(n); err == nil {
			break
		}
		if n <= 1<<30 {
			return nil, err
		}
	}
	a := &arena{mem: mem, base: unsafe.Pointer(unsafe.SliceData(mem)), top: slabUnit} // offset 0 is never a block
	a.slabs = make([]slab, 1)
	a.class = make([]class, len(classSizes))
	for i := 1; i < len(classSizes); i++ {
		n, unit := classSizes[i], int32(slabUnit)
		if n > smallBlock {
			unit = bigSlab
		}
		a.class[i] = class{size: n, per: unit / n, room: -1, units: unit / slabUnit}
	}
	return a, nil
}

func (a *arena) close() error {
	mem := a.mem
	a.mem, a.base = nil, nil
	return unreserve(mem)
}

func (a *arena) ptr(r Ref) unsafe.Pointer { return unsafe.Add(a.base, uintptr(r)<<3) }

func (a *arena) bytes(r Ref, n int) []byte { return unsafe.Slice((*byte)(a.ptr(r)), n) }

func (a *arena) word(r Ref) *uint64 { return (*uint64)(a.ptr(r)) }

// blockSize is what a request of n bytes takes up.
func blockSize(n int) int {
	if n <= maxSmall {
		return int(classSizes[classIndex[(n+7)>>3]])
	}
	return (n + pageSize - 1) &^ (pageSize - 1)
}

// alloc returns a block of at least n bytes. Its contents are undefined, for a large block zero beyond what an
// earlier owner of the pages left.
func (a *arena) alloc(n int) (Ref, error) {
	if n > maxSmall {
		return a.allocLarge(n)
	}
	ci := int(classIndex[(n+7)>>3])
	c := &a.class[ci]
	if c.room < 0 {
		if err := a.addSlab(ci); err != nil {
			return 0, err
		}
	}
	si := c.room
	s := &a.slabs[si]
	base := Ref(int64(si) * slabUnit >> 3)
	var r Ref
	if s.free != 0 {
		r = base + Ref(int64(s.free-1)*int64(c.size)>>3)
		s.free = uint16(*a.word(r) >> 8)
	} else {
		r = base + Ref(int64(s.carved)*int64(c.size)>>3)
		s.carved++
		a.resident.Add(int64(c.size))
	}
	s.used++
	c.blocks++
	if s.free == 0 && int32(s.carved) == c.per {
		a.unlist(si)
	}
	a.live += int64(c.size)
	return r, nil
}

// release gives a block back.
func (a *arena) release(r Ref) {
	si := int32(int64(r) << 3 / slabUnit)
	s := &a.slabs[si]
	for s.class == noSlab { // inside a slab of several units
		si--
		s = &a.slabs[si]
	}
	if s.class == largeBlock {
		a.releaseLarge(si)
		return
	}
	c := &a.class[s.class]
	i := (int64(r)<<3 - int64(si)*slabUnit) / int64(c.size)
	*a.word(r) = uint64(s.free) << 8 // the first byte zero: a free block
	s.free = uint16(i + 1)
	s.used--
	c.blocks--
	a.live -= int64(c.size)
	if s.used == 0 && (s.retired || c.slabs > 1) {
		a.dropSlab(si)
		return
	}
	if !s.listed && !s.retired {
		a.list(si)
	}
}

func (a *arena) addSlab(ci int) error {
	c := &a.class[ci]
	at, err := a.takeRange(int64(c.units) * slabUnit)
	if err != nil {
		return err
	}
	si := int32(at / slabUnit)
	a.slabs[si] = slab{class: int16(ci), next: -1, prev: -1}
	c.slabs++
	a.list(si)
	return nil
}

func (a *arena) dropSlab(si int32) {
	s := &a.slabs[si]
	c := &a.class[s.class]
	if s.listed {
		a.unlist(si)
	}
	c.slabs--
	a.resident.Add(-int64(s.carved) * int64(c.size))
	*s = slab{}
	a.giveRange(int64(si)*slabUnit, int64(c.units)*slabUnit)
}

func (a *arena) list(si int32) {
	s := &a.slabs[si]
	c := &a.class[s.class]
	s.listed, s.prev, s.next = true, -1, c.room
	if c.room >= 0 {
		a.slabs[c.room].prev = si
	}
	c.room = si
}

func (a *arena) unlist(si int32) {
	s := &a.slabs[si]
	if s.prev >= 0 {
		a.slabs[s.prev].next = s.next
	} else {
		a.class[s.class].room = s.next
	}
	if s.next >= 0 {
		a.slabs[s.next].prev = s.prev
	}
	s.listed, s.next, s.prev = false, -1, -1
}

func rangeBits(n int64) int {
	b := 16
	for int64(1)<<b < n {
		b++
	}
	return b
}

// takeRange returns the offset of an address range of at least n bytes whose pages read as zero.
func (a *arena) takeRange(n int64) (int64, error) {
	b := rangeBits(n)
	if b >= maxRangeBits {
		return 0, fmt.Errorf("front: a block of %d bytes is beyond what the arena can address", n)
	}
	if l := len(a.free[b]); l > 0 {
		at := a.free[b][l-1]
		a.free[b] = a.free[b][:l-1]
		return at, nil
	}
	size := int64(1) << b
	if a.top+size > int64(len(a.mem)) {
		return 0, fmt.Errorf("front: the address space reserved for data, %d bytes, is used up", len(a.mem))
	}
	at := a.top
	a.top += size
	for int64(len(a.slabs)) < a.top/slabUnit {
		a.slabs = append(a.slabs, slab{})
	}
	return at, nil
}

func (a *arena) giveRange(at, n int64) {
	b := rangeBits(n)
	if err := discard(a.mem[at : at+int64(1)<<b]); err != nil {
		return // the range cannot be used again, since its pages are not zero: nothing is lost but memory
	}
	a.free[b] = append(a.free[b], at)
}

func (a *arena) allocLarge(n int) (Ref, error) {
	at, err := a.takeRange(int64(n))
	if err != nil {
		return 0, err
	}
	pages := int32((n + pageSize - 1) / pageSize)
	a.slabs[at/slabUnit] = slab{class: largeBlock, pages: pages}
	a.live += int64(pages) * pageSize
	a.resident.Add(int64(pages) * pageSize)
	return Ref(at >> 3), nil
}

func (a *arena) releaseLarge(si int32) {
	s := &a.slabs[si]
	n := int64(s.pages) * pageSize
	a.live -= n
	a.resident.Add(-n)
	*s = slab{}
	a.giveRange(int64(si)*slabUnit, n)
}

// resizeLarge makes a large block n bytes long in place, if its address range allows: what is cut off is given back
// to the system, what is added reads as zero.
func (a *arena) resizeLarge(r Ref, n int) bool {
	si := int64(r) << 3 / slabUnit
	s := &a.slabs[si]
	if s.class != largeBlock || n <= maxSmall || rangeBits(int64(s.pages)*pageSize) != rangeBits(int64(n)) {
		return false
	}
	pages := int32((n + pageSize - 1) / pageSize)
	if pages < s.pages {
		from := si*slabUnit + int64(pages)*pageSize
		if discard(a.mem[from:si*slabUnit+int64(s.pages)*pageSize]) != nil {
			return false
		}
	}
	d := int64(pages-s.pages) * pageSize
	a.live += d
	a.resident.Add(d)
	s.pages = pages
	return true
}
