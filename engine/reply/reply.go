// Package reply says what a command answers, in the shapes of the Redis protocol, without saying how it is written.
//
// Handlers write to a Writer and know neither a socket nor a protocol version: RESP2 and RESP3 forms of the same
// shape (a map is a flat array in RESP2, a null is `$-1` or `_`) are the business of the implementation. On a
// follower, and when the log is replayed, the writer is Discard.
package reply

// Writer receives one reply, shape by shape: an aggregate's header is followed by exactly as many elements as it
// announced (a Map of n by n keys and n values). Byte slices are copied before the call returns.
type Writer interface {
	// Bulk writes a binary-safe string.
	Bulk(b []byte)
	// BulkString is Bulk for a string.
	BulkString(s string)
	// Simple writes a status such as OK; s holds neither CR nor LF.
	Simple(s string)
	// Error writes an error: its code, a space, its text, without the leading dash ("ERR syntax error").
	Error(msg string)
	// Int writes an integer.
	Int(n int64)
	// Double writes a floating point number; in RESP2 it is a bulk string with up to 17 significant digits.
	Double(f float64)
	// Null writes the absent value: a null bulk string in RESP2.
	Null()
	// NullArray writes the absent aggregate: a null array in RESP2, the same null as Null in RESP3.
	NullArray()
	// Bool writes a truth value: 1 or 0 in RESP2.
	Bool(b bool)
	// Array announces n elements.
	Array(n int)
	// Map announces n pairs: a flat array of 2n elements in RESP2.
	Map(n int)
	// Pairs announces n pairs whose order counts, each begun with Pair: an array of arrays of two, in RESP2 a flat array
	// of 2n elements.
	Pairs(n int)
	// Pair announces the two elements of one of the Pairs: it writes nothing in RESP2.
	Pair()
	// Set announces n distinct elements: an array in RESP2.
	Set(n int)
	// Verbatim writes a text with its three-letter format ("txt"): a bulk string in RESP2.
	Verbatim(format, text string)
}

// Parts is a Writer that wants to know where the reply of each command of a transaction begins.
type Parts interface {
	// Part says that what follows is the reply of the i-th command, from 0.
	Part(i int)
}

// Discard drops all it is given.
var Discard Writer = discard{}

type discard struct{}

func (discard) Bulk([]byte)             {}
func (discard) BulkString(string)       {}
func (discard) Simple(string)           {}
func (discard) Error(string)            {}
func (discard) Int(int64)               {}
func (discard) Double(float64)          {}
func (discard) Null()                   {}
func (discard) NullArray()              {}
func (discard) Bool(bool)               {}
func (discard) Array(int)               {}
func (discard) Map(int)                 {}
func (discard) Pairs(int)               {}
func (discard) Pair()                   {}
func (discard) Set(int)                 {}
func (discard) Verbatim(string, string) {}

// The error texts that several families share, in Redis's words.
const (
	OK           = "OK"
	WrongType    = "WRONGTYPE Operation against a key holding the wrong kind of value"
	Syntax       = "ERR syntax error"
	NotInteger   = "ERR value is not an integer or out of range"
	NotFloat     = "ERR value is not a valid float"
	NoSuchKey    = "ERR no such key"
	OutOfRange   = "ERR index out of range"
	DBOutOfRange = "ERR DB index is out of range"
)
