package collection

import (
	"bytes"
	"math"
	"slices"

	"github.com/larder-db/larder/engine/value"
)

// tree is one run of a large collection: leaves in order, under pages that know how many elements stand below each child
// (a B+ tree). It changes path by path; nothing in it is in proportion to the whole.
type tree struct {
	*core
	run   int
	shape shape
}

// place is an element's place: the pages on the way down with the child taken in each, the leaf, and the place in it.
type place struct {
	pages [maxHeight]step
	depth int
	leaf  uint32
	chunk chunk // the leaf's, as of the search: good until a change
	at    int
	ok    bool // false: a node could not be had, and nothing may be done there
}

type step struct {
	id uint32
	at int32
}

func (pl *place) push(id uint32, at int) {
	pl.pages[pl.depth] = step{id, int32(at)}
	pl.depth++
}

// leafOf is a leaf's chunk; nil if it cannot be had.
func (t *tree) leafOf(id uint32) chunk {
	b := t.home.Node(id)
	if b == nil || b[0] != leafLevel {
		return nil
	}
	return chunk(b[1:])
}

// pageOf is a page; nil if it cannot be had.
func (t *tree) pageOf(id uint32) page {
	b := t.home.Node(id)
	if b == nil || b[0] == leafLevel || b[0] == pieceLevel {
		return nil
	}
	return page(b)
}

// seek finds the first element that is not before the probe, or the place behind its leaf's last; found says that it is
// the probe's own.
func (t *tree) seek(q *probe) (pl place, found bool) {
	id := t.root.roots[t.run]
	least, most := uint64(0), uint64(1)<<hashBits // the majors between which the leaf's are
	if t.shape == scored {
		most = math.MaxUint64
	}
	for h := t.root.heights[t.run]; h > 1; h-- {
		p := t.pageOf(id)
		if p == nil {
			return pl, false
		}
		i := p.find(q)
		if i > 0 {
			least = p.major(i)
		}
		if i+1 < p.children() {
			most = p.major(i + 1)
		}
		pl.push(id, i)
		id = p.id(i)
	}
	leaf := t.leafOf(id)
	if leaf == nil {
		return pl, false
	}
	pl.leaf, pl.chunk, pl.ok = id, leaf, true
	pl.at, found = t.search(leaf, q, least, most)
	return pl, found
}

// search is seek within a chunk whose majors are from least to most. Hashes are spread evenly, and scores often nearly so:
// the first steps guess where the probe's would stand between those that are known.
func (t *tree) search(leaf chunk, q *probe, least, most uint64) (at int, found bool) {
	const guesses = 5
	low, high := 0, leaf.count()
	for step := 0; low < high; step++ {
		mid := int(uint(low+high) / 2)
		if step < guesses && least < q.major && q.major < most {
			share := float64(int64((q.major-least)/2)) / float64(int64((most-least)/2))
			mid = min(low+int(share*float64(high-low)), high-1)
		}
		e := leaf.elem(mid)
		key, major := t.shape.keyOf(e), uint64(0)
		if t.shape == scored {
			major = level(scoreOf(e))
		} else {
			major = t.home.Hash(key)
		}
		o := 0
		switch {
		case major < q.major:
			o = -1
		case major > q.major:
			o = 1
		default:
			if o = bytes.Compare(key, q.member); o == 0 {
				return mid, true
			}
		}
		if o < 0 {
			low, least = mid+1, major
		} else {
			high, most = mid, major
		}
	}
	return low, false
}

// seekPlace finds the i-th element, or with i the number of all the place behind the last.
func (t *tree) seekPlace(i int) (pl place) {
	id := t.root.roots[t.run]
	for h := t.root.heights[t.run]; h > 1; h-- {
		p := t.pageOf(id)
		if p == nil {
			return pl
		}
		child, rest := p.findPlace(i)
		pl.push(id, child)
		id, i = p.id(child), rest
	}
	leaf := t.leafOf(id)
	if leaf == nil {
		return pl
	}
	pl.leaf, pl.chunk, pl.at, pl.ok = id, leaf, min(i, leaf.count()), true
	return pl
}

// rank is how many elements come before a place.
func (t *tree) rank(pl *place) int {
	n := pl.at
	for _, s := range pl.pages[:pl.depth] {
		p := t.pageOf(s.id)
		if p == nil {
			return 0
		}
		n += p.before(int(s.at))
	}
	return n
}

