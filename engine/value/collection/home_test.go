package collection

import (
	"testing"

	"github.com/larder-db/larder/engine/value"
	"github.com/zeebo/xxh3"
)

// memory is a Home on Go's heap. It checks that nodes are used as they should be, moves what is resized, and destroys what
// is gone, so that a stale slice shows.
type memory struct {
	t     testing.TB
	root  []byte
	enc   value.Encoding
	nodes map[uint32][]byte
	made  uint64
	seed  uint64
}

func newMemory(t testing.TB) *memory { return &memory{t: t, nodes: map[uint32][]byte{}, seed: 42} }

func (m *memory) Root() ([]byte, value.Encoding) { return m.root, m.enc }

// resized is a copy of n bytes; the old one is overwritten.
func resized(b []byte, n int) []byte {
	out := make([]byte, n)
	copy(out, b)
	for i := range b {
		b[i] = 0xee
	}
	return out
}

func (m *memory) ResizeRoot(n int, enc value.Encoding) []byte {
	m.root, m.enc = resized(m.root, n), enc
	return m.root
}

func (m *memory) Drop() { m.root, m.enc, m.nodes = nil, 0, map[uint32][]byte{} }

func (m *memory) Node(id uint32) []byte {
	b, ok := m.nodes[id]
	if !ok {
		m.t.Fatalf("there is no node %d", id)
	}
	return b
}

func (m *memory) ResizeNode(id uint32, n int) []byte {
	m.nodes[id] = resized(m.Node(id), n)
	return m.nodes[id]
}

func (m *memory) WriteNode(id uint32) []byte { return m.ResizeNode(id, len(m.Node(id))) }

func (m *memory) NewCollection() uint64 { m.made++; return m.made }

func (m *memory) AddNode(id uint32, n int) []byte {
	if _, ok := m.nodes[id]; ok {
		m.t.Fatalf("node %d is there already", id)
	}
	m.nodes[id] = make([]byte, n)
	return m.nodes[id]
}

func (m *memory) HasNode(id uint32) bool { _, ok := m.nodes[id]; return ok }

func (m *memory) RemoveNode(id uint32) { m.Node(id); delete(m.nodes, id) }

func (m *memory) Hash(member []byte) uint64 { return xxh3.HashSeed(member, m.seed) >> 2 }

// check goes through the whole and says whether counts, bounds, order and figures hold.
func (m *memory) check(shapes ...shape) {
	m.t.Helper()
	if m.enc != value.Large || m.root == nil {
		if len(m.nodes) > 0 {
			m.t.Fatalf("%d nodes of a small collection", len(m.nodes))
		}
		if m.root != nil {
			if err := CheckRoot(m.root, m.enc); err != nil {
				m.t.Fatal(err)
			}
		}
		return
	}
	c := core{home: m}
	c.look()
	seen, size := 0, int64(0)
	for run, s := range shapes {
		n := c.checkNode(m, s, c.root.roots[run], int(c.root.heights[run])-1, nil, nil, &seen, &size)
		if n != c.root.count {
			m.t.Fatalf("run %d has %d elements, the root says %d", run, n, c.root.count)
		}
	}
	if seen != len(m.nodes) || seen != int(c.root.nodes) {
		m.t.Fatalf("%d nodes are reached, there are %d, the root says %d", seen, len(m.nodes), c.root.nodes)
	}
	if size != c.root.size {
		m.t.Fatalf("nodes have %d bytes, the root says %d", size, c.root.size)
	}
}

// checkNode checks one node, all of whose order keys are to be in [low, high), and returns how many elements it has.
func (c *core) checkNode(m *memory, s shape, id uint32, level int, low, high *probe, seen *int, size *int64) (n int) {
	m.t.Helper()
	b := m.Node(id)
	*seen++
	*size += int64(len(b))
	if err := CheckNode(b); err != nil {
		m.t.Fatal(err)
	}
	if int(b[0]) != level {
		m.t.Fatalf("node %d has level %d, want %d", id, b[0], level)
	}
	if level == 0 {
		leaf := chunk(b[1:])
		var last *probe
		for i := range leaf.count() {
			e := leaf.elem(i)
			if s != plain && (low != nil && c.compare(s, e, low) < 0 || high != nil && c.compare(s, e, high) >= 0 || last != nil && c.compare(s, e, last) <= 0) {
				m.t.Fatalf("element %d of leaf %d is out of order", i, id)
			}
			last = &probe{c.majorOf(s, e), s.keyOf(e)}
		}
		if len(b) > leafMax && leaf.count() > 1 {
			m.t.Fatalf("leaf of %d bytes with %d elements", len(b), leaf.count())
		}
		return leaf.count()
	}
	p := page(b)
	for i := range p.children() {
		from, to := low, high
		if i > 0 {
			from = &probe{p.major(i), p.rest(i)}
		}
		if i+1 < p.children() {
			to = &probe{p.major(i + 1), p.rest(i + 1)}
		}
		if s == plain {
			from, to = nil, nil
		}
		k := c.checkNode(m, s, p.id(i), level-1, from, to, seen, size)
		if k != p.count(i) {
			m.t.Fatalf("child %d of page %d has %d elements, the page says %d", i, id, k, p.count(i))
		}
		n += k
	}
	return n
}
