// Package resp speaks the Redis protocol: a resumable Parser for what clients send, a Writer for what they get.
//
// # Parser
//
// The parser never reads a byte of a command twice, however small the pieces in which it arrives, and copies
// nothing as long as a command lies in one block. Its state is one block under way and the arguments found so far:
//
//	block   | args of finished commands | args of the command under way | token under way |   free   |
//	        0                                                           r                 w         len
//
// The invariants:
//
//   - A token (a line, or an announced argument) lies in one block. When the block's end is near, the token, and
//     only the token, moves to the front of the block or to a new one of at least twice its size, so all moves
//     together copy about as many bytes as arrive. A long argument so gets a block of its own that grows towards
//     the announced length; never is more allocated than about twice what has arrived, whatever was announced.
//   - Arguments never move: a block that holds arguments of the command under way is set aside (spent) and freed
//     when that command is done.
//   - Blocks are changed or freed by Buffer and Release only, so what Next returned stays valid until then.
//   - Whether a command is accepted depends on its bytes only, not on how they were split on arrival.
//
// Inline commands may hold zero bytes here (Redis waits for ever behind one); all else is as in Redis 7.0.
package resp

import (
	"bytes"
	"math"
)

// Parser splits the bytes of one connection into commands. The zero value is ready; a parser at rest holds no
// buffer. It is not safe for concurrent use.
type Parser struct {
	cur     *block
	r, w    int // cur.b[r:w] is the token under way and what is behind it
	scanned int // cur.b[r:r+scanned] is known to hold no end of line

	missing int // arguments still to come of the command under way; 0: no multibulk is under way
	bulk    int // length of the argument under way, if inBulk
	inBulk  bool

	argv  [][]byte // arguments of the commands returned since the last Buffer, then of the one under way
	first int      // argv[first:] belong to the command under way
	held  int64    // bytes in the finished arguments of the command under way

	spent []*block // blocks set aside, oldest first
	done  int      // spent[:done] hold arguments of returned commands only

	err error
}

const (
	// argHeader is what an argument costs beside its bytes: a slice header.
	argHeader = 24
	// freeBulk is the announced length up to which an argument gets all its room at once.
	freeBulk = 64 << 10
)

// Buffer returns free space to read into: atLeast bytes or more, or what is left of the argument under way if that is
// less. It ends the life of all arguments returned so far.
func (p *Parser) Buffer(atLeast int) []byte {
	p.forget()
	need := max(atLeast, 1)
	if p.cur == nil {
		p.cur = newBlock(need)
		p.argv, p.cur.argv = p.cur.argv[:0], nil
		return p.cur.b
	}
	n := p.w - p.r
	if rest := p.bulk + 2 - n; p.inBulk && rest > 0 {
		need = min(need, rest)
	}
	movable := len(p.argv) == 0 // nothing in the block is needed but the token
	if movable && n == 0 {
		p.r, p.w = 0, 0
	}
	oversized := len(p.cur.b) > maxPooled && movable && n+need <= minBlock // made for an argument now gone
	switch {
	case oversized:
		p.move(n+need, false)
	case len(p.cur.b)-p.w >= need:
	case movable && n <= len(p.cur.b)/2 && n+need <= len(p.cur.b):
		copy(p.cur.b, p.cur.b[p.r:p.w])
		p.r, p.w = 0, n
	default:
		p.move(p.roomFor(n, need), !movable && p.r > 0)
	}
	return p.cur.b[p.w:]
}

// Wrote says that the first n bytes of what Buffer returned have been filled.
func (p *Parser) Wrote(n int) { p.w += n }

// Buffered returns how many bytes have arrived that are not part of a returned command.
func (p *Parser) Buffered() int {
	return int(p.held) + p.w - p.r
}

// Release gives memory back that is not needed to go on, which is all of it unless a command has arrived in part or
// waits to be taken by Next. It ends the life of all arguments returned so far.
func (p *Parser) Release() {
	if p.cur == nil {
		return
	}
	p.forget()
	if len(p.argv) > 0 || p.r < p.w {
		return
	}
	if cap(p.argv) <= maxKeptArgs {
		p.cur.argv = p.argv
	}
	p.cur.free()
	p.cur, p.argv = nil, nil
	p.r, p.w = 0, 0
}

// Reset drops everything: the parser is as new. It is for connections that are closed.
func (p *Parser) Reset() {
	for _, k := range p.spent {
		k.free()
	}
	if p.cur != nil {
		p.cur.free()
	}
	*p = Parser{}
}

// forget drops the arguments of returned commands and the blocks that held only those.
func (p *Parser) forget() {
	if p.first > 0 {
		n := copy(p.argv, p.argv[p.first:])
		clear(p.argv[n:])
		p.argv, p.first = p.argv[:n], 0
	}
	if p.done > 0 {
		for _, k := range p.spent[:p.done] {
			k.free()
		}
		n := copy(p.spent, p.spent[p.done:])
		clear(p.spent[n:])
		p.spent, p.done = p.spent[:n], 0
	}
}

// roomFor returns the size of the block that a token of n bytes moves to, if need more bytes are wanted at once.
func (p *Parser) roomFor(n, need int) int {
	size := max(2*n, n+need)
	if !p.inBulk || n >= p.bulk+2 {
		return size
	}
	total := p.bulk + 2
	if total <= freeBulk {
		return max(size, total)
	}
	if size = max(size, freeBulk); size > total-total/8 {
		return total // one move less, most of all where total is just over a power of two
	}
	return size
}

// move takes the token to a new block of at least size bytes. The old one is freed unless keep says that arguments
// of the command under way lie in it.
func (p *Parser) move(size int, keep bool) {
	next := newBlock(size)
	n := copy(next.b, p.cur.b[p.r:p.w])
	if keep {
		p.spent = append(p.spent, p.cur)
	} else {
		p.cur.free()
	}
	p.cur, p.r, p.w = next, 0, n
}

