package collection

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"math"
	"slices"

	"github.com/larder-db/larder/engine/value"
)

// ZSet is a set of members with a score each, ordered by (score, member). A large one has two runs: one in that order,
// and one that finds a member's score.
type ZSet struct{ hashed }

const (
	runScored  = 0
	runMembers = 1
)

// Open makes it the sorted set that lives in home.
func (z *ZSet) Open(home Home) {
	z.home = home
	z.shape, z.run = pairs, runMembers
}

func (z *ZSet) scores() tree { return tree{core: &z.core, run: runScored, shape: scored} }

// findSmall is the place of a member in a small sorted set.
func findSmall(small chunk, m []byte) (at int, score float64, ok bool) {
	for i := range small.count() {
		if e := small.elem(i); bytes.Equal(scored.keyOf(e), m) {
			return i, unsortable(scoreOf(e)), true
		}
	}
	return 0, 0, false
}

// Score returns a member's score.
func (z *ZSet) Score(m []byte) (score float64, ok bool) {
	small, large := z.look()
	if !large {
		_, score, ok = findSmall(small, m)
		return score, ok
	}
	e, ok := z.getLooked(nil, true, m)
	if !ok {
		return 0, false
	}
	return pairScore(e), true
}

func pairScore(e []byte) float64 {
	v := valueOf(e)
	if len(v) != scoreSize {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(v))
}

func appendScorePair(b, m []byte, score float64) []byte {
	b = binary.AppendUvarint(b, uint64(len(m)))
	return binary.LittleEndian.AppendUint64(append(b, m...), math.Float64bits(score))
}

// scoreProbe is the probe for a member's place in the order of scores.
func (z *ZSet) scoreProbe(score float64, m []byte) probe {
	return probe{level(sortable(score)), m}
}

// lower is the place in a small sorted set of the first element that is not before the probe.
func (z *ZSet) lower(small chunk, q *probe) int {
	t := z.scores()
	at, _ := t.search(small, q, 0, math.MaxUint64)
	return at
}

// Set gives a member a score (never NaN) and says whether the member is new. m may not alias the set.
func (z *ZSet) Set(m []byte, score float64) (added bool) {
	small, large := z.look()
	if !large {
		if z.setSmall(small, m, score, &added) {
			return added
		}
		z.growScored(small.copies())
	}
	q := z.hashProbe(m)
	t := z.tree()
	pl, found := t.seek(&q)
	if !pl.ok {
		return false
	}
	z.elem = appendScorePair(z.elem[:0], m, score)
	if found {
		old := pairScore(pl.elem())
		if math.Float64bits(old) == math.Float64bits(score) {
			return false
		}
		t.replace(&pl, z.elem)
		z.removeScored(m, old)
	} else {
		t.insert(&pl, z.elem)
	}
	q = z.scoreProbe(score, m)
	scores := z.scores()
	place, _ := scores.seek(&q)
	if place.ok {
		z.elem = appendScored(z.elem[:0], score, m)
		scores.insert(&place, z.elem)
	}
	if !found {
		z.root.count++
	}
	z.saveRoot()
	return !found
}

// removeScored takes a member out of the run ordered by score. While the run has no other element, its leaf stays.
func (z *ZSet) removeScored(m []byte, score float64) {
	q := z.scoreProbe(score, m)
	scores := z.scores()
	pl, found := scores.seek(&q)
	if !found {
		return
	}
	if z.root.count > 1 {
		scores.remove(&pl, 1)
		return
	}
	old := len(pl.chunk)
	b := z.home.WriteNode(pl.leaf)
	z.resizeNode(pl.leaf, 1+old, 1+chunk(b[1:]).remove(0, 1))
}

// setSmall is Set in one chunk; false if it has to become large first.
func (z *ZSet) setSmall(small chunk, m []byte, score float64, added *bool) bool {
	at, old, ok := findSmall(small, m)
	*added = !ok
	if !ok && (small.count() >= SmallMembers || len(m) > SmallElement) {
		return false
	}
	z.elem = appendScored(z.elem[:0], score, m)
	q := z.scoreProbe(score, m)
	to := z.lower(small, &q)
	switch {
	case !ok:
		z.insertSmall(small, to, z.elem, value.Natural)
	case math.Float64bits(old) == math.Float64bits(score):
	case to == at || to == at+1: // its neighbours stay
		z.replaceSmall(small, at, z.elem)
	default:
		b := chunk(z.home.ResizeRoot(len(small), z.enc))
		n := b.remove(at, at+1)
		if to > at {
			to--
		}
		b.insert(n, to, z.elem)
	}
	return true
}

func (z *ZSet) growScored(elems [][]byte) {
	g := gathered{h: &z.hashed}
	for _, e := range elems {
		g.add(appendScorePair(nil, scored.keyOf(e), unsortable(scoreOf(e))))
	}
	z.buildBoth(elems, &g)
}

// buildBoth makes a large sorted set of elements in order and of the pairs that find their scores.
func (z *ZSet) buildBoth(elems [][]byte, g *gathered) {
	z.enlarge()
	b := builder{t: z.scores()}
	for _, e := range elems {
		b.add(e)
	}
	b.finish()
	g.build()
	z.root.count = len(elems)
	z.saveRoot()
}

