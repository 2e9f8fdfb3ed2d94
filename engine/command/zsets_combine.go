package command

import (
	"bytes"
	"cmp"
	"iter"
	"math"
	"slices"

	"github.com/larder-db/larder/engine/keyspace"
)

// combination says which members a combined set has.
type combination uint8

const (
	zUnited    combination = iota // those of any source
	zCommon                       // those of all sources
	zRemaining                    // those of the first source that no other has
)

// aggregation says how the scores of one member in several sources become one.
type aggregation uint8

const (
	sumOf aggregation = iota
	lowestOf
	highestOf
)

// of is the combined score of a member that has the score sum so far. Infinities that cancel each other give 0.
func (a aggregation) of(sum, score float64) float64 {
	switch {
	case a == lowestOf && score < sum, a == highestOf && score > sum:
		return score
	case a == sumOf:
		return zeroIfNaN(sum + score)
	}
	return sum
}

func zeroIfNaN(f float64) float64 {
	if math.IsNaN(f) {
		return 0
	}
	return f
}

// scoredMember is a member with its score.
type scoredMember struct {
	member []byte
	score  float64
}

// scoredList gathers members that are only lent.
type scoredList struct {
	bytes []byte // of all members, in their order
	list  []scoredMember
}

func (l *scoredList) add(m []byte, score float64) {
	at := len(l.bytes)
	l.bytes = append(l.bytes, m...)
	l.list = append(l.list, scoredMember{l.bytes[at:len(l.bytes):len(l.bytes)], score})
}

// storeZSet makes members, which come in order, the sorted set under key, in place of what was there. None at all
// remove the key.
func storeZSet(tx *keyspace.Tx, key []byte, members []scoredMember) {
	tx.Delete(tx.DB(), key)
	z := tx.ZSet(tx.DB(), key)
	z.Fill(len(members), func(yield func([]byte, float64) bool) {
		for i := range members {
			if !yield(members[i].member, members[i].score) {
				return
			}
		}
	})
	if z.Large() {
		return
	}
	for i := range members {
		if members[i].score == 0 { // which may be -0
			setScore(z, members[i].member, members[i].score)
		}
	}
}

// members is the combined set, in order.
func (a *zAlgebra) members() []scoredMember {
	var found scoredList
	switch a.combine {
	case zRemaining:
		a.eachRemaining(found.add)
	case zCommon:
		a.eachCommon(func(m []byte, score float64) bool {
			found.add(m, score)
			return true
		})
	default:
		a.gatherUnited(&found)
	}
	slices.SortFunc(found.list, func(x, y scoredMember) int {
		switch {
		case x.score < y.score:
			return -1
		case x.score > y.score:
			return 1
		}
		return bytes.Compare(x.member, y.member)
	})
	return found.list
}

// countCommon is how many members all sources have, counted up to the limit.
func (a *zAlgebra) countCommon() (n int64) {
	a.eachCommon(func([]byte, float64) bool {
		n++
		return n != a.limit
	})
	return n
}

// smallestFirst orders the sources by size. That saves work, and it settles in which order scores are added up, which
// can be seen in their last digits.
func (a *zAlgebra) smallestFirst() {
	slices.SortStableFunc(a.sources, func(x, y zSource) int { return cmp.Compare(x.size, y.size) })
}

// eachRemaining visits the members that only the first source has.
func (a *zAlgebra) eachRemaining(visit func(m []byte, score float64)) {
	first, others := &a.sources[0], a.sources[1:]
	for m, score := range first.all() {
		has := func(s zSource) bool {
			_, ok := s.score(m)
			return ok
		}
		if !slices.ContainsFunc(others, has) {
			visit(m, score)
		}
	}
}

// eachCommon visits the members that all sources have, until visit wants no more.
func (a *zAlgebra) eachCommon(visit func(m []byte, score float64) bool) {
	a.smallestFirst()
	first, others := &a.sources[0], a.sources[1:]
members:
	for m, score := range first.all() {
		combined := zeroIfNaN(score * first.weight)
		for i := range others {
			score, ok := others[i].score(m)
			if !ok {
				continue members
			}
			combined = a.aggregate.of(combined, score*others[i].weight)
		}
		if !visit(m, combined) {
			return
		}
	}
}

// gatherUnited gathers the members that any source has.
func (a *zAlgebra) gatherUnited(found *scoredList) {
	a.smallestFirst()
	for i := range a.sources {
		s := &a.sources[i]
		for m, score := range s.all() {
			found.add(m, zeroIfNaN(score*s.weight))
		}
	}
	if a.sources[len(a.sources)-1].size == len(found.list) {
		return // the other sources are empty
	}
	text := string(found.bytes) // one string for all, of which the index takes parts
	index := make(map[string]int, len(found.list))
	united := found.list[:0]
	for _, x := range found.list {
		m := text[:len(x.member)]
		text = text[len(x.member):]
		if at, again := index[m]; again {
			united[at].score = a.aggregate.of(united[at].score, x.score)
			continue
		}
		index[m] = len(united)
		united = append(united, x)
	}
	found.list = united
}

// all are the source's members with their scores, not weighted.
func (s *zSource) all() iter.Seq2[[]byte, float64] {
	switch {
	case s.size == 0:
		return func(func([]byte, float64) bool) {}
	case s.sorted != nil:
		return s.sorted.From(0)
	}
	return func(yield func([]byte, float64) bool) {
		for m := range s.plain.All() {
			if !yield(m, 1) {
				return
			}
		}
	}
}

// score is a member's score, not weighted.
func (s *zSource) score(m []byte) (float64, bool) {
	switch {
	case s.size == 0:
		return 0, false
	case s.sorted != nil:
		return s.sorted.Score(m)
	}
	return 1, s.plain.Has(m)
}