// elem is the element at a place, which nothing has changed since it was found; nil behind a leaf's last.
func (pl *place) elem() []byte {
	if !pl.ok || pl.at >= pl.chunk.count() {
		return nil
	}
	return pl.chunk.elem(pl.at)
}

// sideways moves to the beginning of the next leaf (d is 1) or the last element of the one before (-1); false at the end,
// or if it cannot be had.
func (t *tree) sideways(pl *place, d int) bool {
	var p page
	depth := pl.depth
	for ; depth > 0; depth-- {
		s := pl.pages[depth-1]
		if p = t.pageOf(s.id); p == nil {
			return false
		}
		if i := int(s.at) + d; i >= 0 && i < p.children() {
			break
		}
	}
	if depth == 0 {
		return false
	}
	pages := pl.depth
	pl.pages[depth-1].at += int32(d)
	pl.depth = depth
	id := p.id(int(pl.pages[depth-1].at))
	for pl.depth < pages {
		if p = t.pageOf(id); p == nil {
			return false
		}
		i := 0
		if d < 0 {
			i = p.children() - 1
		}
		pl.push(id, i)
		id = p.id(i)
	}
	leaf := t.leafOf(id)
	if leaf == nil {
		return false
	}
	pl.leaf, pl.chunk, pl.at = id, leaf, 0
	if d < 0 {
		pl.at = leaf.count() - 1
	}
	return true
}

// bump adds d to the counts on the way down to a place, of the first depth pages.
func (t *tree) bump(pl *place, depth, d int) {
	for _, s := range pl.pages[:depth] {
		page(t.home.WriteNode(s.id)).addCount(int(s.at), d)
	}
}

// insert puts an element at a place, which nothing has changed since it was found.
func (t *tree) insert(pl *place, e []byte) {
	leaf := pl.chunk
	old := len(leaf)
	n := old + chunkRoom(len(e))
	if leaf.count() == 0 || 1+n <= leafMax && len(e) < bigElement {
		b := t.resizeNode(pl.leaf, 1+old, 1+n)
		chunk(b[1:]).insert(old, pl.at, e)
		t.bump(pl, pl.depth, 1)
		return
	}
	t.parts = slices.Insert(t.apart(leaf), pl.at, e)
	t.spread(pl, t.parts, 1)
}

// replace puts an element in the place of the one that is there, which nothing has changed since it was found.
func (t *tree) replace(pl *place, e []byte) {
	leaf := pl.chunk
	if pl.at >= leaf.count() {
		return
	}
	old := len(leaf)
	n := old + len(e) - len(leaf.elem(pl.at))
	if leaf.count() > 1 && (1+n > leafMax || len(e) >= bigElement) {
		elems := t.apart(leaf)
		elems[pl.at] = e
		t.spread(pl, elems, 0)
		return
	}
	b := t.resizeNode(pl.leaf, 1+old, 1+max(old, n))
	chunk(b[1:]).replace(old, pl.at, e)
	if n < old {
		t.resizeNode(pl.leaf, 1+old, 1+n)
	}
}

// child is a node that is to be entered into a page.
type child struct {
	id    uint32
	count int
	low   bound
}

// spread writes the elements of the leaf at a place, of which one is new, to that leaf and new ones behind it. d is by
// how many they have become more.
func (t *tree) spread(pl *place, elems [][]byte, d int) {
	cuts := t.cuts(pl, elems)
	first := elems[:cuts[0]]
	added := make([]child, 0, 2)
	for i, from := range cuts {
		to := len(elems)
		if i+1 < len(cuts) {
			to = cuts[i+1]
		}
		part := elems[from:to]
		id, b := t.newNode(1 + packedSize(part))
		b[0] = leafLevel
		pack(chunk(b[1:]), part)
		added = append(added, child{id, len(part), t.boundBetween(t.shape, elems[from-1], elems[from])})
	}
	old := t.leafOf(pl.leaf)
	if old == nil {
		return
	}
	b := t.resizeNode(pl.leaf, 1+len(old), 1+packedSize(first))
	b[0] = leafLevel
	pack(chunk(b[1:]), first)
	clear(elems) // of which one is not ours
	t.addChildren(pl, pl.depth-1, pl.leaf, len(first), added, d)
}

