package rdb

import (
	"math"
	"sync"
)

// LZF is a byte-wise Lempel-Ziv format without a header. It is a sequence of
//
//	000nnnnn  n+1 bytes                  literals: the bytes follow
//	lllooooo  oooooooo                   a copy of l+2 bytes, 1 ≤ l ≤ 6, from o+1 bytes back
//	111ooooo  llllllll  oooooooo         a copy of l+9 bytes, from o+1 bytes back
//
// A copy may overlap what it produces.
//
// The compressor is greedy over a table of where each hashed triple of bytes was last seen. Its decisions (hash,
// which positions enter the table, when it gives up) are those of Redis's, so that payloads and lengths are the same.
const (
	maxLiterals = 1 << 5
	maxOffset   = 1 << 13
	maxCopy     = 1<<8 + 1<<3
	tableBits   = 16

	unboundedMatch = 19
)

// compressor holds the table from one run to the next. Positions are stored with base added, and base grows beyond
// all of them before the next run, so that the table need not be cleared.
type compressor struct {
	table [1 << tableBits]uint32
	base  uint32
	out   []byte
}

var compressors = sync.Pool{New: func() any { return new(compressor) }}

// maxScratch bounds the output buffer that a pooled compressor keeps, bytes.
const maxScratch = 1 << 20

func slot(b []byte) uint32 {
	h := uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	return (h>>(24-tableBits) - h*5) & (1<<tableBits - 1)
}

// compress packs src, which has at least 3 bytes, and says whether the result fits into limit bytes. The result is
// valid until the next call.
func (c *compressor) compress(src []byte, limit int) (packed []byte, ok bool) {
	if uint64(c.base)+uint64(len(src)) > math.MaxUint32 {
		clear(c.table[:])
		c.base = 0
	}
	base := c.base
	c.base += uint32(len(src))
	if cap(c.out) > maxScratch {
		c.out = nil
	}
	out := literals{out: c.out[:0], limit: limit}
	defer func() { c.out = out.out }()

	at := 0
	for at < len(src)-2 {
		entry := &c.table[slot(src[at:])]
		seen := int64(*entry) - int64(base)
		*entry = base + uint32(at)
		// The very first position counts as never seen, since an unused entry looks the same.
		if seen <= 0 || at-int(seen) > maxOffset || [3]byte(src[seen:]) != [3]byte(src[at:]) {
			if !out.literal(src[at]) {
				return nil, false
			}
			at++
			continue
		}
		n := matchLen(src, int(seen), at)
		if !out.copy(at-int(seen)-1, n) {
			return nil, false
		}
		at += n
		if at >= len(src)-2 {
			break
		}
		c.table[slot(src[at-2:])] = base + uint32(at-2)
		c.table[slot(src[at-1:])] = base + uint32(at-1)
	}
	if !out.fits(3) {
		return nil, false
	}
	for ; at < len(src); at++ {
		out.add(src[at])
	}
	return out.out, true
}

// matchLen is how far the bytes at seen and at agree, of which three are known to. Two bytes are left over at the
// end, except by a match of just the length up to which Redis compares without looking at the bound.
func matchLen(src []byte, seen, at int) int {
	most := min(len(src)-at-2, maxCopy)
	if most > unboundedMatch-3 {
		most = max(most, unboundedMatch)
	}
	n := 3
	for n < most && src[seen+n] == src[at+n] {
		n++
	}
	return n
}

// literals is the compressor's output. run is the number of literals in the run that is open at the end; its control
// byte is written with its first literal, but counted from the end of the last run on.
type literals struct {
	out   []byte
	run   int
	limit int
}

// size is the length of the output with the control byte of a run that has not begun.
func (l *literals) size() int {
	if l.run == 0 {
		return len(l.out) + 1
	}
	return len(l.out)
}

// fits says whether n more bytes would.
func (l *literals) fits(n int) bool { return l.size()+n <= l.limit }

func (l *literals) literal(b byte) bool {
	if !l.fits(1) {
		return false
	}
	l.add(b)
	return true
}

func (l *literals) add(b byte) {
	if l.run == 0 {
		l.out = append(l.out, 0)
	}
	l.out = append(l.out, b)
	l.out[len(l.out)-1-l.run-1] = byte(l.run)
	l.run++
	if l.run == maxLiterals {
		l.run = 0
	}
}

// copy appends a copy of n bytes from offset+1 back. Room for a control byte more than it takes must be there.
func (l *literals) copy(offset, n int) bool {
	if len(l.out)+4 >= l.limit {
		return false
	}
	l.run = 0
	if n -= 2; n < 7 {
		l.out = append(l.out, byte(n<<5|offset>>8), byte(offset))
	} else {
		l.out = append(l.out, byte(7<<5|offset>>8), byte(n-7), byte(offset))
	}
	return true
}

// token reads the control bytes at the head of packed: a run of n literals at packed[head:], or a copy of n bytes
// from back bytes behind.
func token(packed []byte) (head, n, back int, ok bool) {
	c := int(packed[0])
	if c < maxLiterals {
		return 1, c + 1, 0, true
	}
	head, n = 2, c>>5+2
	if c>>5 == 7 {
		head = 3
	}
	if len(packed) < head {
		return 0, 0, 0, false
	}
	if head == 3 {
		n += int(packed[1])
	}
	return head, n, (c&0x1f)<<8 + int(packed[head-1]) + 1, true
}

// unpackedLen walks packed and says how many bytes it unpacks to; ok is false where it is malformed or more than most.
func unpackedLen(packed []byte, most int) (n int, ok bool) {
	for len(packed) > 0 {
		head, run, back, ok := token(packed)
		if !ok || back > n {
			return 0, false
		}
		packed = packed[head:]
		if back == 0 {
			if run > len(packed) {
				return 0, false
			}
			packed = packed[run:]
		}
		if n += run; n > most {
			return 0, false
		}
	}
	return n, true
}

// unpack reverses compress for bytes that unpackedLen has found to be well formed and n bytes long.
func unpack(packed []byte, n int) []byte {
	out := make([]byte, 0, n)
	for len(packed) > 0 {
		head, run, back, _ := token(packed)
		packed = packed[head:]
		if back == 0 {
			out = append(out, packed[:run]...)
			packed = packed[run:]
			continue
		}
		for from := len(out) - back; run > 0; {
			k := min(run, len(out)-from) // an overlapping copy doubles what it can take each time
			out = append(out, out[from:from+k]...)
			run -= k
		}
	}
	return out
}
