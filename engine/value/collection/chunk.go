package collection

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// chunk is a packed array of elements:
//
//	n       2 bytes    number of elements, little-endian
//	starts  2 bytes n  where each element starts, counted from the end of the starts
//	elements           back to back
//
// The starts make any element one step away, for binary search and for ranks. They bound a chunk to 64 KiB before its
// last element; whoever inserts sees to that (leafMax, bigElement).
type chunk []byte

const (
	chunkHeader = 2
	startSize   = 2
)

var errChunk = errors.New("malformed chunk")

// emptyChunk has no elements.
var emptyChunk = chunk{0, 0}

// count is the number of elements; nil, a chunk that could not be had, has none.
func (c chunk) count() int {
	if c == nil {
		return 0
	}
	return int(binary.LittleEndian.Uint16(c))
}

func (c chunk) start(i int) int {
	return int(binary.LittleEndian.Uint16(c[chunkHeader+startSize*i:]))
}

func (c chunk) setStart(i, at int) {
	binary.LittleEndian.PutUint16(c[chunkHeader+startSize*i:], uint16(at))
}

func (c chunk) setCount(n int) { binary.LittleEndian.PutUint16(c, uint16(n)) }

// data is where the elements begin.
func (c chunk) data() int { return chunkHeader + startSize*c.count() }

// span is where element i stands.
func (c chunk) span(i int) (from, to int) {
	n := c.count()
	data := chunkHeader + startSize*n
	from = data + c.start(i)
	if i+1 < n {
		return from, data + c.start(i+1)
	}
	return from, len(c)
}

// elem is element i, 0 <= i < count.
func (c chunk) elem(i int) []byte {
	from, to := c.span(i)
	return c[from:to:to]
}

// chunkRoom is what an element of n bytes takes up in a chunk.
func chunkRoom(n int) int { return startSize + n }

// insert puts an element before element i of a chunk whose first old bytes are valid, and which has been made
// chunkRoom(len(e)) bytes longer than them.
func (c chunk) insert(old, i int, e []byte) {
	n := c.count()
	data := chunkHeader + startSize*n
	at := old - data // where e starts among the elements
	if i < n {
		at = c.start(i)
	}
	move(c, data+startSize+at+len(e), data+at, old-data-at)
	move(c, data+startSize, data, at)
	copy(c[data+startSize+at:], e)
	move(c, chunkHeader+startSize*(i+1), chunkHeader+startSize*i, startSize*(n-i))
	c.raise(i+1, n+1, len(e))
	c.setStart(i, at)
	c.setCount(n + 1)
}

// move moves n bytes within b, piece by piece: a long copy that overlaps itself is several times slower on some
// processors.
func move(b []byte, to, from, n int) {
	const piece = 256
	if to > from {
		for ; n > piece; n -= piece {
			copy(b[to+n-piece:to+n], b[from+n-piece:from+n])
		}
	}
	for ; n > piece; n -= piece {
		copy(b[to:to+piece], b[from:from+piece])
		to, from = to+piece, from+piece
	}
	copy(b[to:to+n], b[from:from+n])
}

// raise adds d, which may be negative, to the starts from <= i < to; four at a time, which do not carry into each other
// as long as all stay starts.
func (c chunk) raise(from, to, d int) {
	b := c[chunkHeader+startSize*from : chunkHeader+startSize*to]
	four := uint64(int64(d)) * 0x0001_0001_0001_0001
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)+four)
		b = b[8:]
	}
	for len(b) > 0 {
		binary.LittleEndian.PutUint16(b, binary.LittleEndian.Uint16(b)+uint16(d))
		b = b[startSize:]
	}
}

// remove takes elements from <= i < to out and returns how long the chunk is then.
func (c chunk) remove(from, to int) int {
	n := c.count()
	data := chunkHeader + startSize*n
	left, right := c.start(from), len(c)-data
	if to < n {
		right = c.start(to)
	}
	c.raise(to, n, left-right)
	move(c, chunkHeader+startSize*from, chunkHeader+startSize*to, startSize*(n-to))
	moved := data - startSize*(to-from)
	move(c, moved, data, left)
	move(c, moved+left, data+right, len(c)-data-right)
	c.setCount(n - (to - from))
	return moved + left + len(c) - data - right
}

// replace puts e, as long as the chunk has been made for it, in the place of element i. old is how long the chunk was.
func (c chunk) replace(old, i int, e []byte) {
	n := c.count()
	data := chunkHeader + startSize*n
	from, to := data+c.start(i), old
	if i+1 < n {
		to = data + c.start(i+1)
	}
	d := len(e) - (to - from)
	if d != 0 {
		move(c, to+d, to, old-to)
		c.raise(i+1, n, d)
	}
	copy(c[from:], e)
}

// part is the length of a chunk of elements from <= i < to.
func (c chunk) part(from, to int) int {
	if from == to {
		return chunkHeader
	}
	first, _ := c.span(from)
	_, last := c.span(to - 1)
	return chunkHeader + startSize*(to-from) + last - first
}

// copyPart writes the chunk of elements from <= i < to of c to dst, which has the length that part says.
func (c chunk) copyPart(dst chunk, from, to int) {
	dst.setCount(to - from)
	if from == to {
		return
	}
	first, _ := c.span(from)
	_, last := c.span(to - 1)
	base := c.start(from)
	for i := from; i < to; i++ {
		dst.setStart(i-from, c.start(i)-base)
	}
	copy(dst[dst.data():], c[first:last])
}

// join appends the elements of d to c, whose first old bytes are valid and which has been made as much longer as d has
// beyond its header.
func (c chunk) join(old int, d chunk) {
	n, m := c.count(), d.count()
	data := chunkHeader + startSize*n
	size := old - data
	copy(c[data+startSize*m:], c[data:old])
	for i := range m {
		c.setStart(n+i, size+d.start(i))
	}
	copy(c[data+startSize*m+size:], d[d.data():])
	c.setCount(n + m)
}

// check says whether c is a chunk, so that the methods above stay within it whatever the bytes.
func (c chunk) check() error {
	if len(c) < chunkHeader {
		return fmt.Errorf("%w: %d bytes", errChunk, len(c))
	}
	n := c.count()
	if len(c) < chunkHeader+startSize*n {
		return fmt.Errorf("%w: %d elements in %d bytes", errChunk, n, len(c))
	}
	if n == 0 && len(c) > chunkHeader || n > 0 && c.start(0) != 0 {
		return fmt.Errorf("%w: bytes before the first element", errChunk)
	}
	last := 0
	for i := range n {
		s := c.start(i)
		if s < last || s > len(c)-c.data() {
			return fmt.Errorf("%w: element %d starts at %d of %d", errChunk, i, s, len(c)-c.data())
		}
		last = s
	}
	return nil
}
