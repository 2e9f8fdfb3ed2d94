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
// Invariant: nothing is allocated on the word of a length. What a length announces must be there in the payload, and
// a compressed string is measured before it is unpacked.
package rdb

import (
	"errors"
	"fmt"

	"github.com/larder-db/larder/engine/value"
)

const (
	// Version is the RDB version written: that of Redis 7.0.
	Version = 10
	// MaxVersion is the highest RDB version read: that of Redis 7.2.
	MaxVersion = 11

	// MaxString is the longest string read, in bytes: the longest that Redis holds by default.
	MaxString = 512 << 20
)

var (
	// ErrFooter is wrapped by errors about a payload whose version or checksum is wrong.
	ErrFooter = errors.New("DUMP payload version or checksum are wrong")
	// ErrFormat is wrapped by errors about an object that cannot be read.
	ErrFormat = errors.New("bad data format")
	// ErrKind is wrapped by errors about an object that has no serialized form here.
	ErrKind = errors.New("kind of value cannot be serialized")
)

// The object types.
const (
	typeString = 0
)

// Object is a value outside of the key space.
type Object struct {
	Kind   value.Kind
	String []byte // the bytes of a string
}

// objectType is the type under which o is written.
func objectType(o Object) (byte, error) {
	if o.Kind != value.String {
		return 0, fmt.Errorf("%w: %s", ErrKind, o.Kind)
	}
	return typeString, nil
}

// AppendObject appends o to dst without its type: what Redis counts as an object's serialized length.
func AppendObject(dst []byte, o Object) ([]byte, error) {
	if _, err := objectType(o); err != nil {
		return dst, err
	}
	return appendString(dst, o.String), nil
}

// object reads one object of the given type.
func (r *reader) object(typ byte) (Object, error) {
	if typ != typeString {
		return Object{}, fmt.Errorf("%w: object type %d", ErrFormat, typ)
	}
	s, err := r.str()
	if err != nil {
		return Object{}, err
	}
	return Object{Kind: value.String, String: s}, nil
}
