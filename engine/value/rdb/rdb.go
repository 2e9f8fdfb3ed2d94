// Package rdb reads and writes values in the form that Redis gives them in RDB files and in DUMP's payloads.
//
// A payload is one object and a footer:
//
//	type     1 byte     what the object is and how it is laid out
//	object   …          depends on the type
//	version  2 bytes    RDB version, little-endian
//	checksum 8 bytes    CRC-64 (Jones) of everything before it, little-endian
//
// Lengths and small integers share one form, told apart by the first byte's two highest bits:
//
//	00xxxxxx                    a length of 6 bits
//	01xxxxxx 1 byte             a length of 14 bits, big-endian
//	10000000 4 bytes            a length of 32 bits, big-endian
//	10000001 8 bytes            a length of 64 bits, big-endian
//	11xxxxxx                    no length: x names a special form of a string
//
// A string is a length and its bytes, or a special form: x = 0, 1, 2 is an integer of 8, 16 or 32 bits, little-endian,
// that stands for its decimal digits; x = 3 is the compressed length, the length, and LZF-compressed bytes.
//
// Collections are a count and that many strings (a hash: pairs of them; a sorted set: a string and a score), or packed
// into one string or several, in the layouts that packed.go lists. All that Redis 2.6 to 7.2 wrote is read; what is
// written is what Redis 7.0 would write of the same content, but for collections that it would pack.
//
// Invariants: nothing is allocated on the word of a length. What a length announces must be there in the payload, and
// a compressed string is measured before it is unpacked. An object is read to its end and found to be sound before a
// first element of it is given out; then its elements are read again, one at a time, so that it is never in memory as
// a whole.
package rdb

import (
	"errors"
	"iter"

	"github.com/larder-db/larder/engine/value"
)

const (
	// Version is the RDB version written: that of Redis 7.0.
	Version = 10
	// MaxVersion is the highest RDB version read: that of Redis 7.2.
	MaxVersion = 11

	// MaxString is the longest string read, in bytes: the longest that Redis holds by default.
	MaxString = 512 << 20
	// maxUnpacked is how many bytes the compressed strings of one payload may unpack to together.
	maxUnpacked = 2 * MaxString
)

var (
	// ErrFooter is wrapped by errors about a payload whose version or checksum is wrong.
	ErrFooter = errors.New("DUMP payload version or checksum are wrong")
	// ErrFormat is wrapped by errors about an object that cannot be read.
	ErrFormat = errors.New("bad data format")
	// ErrKind is wrapped by errors about an object that has no serialized form here.
	ErrKind = errors.New("kind of value cannot be serialized")
)

// The object types, by their numbers in RDB files.
const (
	typeString        = 0
	typeList          = 1
	typeSet           = 2
	typeZSetText      = 3 // scores in decimal digits
	typeHash          = 4
	typeZSet          = 5 // scores in binary
	typeHashZipmap    = 9
	typeListZiplist   = 10
	typeIntset        = 11
	typeZSetZiplist   = 12
	typeHashZiplist   = 13
	typeListZiplists  = 14
	typeHashListpack  = 16
	typeZSetListpack  = 17
	typeListListpacks = 18
	typeSetListpack   = 20
)

// Object is a value outside of the key space. What the sequences yield is valid until they yield again.
type Object struct {
	Kind   value.Kind
	String []byte // the bytes of a string

	Len      int                        // number of a collection's elements, fields or members; at least 1
	Elements iter.Seq[[]byte]           // of a list or a set
	Fields   iter.Seq2[[]byte, []byte]  // of a hash
	Scores   iter.Seq2[[]byte, float64] // of a sorted set
}
