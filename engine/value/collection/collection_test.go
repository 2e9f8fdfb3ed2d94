package collection

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/larder-db/larder/engine/value"
)

// rounds is how many changes a model test makes; every so many the whole is checked.
const rounds = 6000

// phases make collections grow and shrink by turns, through all bounds.
func growing(i int) bool { return i/1500%2 == 0 }

func member(r *rand.Rand, space int) []byte {
	n := r.IntN(space)
	switch r.IntN(40) {
	case 0:
		return fmt.Appendf(nil, "%s%d", bytes.Repeat([]byte("long"), 10+n%400), n)
	case 1:
		return fmt.Append(nil, n)
	}
	return fmt.Appendf(nil, "member:%d", n)
}

func TestHashIsItsModel(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := newMemory(t)
		var h Hash
		h.Open(m)
		model := map[string]string{}
		for i := range rounds {
			f := member(r, 1500)
			switch op := r.IntN(10); {
			case op < 2 || op < 8 != growing(i):
				_, want := model[string(f)]
				if got := h.Delete(f); got != want {
					t.Fatalf("Delete(%q) = %v", f, got)
				}
				delete(model, string(f))
			default:
				v := member(r, 100)
				_, had := model[string(f)]
				if added := h.Set(f, v); added == had {
					t.Fatalf("Set(%q): added %v", f, added)
				}
				model[string(f)] = string(v)
			}
			f = member(r, 1500)
			got, ok := h.Get(f)
			if want, there := model[string(f)]; ok != there || string(got) != want {
				t.Fatalf("Get(%q) = %q, %v, want %q, %v", f, got, ok, want, there)
			}
			if i%97 == 0 || len(model) == 0 {
				m.check(pairs)
				checkHash(t, &h, model)
			}
		}
	}
}

func checkHash(t *testing.T, h *Hash, model map[string]string) {
	t.Helper()
	if h.Len() != len(model) {
		t.Fatalf("Len = %d, want %d", h.Len(), len(model))
	}
	i := 0
	for f, v := range h.All() {
		if want, ok := model[string(f)]; !ok || want != string(v) {
			t.Fatalf("All: %q is %q, want %q", f, v, want)
		}
		af, av := h.At(i)
		if !bytes.Equal(af, f) || !bytes.Equal(av, v) {
			t.Fatalf("At(%d) is %q, want %q", i, af, f)
		}
		i++
	}
	if i != len(model) {
		t.Fatalf("All gave %d, want %d", i, len(model))
	}
	seen := map[string]bool{}
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		cursor = h.Scan(cursor, 10, func(f, v []byte) {
			if seen[string(f)] {
				t.Fatalf("Scan gave %q twice", f)
			}
			seen[string(f)] = true
		})
	}
	if len(seen) != len(model) {
		t.Fatalf("Scan gave %d, want %d", len(seen), len(model))
	}
}

func TestSmallHashKeepsTheOrderOfInsertion(t *testing.T) {
	m := newMemory(t)
	var h Hash
	h.Open(m)
	var want []string
	for i := range SmallFields {
		f := fmt.Sprint("f", (i*37)%SmallFields)
		h.Set([]byte(f), []byte("v"))
		want = append(want, f)
	}
	if h.Large() {
		t.Fatal("it is large already")
	}
	h.Set([]byte("f5"), []byte("other"))
	var got []string
	for f := range h.All() {
		got = append(got, string(f))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	h.Set([]byte("one more"), nil)
	if !h.Large() || h.Len() != SmallFields+1 {
		t.Fatal("it did not become large")
	}
	h.Delete([]byte("one more"))
	if !h.Large() {
		t.Fatal("it went back")
	}
}

func TestSetIsItsModel(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 2))
		m := newMemory(t)
		var s Set
		s.Open(m)
		model := map[string]bool{}
		integers := seed%2 == 0
		for i := range rounds {
			x := member(r, 2000)
			if integers && i%3000 < 1400 {
				x = fmt.Append(nil, r.IntN(2000)-1000)
			}
			if op := r.IntN(10); op < 2 || op < 8 != growing(i) {
				if got := s.Remove(x); got != model[string(x)] {
					t.Fatalf("Remove(%q) = %v", x, got)
				}
				delete(model, string(x))
			} else {
				if got := s.Add(x); got == model[string(x)] {
					t.Fatalf("Add(%q) = %v", x, got)
				}
				model[string(x)] = true
			}
			if x = member(r, 2000); s.Has(x) != model[string(x)] {
				t.Fatalf("Has(%q) = %v", x, s.Has(x))
			}
			if i%97 == 0 {
				m.check(members)
				checkSet(t, &s, model)
			}
		}
	}
}

