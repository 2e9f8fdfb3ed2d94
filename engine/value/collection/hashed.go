package collection

import (
	"bytes"

	"github.com/larder-db/larder/engine/value"
)

// hashed is what hashes and sets share, and the part of a sorted set that finds a member's score: elements that are found
// by a field or member and, once there are many, ordered by its hash.
type hashed struct {
	core
	shape shape
	run   int
	most  int // elements of a small one
}

func (h *hashed) tree() tree { return tree{core: &h.core, run: h.run, shape: h.shape} }

// find looks an element up in a small collection.
func (h *hashed) find(small chunk, key []byte) (at int, ok bool) {
	for i := range small.count() {
		if bytes.Equal(h.shape.keyOf(small.elem(i)), key) {
			return i, true
		}
	}
	return small.count(), false
}

// get is the element of a field or member; nil if there is none.
func (h *hashed) get(key []byte) (e []byte, ok bool) {
	small, large := h.look()
	return h.getLooked(small, large, key)
}

// getLooked is get behind a look.
func (h *hashed) getLooked(small chunk, large bool, key []byte) (e []byte, ok bool) {
	if !large {
		i, ok := h.find(small, key)
		if !ok {
			return nil, false
		}
		return small.elem(i), true
	}
	q := h.hashProbe(key)
	t := h.tree()
	pl, found := t.seek(&q)
	if !found {
		return nil, false
	}
	return pl.elem(), true
}

// put stores an element, whose field or member is key and part of it, and says whether it is new. long is the longest of
// what SmallElement bounds.
func (h *hashed) put(key, e []byte, long int) (added bool) {
	small, large := h.look()
	return h.putLooked(small, large, key, e, long)
}

// putLooked is put behind a look.
func (h *hashed) putLooked(small chunk, large bool, key, e []byte, long int) (added bool) {
	if !large {
		i, ok := h.find(small, key)
		switch {
		case ok && h.shape == members: // there is nothing to store
			return false
		case long > SmallElement || len(small)+chunkRoom(len(e)) > smallChunk:
		case ok:
			h.replaceSmall(small, i, e)
			return false
		case small.count() < h.most:
			h.insertSmall(small, i, e, value.Natural)
			return true
		}
		h.grow(small.copies())
	}
	return h.putLarge(key, e)
}

func (h *hashed) putLarge(key, e []byte) (added bool) {
	q := h.hashProbe(key)
	t := h.tree()
	pl, found := t.seek(&q)
	if !pl.ok {
		return !found
	}
	before := h.root
	switch {
	case found && h.shape == members:
	case found:
		t.replace(&pl, e)
	default:
		t.insert(&pl, e)
		h.root.count++
	}
	if h.root != before {
		h.saveRoot()
	}
	return !found
}

// grow makes a large collection of the elements of a small one.
func (h *hashed) grow(elems [][]byte) {
	g := gathered{h: h}
	for _, e := range elems {
		g.add(e)
	}
	h.buildAll(&g)
}

// buildAll makes the elements the only run of a large collection.
func (h *hashed) buildAll(g *gathered) {
	h.enlarge()
	g.build()
	h.root.count = len(g.list)
	h.saveRoot()
}

// delete removes the element of a field or member; with the last one the key goes.
func (h *hashed) delete(key []byte) bool {
	small, large := h.look()
	if !large {
		i, ok := h.find(small, key)
		if ok {
			h.removeSmall(small, i, i+1)
		}
		return ok
	}
	q := h.hashProbe(key)
	t := h.tree()
	pl, found := t.seek(&q)
	if !found {
		return false
	}
	if h.root.count == 1 {
		h.home.Drop()
		return true
	}
	t.remove(&pl, 1)
	h.root.count--
	h.saveRoot()
	return true
}

// each calls visit for all elements in order, until it returns false.
func (h *hashed) each(visit func(e []byte) bool) {
	small, large := h.look()
	if large {
		t := h.tree()
		t.walk(t.seekPlace(0), 1, visit)
		return
	}
	for i := range small.count() {
		if !visit(small.elem(i)) {
			return
		}
	}
}

// elementAt is the i-th element in order; nil if it cannot be had.
func (h *hashed) elementAt(i int) []byte {
	small, large := h.look()
	if !large {
		if i >= small.count() {
			return nil
		}
		return small.elem(i)
	}
	t := h.tree()
	pl := t.seekPlace(i)
	return pl.elem()
}

// scan is what the Scan methods do. A cursor is the hash from which on to go; only a large collection has any but 0.
func (h *hashed) scan(cursor uint64, count int, visit func(e []byte)) (next uint64) {
	if !h.Large() {
		h.each(func(e []byte) bool { visit(e); return true })
		return 0
	}
	q := probe{cursor, nil}
	t := h.tree()
	pl, _ := t.seek(&q)
	n, last := 0, uint64(0)
	t.walk(pl, 1, func(e []byte) bool {
		hash := h.home.Hash(h.shape.keyOf(e))
		if n >= count && hash != last {
			next = hash
			return false
		}
		visit(e)
		n++
		last = hash
		return true
	})
	return next
}
