package command

import (
	"errors"

	"github.com/larder-db/larder/engine/value"
)

// ErrKeys reports arguments that do not hold the keys that they announce.
var ErrKeys = errors.New("invalid number of arguments specified for command")

// KeyPositions appends the positions of the keys among args, whose arity has been checked. Positions that one of
// several specifications gives again appear again. The error is ErrKeys.
func (c *Command) KeyPositions(args [][]byte, dst []int) ([]int, error) {
	if len(c.Keys) == 1 && c.Keys[0].isOne() {
		return append(dst, 1), nil
	}
	for i := range c.Keys {
		s := &c.Keys[i]
		if s.Use&NotKey != 0 || s.nowhere() {
			continue
		}
		first, last, err := s.bounds(args)
		if err != nil {
			return dst, err
		}
		for at := first; at <= last; at += max(1, s.Step) {
			dst = append(dst, at)
		}
	}
	return dst, nil
}

// FirstKey is the position of the first key where the row alone says it, else 0.
func (c *Command) FirstKey() int {
	if len(c.Keys) > 0 && c.Keys[0].Numkeys == 0 && c.Keys[0].Keyword == "" && c.Keys[0].Use&NotKey == 0 {
		return c.Keys[0].First
	}
	return 0
}

// isOne says whether s is the commonest: one key at position 1.
func (s *KeySpec) isOne() bool {
	return s.First == 1 && s.Last == 1 && s.Numkeys == 0 && s.Keyword == "" && s.Use&NotKey == 0
}

// bounds is the first and the last position that s covers; first > last where it covers none.
func (s *KeySpec) bounds(args [][]byte) (first, last int, err error) {
	if s.Numkeys > 0 {
		return s.counted(args)
	}
	base := 0
	if s.Keyword != "" {
		if base = s.keyword(args); base < 0 {
			return 0, -1, nil // the part of the command that the keyword begins is left out
		}
	}
	first, last = base+s.First, s.Last
	switch {
	case last >= 0:
		last += base
	case s.Limit > 1: // only the first of Limit equal parts of what follows
		last = first + (len(args)-first)/s.Limit + last
	default:
		last += len(args)
	}
	if last >= len(args) {
		return 0, -1, ErrKeys
	}
	return first, last, nil
}

// counted is bounds for keys behind their number.
func (s *KeySpec) counted(args [][]byte) (first, last int, err error) {
	if s.Numkeys >= len(args) {
		return 0, -1, ErrKeys
	}
	n, ok := value.ParseInt(args[s.Numkeys])
	first = s.Numkeys + 1
	if !ok || n < 0 || n > int64(len(args)-first) {
		return 0, -1, ErrKeys
	}
	return first, first + int(n) - 1, nil
}

// keyword is the position behind the keyword, which is searched from From on; from the end backwards if that is
// negative. -1: it is not there.
func (s *KeySpec) keyword(args [][]byte) int {
	if len(s.Over) > 0 {
		return s.lastKeyword(args)
	}
	at, step := s.From, 1
	if at < 0 {
		at, step = len(args)+at, -1
	}
	for ; 0 < at && at < len(args); at += step {
		if isWord(args[at], s.Keyword) {
			return at + 1
		}
	}
	return -1
}

// lastKeyword is keyword for a search that passes over other words' arguments.
func (s *KeySpec) lastKeyword(args [][]byte) int {
	last := -1
	for at := s.From; at < len(args); at++ {
		if isWord(args[at], s.Keyword) && at+1 < len(args) {
			last = at + 1
		}
		for _, o := range s.Over {
			if isWord(args[at], o.Word) {
				at += o.Count
				break
			}
		}
	}
	return last
}