// cuts says where the elements of a leaf that is too full are cut, from 1 on: a big one stands alone; at the ends of the
// run, where lists and rising keys grow, the new one; else the halves are about equal.
func (t *tree) cuts(pl *place, elems [][]byte) []int {
	n := len(elems)
	if len(elems[pl.at]) >= bigElement {
		var cuts []int
		if pl.at > 0 {
			cuts = append(cuts, pl.at)
		}
		if pl.at+1 < n {
			cuts = append(cuts, pl.at+1)
		}
		return cuts
	}
	if pl.at == n-1 && t.atEdge(pl, 1) {
		return []int{n - 1}
	}
	if pl.at == 0 && t.atEdge(pl, -1) {
		return []int{1}
	}
	half, sum := packedSize(elems)/2, 0
	for i, e := range elems[:n-1] {
		if sum += chunkRoom(len(e)); sum >= half && i > 0 {
			return []int{i}
		}
	}
	return []int{n - 1}
}

// atEdge says whether a place's leaf is the run's last (d is 1) or first (-1).
func (t *tree) atEdge(pl *place, d int) bool {
	for _, s := range pl.pages[:pl.depth] {
		p := t.pageOf(s.id)
		if p == nil || d > 0 && int(s.at) != p.children()-1 || d < 0 && s.at != 0 {
			return false
		}
	}
	return true
}

func packedSize(elems [][]byte) int {
	n := chunkHeader
	for _, e := range elems {
		n += chunkRoom(len(e))
	}
	return n
}

// pack writes a chunk.
func pack(dst chunk, elems [][]byte) {
	dst.setCount(len(elems))
	at, data := 0, chunkHeader+startSize*len(elems)
	for i, e := range elems {
		dst.setStart(i, at)
		at += copy(dst[data+at:], e)
	}
}

// addChildren enters new nodes behind the child on the way to a place, in the page at depth; the child itself, whose node
// is id, has count elements from now on. Above, counts grow by d.
func (t *tree) addChildren(pl *place, depth int, id uint32, count int, added []child, d int) {
	if depth < 0 {
		t.newRoot(id, count, added)
		return
	}
	s := pl.pages[depth]
	old := t.pageOf(s.id)
	if old == nil {
		return
	}
	oldLen := len(old)
	if room := childSize + len(added[0].low.rest); len(added) == 1 && oldLen+room <= pageMax {
		p := page(t.resizeNode(s.id, oldLen, oldLen+room))
		p.insert(oldLen, int(s.at)+1, added[0])
		p.addCount(int(s.at), count-p.count(int(s.at)))
		t.bump(pl, depth, d)
		return
	}
	p := old.open()
	p.counts[s.at] = count
	for i, c := range added {
		p.insert(int(s.at)+1+i, c.id, c.count, c.low)
	}
	if p.size() <= pageMax || len(p.ids) < 2*leastChildren || depth == 0 && t.root.heights[t.run] == maxHeight-1 {
		p.write(page(t.resizeNode(s.id, oldLen, p.size())))
		t.bump(pl, depth, d)
		return
	}
	upper := p.split()
	low := upper.bounds[0]
	upper.bounds[0] = bound{}
	upperID, b := t.newNode(upper.size())
	upper.write(page(b))
	p.write(page(t.resizeNode(s.id, oldLen, p.size())))
	t.addChildren(pl, depth-1, s.id, p.total(), []child{{upperID, upper.total(), low}}, d)
}

// newRoot puts a page above what has been the root until now.
func (t *tree) newRoot(id uint32, count int, added []child) {
	p := &openPage{level: int(t.root.heights[t.run])}
	p.insert(0, id, count, bound{})
	for i, c := range added {
		p.insert(1+i, c.id, c.count, c.low)
	}
	root, b := t.newNode(p.size())
	p.write(page(b))
	t.root.roots[t.run] = root
	t.root.heights[t.run]++
}

