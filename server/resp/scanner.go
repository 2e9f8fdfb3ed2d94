package resp

import "errors"

// ReplyScanner finds where replies end in what a server sends, however it was split on arrival, and keeps none of it. The
// zero value is ready.
type ReplyScanner struct {
	open   []int64 // elements still to come of the aggregates under way
	skip   int64   // bytes still to come of the string under way, its line end included
	inLine bool
	kind   byte
	number int64
	minus  bool
	err    error
}

var errReply = errors.New("resp: what arrived is no reply")

const (
	maxReplyDepth  = 1024
	maxReplyNumber = 1 << 40
)

// Feed takes bytes that arrived and appends to ends the places behind each reply that ends in them. An error is final.
func (s *ReplyScanner) Feed(b []byte, ends []int) ([]int, error) {
	for i := 0; i < len(b) && s.err == nil; {
		if s.skip > 0 {
			n := min(s.skip, int64(len(b)-i))
			s.skip -= n
			i += int(n)
			if s.skip == 0 && s.element() {
				ends = append(ends, i)
			}
			continue
		}
		c := b[i]
		i++
		switch {
		case !s.inLine:
			s.inLine, s.kind, s.number, s.minus = true, c, 0, false
		case c == '\n':
			s.inLine = false
			if s.line() {
				ends = append(ends, i)
			}
		case !s.counts():
		case c == '-':
			s.minus = true
		case c >= '0' && c <= '9':
			if s.number = s.number*10 + int64(c-'0'); s.number > maxReplyNumber {
				s.err = errReply
			}
		}
	}
	return ends, s.err
}

// counts says whether the line under way holds a length.
func (s *ReplyScanner) counts() bool {
	switch s.kind {
	case '$', '=', '!', '*', '~', '>', '%':
		return true
	}
	return false
}

// line takes the line that has ended, and returns whether the reply has.
func (s *ReplyScanner) line() bool {
	switch s.kind {
	case '+', '-', ':', ',', '(', '#', '_':
		return s.element()
	case '$', '=', '!':
		if s.minus {
			return s.element()
		}
		s.skip = s.number + 2
		return false
	case '%':
		s.number *= 2
	case '*', '~', '>':
	default:
		s.err = errReply
		return false
	}
	if s.minus || s.number == 0 {
		return s.element()
	}
	if len(s.open) == maxReplyDepth {
		s.err = errReply
		return false
	}
	s.open = append(s.open, s.number)
	return false
}

// element counts an element, or a reply, that is complete, and returns whether the reply is.
func (s *ReplyScanner) element() bool {
	for len(s.open) > 0 {
		top := &s.open[len(s.open)-1]
		if *top--; *top > 0 {
			return false
		}
		s.open = s.open[:len(s.open)-1]
	}
	return true
}

// ReplyLength returns the length of the reply that b begins with; ok is false if b holds no whole one.
func ReplyLength(b []byte) (n int, ok bool) {
	var s ReplyScanner
	for n < len(b) {
		line := n + 1
		for line < len(b) && b[line-1] != '\n' {
			line++
		}
		step := line - n
		if s.skip > 0 {
			step = int(min(s.skip, int64(len(b)-n)))
		}
		ends, err := s.Feed(b[n:n+step], nil)
		n += step
		if err != nil {
			return 0, false
		}
		if len(ends) > 0 {
			return n, true
		}
	}
	return 0, false
}
