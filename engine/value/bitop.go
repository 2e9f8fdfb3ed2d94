package value

import "encoding/binary"

// BitOp is a bitwise operation on whole strings, the shorter ones extended with zeros.
type BitOp uint8

// The operations. BitNot takes one string.
const (
	BitAnd BitOp = iota
	BitOr
	BitXor
	BitNot
)

// Fold combines acc with the next string and returns the result, which may have acc's memory and is never shorter.
// acc is nil before the first string. s is only read.
func (op BitOp) Fold(acc, s []byte) []byte {
	if acc == nil {
		acc = append([]byte{}, s...)
		if op == BitNot {
			invert(acc)
		}
		return acc
	}
	if len(acc) < len(s) {
		acc = append(acc, make([]byte, len(s)-len(acc))...)
	}
	switch op {
	case BitAnd:
		and(acc, s)
		clear(acc[len(s):])
	case BitOr:
		or(acc, s)
	case BitXor:
		xor(acc, s)
	}
	return acc
}

// The loops below work on 64 bits at a time, then on the bytes that are left; out is at least as long as s.

func and(out, s []byte) {
	i := 0
	for ; len(s)-i >= 8; i += 8 {
		binary.LittleEndian.PutUint64(out[i:], binary.LittleEndian.Uint64(out[i:])&binary.LittleEndian.Uint64(s[i:]))
	}
	for ; i < len(s); i++ {
		out[i] &= s[i]
	}
}

func or(out, s []byte) {
	i := 0
	for ; len(s)-i >= 8; i += 8 {
		binary.LittleEndian.PutUint64(out[i:], binary.LittleEndian.Uint64(out[i:])|binary.LittleEndian.Uint64(s[i:]))
	}
	for ; i < len(s); i++ {
		out[i] |= s[i]
	}
}

func xor(out, s []byte) {
	i := 0
	for ; len(s)-i >= 8; i += 8 {
		binary.LittleEndian.PutUint64(out[i:], binary.LittleEndian.Uint64(out[i:])^binary.LittleEndian.Uint64(s[i:]))
	}
	for ; i < len(s); i++ {
		out[i] ^= s[i]
	}
}

func invert(out []byte) {
	i := 0
	for ; len(out)-i >= 8; i += 8 {
		binary.LittleEndian.PutUint64(out[i:], ^binary.LittleEndian.Uint64(out[i:]))
	}
	for ; i < len(out); i++ {
		out[i] = ^out[i]
	}
}
