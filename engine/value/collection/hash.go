package collection

import "iter"

// Hash is a map from fields to values. A small one (see SmallCount) keeps the order of insertion, as Redis's does; a large
// one has the order of (hash of field, field).
type Hash struct{ core }

// Len is the number of fields; 0 means that the key does not exist.
func (h *Hash) Len() int { panic("stub") }

// Get returns a field's value.
func (h *Hash) Get(field []byte) (val []byte, ok bool) { panic("stub") }

// Set stores a field's value and says whether the field is new. Neither argument may alias the collection.
func (h *Hash) Set(field, val []byte) (added bool) { panic("stub") }

// Delete removes a field and says whether it was there. With the last field the key goes.
func (h *Hash) Delete(field []byte) bool { panic("stub") }

// All are the fields and values in order. The hash must not be changed meanwhile.
func (h *Hash) All() iter.Seq2[[]byte, []byte] { panic("stub") }

// At is the i-th field in order, 0 <= i < Len.
func (h *Hash) At(i int) (field, val []byte) { panic("stub") }

// Scan visits the fields from a cursor on (0: the start), about count of them, and returns where to go on; 0: the end.
// A small hash is visited whole. A field that is there throughout is visited exactly once.
func (h *Hash) Scan(cursor uint64, count int, visit func(field, val []byte)) (next uint64) {
	panic("stub")
}
