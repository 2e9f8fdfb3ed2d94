package command

import (
	"math"

	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// MaxString is the longest string that a command may build, in bytes: Redis's default of proto-max-bulk-len. It is a
// constant here, since what Apply does may not depend on configuration.
const MaxString = 512 << 20

// isWord says whether an argument is the given upper-case ASCII word, in either case.
func isWord(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i, c := range arg {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// intArg reads an integer argument; where it is none, it answers the error and returns false.
func intArg(w reply.Writer, arg []byte) (int64, bool) {
	return intArgOr(w, arg, reply.NotInteger)
}

// intArgOr is intArg with the error's text.
func intArgOr(w reply.Writer, arg []byte, msg string) (int64, bool) {
	n, ok := value.ParseInt(arg)
	if !ok {
		w.Error(msg)
	}
	return n, ok
}

// expiryUnit is how a time to live is written: in seconds or milliseconds, from now or as a Unix time.
type expiryUnit struct {
	seconds  bool
	absolute bool
}

// expiryArg reads a positive time to live as a Unix time in milliseconds. Where it is no integer, not positive, or
// beyond 64 bits, it answers the error in the name of command (lower case) and returns false.
func expiryArg(w reply.Writer, arg []byte, unit expiryUnit, now int64, command string) (at int64, ok bool) {
	at, ok = intArg(w, arg)
	if !ok {
		return 0, false
	}
	if at <= 0 || unit.seconds && at > math.MaxInt64/1000 {
		w.Error(invalidExpire(command))
		return 0, false
	}
	if unit.seconds {
		at *= 1000
	}
	if !unit.absolute {
		if at, ok = value.AddInts(at, now); !ok {
			w.Error(invalidExpire(command))
			return 0, false
		}
	}
	return at, true
}

// invalidExpire is the error about a time to live that cannot be.
func invalidExpire(command string) string {
	return "ERR invalid expire time in '" + command + "' command"
}
