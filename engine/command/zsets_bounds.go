package command

import (
	"bytes"

	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// zOrder says what the ends of a range are.
type zOrder uint8

const (
	byRank zOrder = iota
	byScore
	byLex
)

// zSpan is a range of a sorted set; which fields count depends on the order.
type zSpan struct {
	order           zOrder
	first, last     int64      // byRank: places, negative ones counted from the end
	least, greatest scoreBound // byScore
	lower, upper    lexBound   // byLex
}

// scoreBound is an end of a range of scores.
type scoreBound struct {
	score    float64
	excluded bool
}

// lexBound is an end of a range of members.
type lexBound struct {
	member   []byte
	excluded bool
	infinite int // -1: below all members, 1: above all, 0: member counts
}

// spanArgs reads the ends of a range; where one is none, it answers the error and returns false.
func spanArgs(w reply.Writer, order zOrder, from, to []byte) (s zSpan, ok bool) {
	s.order = order
	switch order {
	case byRank:
		if s.first, ok = intArg(w, from); ok {
			s.last, ok = intArg(w, to)
		}
		return s, ok
	case byScore:
		if s.least, ok = parseScoreBound(from); ok {
			s.greatest, ok = parseScoreBound(to)
		}
		if !ok {
			w.Error("ERR min or max is not a float")
		}
	case byLex:
		if s.lower, ok = parseLexBound(from); ok {
			s.upper, ok = parseLexBound(to)
		}
		if !ok {
			w.Error("ERR min or max not valid string range item")
		}
	}
	return s, ok
}

// parseScoreBound reads a score behind an optional parenthesis. Unlike a member's score, it may be out of range, white
// space may lead, a NUL ends it, and nothing at all is 0.
func parseScoreBound(arg []byte) (b scoreBound, ok bool) {
	if b.excluded = len(arg) > 0 && arg[0] == '('; b.excluded {
		arg = arg[1:]
	}
	if i := bytes.IndexByte(arg, 0); i >= 0 {
		arg = arg[:i]
	}
	if len(arg) == 0 {
		return b, true
	}
	b.score, ok = value.NearestDouble(bytes.TrimLeft(arg, " \t\n\v\f\r"))
	return b, ok
}

// parseLexBound reads a minus, a plus, or a member behind a bracket or a parenthesis.
func parseLexBound(arg []byte) (b lexBound, ok bool) {
	if len(arg) == 0 {
		return b, false
	}
	switch arg[0] {
	case '-':
		b.infinite = -1
	case '+':
		b.infinite = 1
	case '(':
		b.member, b.excluded = arg[1:], true
	case '[':
		b.member = arg[1:]
	default:
		return b, false
	}
	return b, b.infinite == 0 || len(arg) == 1 || arg[1] == 0
}

// above says whether m lies on or behind the bound, as the lower end of a range sees it.
func (b *lexBound) above(m []byte) bool {
	if b.infinite != 0 {
		return b.infinite < 0
	}
	c := bytes.Compare(m, b.member)
	return c > 0 || c == 0 && !b.excluded
}

// below says whether m lies on or before the bound, as the upper end of a range sees it.
func (b *lexBound) below(m []byte) bool {
	if b.infinite != 0 {
		return b.infinite > 0
	}
	c := bytes.Compare(m, b.member)
	return c < 0 || c == 0 && !b.excluded
}

// ranks is the part of z that s covers: from <= rank < to. reverse says from which end it is walked, which counts only
// for ranges of members where scores differ.
func (s *zSpan) ranks(z *collection.ZSet, reverse bool) (from, to int) {
	n := z.Len()
	switch s.order {
	case byRank:
		from, to = s.places(n)
		if reverse {
			from, to = n-to, n-from
		}
	case byScore:
		from, to = z.Below(s.least.score, s.least.excluded), z.Below(s.greatest.score, !s.greatest.excluded)
	case byLex:
		if n <= fewMembers && mixedScores(z) {
			return s.walk(z, reverse)
		}
		from, to = s.lower.rank(z, s.lower.excluded), s.upper.rank(z, !s.upper.excluded)
	}
	return from, max(from, to)
}

// places is the part of a sequence of n that first and last cover.
func (s *zSpan) places(n int) (from, to int) {
	first, last, size := s.first, s.last, int64(n)
	if first < 0 {
		first = max(0, first+size)
	}
	if last < 0 {
		last += size
	}
	last = min(last, size-1)
	if first > last {
		return 0, 0
	}
	return int(first), int(last + 1)
}

// rank is how many members are below the bound, or on it too.
func (b *lexBound) rank(z *collection.ZSet, orEqual bool) int {
	switch b.infinite {
	case -1:
		return 0
	case 1:
		return z.Len()
	}
	return z.BelowLex(b.member, orEqual)
}

// fewMembers is how many members a sorted set may have for walk to be used: as many as Redis walks through.
const fewMembers = 128

// mixedScores says whether not all scores are equal: a range of members has no meaning then.
func mixedScores(z *collection.ZSet) bool {
	n := z.Len()
	if n < 2 {
		return false
	}
	_, lowest := z.At(0)
	_, highest := z.At(n - 1)
	return lowest != highest
}

// walk is what Redis makes of a range of members where scores differ: it goes on to the first member behind the near
// end, and from there to the last that is before the far end.
func (s *zSpan) walk(z *collection.ZSet, reverse bool) (from, to int) {
	n := z.Len()
	first, _ := z.At(0)
	outside := !s.upper.below(first)
	last, _ := z.At(n - 1)
	if outside || !s.lower.above(last) {
		return 0, 0
	}
	if reverse {
		for to = n; to > 0; to-- {
			if m, _ := z.At(to - 1); s.upper.below(m) {
				break
			}
		}
		for from = to; from > 0; from-- {
			if m, _ := z.At(from - 1); !s.lower.above(m) {
				break
			}
		}
		return from, to
	}
	for ; from < n; from++ {
		if m, _ := z.At(from); s.lower.above(m) {
			break
		}
	}
	for to = from; to < n; to++ {
		if m, _ := z.At(to); !s.upper.below(m) {
			break
		}
	}
	return from, to
}
