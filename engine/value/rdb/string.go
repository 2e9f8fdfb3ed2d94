package rdb

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/larder-db/larder/engine/value"
)

// The special forms of a string.
const (
	formInt8  = 0
	formInt16 = 1
	formInt32 = 2
	formLZF   = 3
)

const (
	// maxDigits is the length of the longest integer that has a form of its own: -2147483648.
	maxDigits = 11
	// minCompress is the length that a string must exceed for compression to be tried.
	minCompress = 20
	// minSaving is by how many bytes compression must win.
	minSaving = 4
)

// appendString appends s in the form that Redis would choose: an integer's, else compressed if that wins, else plain.
func appendString(dst, s []byte) []byte {
	if len(s) <= maxDigits {
		if n, ok := value.ParseInt(s); ok && math.MinInt32 <= n && n <= math.MaxInt32 {
			return appendInteger(dst, int32(n))
		}
	}
	if len(s) > minCompress {
		c := compressors.Get().(*compressor)
		defer compressors.Put(c)
		if packed, ok := c.compress(s, len(s)-minSaving); ok {
			dst = append(dst, lenSpecial|formLZF)
			dst = appendLength(dst, uint64(len(packed)))
			dst = appendLength(dst, uint64(len(s)))
			return append(dst, packed...)
		}
	}
	return append(appendLength(dst, uint64(len(s))), s...)
}

func appendInteger(dst []byte, n int32) []byte {
	switch {
	case n == int32(int8(n)):
		return append(dst, lenSpecial|formInt8, byte(n))
	case n == int32(int16(n)):
		return binary.LittleEndian.AppendUint16(append(dst, lenSpecial|formInt16), uint16(n))
	}
	return binary.LittleEndian.AppendUint32(append(dst, lenSpecial|formInt32), uint32(n))
}

// str reads a string in any form. Plain ones alias the reader's bytes.
func (r *reader) str() ([]byte, error) {
	n, special, err := r.length()
	if err != nil {
		return nil, err
	}
	if !special {
		if n > MaxString {
			return nil, fmt.Errorf("%w: a string of %d bytes", ErrFormat, n)
		}
		return r.take(n)
	}
	switch n {
	case formInt8, formInt16, formInt32:
		return r.integer(n)
	case formLZF:
		return r.compressed()
	}
	return nil, fmt.Errorf("%w: string form %d", ErrFormat, n)
}

func (r *reader) integer(form uint64) ([]byte, error) {
	b, err := r.take(1 << form)
	if err != nil {
		return nil, err
	}
	var n int64
	switch form {
	case formInt8:
		n = int64(int8(b[0]))
	case formInt16:
		n = int64(int16(binary.LittleEndian.Uint16(b)))
	default:
		n = int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return strconv.AppendInt(nil, n, 10), nil
}

func (r *reader) compressed() ([]byte, error) {
	packedLen, _, err := r.length() // Redis takes x for the length if it is the special form
	if err != nil {
		return nil, err
	}
	n, _, err := r.length()
	if err != nil {
		return nil, err
	}
	packed, err := r.take(packedLen)
	if err != nil {
		return nil, err
	}
	if n > MaxString {
		return nil, fmt.Errorf("%w: a string of %d bytes", ErrFormat, n)
	}
	if r.unpacked += n; r.unpacked > maxUnpacked {
		return nil, fmt.Errorf("%w: it unpacks to more than %d bytes", ErrFormat, maxUnpacked)
	}
	if got, ok := unpackedLen(packed, int(n)); !ok || got != int(n) {
		return nil, fmt.Errorf("%w: a compressed string does not unpack to %d bytes", ErrFormat, n)
	}
	return unpack(packed, int(n)), nil
}
