package collection

import (
	"iter"

	"github.com/larder-db/larder/engine/value"
)

// List is a sequence of elements.
type List struct{ core }

// Open makes it the list that lives in home.
func (l *List) Open(home Home) { l.home = home }

func (l *List) tree() tree { return tree{core: &l.core, shape: plain} }

// At is the i-th element, 0 <= i < Len.
func (l *List) At(i int) []byte {
	small, large := l.look()
	if !large {
		if i >= small.count() {
			return nil
		}
		return small.elem(i)
	}
	t := l.tree()
	pl := t.seekPlace(i)
	return pl.elem()
}

// Set replaces the i-th element, 0 <= i < Len. v may not alias the list.
func (l *List) Set(i int, v []byte) {
	small, large := l.look()
	if !large {
		if len(small)+len(v)-len(small.elem(i)) <= smallList {
			l.replaceSmall(small, i, v)
			return
		}
		l.grow(small.copies())
	}
	t := l.tree()
	if pl := t.seekPlace(i); pl.ok {
		t.replace(&pl, v)
		l.saveRoot()
	}
}

// Insert puts v before the i-th element; with i == Len at the end. v may not alias the list.
func (l *List) Insert(i int, v []byte) {
	small, large := l.look()
	l.insert(small, large, i, v)
}

// Prepend puts v, which may not alias the list, before all others and returns how many elements there are.
func (l *List) Prepend(v []byte) int {
	small, large := l.look()
	n := small.countOr(l.root.count, large)
	l.insert(small, large, 0, v)
	return n + 1
}

// Append puts v, which may not alias the list, behind all others and returns how many elements there are.
func (l *List) Append(v []byte) int {
	small, large := l.look()
	n := small.countOr(l.root.count, large)
	l.insert(small, large, n, v)
	return n + 1
}

func (l *List) insert(small chunk, large bool, i int, v []byte) {
	if !large {
		if len(small)+chunkRoom(len(v)) <= smallList {
			l.insertSmall(small, i, v, value.Natural)
			return
		}
		l.grow(small.copies())
	}
	t := l.tree()
	if pl := t.seekPlace(i); pl.ok {
		t.insert(&pl, v)
		l.root.count++
		l.saveRoot()
	}
}

func (l *List) grow(elems [][]byte) {
	l.enlarge()
	b := builder{t: l.tree()}
	for _, e := range elems {
		b.add(e)
	}
	l.finish(&b)
}

func (l *List) finish(b *builder) {
	b.finish()
	l.root.count = b.count
	l.saveRoot()
}

// Fill puts elements into a list that does not exist.
func (l *List) Fill(all iter.Seq[[]byte]) {
	var first [][]byte // as long as they make a small one
	var copies lent
	var b *builder
	size := chunkHeader
	for e := range all {
		if size += chunkRoom(len(e)); b == nil && size <= smallList {
			first = append(first, append(copies.room(len(e)), e...))
			continue
		}
		if b == nil {
			l.enlarge()
			b = &builder{t: l.tree()}
			for _, e := range first {
				b.add(e)
			}
		}
		b.add(e)
	}
	if b != nil {
		l.finish(b)
		return
	}
	for i, e := range first {
		l.Insert(i, e)
	}
}

// RemoveRange removes the elements from <= i < to. With the last element the key goes.
func (l *List) RemoveRange(from, to int) {
	small, large := l.look()
	switch {
	case from >= to:
		return
	case !large:
		l.removeSmall(small, from, to)
		return
	case from == 0 && to == l.root.count:
		l.home.Drop()
		return
	}
	t := l.tree()
	for left := to - from; left > 0; {
		pl := t.seekPlace(from)
		if !pl.ok {
			return
		}
		n := t.remove(&pl, left)
		left -= n
		l.root.count -= n
	}
	l.saveRoot()
}

// From are places and elements in order, from the i-th on.
func (l *List) From(i int) iter.Seq2[int, []byte] { return l.iterate(i, 1) }

// Backward are places and elements in reverse order, from the i-th on.
func (l *List) Backward(i int) iter.Seq2[int, []byte] { return l.iterate(i, -1) }

func (l *List) iterate(i, d int) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		l.ordered(tree{core: &l.core, shape: plain}, i, d, yield)
	}
}

// ordered calls visit for places and elements from the i-th on, forward (d is 1) or backward (-1), until it returns false.
func (c *core) ordered(t tree, i, d int, visit func(i int, e []byte) bool) {
	small, large := c.look()
	n := small.countOr(c.root.count, large)
	if i < 0 || i >= n {
		return
	}
	if large {
		t.walk(t.seekPlace(i), d, func(e []byte) bool {
			i += d
			return visit(i-d, e)
		})
		return
	}
	for ; i >= 0 && i < n; i += d {
		if !visit(i, small.elem(i)) {
			return
		}
	}
}

// countOr is the chunk's count, or n for a large collection, which has no chunk.
func (c chunk) countOr(n int, large bool) int {
	if large {
		return n
	}
	return c.count()
}
