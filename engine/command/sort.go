package command

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// sortKeys are the keys of SORT: the one that is sorted, those that BY and GET make of its elements, which the arguments
// do not tell, and the destination. SORT_RO has the first two.
var sortKeys = []KeySpec{
	{First: 1, Last: 1, Step: 1, Use: RO | Access},
	{
		Use: RO | Access,
		Notes: "For the optional BY/GET keyword. " +
			"It is marked 'unknown' because the key names derive from the content of the key we sort",
	},
	{
		Keyword: "STORE", From: 2, Step: 1, Use: OW | Update,
		Over:  []Operands{{"BY", 1}, {"GET", 1}, {"LIMIT", 2}},
		Notes: "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array",
	},
}

var sortCommands = []Command{
	{
		Name: "SORT", Arity: -2, Flags: Write | DenyOOM | MovableKeys, Keys: sortKeys, Do: sortAny,
		Group: "generic", Since: "1.0.0", Summary: "Sorts a list, a set or a sorted set, and returns or stores the result.",
		Extra: "-keyspace set sortedset list dangerous",
	},
	{
		Name: "SORT_RO", Arity: -2, Flags: ReadOnly | MovableKeys, Keys: sortKeys[:2], Do: sortReadOnly,
		Group: "generic", Since: "7.0.0", Summary: "Sorts a list, a set or a sorted set, and returns the result.",
		Extra: "-keyspace set sortedset list dangerous",
	},
}

// sortOptions are what follows the key.
type sortOptions struct {
	desc, alpha   bool
	offset, count int64        // LIMIT; a count below 0 has no bound
	by            *sortPattern // nil: by the elements themselves
	keep          bool         // a pattern of BY was constant: the elements stay in the order that they have
	get           []sortPattern
	store         []byte // nil: answer with the result
}

// parseSortOptions reads them; where they are wrong, it answers the error and returns false.
func parseSortOptions(w reply.Writer, args [][]byte, mayStore bool) (o sortOptions, ok bool) {
	o.count = -1
	for len(args) > 0 {
		word, used := args[0], 1
		switch {
		case isWord(word, "ASC"):
			o.desc = false
		case isWord(word, "DESC"):
			o.desc = true
		case isWord(word, "ALPHA"):
			o.alpha = true
		case isWord(word, "LIMIT") && len(args) > 2:
			if o.offset, o.count, ok = rangeArgs(w, args[1:]); !ok {
				return o, false
			}
			used = 3
		case isWord(word, "STORE") && len(args) > 1 && mayStore:
			o.store, used = args[1], 2
		case isWord(word, "BY") && len(args) > 1:
			p := newSortPattern(args[1])
			o.by, used = &p, 2
			o.keep = o.keep || !p.star // for good, whatever BY follows
		case isWord(word, "GET") && len(args) > 1:
			o.get, used = append(o.get, newSortPattern(args[1])), 2
		default:
			w.Error(reply.Syntax)
			return o, false
		}
		args = args[used:]
	}
	return o, true
}

func sortAny(tx *keyspace.Tx, args [][]byte, w reply.Writer) { sortKey(tx, args, w, true) }

func sortReadOnly(tx *keyspace.Tx, args [][]byte, w reply.Writer) { sortKey(tx, args, w, false) }

func sortKey(tx *keyspace.Tx, args [][]byte, w reply.Writer, mayStore bool) {
	o, ok := parseSortOptions(w, args[2:], mayStore)
	if !ok {
		return
	}
	s := sorting{sortOptions: o}
	kind := tx.Kind(tx.DB(), args[1])
	if kind == value.Set && s.keep && o.store != nil {
		s.keep, s.alpha, s.by = false, true, nil // the stored order may not depend on how the set is kept
	}
	switch {
	case !s.load(tx, args[1], kind):
		w.Error(reply.WrongType)
	case !s.keep && !s.sort(tx):
		w.Error("ERR One or more scores can't be converted into double")
	case s.bytes.full():
		w.Error(sortTooLarge)
	case o.store != nil:
		s.storeResult(tx, w)
	default:
		s.answer(tx, w)
	}
}

// mostSorted is what the copies that one SORT works on may take up, in bytes. A constant: what Apply does may not depend
// on configuration.
const mostSorted = 1 << 30

const sortTooLarge = "ERR SORT would need more than 1 GB of memory"

// sorting is one run of SORT. It works on copies: keys that BY and GET look up may have to be loaded or deleted.
type sorting struct {
	sortOptions
	items []sortItem
	bytes byteHeap
	key   []byte // the last one that a pattern made
}

// sortItem is an element with what it is sorted by.
type sortItem struct {
	element []byte
	score   float64
	text    []byte // with ALPHA; nil: BY finds nothing
	place   int    // decides between equals
}