func checkSet(t *testing.T, s *Set, model map[string]bool) {
	t.Helper()
	n := 0
	last := int64(math.MinInt64)
	for x := range s.All() {
		if !model[string(x)] {
			t.Fatalf("All gave %q", x)
		}
		if s.Integers() {
			v, ok := value.ParseInt(x)
			if !ok || v <= last && n > 0 {
				t.Fatalf("integers out of order: %q", x)
			}
			last = v
		}
		if !bytes.Equal(s.At(n), x) {
			t.Fatalf("At(%d) is not %q", n, x)
		}
		n++
	}
	if n != len(model) || s.Len() != n {
		t.Fatalf("All gave %d, Len is %d, want %d", n, s.Len(), len(model))
	}
}

func TestIntersect(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		var sets []*Set
		counts := map[string]int{}
		k := 1 + r.IntN(4)
		for range k {
			s := &Set{}
			s.Open(newMemory(t))
			for range []int{0, 5, 100, 700, 3000}[r.IntN(5)] {
				x := fmt.Append(nil, r.IntN(4000))
				if r.IntN(2) == 0 {
					x = append(x, 'x')
				}
				if s.Add(x) {
					counts[string(x)]++
				}
			}
			sets = append(sets, s)
		}
		got := map[string]bool{}
		for x := range Intersect(sets) {
			got[string(x)] = true
		}
		for x, n := range counts {
			if got[x] != (n == k) {
				t.Fatalf("%q is in %d of %d sets, the intersection has it: %v", x, n, k, got[x])
			}
		}
	}
}

type scoredMember struct {
	m     string
	score float64
}

func compareScored(a, b scoredMember) int {
	return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.m, b.m))
}

func TestZSetIsItsModel(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 3))
		m := newMemory(t)
		var z ZSet
		z.Open(m)
		model := map[string]float64{}
		score := func() float64 {
			switch r.IntN(20) {
			case 0:
				return math.Inf(1 - 2*r.IntN(2))
			case 1:
				return math.Copysign(0, -1)
			case 2:
				return 0
			}
			return float64(r.IntN(300)-150) / 4
		}
		for i := range rounds {
			x := member(r, 1500)
			_, had := model[string(x)]
			switch op := r.IntN(60); {
			case op == 0 && len(model) > 0:
				from := r.IntN(len(model))
				to := min(len(model), from+r.IntN(100))
				list := sortedModel(model)
				z.RemoveRange(from, to)
				for _, e := range list[from:to] {
					delete(model, e.m)
				}
			case op < 12 || op < 48 != growing(i):
				if got := z.Remove(x); got != had {
					t.Fatalf("Remove(%q) = %v", x, got)
				}
				delete(model, string(x))
			default:
				s := score()
				if added := z.Set(x, s); added == had {
					t.Fatalf("Set(%q): added %v", x, added)
				}
				model[string(x)] = s
			}
			got, ok := z.Score(x)
			if want, there := model[string(x)]; ok != there || math.Float64bits(got) != math.Float64bits(want) {
				t.Fatalf("Score(%q) = %v, %v, want %v, %v", x, got, ok, want, there)
			}
			if i%97 == 0 {
				m.check(scored, pairs)
				checkZSet(t, &z, sortedModel(model), score())
			}
		}
	}
}

