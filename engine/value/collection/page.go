package collection

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// A node is a leaf or a page (or a piece of a long string, see string.go). Its first byte is its level: 0 for a leaf, whose rest is a chunk; above for a page
// (integers little-endian):
//
//	level   1 byte
//	n       2 bytes    number of children
//	majors  8 bytes n  of the children's lower bounds
//	counts  8 bytes n  how many elements stand below each child
//	ids     4 bytes n  their nodes
//	ends    4 bytes n  where the rest of each one's lower bound ends, counted from the end of the ends
//	rests              back to back
//
// The lower bound of a child, a major and a rest, is not above what stands below the child, and above what stands below the
// children before: as short as that allows, so the rest is nearly always empty. The first child's does not count. Runs that
// are ordered by place have zero bounds.
type page []byte

const (
	leafLevel  = 0
	pageHeader = 3
	childSize  = 8 + 8 + 4 + 4
	maxHeight  = 16

	// leastChildren are left to each half of a page that is split, however long the bounds: so the tree stays low, whatever
	// a client's members have in common. Should it become maxHeight-1 levels high all the same, its root grows instead.
	leastChildren = 4
)

func (p page) level() int { return int(p[0]) }

func (p page) children() int { return int(binary.LittleEndian.Uint16(p[1:])) }

func (p page) major(i int) uint64 { return binary.LittleEndian.Uint64(p[pageHeader+8*i:]) }

func (p page) countAt(i int) []byte { return p[pageHeader+8*p.children()+8*i:] }

func (p page) count(i int) int { return int(binary.LittleEndian.Uint64(p.countAt(i))) }

func (p page) addCount(i, d int) {
	b := p.countAt(i)
	binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)+uint64(d))
}

func (p page) id(i int) uint32 {
	return binary.LittleEndian.Uint32(p[pageHeader+16*p.children()+4*i:])
}

func (p page) end(i int) int {
	return int(binary.LittleEndian.Uint32(p[pageHeader+20*p.children()+4*i:]))
}

// rest is the rest of a child's lower bound.
func (p page) rest(i int) []byte {
	base := pageHeader + childSize*p.children()
	from := base
	if i > 0 {
		from += p.end(i - 1)
	}
	return p[from : base+p.end(i)]
}

// find is the last child whose lower bound is not above the probe.
func (p page) find(q *probe) int {
	low, n := 0, p.children()
	majors := p[pageHeader : pageHeader+8*n]
	for n > 1 { // without a branch on what is compared: it could not be foreseen
		half := n / 2
		mid := low + half
		if binary.LittleEndian.Uint64(majors[8*mid:]) <= q.major {
			low = mid
		}
		n -= half
	}
	if low == 0 || p.major(low) < q.major || bytes.Compare(p.rest(low), q.member) <= 0 {
		return low
	}
	return p.findRest(low, q)
}

