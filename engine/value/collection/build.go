package collection

import (
	"bytes"
	"slices"
)

// fillMax is how full a leaf or a page is built, bytes: what comes later finds some room.
const fillMax = leafMax * 7 / 8

// builder makes a run of elements that come in its order: leaf by leaf, and in the end the pages above them. That costs a
// fraction of inserting each.
type builder struct {
	t      tree
	leaf   []byte // the elements of the leaf that is being filled, back to back
	ends   []int
	big    bool   // it holds one big element
	last   []byte // the last element of the leaf before
	leaves []child
	count  int
}

// add puts an element behind all others. e is only lent.
func (b *builder) add(e []byte) {
	n := len(b.ends)
	big := len(e) >= bigElement
	if n > 0 && (b.big || big || 1+chunkHeader+startSize*n+len(b.leaf)+chunkRoom(len(e)) > fillMax) {
		b.flush()
	}
	b.big = big
	b.leaf = append(b.leaf, e...)
	b.ends = append(b.ends, len(b.leaf))
	b.count++
}

// flush writes the leaf.
func (b *builder) flush() {
	n := len(b.ends)
	low := bound{}
	if len(b.leaves) > 0 {
		low = b.t.boundBetween(b.t.shape, b.last, b.leaf[:b.ends[0]])
	}
	id, node := b.t.newNode(1 + chunkHeader + startSize*n + len(b.leaf))
	node[0] = leafLevel
	c := chunk(node[1:])
	c.setCount(n)
	from := 0
	for i, end := range b.ends {
		c.setStart(i, from)
		if i == n-1 {
			b.last = append(b.last[:0], b.leaf[from:end]...)
		}
		from = end
	}
	copy(c[c.data():], b.leaf)
	b.leaves = append(b.leaves, child{id, n, low})
	b.leaf, b.ends = b.leaf[:0], b.ends[:0]
}

// finish enters the run into the root. One without elements is an empty leaf.
func (b *builder) finish() {
	if len(b.ends) > 0 || len(b.leaves) == 0 {
		b.flush()
	}
	level := b.leaves
	height := uint8(1)
	for ; len(level) > 1; height++ {
		level = b.pages(level, int(height))
	}
	b.t.root.roots[b.t.run], b.t.root.heights[b.t.run] = level[0].id, height
}

// pages makes the pages above nodes of one level.
func (b *builder) pages(below []child, level int) (above []child) {
	p := &openPage{level: level}
	size := pageHeader
	var low bound
	write := func() {
		id, node := b.t.newNode(p.size())
		p.write(page(node))
		above = append(above, child{id, p.total(), low})
		p.counts, p.ids, p.bounds, size = p.counts[:0], p.ids[:0], p.bounds[:0], pageHeader
	}
	for _, c := range below {
		room := childSize + len(c.low.rest)
		if len(p.ids) >= leastChildren && size+room > fillMax {
			write()
		}
		if len(p.ids) == 0 {
			low, c.low = c.low, bound{}
		}
		p.insert(len(p.ids), c.id, c.count, c.low)
		size += room
	}
	write()
	return above
}

// gathered are elements with their hashes, to be put into the order of a large collection.
type gathered struct {
	h    *hashed
	list []hashedElem
}

type hashedElem struct {
	hash uint64
	e    []byte
}

// add notes an element, which is kept.
func (g *gathered) add(e []byte) {
	g.list = append(g.list, hashedElem{g.h.home.Hash(g.h.shape.keyOf(e)), e})
}

// build makes them, none of which has another's field or member, the run.
func (g *gathered) build() {
	slices.SortFunc(g.list, func(x, y hashedElem) int {
		switch {
		case x.hash < y.hash:
			return -1
		case x.hash > y.hash:
			return 1
		}
		return bytes.Compare(g.h.shape.keyOf(x.e), g.h.shape.keyOf(y.e))
	})
	b := builder{t: g.h.tree()}
	for i := range g.list {
		b.add(g.list[i].e)
	}
	b.finish()
}

// lent holds copies of elements that are only lent, many to a block.
type lent struct{ free []byte }

const lentBlock = 64 << 10

// room is n bytes, to be appended to.
func (l *lent) room(n int) []byte {
	if n > cap(l.free) {
		l.free = make([]byte, 0, max(n, lentBlock))
	}
	b := l.free[:0:n]
	l.free = l.free[n:n]
	return b
}