func sortedModel(model map[string]float64) (list []scoredMember) {
	for m, s := range model {
		list = append(list, scoredMember{m, s})
	}
	slices.SortFunc(list, compareScored)
	return list
}

func checkZSet(t *testing.T, z *ZSet, list []scoredMember, at float64) {
	t.Helper()
	if z.Len() != len(list) {
		t.Fatalf("Len = %d, want %d", z.Len(), len(list))
	}
	i := 0
	for m, s := range z.From(0) {
		if string(m) != list[i].m || math.Float64bits(s) != math.Float64bits(list[i].score) {
			t.Fatalf("rank %d is %q, %v, want %v", i, m, s, list[i])
		}
		if rank, ok := z.Rank(m); !ok || rank != i {
			t.Fatalf("Rank(%q) = %d, want %d", m, rank, i)
		}
		i++
	}
	for m, s := range z.Backward(len(list) - 1) {
		i--
		if string(m) != list[i].m || math.Float64bits(s) != math.Float64bits(list[i].score) {
			t.Fatalf("backward, rank %d is %q, %v, want %v", i, m, s, list[i])
		}
	}
	if i != 0 {
		t.Fatalf("%d ranks are missing", i)
	}
	below := func(orEqual bool) (n int) {
		for _, e := range list {
			if e.score < at || orEqual && e.score == at {
				n++
			}
		}
		return n
	}
	for _, orEqual := range []bool{false, true} {
		if got, want := z.Below(at, orEqual), below(orEqual); got != want {
			t.Fatalf("Below(%v, %v) = %d, want %d", at, orEqual, got, want)
		}
	}
}

func TestStringIsItsModel(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	m := newMemory(t)
	var s String
	s.Open(m)
	s.Create(0)
	var model []byte
	for range 400 {
		from := r.IntN(len(model) + 3*pieceSize)
		data := bytes.Repeat([]byte{byte(1 + r.IntN(255))}, r.IntN(2*pieceSize))
		s.Write(from, data)
		if n := from + len(data); n > len(model) {
			model = append(model, make([]byte, n-len(model))...)
		}
		copy(model[from:], data)
		if s.Len() != len(model) {
			t.Fatalf("Len = %d, want %d", s.Len(), len(model))
		}
		at := r.IntN(len(model) + 1)
		to := at + r.IntN(len(model)-at+1)
		if !bytes.Equal(s.AppendTo(nil, at, to), model[at:to]) {
			t.Fatalf("bytes %d to %d differ", at, to)
		}
	}
	n, size := 0, int64(0)
	for _, b := range m.nodes {
		n++
		size += int64(len(b))
	}
	if s.root.nodes != uint32(n) || s.root.size != size {
		t.Fatalf("%d nodes of %d bytes, the root says %d and %d", n, size, s.root.nodes, s.root.size)
	}
	copied := newMemory(t)
	CopyLarge(m, copied)
	var c String
	c.Open(copied)
	if !bytes.Equal(c.AppendTo(nil, 0, c.Len()), model) {
		t.Fatal("the copy differs")
	}
}

func TestBelowLex(t *testing.T) {
	for _, n := range []int{0, 10, 2000} {
		var z ZSet
		z.Open(newMemory(t))
		for i := range n {
			z.Set(fmt.Appendf(nil, "%05d", i*2), 7)
		}
		for i := range 2 * n {
			m := fmt.Appendf(nil, "%05d", i)
			if got, want := z.BelowLex(m, false), (i+1)/2; got != want {
				t.Fatalf("BelowLex(%q, false) = %d, want %d", m, got, want)
			}
			if got, want := z.BelowLex(m, true), i/2+1; got != want {
				t.Fatalf("BelowLex(%q, true) = %d, want %d", m, got, want)
			}
		}
	}
}

