package collection

import "iter"

// ZSet is a set of members with a score each, ordered by (score, member).
type ZSet struct{ core }

// Len is the number of members; 0 means that the key does not exist.
func (z *ZSet) Len() int { panic("stub") }

// Score returns a member's score.
func (z *ZSet) Score(m []byte) (score float64, ok bool) { panic("stub") }

// Set gives a member a score (never NaN) and says whether the member is new. m may not alias the set.
func (z *ZSet) Set(m []byte, score float64) (added bool) { panic("stub") }

// Remove removes a member and says whether it was there. With the last member the key goes.
func (z *ZSet) Remove(m []byte) bool { panic("stub") }

// Rank is a member's place in the order, from 0.
func (z *ZSet) Rank(m []byte) (rank int, ok bool) { panic("stub") }

// At is the member of a rank, 0 <= rank < Len.
func (z *ZSet) At(rank int) (m []byte, score float64) { panic("stub") }

// Below is how many members have a score < score, or <= score with orEqual: the rank of the first of the others.
func (z *ZSet) Below(score float64, orEqual bool) int { panic("stub") }

// BelowLex is how many members are < m, or <= m with orEqual, where all scores are equal: the rank of the first other.
func (z *ZSet) BelowLex(m []byte, orEqual bool) int { panic("stub") }

// From are members and scores in order, beginning with the one of a rank.
func (z *ZSet) From(rank int) iter.Seq2[[]byte, float64] { panic("stub") }

// Backward are members and scores in reverse order, beginning with the one of a rank.
func (z *ZSet) Backward(rank int) iter.Seq2[[]byte, float64] { panic("stub") }

// RemoveRange removes the members of ranks from <= rank < to.
func (z *ZSet) RemoveRange(from, to int) { panic("stub") }

// Scan visits the members from a cursor on (0: the start), about count of them, and returns where to go on; 0: the end.
// A small sorted set is visited whole. A member that is there throughout is visited exactly once.
func (z *ZSet) Scan(cursor uint64, count int, visit func(m []byte, score float64)) (next uint64) {
	panic("stub")
}
