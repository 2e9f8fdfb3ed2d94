package resp

import (
	"bytes"

	"github.com/larder-db/larder/server/escapes"
)

// inline reads a command that is one line of words.
func (p *Parser) inline(lim *Limits) (ok bool, err error) {
	b := p.cur.b[p.r:p.w]
	i := bytes.IndexByte(b[p.scanned:], '\n')
	if i < 0 {
		p.scanned = len(b)
		if len(b) > lim.MaxInline {
			return false, errInlineSize
		}
		return false, nil
	}
	i += p.scanned
	if i > lim.MaxInline {
		return false, errInlineSize
	}
	line := b[:i]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	p.argv, ok = splitWords(p.argv, line)
	if !ok {
		return false, errUnbalancedQuotes
	}
	p.r += i + 1
	p.scanned = 0
	return true, nil
}

// splitWords splits a line into words and appends them to argv. Quotes follow Redis's rules: within double quotes
// \n, \r, \t, \b, \a and \xHH are escapes and a backslash makes any other character stand for itself; within single
// quotes only \' is an escape; a closing quote ends the word and must be followed by a space or the line's end.
// Words are unquoted in place, which is possible because no word is longer than its quoted form.
func splitWords(argv [][]byte, line []byte) (words [][]byte, ok bool) {
	r := 0
	for {
		for r < len(line) && escapes.IsSpace(line[r]) {
			r++
		}
		if r == len(line) {
			return argv, true
		}
		start, w := r, r
		for done := false; !done && r < len(line); {
			switch c := line[r]; c {
			case ' ', '\n', '\r', '\t':
				done = true
			case '"', '\'':
				if r, w, ok = unquote(line, r+1, w, c); !ok {
					return argv, false
				}
				done = true
			default:
				line[w] = c
				w++
				r++
			}
		}
		argv = append(argv, line[start:w:w])
	}
}

// unquote copies the quoted text at line[r:] to line[w:], up to the closing quote. It returns the place behind that
// quote and the end of the copy.
func unquote(line []byte, r, w int, quote byte) (nextR, nextW int, ok bool) {
	for r < len(line) {
		c := line[r]
		escaped, n := escapes.Read(line[r:])
		switch {
		case c == quote:
			r++
			return r, w, r == len(line) || escapes.IsSpace(line[r])
		case n > 0 && quote == '"':
			c = escaped
			r += n
		case c == '\\' && quote == '\'' && r+1 < len(line) && line[r+1] == '\'':
			c = '\''
			r += 2
		default:
			r++
		}
		line[w] = c
		w++
	}
	return r, w, false
}
