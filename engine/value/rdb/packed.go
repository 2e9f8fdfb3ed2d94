package rdb

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// Collections packed into one string. Numbers are little-endian unless noted.
//
//	listpack  bytes u32, count u16 (0xffff: not known), entries, 0xff
//	  entry   header and content as below, then their length, backwards: groups of 7 bits, highest first, all but the
//	          first one with the high bit set
//	            0xxxxxxx                 the number x
//	            10xxxxxx                 x bytes
//	            110xxxxx 8 bits          the number x, 13 bits with a sign, big-endian
//	            1110xxxx 8 bits          x bytes, 12 bits, big-endian
//	            0xf0 u32                 so many bytes
//	            0xf1, f2, f3, f4         a number of 16, 24, 32, 64 bits
//
//	ziplist   bytes u32, place of the last entry u32, count u16 (0xffff: not known), entries, 0xff
//	  entry   length of the entry before (1 byte below 254, or 254 and u32), header and content
//	            00xxxxxx                 x bytes
//	            01xxxxxx 8 bits          x bytes, 14 bits, big-endian
//	            10______ u32             so many bytes, big-endian
//	            0xc0, d0, e0, f0, fe     a number of 16, 32, 64, 24, 8 bits
//	            0xf1 … 0xfd              the numbers 0 … 12
//
//	zipmap    count u8 (254: not known), pairs, 0xff
//	  pair    length and field, length, u8 of unused bytes, value, the unused bytes
//	            a length is 1 byte below 254, or 254 and u32
//
//	intset    width of a number in bytes u32 (2, 4, 8), count u32, numbers, ascending
//
// Each is taken apart to its very last byte, and what is said twice must agree.

const packedEnd = 0xff

// packed are the entries of a packed string, with what its header said of them.
type packed struct {
	r     reader
	count int // as announced, -1: not known
	seen  int
}

func damaged(what string) error { return fmt.Errorf("%w: %s", ErrFormat, what) }

// ended checks the end, where the reader has arrived.
func (p *packed) ended(what string) error {
	if len(p.r.b) != 1 {
		return damaged("bytes behind the end of a " + what)
	}
	if p.count >= 0 && p.count != p.seen {
		return damaged("wrong count in a " + what)
	}
	return nil
}

// atEnd says whether the next byte is the end.
func (p *packed) atEnd() bool { return len(p.r.b) > 0 && p.r.b[0] == packedEnd }

// littleEndian reads a number of up to 8 bytes.
func littleEndian(b []byte) (n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	return n
}

// digits is the signed number in b, little-endian, in decimal.
func digits(b []byte) []byte {
	unused := 64 - 8*len(b)
	return strconv.AppendInt(nil, int64(littleEndian(b)<<unused)>>unused, 10)
}

// number takes a number of n bytes and returns its digits.
func (r *reader) number(n uint64) ([]byte, error) {
	b, err := r.take(n)
	if err != nil {
		return nil, err
	}
	return digits(b), nil
}

type listpack struct{ packed }

const listpackHeader = 6

func newListpack(b []byte) (*listpack, error) {
	if len(b) <= listpackHeader || uint64(binary.LittleEndian.Uint32(b)) != uint64(len(b)) || b[len(b)-1] != packedEnd {
		return nil, damaged("wrong frame of a listpack")
	}
	return &listpack{packed{r: reader{b: b[listpackHeader:]}, count: announced(b[4:])}}, nil
}

// announced is a count of 16 bits, -1 where it is not known.
func announced(b []byte) int {
	if n := binary.LittleEndian.Uint16(b); n != 0xffff {
		return int(n)
	}
	return -1
}

func (p *listpack) next() (s []byte, more bool, err error) {
	if p.atEnd() {
		return nil, false, p.ended("listpack")
	}
	before := p.r.b
	if s, err = p.entry(); err != nil {
		return nil, false, err
	}
	var want [5]byte
	back := appendBackLength(want[:0], len(before)-len(p.r.b))
	got, err := p.r.take(uint64(len(back)))
	if err != nil {
		return nil, false, err
	}
	if string(got) != string(back) {
		return nil, false, damaged("wrong length behind an entry of a listpack")
	}
	p.seen++
	return s, true, nil
}

// entry reads header and content of an entry.
func (p *listpack) entry() ([]byte, error) {
	head, err := p.r.take(1)
	if err != nil {
		return nil, err
	}
	c := uint64(head[0])
	switch {
	case c < 0x80:
		return strconv.AppendUint(nil, c, 10), nil
	case c < 0xc0:
		return p.r.take(c & 0x3f)
	case c < 0xf0:
		low, err := p.r.take(1)
		if err != nil {
			return nil, err
		}
		if c >= 0xe0 {
			return p.r.take(c&0xf<<8 | uint64(low[0]))
		}
		n := int64(c&0x1f<<8 | uint64(low[0]))
		return strconv.AppendInt(nil, n<<51>>51, 10), nil
	case c == 0xf0:
		n, err := p.r.take(4)
		if err != nil {
			return nil, err
		}
		return p.r.take(littleEndian(n))
	case c <= 0xf3:
		return p.r.number(c - 0xf0 + 1)
	case c == 0xf4:
		return p.r.number(8)
	}
	return nil, damaged("unknown entry of a listpack")
}

