package collection

import "iter"

// List is a sequence of elements.
type List struct{ core }

// Len is the number of elements; 0 means that the key does not exist.
func (l *List) Len() int { panic("stub") }

// At is the i-th element, 0 <= i < Len.
func (l *List) At(i int) []byte { panic("stub") }

// Set replaces the i-th element, 0 <= i < Len. v may not alias the list.
func (l *List) Set(i int, v []byte) { panic("stub") }

// Insert puts v before the i-th element; with i == Len at the end. v may not alias the list.
func (l *List) Insert(i int, v []byte) { panic("stub") }

// RemoveRange removes the elements from <= i < to. With the last element the key goes.
func (l *List) RemoveRange(from, to int) { panic("stub") }

// From are places and elements in order, from the i-th on.
func (l *List) From(i int) iter.Seq2[int, []byte] { panic("stub") }

// Backward are places and elements in reverse order, from the i-th on.
func (l *List) Backward(i int) iter.Seq2[int, []byte] { panic("stub") }