// Fill gives n members, none of which comes twice, their scores, in a sorted set that does not exist.
func (z *ZSet) Fill(n int, all iter.Seq2[[]byte, float64]) {
	if n <= SmallMembers {
		for m, score := range all {
			z.Set(m, score)
		}
		return
	}
	g := gathered{h: &z.hashed}
	var elems [][]byte
	var copies lent
	for m, score := range all {
		elems = append(elems, appendScored(copies.room(scoreSize+len(m)), score, m))
		g.add(appendScorePair(copies.room(binary.MaxVarintLen64+len(m)+scoreSize), m, score))
	}
	if !slices.IsSortedFunc(elems, byScore) {
		slices.SortFunc(elems, byScore)
	}
	z.buildBoth(elems, &g)
}

func byScore(a, b []byte) int {
	if o := cmp.Compare(level(scoreOf(a)), level(scoreOf(b))); o != 0 {
		return o
	}
	return bytes.Compare(scored.keyOf(a), scored.keyOf(b))
}

// Remove removes a member and says whether it was there. With the last member the key goes.
func (z *ZSet) Remove(m []byte) bool {
	small, large := z.look()
	if !large {
		at, _, ok := findSmall(small, m)
		if ok {
			z.removeSmall(small, at, at+1)
		}
		return ok
	}
	q := z.hashProbe(m)
	t := z.tree()
	pl, found := t.seek(&q)
	if !found {
		return false
	}
	if z.root.count == 1 {
		z.home.Drop()
		return true
	}
	score := pairScore(pl.elem())
	t.remove(&pl, 1)
	z.removeScored(m, score)
	z.root.count--
	z.saveRoot()
	return true
}

// Rank is a member's place in the order, from 0.
func (z *ZSet) Rank(m []byte) (rank int, ok bool) {
	small, large := z.look()
	if !large {
		at, _, ok := findSmall(small, m)
		return at, ok
	}
	score, ok := z.Score(m)
	if !ok {
		return 0, false
	}
	return z.below(level(sortable(score)), m), true
}

// At is the member of a rank, 0 <= rank < Len.
func (z *ZSet) At(rank int) (m []byte, score float64) {
	for m, score = range z.From(rank) {
		break
	}
	return m, score
}

// Below is how many members have a score < score, or <= score with orEqual: the rank of the first of the others.
func (z *ZSet) Below(score float64, orEqual bool) int {
	major := level(sortable(score))
	if orEqual {
		major++ // the next score
	}
	return z.below(major, nil)
}

// BelowLex is how many members are < m, or <= m with orEqual, where all scores are equal: the rank of the first other.
func (z *ZSet) BelowLex(m []byte, orEqual bool) int {
	if z.Len() == 0 {
		return 0
	}
	_, score := z.At(0)
	if orEqual {
		m = append(bytes.Clone(m), 0) // the next member
	}
	return z.below(level(sortable(score)), m)
}

// below is how many elements come before a place in the order of scores.
func (z *ZSet) below(major uint64, m []byte) int {
	small, large := z.look()
	q := probe{major, m}
	if !large {
		return z.lower(small, &q)
	}
	t := z.scores()
	pl, _ := t.seek(&q)
	if !pl.ok {
		return 0
	}
	return t.rank(&pl)
}

// From are members and scores in order, beginning with the one of a rank.
func (z *ZSet) From(rank int) iter.Seq2[[]byte, float64] { return z.iterate(rank, 1) }

// Backward are members and scores in reverse order, beginning with the one of a rank.
func (z *ZSet) Backward(rank int) iter.Seq2[[]byte, float64] { return z.iterate(rank, -1) }

func (z *ZSet) iterate(rank, d int) iter.Seq2[[]byte, float64] {
	return func(yield func([]byte, float64) bool) {
		z.ordered(z.scores(), rank, d, func(_ int, e []byte) bool {
			return yield(scored.keyOf(e), unsortable(scoreOf(e)))
		})
	}
}

// RemoveRange removes the members of ranks from <= rank < to.
func (z *ZSet) RemoveRange(from, to int) {
	small, large := z.look()
	switch {
	case from >= to:
		return
	case !large:
		z.removeSmall(small, from, to)
		return
	case from == 0 && to == z.root.count:
		z.home.Drop()
		return
	}
	t, scores := z.tree(), z.scores()
	for left := to - from; left > 0; {
		pl := scores.seekPlace(from)
		if !pl.ok {
			return
		}
		n := z.forget(&t, pl.chunk, pl.at, left)
		if pl = scores.seekPlace(from); !pl.ok || scores.remove(&pl, n) != n {
			return
		}
		z.root.count -= n
		left -= n
	}
	z.saveRoot()
}

// forget takes up to n members of a leaf, from the at-th on, out of the run that finds scores, and returns how many that
// were.
func (z *ZSet) forget(t *tree, leaf chunk, at, n int) int {
	n = min(n, leaf.count()-at)
	part := make([]byte, leaf.part(at, at+n))
	leaf.copyPart(part, at, at+n)
	for i := range n {
		q := z.hashProbe(scored.keyOf(chunk(part).elem(i)))
		if pl, found := t.seek(&q); found {
			t.remove(&pl, 1)
		}
	}
	return n
}

// Scan visits the members from a cursor on (0: the start), about count of them, and returns where to go on; 0: the end.
// A small sorted set is visited whole. A member that is there throughout is visited exactly once.
func (z *ZSet) Scan(cursor uint64, count int, visit func(m []byte, score float64)) (next uint64) {
	if !z.Large() {
		for m, score := range z.From(0) {
			visit(m, score)
		}
		return 0
	}
	return z.scan(cursor, count, func(e []byte) { visit(pairs.keyOf(e), pairScore(e)) })
}
