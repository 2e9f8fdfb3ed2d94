package collection

import (
	"encoding/binary"
	"iter"
)

// Hash is a map from fields to values. A small one (see SmallFields) keeps the order of insertion, as Redis's does; a large
// one has the order of (hash of field, field).
type Hash struct{ hashed }

// Open makes it the hash that lives in home.
func (h *Hash) Open(home Home) {
	h.home = home
	h.shape, h.most = pairs, SmallFields
}

// Get returns a field's value.
func (h *Hash) Get(field []byte) (val []byte, ok bool) {
	e, ok := h.get(field)
	if !ok {
		return nil, false
	}
	return valueOf(e), true
}

// Set stores a field's value and says whether the field is new. Neither argument may alias the collection.
func (h *Hash) Set(field, val []byte) (added bool) {
	h.elem = appendPair(h.elem[:0], field, val)
	return h.put(field, h.elem, max(len(field), len(val)))
}

// Fill stores n fields with their values, none twice, in a hash that does not exist.
func (h *Hash) Fill(n int, all iter.Seq2[[]byte, []byte]) {
	if n <= SmallFields {
		for field, val := range all {
			h.Set(field, val)
		}
		return
	}
	g := gathered{h: &h.hashed}
	var copies lent
	for field, val := range all {
		g.add(appendPair(copies.room(binary.MaxVarintLen64+len(field)+len(val)), field, val))
	}
	h.buildAll(&g)
}

// Delete removes a field and says whether it was there. With the last field the key goes.
func (h *Hash) Delete(field []byte) bool { return h.delete(field) }

// All are the fields and values in order. The hash must not be changed meanwhile.
func (h *Hash) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(field, val []byte) bool) {
		h.each(func(e []byte) bool { return yield(pairs.keyOf(e), valueOf(e)) })
	}
}

// At is the i-th field in order, 0 <= i < Len.
func (h *Hash) At(i int) (field, val []byte) {
	e := h.elementAt(i)
	return pairs.keyOf(e), valueOf(e)
}

// Scan visits the fields from a cursor on (0: the start), about count of them, and returns where to go on; 0: the end.
// A small hash is visited whole. A field that is there throughout is visited exactly once.
func (h *Hash) Scan(cursor uint64, count int, visit func(field, val []byte)) (next uint64) {
	return h.scan(cursor, count, func(e []byte) { visit(pairs.keyOf(e), valueOf(e)) })
}
