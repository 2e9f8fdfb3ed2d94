package collection

import (
	"encoding/binary"
	"fmt"

	"github.com/larder-db/larder/engine/value"
)

// Bounds of what is kept in one chunk, in the key's own entry. They are Redis's defaults, so that a small collection has
// the order that it has there; as constants they are part of the format. What has outgrown them stays large, as in Redis.
const (
	SmallFields   = 512      // fields of a hash
	SmallMembers  = 128      // members of a sorted set, or of a set
	SmallElement  = 64       // bytes of each field, value or member
	SmallIntegers = 512      // members of a set of integers alone
	smallChunk    = 32 << 10 // bytes of a hash's or set's chunk, whatever the above says
	smallList     = 2 << 10  // bytes of a list's chunk
)

// Bounds of nodes, in bytes: with its front entry's header a node fits into four KiB.
const (
	leafMax    = 4000
	pageMax    = 4000
	bigElement = 1000 // an element from here on has a leaf to itself
)

// root is what the entry of a large collection holds:
//
//	version     1 byte
//	heights     1 byte each of two runs: 1 is a leaf alone; 0 no run
//	wrapped     1 byte   node numbers have been used up once
//	collection  8 bytes  the number that leads its nodes' keys
//	next        4 bytes  the next node's number
//	nodes       4 bytes  how many there are
//	roots       4 bytes each of two runs
//	count       8 bytes  elements
//	size        8 bytes  of nodes
type root struct {
	heights    [2]uint8
	wrapped    bool
	collection uint64
	next       uint32
	nodes      uint32
	roots      [2]uint32
	count      int
	size       int64
}

const (
	rootVersion = 1
	rootSize    = 44
)

// NoRoot is the entry of a large collection that is about to be created.
var NoRoot = append([]byte{rootVersion}, make([]byte, rootSize-1)...)

func (r *root) write(b []byte) {
	b[0], b[1], b[2], b[3] = rootVersion, r.heights[0], r.heights[1], 0
	if r.wrapped {
		b[3] = 1
	}
	binary.LittleEndian.PutUint64(b[4:], r.collection)
	binary.LittleEndian.PutUint32(b[12:], r.next)
	binary.LittleEndian.PutUint32(b[16:], r.nodes)
	binary.LittleEndian.PutUint32(b[20:], r.roots[0])
	binary.LittleEndian.PutUint32(b[24:], r.roots[1])
	binary.LittleEndian.PutUint64(b[28:], uint64(r.count))
	binary.LittleEndian.PutUint64(b[36:], uint64(r.size))
}

func readRoot(b []byte) root {
	return root{
		heights: [2]uint8{b[1], b[2]}, wrapped: b[3] != 0,
		collection: binary.LittleEndian.Uint64(b[4:]),
		next:       binary.LittleEndian.Uint32(b[12:]),
		nodes:      binary.LittleEndian.Uint32(b[16:]),
		roots:      [2]uint32{binary.LittleEndian.Uint32(b[20:]), binary.LittleEndian.Uint32(b[24:])},
		count:      int(binary.LittleEndian.Uint64(b[28:])),
		size:       int64(binary.LittleEndian.Uint64(b[36:])),
	}
}

// CheckRoot says whether b is what an entry of this kind and encoding may hold.
func CheckRoot(b []byte, enc value.Encoding) error {
	if enc != value.Large {
		return chunk(b).check()
	}
	if len(b) != rootSize || b[0] != rootVersion || b[1] >= maxHeight || b[2] >= maxHeight {
		return fmt.Errorf("%w: the root of a large collection of %d bytes", errChunk, len(b))
	}
	if r := readRoot(b); r.count < 0 || r.size < 0 {
		return fmt.Errorf("%w: a large collection of %d elements in %d bytes", errChunk, r.count, r.size)
	}
	return nil
}

// Number is the number under which the nodes of a large collection's entry stand.
func Number(b []byte) uint64 { return binary.LittleEndian.Uint64(b[4:]) }

// WithNumber is a copy of a large collection's entry whose nodes stand under another number.
func WithNumber(b []byte, number uint64) []byte {
	b = append([]byte(nil), b...)
	binary.LittleEndian.PutUint64(b[4:], number)
	return b
}