func TestListIsItsModel(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 4))
		m := newMemory(t)
		var l List
		l.Open(m)
		var model [][]byte
		for i := range rounds {
			switch op := r.IntN(60); {
			case op == 0 && len(model) > 0:
				from := r.IntN(len(model))
				to := min(len(model), from+r.IntN(200))
				l.RemoveRange(from, to)
				model = slices.Delete(model, from, to)
			case (op < 12 || op < 48 != growing(i)) && len(model) > 0:
				at := r.IntN(len(model))
				if r.IntN(2) == 0 {
					at = (len(model) - 1) * r.IntN(2)
				}
				l.RemoveRange(at, at+1)
				model = slices.Delete(model, at, at+1)
			case op < 20 && len(model) > 0:
				at, v := r.IntN(len(model)), member(r, 1000)
				l.Set(at, v)
				model[at] = v
			default:
				at, v := r.IntN(len(model)+1), member(r, 1000)
				if r.IntN(2) == 0 {
					at = len(model) * r.IntN(2)
				}
				l.Insert(at, v)
				model = slices.Insert(model, at, v)
			}
			if len(model) > 0 {
				if at := r.IntN(len(model)); !bytes.Equal(l.At(at), model[at]) {
					t.Fatalf("At(%d) = %q, want %q", at, l.At(at), model[at])
				}
			}
			if i%97 == 0 {
				m.check(plain)
				checkList(t, &l, model, r)
			}
		}
	}
}

func checkList(t *testing.T, l *List, model [][]byte, r *rand.Rand) {
	t.Helper()
	if l.Len() != len(model) {
		t.Fatalf("Len = %d, want %d", l.Len(), len(model))
	}
	if len(model) == 0 {
		return
	}
	from := r.IntN(len(model))
	next := from
	for i, v := range l.From(from) {
		if i != next || !bytes.Equal(v, model[i]) {
			t.Fatalf("From(%d): place %d is %q, want %q", from, i, v, model[next])
		}
		next++
	}
	if next != len(model) {
		t.Fatalf("From(%d) ended at %d of %d", from, next, len(model))
	}
	next = from
	for i, v := range l.Backward(from) {
		if i != next || !bytes.Equal(v, model[i]) {
			t.Fatalf("Backward(%d): place %d is %q", from, i, v)
		}
		next--
	}
	if next != -1 {
		t.Fatalf("Backward(%d) ended at %d", from, next)
	}
}

// TestNodeNumbersComeRound: a list that is a queue for ever uses up all numbers, and then uses them again.
func TestNodeNumbersComeRound(t *testing.T) {
	m := newMemory(t)
	var l List
	l.Open(m)
	v := bytes.Repeat([]byte("x"), 500)
	for range 50 {
		l.Insert(l.Len(), v)
	}
	l.look()
	l.root.next = 1<<value.NodeBits - 3
	l.saveRoot()
	for range 500 {
		l.Insert(l.Len(), v)
		l.RemoveRange(0, 1)
	}
	m.check(plain)
	if l.Len() != 50 {
		t.Fatalf("Len = %d", l.Len())
	}
}

// FuzzCheckNode: whatever passes the check can be read without harm.
func FuzzCheckNode(f *testing.F) {
	m := newMemory(f)
	var h Hash
	h.Open(m)
	for i := range 400 {
		h.Set(fmt.Append(nil, i), bytes.Repeat([]byte("v"), 40))
	}
	for _, b := range m.nodes {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if CheckNode(b) != nil {
			return
		}
		switch b[0] {
		case pieceLevel:
			return
		case leafLevel:
			c := chunk(b[1:])
			for i := range c.count() {
				e := c.elem(i)
				pairs.keyOf(e)
				valueOf(e)
				scoreOf(e)
				pairScore(e)
				scored.keyOf(e)
			}
			return
		}
		p := page(b)
		p.find(&probe{1 << 40, []byte("key")})
		p.findPlace(1)
		o := p.open()
		if o.size() != len(b) {
			return // bytes behind the last bound
		}
		out := make(page, o.size())
		o.write(out)
		if !bytes.Equal(out, b) {
			t.Fatalf("written again: %x, was %x", out, b)
		}
	})
}
