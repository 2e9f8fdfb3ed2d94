package rdb

import (
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/larder-db/larder/engine/value"
)

// layout is how one object type lays a collection out. All are sequences of strings: a hash alternates fields and
// values, a sorted set members and scores, of which score makes numbers.
type layout struct {
	kind  value.Kind
	open  func(r *reader) (sequence, error)
	score func(s []byte) (float64, error)
}

// sequence is an object's strings, front to back.
type sequence interface {
	// next is the next string, and false behind the last one. The string aliases the payload or belongs to the caller.
	next() (s []byte, more bool, err error)
}

var layouts = map[byte]layout{
	typeList:          {kind: value.List, open: openPlain(1)},
	typeSet:           {kind: value.Set, open: openPlain(1)},
	typeHash:          {kind: value.Hash, open: openPlain(2)},
	typeZSet:          {kind: value.ZSet, open: openScored(binaryScore), score: fromBinary},
	typeZSetText:      {kind: value.ZSet, open: openScored(textScore), score: fromText},
	typeHashZipmap:    {kind: value.Hash, open: openPacked(newZipmap)},
	typeListZiplist:   {kind: value.List, open: openPacked(newZiplist)},
	typeIntset:        {kind: value.Set, open: openPacked(newIntset)},
	typeZSetZiplist:   {kind: value.ZSet, open: openPacked(newZiplist), score: fromText},
	typeHashZiplist:   {kind: value.Hash, open: openPacked(newZiplist)},
	typeListZiplists:  {kind: value.List, open: openNodes(false)},
	typeHashListpack:  {kind: value.Hash, open: openPacked(newListpack)},
	typeZSetListpack:  {kind: value.ZSet, open: openPacked(newListpack), score: fromText},
	typeListListpacks: {kind: value.List, open: openNodes(true)},
	typeSetListpack:   {kind: value.Set, open: openPacked(newListpack)},
}

// openPacked is a collection in one string.
func openPacked[S sequence](open func(packed []byte) (S, error)) func(*reader) (sequence, error) {
	return func(r *reader) (sequence, error) {
		packed, err := r.str()
		if err != nil {
			return nil, err
		}
		return open(packed)
	}
}

// each calls visit for every element, field with its value (v), or member with its score (v).
func (l *layout) each(r *reader, visit func(s, v []byte) (bool, error)) error {
	seq, err := l.open(r)
	if err != nil {
		return err
	}
	for {
		s, more, err := seq.next()
		if err != nil || !more {
			return err
		}
		var v []byte
		if l.kind == value.Hash || l.kind == value.ZSet {
			if v, more, err = seq.next(); err != nil {
				return err
			}
			if !more {
				return fmt.Errorf("%w: the last of the pairs is half", ErrFormat)
			}
		}
		if goOn, err := visit(s, v); err != nil || !goOn {
			return err
		}
	}
}

// pairs are the fields and values, or members and scores, of an object that check found sound.
func (l *layout) pairs(r reader) iter.Seq2[[]byte, []byte] {
	return func(yield func(s, v []byte) bool) {
		r := r
		_ = l.each(&r, func(s, v []byte) (bool, error) { return yield(s, v), nil }) // there is none: check has been here
	}
}

// check reads an object to its end and counts its elements, fields or members.
func (l *layout) check(r *reader) (n int, err error) {
	again := *r
	var hashes []uint64
	err = l.each(r, func(s, v []byte) (bool, error) {
		n++
		if l.kind != value.List {
			hashes = append(hashes, xxh3.Hash(s))
		}
		if l.kind != value.ZSet {
			return true, nil
		}
		score, err := l.score(v)
		if err == nil && math.IsNaN(score) {
			err = fmt.Errorf("%w: a score is not a number", ErrFormat)
		}
		return true, err
	})
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, fmt.Errorf("%w: the collection is empty", ErrFormat)
	}
	return n, l.unique(again, hashes)
}

// unique refuses what has a field or member twice. Eight bytes are kept of each; only those whose hashes agree are
// compared.
func (l *layout) unique(r reader, hashes []uint64) error {
	slices.Sort(hashes)
	suspect := map[uint64]bool{}
	for i := 1; i < len(hashes); i++ {
		if hashes[i] == hashes[i-1] {
			suspect[hashes[i]] = true
		}
	}
	if len(suspect) == 0 {
		return nil
	}
	seen := map[string]bool{}
	return l.each(&r, func(s, _ []byte) (bool, error) {
		if suspect[xxh3.Hash(s)] {
			if seen[string(s)] {
				return false, fmt.Errorf("%w: a member or field stands there twice", ErrFormat)
			}
			seen[string(s)] = true
		}
		return true, nil
	})
}

// plain is a counted sequence of strings.
type plain struct {
	r    *reader
	left uint64
}

// openPlain opens a count and each strings for every one counted.
func openPlain(each uint64) func(*reader) (sequence, error) {
	return func(r *reader) (sequence, error) {
		n, err := r.count(each)
		return &plain{r, n * each}, err
	}
}

// count reads how many elements of at least so many bytes follow.
func (r *reader) count(bytes uint64) (uint64, error) {
	n, _, err := r.length() // Redis takes x for the length if it is the special form
	if err != nil {
		return 0, err
	}
	if n > uint64(len(r.b))/bytes {
		return 0, fmt.Errorf("%w: %d elements announced where %d bytes are left", ErrFormat, n, len(r.b))
	}
	return n, nil
}

func (p *plain) next() ([]byte, bool, error) {
	if p.left == 0 {
		return nil, false, nil
	}
	p.left--
	s, err := p.r.str()
	return s, true, err
}

// scored is a counted sequence of members with a score behind each.
type scored struct {
	plain
	read func(r *reader) ([]byte, error)
}

func openScored(read func(r *reader) ([]byte, error)) func(*reader) (sequence, error) {
	return func(r *reader) (sequence, error) {
		n, err := r.count(2)
		return &scored{plain{r, 2 * n}, read}, err
	}
}

func (s *scored) next() ([]byte, bool, error) {
	if s.left%2 == 0 {
		return s.plain.next()
	}
	s.left--
	score, err := s.read(s.r)
	return score, true, err
}

// binaryScore is 8 bytes, little-endian.
func binaryScore(r *reader) ([]byte, error) { return r.take(8) }

func fromBinary(s []byte) (float64, error) {
	return math.Float64frombits(littleEndian(s)), nil
}

// The lengths that stand for scores without digits.
const (
	lengthNaN         = 253
	lengthInfinity    = 254
	lengthNegInfinity = 255
)

// textScore is a length of one byte and so many digits.
func textScore(r *reader) ([]byte, error) {
	n, err := r.take(1)
	if err != nil {
		return nil, err
	}
	switch n[0] {
	case lengthNaN:
		return nil, fmt.Errorf("%w: a score is not a number", ErrFormat)
	case lengthInfinity:
		return []byte("inf"), nil
	case lengthNegInfinity:
		return []byte("-inf"), nil
	}
	return r.take(uint64(n[0]))
}

// fromText reads a score as C prints one.
func fromText(s []byte) (float64, error) {
	score, ok := value.NearestDouble(s)
	if !ok {
		return 0, fmt.Errorf("%w: a score of %.40q", ErrFormat, s)
	}
	return score, nil
}
