package rdb

import (
	"encoding/binary"
	"fmt"
)

// The forms of a length, by the two highest bits of its first byte or by that byte.
const (
	len6       = 0 << 6
	len14      = 1 << 6
	lenSpecial = 3 << 6
	lenForm    = 3 << 6

	len32 = 0x80
	len64 = 0x81
)

// reader takes an object apart, front to back. What it returns aliases its bytes where it can.
type reader struct {
	b        []byte
	unpacked uint64 // bytes that compressed strings have unpacked to so far
}

// take splits off the next n bytes.
func (r *reader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.b)) {
		return nil, fmt.Errorf("%w: %d bytes announced where %d are left", ErrFormat, n, len(r.b))
	}
	head := r.b[:n:n]
	r.b = r.b[n:]
	return head, nil
}

// length reads a length; if special is true, n names a special form of a string instead.
func (r *reader) length() (n uint64, special bool, err error) {
	first, err := r.take(1)
	if err != nil {
		return 0, false, err
	}
	low := uint64(first[0] &^ lenForm)
	switch first[0] & lenForm {
	case len6:
		return low, false, nil
	case len14:
		next, err := r.take(1)
		if err != nil {
			return 0, false, err
		}
		return low<<8 | uint64(next[0]), false, nil
	case lenSpecial:
		return low, true, nil
	}
	switch first[0] {
	case len32:
		if next, err := r.take(4); err == nil {
			return uint64(binary.BigEndian.Uint32(next)), false, nil
		}
	case len64:
		if next, err := r.take(8); err == nil {
			return binary.BigEndian.Uint64(next), false, nil
		}
	}
	return 0, false, fmt.Errorf("%w: bad length", ErrFormat)
}

// appendLength appends n in its shortest form.
func appendLength(dst []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(dst, len6|byte(n))
	case n < 1<<14:
		return append(dst, len14|byte(n>>8), byte(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, len32), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, len64), n)
}