// Nodes tells of a large collection's entry under which number its nodes stand, how many they are, and their size.
func Nodes(b []byte) (collection uint64, nodes uint32, size int64) {
	r := readRoot(b)
	return r.collection, r.nodes, r.size
}

// core is what all collections are built on: a chunk in the key's entry, or runs of leaves and pages.
type core struct {
	home Home
	enc  value.Encoding
	root root   // of a large collection, as of the last look
	elem []byte // buffer of an element to be stored

	leaf  []byte   // buffer of a leaf that is taken apart
	parts [][]byte // its elements
}

// Open makes the collection that lives in home; the kinds' own types embed it.
func (c *core) Open(home Home) { c.home = home }

// look reads the entry: the chunk of a small collection (empty if there is none), or, with large, the root.
func (c *core) look() (small chunk, large bool) {
	b, enc := c.home.Root()
	c.enc = enc
	switch {
	case b == nil:
		return emptyChunk, false
	case enc == value.Large:
		c.root = readRoot(b)
		return nil, true
	}
	return b, false
}

// Large says whether the collection has outgrown one chunk.
func (c *core) Large() bool {
	_, large := c.look()
	return large
}

// Len is the number of elements; 0 means that the key does not exist.
func (c *core) Len() int {
	small, large := c.look()
	if large {
		return c.root.count
	}
	return small.count()
}

// saveRoot writes the root back.
func (c *core) saveRoot() { c.root.write(c.home.ResizeRoot(rootSize, value.Large)) }

// insertSmall puts e before element i of the small collection.
func (c *core) insertSmall(small chunk, i int, e []byte, enc value.Encoding) {
	old := len(small)
	b := chunk(c.home.ResizeRoot(old+chunkRoom(len(e)), enc))
	b.insert(old, i, e)
}

// removeSmall takes elements out; with the last one the key goes.
func (c *core) removeSmall(small chunk, from, to int) {
	if to-from == small.count() {
		c.home.Drop()
		return
	}
	b := chunk(c.home.ResizeRoot(len(small), c.enc))
	c.home.ResizeRoot(b.remove(from, to), c.enc)
}

// replaceSmall puts e in the place of element i.
func (c *core) replaceSmall(small chunk, i int, e []byte) {
	old := len(small)
	n := old + len(e) - len(small.elem(i))
	if n >= old {
		chunk(c.home.ResizeRoot(n, c.enc)).replace(old, i, e)
		return
	}
	chunk(c.home.ResizeRoot(old, c.enc)).replace(old, i, e)
	c.home.ResizeRoot(n, c.enc)
}

// enlarge makes it a large collection, whose runs are built next, in place of a small one, whose elements the caller has
// copied.
func (c *core) enlarge() {
	c.enc = value.Large
	c.root = root{collection: c.home.NewCollection()}
	c.saveRoot() // the collection's number has to be there before its nodes
}

func (c *core) newNode(n int) (uint32, []byte) {
	r := &c.root
	for {
		id := r.next
		if r.next++; r.next == 1<<value.NodeBits {
			r.next, r.wrapped = 0, true
		}
		if r.wrapped && c.home.HasNode(id) {
			continue
		}
		r.nodes++
		r.size += int64(n)
		return id, c.home.AddNode(id, n)
	}
}

func (c *core) removeNode(id uint32, size int) {
	c.root.nodes--
	c.root.size -= int64(size)
	c.home.RemoveNode(id)
}

func (c *core) resizeNode(id uint32, old, n int) []byte {
	c.root.size += int64(n - old)
	return c.home.ResizeNode(id, n)
}

// apart are copies of a leaf's elements, good until the next call.
func (c *core) apart(leaf chunk) [][]byte {
	c.leaf = append(c.leaf[:0], leaf...)
	c.parts = c.parts[:0]
	for i := range leaf.count() {
		c.parts = append(c.parts, chunk(c.leaf).elem(i))
	}
	return c.parts
}

// copies are copies of the chunk's elements, for moving them into a large collection.
func (s chunk) copies() [][]byte {
	all := append([]byte(nil), s...)
	out := make([][]byte, s.count())
	for i := range out {
		out[i] = chunk(all).elem(i)
	}
	return out
}