// findRest is find where the last child whose major is not above the probe's has the probe's own: of those that have it,
// the rests decide.
func (p page) findRest(last int, q *probe) int {
	low, high := 0, last
	for high-low > 1 {
		mid := int(uint(low+high) / 2)
		if p.major(mid) < q.major || bytes.Compare(p.rest(mid), q.member) <= 0 {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// findPlace is the child that has the element of place i below it, and the place there; the last child for a place behind
// all.
func (p page) findPlace(i int) (child, rest int) {
	n := p.children()
	counts := p[pageHeader+8*n : pageHeader+16*n]
	for ; child+placeStep < n; child += placeStep {
		c := countsOf(counts[8*child:])
		if i < c {
			break
		}
		i -= c
	}
	for ; child < n-1; child++ {
		c := int(binary.LittleEndian.Uint64(counts[8*child:]))
		if i < c {
			break
		}
		i -= c
	}
	return child, i
}

// placeStep is how many counts countsOf adds up.
const placeStep = 8

func countsOf(b []byte) int {
	b = b[:8*placeStep]
	le := binary.LittleEndian
	return int(le.Uint64(b) + le.Uint64(b[8:]) + le.Uint64(b[16:]) + le.Uint64(b[24:]) +
		le.Uint64(b[32:]) + le.Uint64(b[40:]) + le.Uint64(b[48:]) + le.Uint64(b[56:]))
}

// before is how many elements stand below the children before i.
func (p page) before(i int) (n int) {
	counts := p[pageHeader+8*p.children():]
	for ; i >= placeStep; i -= placeStep {
		n += countsOf(counts)
		counts = counts[8*placeStep:]
	}
	for j := range i {
		n += int(binary.LittleEndian.Uint64(counts[8*j:]))
	}
	return n
}

func (p page) check() error {
	if len(p) < pageHeader {
		return fmt.Errorf("%w: a page of %d bytes", errChunk, len(p))
	}
	n := p.children()
	if n == 0 || len(p) < pageHeader+childSize*n || p.level() >= maxHeight {
		return fmt.Errorf("%w: a page of level %d with %d children in %d bytes", errChunk, p.level(), n, len(p))
	}
	last := 0
	for i := range n {
		e := p.end(i)
		if e < last || e > len(p)-pageHeader-childSize*n {
			return fmt.Errorf("%w: bound %d of a page ends at %d", errChunk, i, e)
		}
		last = e
	}
	return nil
}

// CheckNode says whether b is a node, so that what reads it stays within its bytes.
func CheckNode(b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: an empty node", errChunk)
	}
	switch b[0] {
	case leafLevel:
		return chunk(b[1:]).check()
	case pieceLevel:
		return nil
	}
	return page(b).check()
}

// insert enters a child behind child i-1, 0 < i. The page's first old bytes are valid, and it has been made as much longer as
// the child takes up.
func (p page) insert(old, i int, c child) {
	n, rest := p.children(), len(c.low.rest)
	at := p.end(i - 1) // where the child's rest goes
	counts, ids, ends, rests := pageHeader+8*n, pageHeader+16*n, pageHeader+20*n, pageHeader+childSize*n
	move(p, rests+childSize+at+rest, rests+at, old-rests-at)
	move(p, rests+childSize, rests, at)
	move(p, ends+20+4*(i+1), ends+4*i, 4*(n-i))
	move(p, ends+20, ends, 4*i)
	move(p, ids+16+4*(i+1), ids+4*i, 4*(n-i))
	move(p, ids+16, ids, 4*i)
	move(p, counts+8+8*(i+1), counts+8*i, 8*(n-i))
	move(p, counts+8, counts, 8*i)
	move(p, pageHeader+8*(i+1), pageHeader+8*i, 8*(n-i))
	n++
	binary.LittleEndian.PutUint16(p[1:], uint16(n))
	binary.LittleEndian.PutUint64(p[pageHeader+8*i:], c.low.major)
	binary.LittleEndian.PutUint64(p.countAt(i), uint64(c.count))
	binary.LittleEndian.PutUint32(p[pageHeader+16*n+4*i:], c.id)
	binary.LittleEndian.PutUint32(p[pageHeader+20*n+4*i:], uint32(at))
	for j := i; rest > 0 && j < n; j++ {
		binary.LittleEndian.PutUint32(p[pageHeader+20*n+4*j:], uint32(p.end(j)+rest))
	}
	copy(p[pageHeader+childSize*n+at:], c.low.rest)
}

// openPage is a page taken apart, for changes of its structure.
type openPage struct {
	level  int
	counts []int
	ids    []uint32
	bounds []bound
}

// bound is a lower bound.
type bound struct {
	major uint64
	rest  []byte
}

func (p page) open() *openPage {
	n := p.children()
	const more = 2 // children that most changes add, at most
	o := &openPage{level: p.level(), counts: make([]int, n, n+more), ids: make([]uint32, n, n+more), bounds: make([]bound, n, n+more)}
	for i := range n {
		o.counts[i], o.ids[i] = p.count(i), p.id(i)
		o.bounds[i] = bound{p.major(i), bytes.Clone(p.rest(i))}
	}
	return o
}

func (o *openPage) insert(i int, id uint32, count int, low bound) {
	o.counts = slices.Insert(o.counts, i, count)
	o.ids = slices.Insert(o.ids, i, id)
	o.bounds = slices.Insert(o.bounds, i, low)
}

func (o *openPage) remove(i int) {
	o.counts = slices.Delete(o.counts, i, i+1)
	o.ids = slices.Delete(o.ids, i, i+1)
	o.bounds = slices.Delete(o.bounds, i, i+1)
}

func (o *openPage) size() int {
	n := pageHeader + childSize*len(o.ids)
	for _, b := range o.bounds {
		n += len(b.rest)
	}
	return n
}

func (o *openPage) total() (n int) {
	for _, c := range o.counts {
		n += c
	}
	return n
}

// split takes the upper half away.
func (o *openPage) split() *openPage {
	at := len(o.ids) / 2
	upper := &openPage{level: o.level, counts: o.counts[at:], ids: o.ids[at:], bounds: o.bounds[at:]}
	o.counts, o.ids, o.bounds = o.counts[:at:at], o.ids[:at:at], o.bounds[:at:at]
	return upper
}

// write encodes the page into dst, which has the size of it.
func (o *openPage) write(dst page) {
	n := len(o.ids)
	dst[0] = byte(o.level)
	binary.LittleEndian.PutUint16(dst[1:], uint16(n))
	at := pageHeader + childSize*n
	end := 0
	for i := range n {
		binary.LittleEndian.PutUint64(dst[pageHeader+8*i:], o.bounds[i].major)
		binary.LittleEndian.PutUint64(dst[pageHeader+8*n+8*i:], uint64(o.counts[i]))
		binary.LittleEndian.PutUint32(dst[pageHeader+16*n+4*i:], o.ids[i])
		end += copy(dst[at+end:], o.bounds[i].rest)
		binary.LittleEndian.PutUint32(dst[pageHeader+20*n+4*i:], uint32(end))
	}
}
