package collection

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// fillSizes are numbers of elements on both sides of what fits into one chunk, one leaf, one page, two levels of pages.
var fillSizes = []int{0, 1, SmallMembers, SmallMembers + 1, SmallIntegers, SmallIntegers + 1, SmallFields + 1, 3000, 40000}

func distinct(r *rand.Rand, n int) map[string]string {
	all := map[string]string{}
	for len(all) < n {
		all[string(member(r, 1<<20))] = string(member(r, 500))
	}
	return all
}

func TestFilledHashIsItsModel(t *testing.T) {
	for seed, n := range fillSizes {
		r := rand.New(rand.NewPCG(uint64(seed), 11))
		model := distinct(r, n)
		m := newMemory(t)
		var h Hash
		h.Open(m)
		h.Fill(n, func(yield func(f, v []byte) bool) {
			var f, v []byte // lent
			for key, val := range model {
				f, v = append(f[:0], key...), append(v[:0], val...)
				if !yield(f, v) {
					return
				}
			}
		})
		m.check(pairs)
		checkHash(t, &h, model)
		for f := range maps.Clone(model) {
			if r.IntN(2) == 0 {
				h.Delete([]byte(f))
				delete(model, f)
			} else {
				f += "x"
				h.Set([]byte(f), nil)
				model[f] = ""
			}
		}
		m.check(pairs)
		if n < 10000 {
			checkHash(t, &h, model)
		}
	}
}

func TestFilledSetIsItsModel(t *testing.T) {
	for seed, n := range fillSizes {
		r := rand.New(rand.NewPCG(uint64(seed), 12))
		model := distinct(r, n)
		m := newMemory(t)
		var s Set
		s.Open(m)
		s.Fill(n, func(yield func(e []byte) bool) {
			for key := range model {
				if !yield([]byte(key)) {
					return
				}
			}
		})
		m.check(members)
		seen := 0
		for e := range s.All() {
			if _, ok := model[string(e)]; !ok {
				t.Fatalf("%q is no member", e)
			}
			seen++
		}
		if seen != n || s.Len() != n {
			t.Fatalf("%d members, Len %d, want %d", seen, s.Len(), n)
		}
		for key := range model {
			if !s.Has([]byte(key)) || s.Has([]byte(key+"?")) {
				t.Fatalf("Has(%q) is wrong", key)
			}
		}
	}
}

func TestFilledListIsItsModel(t *testing.T) {
	for seed, n := range fillSizes {
		r := rand.New(rand.NewPCG(uint64(seed), 13))
		var model []string
		for range n {
			model = append(model, string(member(r, 1000)))
		}
		m := newMemory(t)
		var l List
		l.Open(m)
		l.Fill(func(yield func(e []byte) bool) {
			for _, e := range model {
				if !yield([]byte(e)) {
					return
				}
			}
		})
		m.check(plain)
		for range min(n, 200) {
			i := r.IntN(n + 1)
			l.Insert(i, []byte("new"))
			model = slices.Insert(model, i, "new")
		}
		m.check(plain)
		at := 0
		for i, e := range l.From(0) {
			if i != at || string(e) != model[i] {
				t.Fatalf("%d of %d: element %d is %q, want %q", at, n, i, e, model[i])
			}
			at++
		}
		if at != len(model) || l.Len() != at {
			t.Fatalf("%d elements, Len %d, want %d", at, l.Len(), len(model))
		}
		for range min(n, 200) {
			if i := r.IntN(n); string(l.At(i)) != model[i] {
				t.Fatalf("At(%d) is %q, want %q", i, l.At(i), model[i])
			}
		}
	}
}

func TestFilledZSetIsItsModel(t *testing.T) {
	for seed, n := range fillSizes {
		r := rand.New(rand.NewPCG(uint64(seed), 14))
		model := map[string]float64{}
		for len(model) < n {
			model[string(member(r, 1<<20))] = float64(r.IntN(n)) - float64(n)/2
		}
		m := newMemory(t)
		var z ZSet
		z.Open(m)
		z.Fill(n, func(yield func(e []byte, score float64) bool) {
			for e, score := range model {
				if !yield([]byte(e), score) {
					return
				}
			}
		})
		for range 2 { // as it was filled, and after changes
			m.check(scored, pairs)
			rank := 0
			for e, score := range z.From(0) {
				want, ok := model[string(e)]
				if found, there := z.Score(e); !ok || !there || score != want || found != want {
					t.Fatalf("%q has %v, %v, want %v", e, score, found, want)
				}
				if rank%100 == 0 {
					if at, ok := z.Rank(e); !ok || at != rank {
						t.Fatalf("the rank of %q is %d, want %d", e, at, rank)
					}
				}
				rank++
			}
			if rank != len(model) || z.Len() != rank {
				t.Fatalf("%d members, Len %d, want %d", rank, z.Len(), len(model))
			}
			for i := range n {
				e := fmt.Append(nil, "changed", r.IntN(2*n))
				z.Set(e, float64(i))
				model[string(e)] = float64(i)
			}
		}
	}
}