// load copies the elements of the list, set or sorted set under key; false: it holds another kind. Of an order that is
// kept, only what LIMIT leaves is loaded.
func (s *sorting) load(tx *keyspace.Tx, key []byte, kind value.Kind) bool {
	switch kind {
	case value.None:
	case value.List:
		l := tx.List(tx.DB(), key)
		from, to := s.window(l.Len())
		if from == to {
			return true
		}
		elements := l.From(from)
		if s.backwards() {
			elements = l.Backward(l.Len() - 1 - from)
		}
		for _, v := range elements {
			if s.add(v) == to-from || s.bytes.full() {
				break
			}
		}
	case value.ZSet:
		z := tx.ZSet(tx.DB(), key)
		from, to := s.window(z.Len())
		if from == to {
			return true
		}
		members := z.From(from)
		if s.backwards() {
			members = z.Backward(z.Len() - 1 - from)
		}
		for m := range members {
			if s.add(m) == to-from || s.bytes.full() {
				break
			}
		}
	case value.Set:
		set := tx.Set(tx.DB(), key)
		from, to := s.window(set.Len())
		i := 0
		for m := range set.All() {
			if i == to || s.bytes.full() {
				break
			}
			if i >= from {
				s.add(m)
			}
			i++
		}
	default:
		return false
	}
	return true
}

// window is the places, in the order of the walk, of those of n elements that have to be loaded, and makes room for them.
func (s *sorting) window(n int) (from, to int) {
	if from, to = 0, n; s.keep {
		from, to = s.limit(n)
	}
	s.items = make([]sortItem, 0, min(to-from, 1<<16))
	return from, to
}

// backwards says whether the walk begins at the end. (A set whose order is kept has no other.)
func (s *sorting) backwards() bool { return s.keep && s.desc }

// limit is what LIMIT leaves of n elements: from <= i < to.
func (s *sorting) limit(n int) (from, to int) {
	from = int(min(max(s.offset, 0), int64(n)))
	if s.count < 0 {
		return from, n
	}
	return from, from + int(min(s.count, int64(n-from)))
}

func (s *sorting) add(element []byte) (n int) {
	s.items = append(s.items, sortItem{element: s.bytes.clone(element), place: len(s.items)})
	return len(s.items)
}

// sort puts the items in order and drops those that LIMIT leaves out; false: a score is no number. It stops where the
// copies become too large, or a cold key makes all in vain.
func (s *sorting) sort(tx *keyspace.Tx) bool {
	for i := range s.items {
		if s.bytes.full() || tx.Cold() {
			return true
		}
		item := &s.items[i]
		by, found := item.element, true
		if s.by != nil {
			by, found = s.lookup(tx, s.by, item.element)
		}
		switch {
		case !found: // the score is 0
		case s.alpha && s.by != nil:
			item.text = s.bytes.clone(by)
		case s.alpha:
			item.text = item.element
		default:
			var ok bool
			if item.score, ok = sortScore(by); !ok {
				return false
			}
		}
	}
	slices.SortFunc(s.items, s.compare)
	from, to := s.limit(len(s.items))
	s.items = s.items[from:to]
	return true
}

func (s *sorting) compare(a, b sortItem) int {
	var c int
	switch {
	case !s.alpha:
		if c = cmp.Compare(a.score, b.score); c == 0 {
			c = bytes.Compare(a.element, b.element)
		}
	case a.text == nil || b.text == nil:
		c = cmp.Compare(presence(a.text), presence(b.text))
	case s.store != nil:
		c = bytes.Compare(a.text, b.text)
	default:
		c = bytes.Compare(untilNUL(a.text), untilNUL(b.text)) // Redis compares C strings here, and only here
	}
	if s.desc {
		c = -c
	}
	return cmp.Or(c, cmp.Compare(a.place, b.place))
}

func presence(b []byte) int {
	if b == nil {
		return 0
	}
	return 1
}

// answer writes the result.
func (s *sorting) answer(tx *keyspace.Tx, w reply.Writer) {
	w.Array(len(s.items) * max(1, len(s.get)))
	for i := range s.items {
		if tx.Cold() {
			return
		}
		element := s.items[i].element
		if len(s.get) == 0 {
			w.Bulk(element)
		}
		for j := range s.get {
			if v, found := s.lookup(tx, &s.get[j], element); found {
				w.Bulk(v)
			} else {
				w.Null()
			}
		}
	}
}

// storeResult makes the destination a list of the result, removes it if that is empty, and answers with the number of
// elements. What GET does not find is an empty string there.
func (s *sorting) storeResult(tx *keyspace.Tx, w reply.Writer) {
	var result [][]byte
	for i := range s.items {
		element := s.items[i].element
		if len(s.get) == 0 {
			result = append(result, element)
		}
		for j := range s.get {
			v, _ := s.lookup(tx, &s.get[j], element)
			result = append(result, s.bytes.clone(v))
		}
		if s.bytes.full() {
			w.Error(sortTooLarge)
			return
		}
	}
	tx.Delete(tx.DB(), s.store) // behind the last look: BY and GET may have read it
	tx.List(tx.DB(), s.store).Fill(slices.Values(result))
	w.Int(int64(len(result)))
}

// byteHeap holds copies of byte slices that go all at once.
type byteHeap struct {
	free []byte
	next int // bytes of the next block
	used int // bytes, those for keeping the slices included
}

// clone copies b; the copy is never nil.
func (h *byteHeap) clone(b []byte) []byte {
	h.used += len(b) + 64
	if len(b) > len(h.free) || h.free == nil {
		h.next = min(max(2*h.next, 512), 64<<10)
		h.free = make([]byte, max(h.next, len(b)))
	}
	n := copy(h.free, b)
	c := h.free[:n:n]
	h.free = h.free[n:]
	return c
}

// full says whether there is as much as one SORT may take up.
func (h *byteHeap) full() bool { return h.used > mostSorted }