// Next returns the next command that has arrived in full; ok is false if there is none. The arguments stay valid
// until the next call of Buffer or Release, over further calls of Next. An error is a ProtocolError or
// ErrQueryBufferLimit; it is final.
func (p *Parser) Next(lim *Limits) (args [][]byte, ok bool, err error) {
	if p.err != nil {
		return nil, false, p.err
	}
	for p.r < p.w {
		switch {
		case p.missing > 0:
			ok, err = p.bulks(lim)
		case p.cur.b[p.r] == '*':
			ok, err = p.multibulkHeader(lim)
			if ok && err == nil {
				continue
			}
		default:
			ok, err = p.inline(lim)
		}
		if err == nil && !ok && lim.QueryBuffer > 0 && p.footprint() > lim.QueryBuffer {
			err = ErrQueryBufferLimit
		}
		if err != nil {
			p.err = err
			return nil, false, err
		}
		if !ok {
			return nil, false, nil
		}
		args = p.argv[p.first:len(p.argv):len(p.argv)]
		p.first, p.held, p.done = len(p.argv), 0, len(p.spent)
		if len(args) > 0 { // else an empty line
			return args, true, nil
		}
	}
	return nil, false, nil
}

// footprint returns what the unfinished command holds, in bytes.
func (p *Parser) footprint() int64 {
	return p.held + int64(len(p.argv)-p.first)*argHeader + int64(p.w-p.r)
}

// multibulkHeader reads "*n\r\n". Counts below 1 announce no command at all.
func (p *Parser) multibulkHeader(lim *Limits) (ok bool, err error) {
	n, state := p.countLine('*', lim)
	switch {
	case state == lineTooLong:
		return false, errMultibulkCountLine
	case state == linePartial:
		return false, nil
	case state != lineNumber || n > int64(lim.MaxArgs):
		return false, errMultibulkLength
	case n > unauthenticatedArgs && !lim.Authenticated:
		return false, errUnauthMultibulk
	}
	p.missing = int(max(n, 0))
	return true, nil
}

// bulks reads the arguments that are missing, as far as they have arrived.
func (p *Parser) bulks(lim *Limits) (ok bool, err error) {
	for p.missing > 0 {
		if !p.inBulk {
			n, state := p.countLine('$', lim)
			switch {
			case state == lineTooLong:
				return false, errBulkCountLine
			case state == linePartial:
				return false, nil
			case state == lineForeign:
				return false, expectedDollar(p.cur.b[p.r])
			case state != lineNumber || n < 0 || n > int64(lim.MaxBulk):
				return false, errBulkLength
			case n > unauthenticatedBulk && !lim.Authenticated:
				return false, errUnauthBulk
			}
			p.bulk, p.inBulk = int(n), true
		}
		end := p.r + p.bulk
		if p.w < end+2 {
			return false, nil
		}
		p.argv = append(p.argv, p.cur.b[p.r:end:end])
		p.held += int64(p.bulk)
		p.r = end + 2 // as in Redis, what stands for CR LF is not looked at
		p.inBulk = false
		p.missing--
	}
	return true, nil
}

func expectedDollar(got byte) error {
	switch got {
	case 0:
		return ProtocolError("expected '$', got '") // where Redis's C string ends
	case '\r', '\n':
		got = ' '
	}
	return ProtocolError("expected '$', got '" + string([]byte{got}) + "'")
}

// What countLine found.
type lineState int

const (
	linePartial lineState = iota
	lineNumber
	lineNotNumber
	lineForeign // the line does not begin with the prefix
	lineTooLong
)

// countLine reads a line made of prefix and a number. It consumes the line only if it is what it should be.
func (p *Parser) countLine(prefix byte, lim *Limits) (n int64, state lineState) {
	b := p.cur.b[p.r:p.w]
	// The common case: up to nine digits and the whole line is there.
	if len(b) >= 4 && b[0] == prefix && b[1] >= '1' && b[1] <= '9' {
		v, i := int64(b[1]-'0'), 2
		for i < len(b) && i < 10 && b[i]-'0' <= 9 {
			v = v*10 + int64(b[i]-'0')
			i++
		}
		if i+1 < len(b) && b[i] == '\r' && i <= lim.MaxInline {
			p.r += i + 2
			p.scanned = 0
			return v, lineNumber
		}
	}
	i := bytes.IndexByte(b[p.scanned:], '\r')
	if i < 0 {
		p.scanned = len(b)
		if len(b) > lim.MaxInline {
			return 0, lineTooLong
		}
		return 0, linePartial
	}
	i += p.scanned
	p.scanned = i
	switch {
	case i > lim.MaxInline:
		return 0, lineTooLong
	case i+2 > len(b):
		return 0, linePartial
	case b[0] != prefix:
		return 0, lineForeign
	}
	n, ok := parseInt(b[1:i])
	if !ok {
		return 0, lineNotNumber
	}
	p.r += i + 2
	p.scanned = 0
	return n, lineNumber
}

// parseInt reads a 64-bit number in its one canonical form: no leading zeros, no plus sign, no minus zero.
func parseInt(b []byte) (n int64, ok bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 1 && b[0] == '0' && !negative {
		return 0, true
	}
	const maxDigits = 19 // which cannot overflow 64 bits without a sign
	if len(b) == 0 || len(b) > maxDigits || b[0] == '0' {
		return 0, false
	}
	var u uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		u = u*10 + uint64(c-'0')
	}
	if negative {
		return -int64(u), u <= -math.MinInt64
	}
	return int64(u), u <= math.MaxInt64
}
