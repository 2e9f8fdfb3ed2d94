package collection

import (
	"bytes"
	"fmt"
	"testing"
)

// limited is a home from which only so many nodes can be had, as on an event loop. A change of it is an error.
type limited struct {
	*memory
	left int
}

func (l *limited) Node(id uint32) []byte {
	if l.left--; l.left < 0 {
		return nil
	}
	return l.memory.Node(id)
}

// TestReadsGiveUpAnywhere: whichever look at a node is the first that fails, a read ends.
func TestReadsGiveUpAnywhere(t *testing.T) {
	const n = 12000
	hash, list, set, zset := newMemory(t), newMemory(t), newMemory(t), newMemory(t)
	var h Hash
	var l List
	var s, s2 Set
	var z ZSet
	h.Open(hash)
	l.Open(list)
	s.Open(set)
	z.Open(zset)
	for i := range n {
		m := fmt.Append(nil, "member", i)
		h.Set(m, m)
		l.Insert(i, m)
		s.Add(m)
		z.Set(m, float64(i))
	}
	m := []byte("member77")
	reads := map[string]func(o func(m *memory) Home){
		"hash": func(o func(m *memory) Home) {
			h.Open(o(hash))
			for range h.All() {
			}
		},
		"hash scan": func(o func(m *memory) Home) { h.Open(o(hash)); h.Scan(1<<61, n, func(_, _ []byte) {}) },
		"hash at":   func(o func(m *memory) Home) { h.Open(o(hash)); h.At(n / 2); h.Get(m) },
		"list": func(o func(m *memory) Home) {
			l.Open(o(list))
			for range l.From(0) {
			}
		},
		"list backward": func(o func(m *memory) Home) {
			l.Open(o(list))
			for range l.Backward(n - 1) {
			}
		},
		"sets": func(o func(m *memory) Home) {
			home := o(set)
			s.Open(home)
			s2.Open(home)
			for range Intersect([]*Set{&s, &s2}) {
			}
		},
		"sorted set": func(o func(m *memory) Home) {
			z.Open(o(zset))
			for range z.From(1) {
			}
			for range z.Backward(n - 2) {
			}
		},
		"ranks": func(o func(m *memory) Home) {
			z.Open(o(zset))
			z.Rank(m)
			z.At(n / 2)
			z.Below(5, true)
			z.BelowLex(m, true)
		},
	}
	for name, read := range reads {
		for most := 0; ; most++ {
			var homes []*limited
			func() {
				defer func() {
					if x := recover(); x != nil {
						t.Fatalf("%s: with %d nodes: %v", name, most, x)
					}
				}()
				read(func(m *memory) Home {
					homes = append(homes, &limited{m, most})
					return homes[len(homes)-1]
				})
			}()
			if homes[0].left >= 0 {
				break
			}
		}
	}
}

// TestLongBoundsLeavePagesWide: members with long beginnings in common need long bounds; that must not make the tree high.
func TestLongBoundsLeavePagesWide(t *testing.T) {
	m := newMemory(t)
	var z ZSet
	z.Open(m)
	prefix := bytes.Repeat([]byte("x"), 1500)
	const n = 5000
	for i := range n {
		z.Set(fmt.Appendf(prefix[:1500:1500], "%08d", i), 0)
	}
	m.check(scored, pairs)
	if height := readRoot(m.root).heights[runScored]; height > 8 {
		t.Fatalf("%d members need a tree of height %d", n, height)
	}
	for i := range n {
		if !z.Remove(fmt.Appendf(prefix[:1500:1500], "%08d", i*7919%n)) {
			t.Fatalf("member %d is gone", i)
		}
		if i%500 == 0 {
			m.check(scored, pairs)
		}
	}
}
