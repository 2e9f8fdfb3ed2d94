package value

import (
	"encoding/binary"
	"math/bits"
)

// Bits are numbered as Redis does: bit 0 is the most significant of byte 0.

// Bit is bit n of b; bits behind the end are zero.
func Bit(b []byte, n uint64) int {
	if n>>3 >= uint64(len(b)) {
		return 0
	}
	return int(b[n>>3]>>(7-n&7)) & 1
}

// PutBit sets bit n of b, which must reach that far, and returns what it was.
func PutBit(b []byte, n uint64, on bool) (was int) {
	was = Bit(b, n)
	mask := byte(0x80) >> (n & 7)
	if on {
		b[n>>3] |= mask
	} else {
		b[n>>3] &^= mask
	}
	return was
}

// edgeMasks are the bits that count in the first and in the last byte of the bits from first to last.
func edgeMasks(first, last uint64) (head, tail byte) {
	return 0xff >> (first & 7), 0xff << (7 - last&7)
}

// CountBits is the number of ones among the bits from first to last, both included and inside b.
func CountBits(b []byte, first, last uint64) int64 {
	head, tail := edgeMasks(first, last)
	from, to := first>>3, last>>3
	if from == to {
		return int64(bits.OnesCount8(b[from] & head & tail))
	}
	n := bits.OnesCount8(b[from]&head) + bits.OnesCount8(b[to]&tail)
	return int64(n) + countOnes(b[from+1:to])
}

func countOnes(b []byte) (n int64) {
	for len(b) >= 32 {
		n += int64(bits.OnesCount64(binary.LittleEndian.Uint64(b)) +
			bits.OnesCount64(binary.LittleEndian.Uint64(b[8:])) +
			bits.OnesCount64(binary.LittleEndian.Uint64(b[16:])) +
			bits.OnesCount64(binary.LittleEndian.Uint64(b[24:])))
		b = b[32:]
	}
	for _, c := range b {
		n += int64(bits.OnesCount8(c))
	}
	return n
}

// FindBit is the number of the first bit among those from first to last, both included and inside b, that is one (on)
// or zero; -1 if there is none.
func FindBit(b []byte, on bool, first, last uint64) int64 {
	// Look for ones; zeros are the ones of the complement.
	var flip byte
	if !on {
		flip = 0xff
	}
	head, tail := edgeMasks(first, last)
	from, to := first>>3, last>>3
	if from == to {
		tail &= head
		head = tail
	}
	if c := (b[from] ^ flip) & head; c != 0 {
		return bitNumber(from, c)
	}
	if from == to {
		return -1
	}
	if i := skipBytes(b[from+1:to], flip); i >= 0 {
		at := from + 1 + uint64(i)
		return bitNumber(at, b[at]^flip)
	}
	if c := (b[to] ^ flip) & tail; c != 0 {
		return bitNumber(to, c)
	}
	return -1
}

// bitNumber is the number of the most significant one of c, which stands at byte at.
func bitNumber(at uint64, c byte) int64 {
	return int64(at<<3) + int64(bits.LeadingZeros8(c))
}

// skipBytes is the index of the first byte that differs from fill; -1 if there is none.
func skipBytes(b []byte, fill byte) int {
	words := uint64(fill) * 0x0101010101010101
	i := 0
	for ; len(b)-i >= 8; i += 8 {
		if d := binary.LittleEndian.Uint64(b[i:]) ^ words; d != 0 {
			return i + bits.TrailingZeros64(d)>>3
		}
	}
	for ; i < len(b); i++ {
		if b[i] != fill {
			return i
		}
	}
	return -1
}