// appendBackLength appends an entry's length in the form that can be read backwards. The bounds are Redis's, which
// give the greatest lengths of two to four bytes one byte more than they need.
func appendBackLength(dst []byte, n int) []byte {
	size := 1
	switch {
	case n >= 1<<28-1:
		size = 5
	case n >= 1<<21-1:
		size = 4
	case n >= 1<<14-1:
		size = 3
	case n >= 1<<7:
		size = 2
	}
	for i := size - 1; i >= 0; i-- {
		b := byte(n >> (7 * i) & 0x7f)
		if i < size-1 {
			b |= 0x80
		}
		dst = append(dst, b)
	}
	return dst
}

type ziplist struct {
	packed
	size   int // of the whole
	tail   int // place of the last entry, as announced
	last   int // place of the last entry that was read
	before int // its length
}

const ziplistHeader = 10

func newZiplist(b []byte) (*ziplist, error) {
	if len(b) <= ziplistHeader || uint64(binary.LittleEndian.Uint32(b)) != uint64(len(b)) || b[len(b)-1] != packedEnd {
		return nil, damaged("wrong frame of a ziplist")
	}
	return &ziplist{
		packed: packed{r: reader{b: b[ziplistHeader:]}, count: announced(b[8:])},
		size:   len(b), tail: int(binary.LittleEndian.Uint32(b[4:])), last: ziplistHeader,
	}, nil
}

func (p *ziplist) next() (s []byte, more bool, err error) {
	if p.atEnd() {
		if p.tail != p.last {
			return nil, false, damaged("wrong place of the last entry in a ziplist")
		}
		return nil, false, p.ended("ziplist")
	}
	left := len(p.r.b)
	before, err := p.r.zipLength()
	if err != nil {
		return nil, false, err
	}
	if before != uint64(p.before) {
		return nil, false, damaged("wrong length of the entry before in a ziplist")
	}
	if s, err = p.entry(); err != nil {
		return nil, false, err
	}
	p.last, p.before = p.size-left, left-len(p.r.b)
	p.seen++
	return s, true, nil
}

// zipLength is a length of one byte, or of four behind a mark.
func (r *reader) zipLength() (uint64, error) {
	const mark = 254
	first, err := r.take(1)
	if err != nil || first[0] < mark {
		return littleEndian(first), err
	}
	if first[0] > mark {
		return 0, damaged("bad length in a ziplist or zipmap")
	}
	n, err := r.take(4)
	return littleEndian(n), err
}

// entry reads header and content of an entry.
func (p *ziplist) entry() ([]byte, error) {
	head, err := p.r.take(1)
	if err != nil {
		return nil, err
	}
	c := head[0]
	switch c >> 6 {
	case 0:
		return p.r.take(uint64(c))
	case 1:
		low, err := p.r.take(1)
		if err != nil {
			return nil, err
		}
		return p.r.take(uint64(c&0x3f)<<8 | uint64(low[0]))
	case 2:
		n, err := p.r.take(4)
		if err != nil {
			return nil, err
		}
		return p.r.take(uint64(binary.BigEndian.Uint32(n)))
	}
	switch c {
	case 0xc0:
		return p.r.number(2)
	case 0xd0:
		return p.r.number(4)
	case 0xe0:
		return p.r.number(8)
	case 0xf0:
		return p.r.number(3)
	case 0xfe:
		return p.r.number(1)
	}
	if 0xf1 <= c && c <= 0xfd {
		return strconv.AppendUint(nil, uint64(c-0xf1), 10), nil
	}
	return nil, damaged("unknown entry of a ziplist")
}

type zipmap struct {
	packed
	value bool // a value is next
}

func newZipmap(b []byte) (*zipmap, error) {
	const unknown = 254
	if len(b) < 2 || b[len(b)-1] != packedEnd {
		return nil, damaged("wrong frame of a zipmap")
	}
	n := int(b[0])
	if n == unknown {
		n = -1
	}
	return &zipmap{packed: packed{r: reader{b: b[1:]}, count: n}}, nil
}

func (p *zipmap) next() (s []byte, more bool, err error) {
	if !p.value && p.atEnd() {
		return nil, false, p.ended("zipmap")
	}
	n, err := p.r.zipLength()
	if err != nil {
		return nil, false, err
	}
	unused := []byte{0}
	if p.value {
		if unused, err = p.r.take(1); err != nil {
			return nil, false, err
		}
		p.seen++
	}
	p.value = !p.value
	if s, err = p.r.take(n); err != nil {
		return nil, false, err
	}
	_, err = p.r.take(uint64(unused[0]))
	return s, true, err
}

type intset struct {
	packed
	width int
	last  int64
}

const intsetHeader = 8

func newIntset(b []byte) (*intset, error) {
	if len(b) < intsetHeader {
		return nil, damaged("half an intset")
	}
	width, n := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if width != 2 && width != 4 && width != 8 || uint64(n)*uint64(width) != uint64(len(b)-intsetHeader) {
		return nil, damaged("wrong frame of an intset")
	}
	return &intset{packed: packed{r: reader{b: b[intsetHeader:]}}, width: int(width)}, nil
}

func (p *intset) next() (s []byte, more bool, err error) {
	if len(p.r.b) == 0 {
		return nil, false, nil
	}
	b, err := p.r.take(uint64(p.width))
	if err != nil {
		return nil, false, err
	}
	unused := 64 - 8*p.width
	n := int64(littleEndian(b)<<unused) >> unused
	if p.seen > 0 && n <= p.last {
		return nil, false, damaged("an intset is not ascending")
	}
	p.seen++
	p.last = n
	return strconv.AppendInt(nil, n, 10), true, nil
}
