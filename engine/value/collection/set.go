package collection

import "iter"

// Set is a set of members. A small one of integers is ordered by number, another small one by insertion; a large one by
// (hash of member, member).
type Set struct{ core }

// Len is the number of members; 0 means that the key does not exist.
func (s *Set) Len() int { panic("stub") }

// Has says whether m is a member.
func (s *Set) Has(m []byte) bool { panic("stub") }

// Add makes m a member and says whether it was none before. m may not alias the set.
func (s *Set) Add(m []byte) bool { panic("stub") }

// Remove removes a member and says whether it was there. With the last member the key goes.
func (s *Set) Remove(m []byte) bool { panic("stub") }

// All are the members in order. The set must not be changed meanwhile.
func (s *Set) All() iter.Seq[[]byte] { panic("stub") }

// At is the i-th member in order, 0 <= i < Len.
func (s *Set) At(i int) []byte { panic("stub") }

// Scan visits the members from a cursor on (0: the start), about count of them, and returns where to go on; 0: the end.
// A small set is visited whole. A member that is there throughout is visited exactly once.
func (s *Set) Scan(cursor uint64, count int, visit func(m []byte)) (next uint64) { panic("stub") }

// Intersect are the members that all of the sets have, in the order of one of them.
func Intersect(sets []*Set) iter.Seq[[]byte] { panic("stub") }
