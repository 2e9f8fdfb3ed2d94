package collection

import (
	"bytes"
	"cmp"
	"iter"
	"slices"

	"github.com/larder-db/larder/engine/value"
)

// Set is a set of members. A small one of integers is ordered by number, another small one by insertion; a large one by
// (hash of member, member).
type Set struct{ hashed }

// Open makes it the set that lives in home.
func (s *Set) Open(home Home) {
	s.home = home
	s.shape, s.most = members, SmallMembers
}

// Integers says whether it is a small set of integers alone, as an intset is in Redis.
func (s *Set) Integers() bool {
	s.look()
	return s.enc == value.Integers
}

// Has says whether m is a member.
func (s *Set) Has(m []byte) bool {
	small, large := s.look()
	if !large && s.enc == value.Integers {
		n, ok := value.ParseInt(m)
		if !ok {
			return false
		}
		_, ok = findInt(small, n)
		return ok
	}
	_, ok := s.getLooked(small, large, m)
	return ok
}

// findInt finds an integer in a chunk of integers in order.
func findInt(c chunk, n int64) (at int, ok bool) {
	low, high := 0, c.count()
	for low < high {
		mid := int(uint(low+high) / 2)
		have, _ := value.ParseInt(c.elem(mid))
		switch {
		case have < n:
			low = mid + 1
		case have > n:
			high = mid
		default:
			return mid, true
		}
	}
	return low, false
}

// Add makes m a member and says whether it was none before. m may not alias the set.
func (s *Set) Add(m []byte) bool {
	small, large := s.look()
	if large || small.count() > 0 && s.enc != value.Integers {
		return s.putLooked(small, large, m, m, len(m))
	}
	n, integer := value.ParseInt(m)
	if !integer {
		if small.count() == 0 {
			return s.putLooked(small, false, m, m, len(m))
		}
		s.leaveIntegers(small, len(m))
		return s.put(m, m, len(m))
	}
	at, ok := findInt(small, n)
	if ok {
		return false
	}
	if small.count() >= SmallIntegers {
		s.grow(small.copies())
		return s.putLarge(m, m)
	}
	s.insertSmall(small, at, m, value.Integers)
	return true
}

// Fill adds n members, none twice, to a set that does not exist.
func (s *Set) Fill(n int, all iter.Seq[[]byte]) {
	if n <= SmallIntegers {
		for m := range all {
			s.Add(m)
		}
		return
	}
	g := gathered{h: &s.hashed}
	var copies lent
	for m := range all {
		g.add(append(copies.room(len(m)), m...))
	}
	s.buildAll(&g)
}

// leaveIntegers makes a set of integers one of anything, before something n bytes long comes in.
func (s *Set) leaveIntegers(small chunk, n int) {
	if small.count() >= SmallMembers || n > SmallElement {
		s.grow(small.copies())
		return
	}
	s.home.ResizeRoot(len(small), value.Natural)
}

// Remove removes a member and says whether it was there. With the last member the key goes.
func (s *Set) Remove(m []byte) bool { return s.delete(m) }

// All are the members in order. The set must not be changed meanwhile.
func (s *Set) All() iter.Seq[[]byte] { return s.each }

// At is the i-th member in order, 0 <= i < Len.
func (s *Set) At(i int) []byte { return s.elementAt(i) }

// Scan visits the members from a cursor on (0: the start), about count of them, and returns where to go on; 0: the end.
// A small set is visited whole. A member that is there throughout is visited exactly once.
func (s *Set) Scan(cursor uint64, count int, visit func(m []byte)) (next uint64) {
	return s.scan(cursor, count, visit)
}

// mergeRatio is how many times smaller the smallest set must be for a search in the others to be better than going
// through them.
const mergeRatio = 16

// Intersect are the members that all of the sets have, in the order of one of them.
func Intersect(sets []*Set) iter.Seq[[]byte] {
	bySize := slices.Clone(sets)
	slices.SortStableFunc(bySize, func(a, b *Set) int { return cmp.Compare(a.Len(), b.Len()) })
	return func(yield func(m []byte) bool) {
		if len(bySize) == 0 || bySize[0].Len() == 0 {
			return
		}
		rest := make([]*sieve, len(bySize)-1)
		for i, s := range bySize[1:] {
			rest[i] = newSieve(s, bySize[0])
		}
		bySize[0].each(func(m []byte) bool {
			for _, s := range rest {
				if !s.has(m) {
					return true
				}
			}
			return yield(m)
		})
	}
}

// sieve asks a set for one member after the other. Where the members come in the set's own order and are not few, it goes
// along with them instead of searching for each.
type sieve struct {
	set  *Set
	next func() ([]byte, bool)
	hash uint64
	m    []byte
	done bool
}

func newSieve(s, first *Set) *sieve {
	v := &sieve{set: s}
	if first.Large() && s.Large() && s.Len()/mergeRatio < first.Len() {
		v.next = s.sequence()
		v.step()
	}
	return v
}

func (v *sieve) step() {
	m, ok := v.next()
	if v.done = !ok; ok {
		v.m, v.hash = m, v.set.home.Hash(m)
	}
}

func (v *sieve) has(m []byte) bool {
	if v.next == nil {
		return v.set.Has(m)
	}
	hash := v.set.home.Hash(m)
	for !v.done && (v.hash < hash || v.hash == hash && bytes.Compare(v.m, m) < 0) {
		v.step()
	}
	return !v.done && v.hash == hash && bytes.Equal(v.m, m)
}

// sequence returns the members of a large set one by one.
func (s *Set) sequence() func() ([]byte, bool) {
	s.look()
	t := s.tree()
	pl := t.seekPlace(0)
	leaf := pl.chunk
	return func() ([]byte, bool) {
		for leaf != nil && pl.at >= leaf.count() {
			if !t.sideways(&pl, 1) {
				return nil, false
			}
			leaf = pl.chunk
		}
		if leaf == nil {
			return nil, false
		}
		pl.at++
		return leaf.elem(pl.at - 1), true
	}
}
