package command

import (
	"bytes"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/value"
)

// sortPattern is an argument of BY or GET, taken apart. Redis reads it as a C string where it looks for the parts: what
// stands behind a NUL is neither a star nor an arrow.
type sortPattern struct {
	itself         bool // "#": the element
	star           bool // else nothing is ever found
	before, behind []byte
	field          []byte // of a hash; nil: the key holds a string
}

func newSortPattern(arg []byte) (p sortPattern) {
	text := untilNUL(arg)
	star := bytes.IndexByte(text, '*')
	if star < 0 {
		p.itself = string(text) == "#"
		return p
	}
	p.star, p.before, p.behind = true, arg[:star], arg[star+1:]
	if at := bytes.Index(text[star+1:], arrow); at >= 0 && star+1+at+len(arrow) < len(text) {
		p.behind, p.field = p.behind[:at], p.behind[at+len(arrow):]
	}
	return p
}

var arrow = []byte("->")

// lookup is what a pattern finds for an element. The bytes are good until the next call on the transaction.
func (s *sorting) lookup(tx *keyspace.Tx, p *sortPattern, element []byte) (v []byte, found bool) {
	if p.itself {
		return element, true
	}
	if !p.star {
		return nil, false
	}
	s.key = append(append(append(s.key[:0], p.before...), element...), p.behind...)
	if p.field == nil {
		e, found := tx.Get(tx.DB(), s.key)
		return tx.Whole(tx.DB(), s.key, e), found && e.Kind == value.String
	}
	if tx.Kind(tx.DB(), s.key) != value.Hash {
		return nil, false
	}
	return tx.Hash(tx.DB(), s.key).Get(p.field)
}

// untilNUL is b as a C string.
func untilNUL(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}
