package collection

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// hostile is a home whose nodes pass CheckNode but need not fit together. A node that is not there reads as one that cannot
// be had.
type hostile struct{ *memory }

func (h hostile) Node(id uint32) []byte { return h.nodes[id] }

func (h hostile) ResizeNode(id uint32, n int) []byte {
	h.nodes[id] = resized(h.nodes[id], n)
	return h.nodes[id]
}

func (h hostile) AddNode(id uint32, n int) []byte {
	h.nodes[id] = make([]byte, n)
	return h.nodes[id]
}

func (h hostile) RemoveNode(id uint32) { delete(h.nodes, id) }

// spoil changes some bytes of some nodes such that each still passes CheckNode.
func spoil(m *memory, r *rand.Rand) {
	for id := range uint32(len(m.nodes)) {
		b := m.nodes[id]
		if len(b) == 0 || r.IntN(3) > 0 {
			continue
		}
		for range 1 + r.IntN(4) {
			at := r.IntN(len(b))
			if r.IntN(2) == 0 {
				at = r.IntN(min(len(b), 40))
			}
			old := b[at]
			b[at] = byte(r.Uint32())
			if CheckNode(b) != nil {
				b[at] = old
			}
		}
	}
}

// TestLyingNodes: nodes that pass CheckNode, but lie about what is below them, make no command panic or go on for ever.
func TestLyingNodes(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 5))
		m := newMemory(t)
		home := hostile{m}
		var l List
		var z ZSet
		var h Hash
		kind := seed % 3
		n := 800 + r.IntN(1500)
		l.Open(home)
		z.Open(home)
		h.Open(home)
		name := func(i int) []byte { return fmt.Append(nil, "a member that is rather long, number ", i) }
		for i := range n {
			switch kind {
			case 0:
				l.Insert(i, name(i))
			case 1:
				z.Set(name(i), float64(i))
			default:
				h.Set(name(i), name(i))
			}
		}
		spoil(m, r)
		for range 60 {
			i := r.IntN(n)
			switch {
			case m.root == nil:
			case kind == 0:
				useList(&l, r, name(i))
			case kind == 1:
				useZSet(&z, r, name(i))
			default:
				h.Get(name(i))
				h.Set(name(i), name(i*7))
				h.Delete(name(r.IntN(n)))
				h.Scan(r.Uint64()>>2, 100, func(_, _ []byte) {})
			}
		}
	}
}

func useList(l *List, r *rand.Rand, v []byte) {
	i := r.IntN(max(l.Len(), 1))
	l.At(i)
	l.Set(i, v)
	l.Insert(i, v)
	l.RemoveRange(i, min(i+r.IntN(100), l.Len()))
	for range l.Backward(i) {
	}
}

func useZSet(z *ZSet, r *rand.Rand, m []byte) {
	i := r.IntN(max(z.Len(), 1))
	z.At(i)
	z.Rank(m)
	z.Set(m, float64(r.IntN(100)))
	z.Remove(m)
	z.RemoveRange(i, min(i+r.IntN(100), z.Len()))
	for range z.From(i) {
	}
}