// remove takes up to n elements out, from a place on within its leaf, and returns how many that were. Not all of the run
// may go: that is the whole collection's end.
func (t *tree) remove(pl *place, n int) int {
	leaf := pl.chunk
	have, old := leaf.count(), len(leaf)
	if n = min(n, have-pl.at); n <= 0 {
		return 0 // a page has lied about its leaf
	}
	if n == have {
		t.removeNode(pl.leaf, 1+old)
		t.dropChild(pl, pl.depth-1, n)
		return n
	}
	b := t.home.WriteNode(pl.leaf)
	size := chunk(b[1:]).remove(pl.at, pl.at+n)
	t.resizeNode(pl.leaf, 1+old, 1+size)
	t.bump(pl, pl.depth, -n)
	if 1+size < leafMax/4 {
		t.merge(pl)
	}
	return n
}

// dropChild takes the child on the way to a place, which had n elements, out of the page at depth.
func (t *tree) dropChild(pl *place, depth, n int) {
	if depth < 0 {
		return
	}
	s := pl.pages[depth]
	old := t.pageOf(s.id)
	if old == nil {
		return
	}
	if old.children() == 1 {
		t.removeNode(s.id, len(old))
		t.dropChild(pl, depth-1, n)
		return
	}
	p, oldLen := old.open(), len(old)
	p.remove(int(s.at))
	p.bounds[0] = bound{}
	p.write(page(t.resizeNode(s.id, oldLen, p.size())))
	t.bump(pl, depth, -n)
	t.lower()
}

// lower takes pages with one child off the top.
func (t *tree) lower() {
	for t.root.heights[t.run] > 1 {
		id := t.root.roots[t.run]
		p := t.pageOf(id)
		if p == nil || p.children() > 1 {
			return
		}
		t.root.roots[t.run] = p.id(0)
		t.root.heights[t.run]--
		t.removeNode(id, len(p))
	}
}

// merge joins the leaf at a place, which has become small, with a neighbour under the same page if both fit well into one.
func (t *tree) merge(pl *place) {
	if pl.depth == 0 {
		return
	}
	s := pl.pages[pl.depth-1]
	p := t.pageOf(s.id)
	if p == nil || p.children() == 1 {
		return
	}
	at := int(s.at)
	if at == p.children()-1 {
		at--
	}
	leftID, rightID := p.id(at), p.id(at+1)
	left, right := t.leafOf(leftID), t.leafOf(rightID)
	if left == nil || right == nil {
		return
	}
	size := len(left) + len(right) - chunkHeader
	if 1+size > leafMax*3/4 {
		return
	}
	moved := slices.Clone(right)
	old := len(left)
	b := t.resizeNode(leftID, 1+old, 1+size)
	chunk(b[1:]).join(old, moved)
	t.removeNode(rightID, 1+len(moved))
	if p = t.pageOf(s.id); p == nil {
		return
	}
	o, oldLen := p.open(), len(p)
	o.counts[at] += o.counts[at+1]
	o.remove(at + 1)
	o.write(page(t.resizeNode(s.id, oldLen, o.size())))
	t.lower()
}

// walk calls visit for the elements from a place on, forward (d is 1) or backward (-1), until it returns false.
func (t *tree) walk(pl place, d int, visit func(e []byte) bool) {
	if !pl.ok {
		return
	}
	for {
		leaf := pl.chunk
		for n := leaf.count(); pl.at >= 0 && pl.at < n; pl.at += d {
			if !visit(leaf.elem(pl.at)) {
				return
			}
		}
		if !t.sideways(&pl, d) {
			return
		}
	}
}

// CopyLarge makes destination, where nothing is, the home of a copy of the large collection in source. Nodes keep their
// numbers under the copy's own.
func CopyLarge(source, destination Home) {
	b, _ := source.Root()
	r := readRoot(b)
	r.collection = destination.NewCollection()
	r.write(destination.ResizeRoot(rootSize, value.Large))
	if r.heights[0] == 0 {
		copyPieces(source, destination, r.count)
		return
	}
	for run, height := range r.heights {
		if height > 0 {
			copyNode(source, destination, r.roots[run], int(height))
		}
	}
}

// copyNode copies a node and what is below it, at most height levels: damaged pages may lead round in a circle.
func copyNode(source, destination Home, id uint32, height int) {
	node := slices.Clone(source.Node(id))
	if node == nil {
		return
	}
	copy(destination.AddNode(id, len(node)), node)
	if node[0] == leafLevel || node[0] == pieceLevel || height == 1 {
		return
	}
	for i := range page(node).children() {
		copyNode(source, destination, page(node).id(i), height-1)
	}
}
