package collection

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
)

// shape says how a run's elements are made up and ordered.
type shape uint8

const (
	members shape = iota // the element is a member; by (hash, member)
	pairs                // length as uvarint, field or member, value or score; by (hash of the former, itself)
	scored               // score as 8 sortable bytes, member; by (score, member)
	plain                // anything; by place
)

// keyOf is the field or member of an element.
func (s shape) keyOf(e []byte) []byte {
	switch s {
	case pairs:
		if len(e) > 0 && e[0] < 0x80 && int(e[0]) < len(e) { // the common case, in line
			n := 1 + int(e[0])
			return e[1:n:n]
		}
		n, k := binary.Uvarint(e)
		if k <= 0 || n > uint64(len(e)-k) {
			return nil // not reached with bytes that this package wrote
		}
		return e[k : k+int(n) : k+int(n)]
	case scored:
		if len(e) < scoreSize {
			return nil
		}
		return e[scoreSize:]
	}
	return e
}

// valueOf is what stands behind the field or member of a pair.
func valueOf(e []byte) []byte {
	n, k := binary.Uvarint(e)
	if k <= 0 || n > uint64(len(e)-k) {
		return nil
	}
	return e[k+int(n):]
}

func appendPair(b, key, val []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(key)))
	return append(append(b, key...), val...)
}

const scoreSize = 8

// sortable maps scores to numbers of the same order; -0 comes just before 0.
func sortable(score float64) uint64 {
	b := math.Float64bits(score)
	if b>>63 != 0 {
		return ^b
	}
	return b | 1<<63
}

func unsortable(u uint64) float64 {
	if u>>63 != 0 {
		return math.Float64frombits(u &^ (1 << 63))
	}
	return math.Float64frombits(^u)
}

// level joins -0 with 0, which are equal scores.
func level(u uint64) uint64 {
	if u == 1<<63-1 {
		return 1 << 63
	}
	return u
}

func appendScored(b []byte, score float64, m []byte) []byte {
	return append(binary.BigEndian.AppendUint64(b, sortable(score)), m...)
}

func scoreOf(e []byte) uint64 {
	if len(e) < scoreSize {
		return 0
	}
	return binary.BigEndian.Uint64(e)
}

// probe is what a run is searched for: an element's place in its order.
type probe struct {
	major  uint64 // hash, or score as level(sortable)
	member []byte
}

// hashProbe is the probe for a field or member in a run ordered by hash.
func (c *core) hashProbe(m []byte) probe { return probe{c.home.Hash(m), m} }

// majorOf is an element's part of probe.major.
func (c *core) majorOf(s shape, e []byte) uint64 {
	if s == scored {
		return level(scoreOf(e))
	}
	return c.home.Hash(s.keyOf(e))
}

// compare orders an element against the probe.
func (c *core) compare(s shape, e []byte, q *probe) int {
	if o := cmp.Compare(c.majorOf(s, e), q.major); o != 0 {
		return o
	}
	return bytes.Compare(s.keyOf(e), q.member)
}

// boundBetween is the shortest bound that is above left and not above right.
func (c *core) boundBetween(s shape, left, right []byte) bound {
	if s == plain {
		return bound{}
	}
	major := c.majorOf(s, right)
	if c.majorOf(s, left) < major {
		return bound{major: major}
	}
	l, r := s.keyOf(left), s.keyOf(right)
	n := 0
	for n < len(l) && n < len(r) && l[n] == r[n] {
		n++
	}
	return bound{major, bytes.Clone(r[:min(n+1, len(r))])}
}
