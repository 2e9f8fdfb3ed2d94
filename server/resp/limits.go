package resp

import (
	"errors"
	"math"
)

// Limits bound what a client may send. The session owns them and may change them between two calls of Next.
type Limits struct {
	// MaxBulk is the longest argument in bytes (proto-max-bulk-len).
	MaxBulk int
	// MaxInline is the longest inline command, and the longest count line, in bytes.
	MaxInline int
	// MaxArgs is the greatest number of arguments of one command.
	MaxArgs int
	// QueryBuffer bounds what a command that has not fully arrived may hold, in bytes, the headers of its
	// arguments included (client-query-buffer-limit). 0 means no bound.
	QueryBuffer int64
	// Authenticated is false while the client must still log in: it may then send no more than
	// 10 arguments of 16 KiB each.
	Authenticated bool
}

const (
	unauthenticatedArgs = 10
	unauthenticatedBulk = 16 << 10
)

// DefaultLimits returns what redis-server 7.0 allows a logged-in client by default.
func DefaultLimits() Limits {
	return Limits{
		MaxBulk:       512 << 20,
		MaxInline:     64 << 10,
		MaxArgs:       math.MaxInt32,
		QueryBuffer:   1 << 30,
		Authenticated: true,
	}
}

// ProtocolError is what a client did wrong, in Redis's words. The reply is "-ERR " and this text, and then the
// connection is closed: nothing that follows can be understood.
type ProtocolError string

func (e ProtocolError) Error() string { return "Protocol error: " + string(e) }

// ErrQueryBufferLimit says that an unfinished command grew past Limits.QueryBuffer. Redis closes the connection
// without a reply.
var ErrQueryBufferLimit = errors.New("closing client that reached max query buffer length")

const (
	errMultibulkLength    ProtocolError = "invalid multibulk length"
	errBulkLength         ProtocolError = "invalid bulk length"
	errMultibulkCountLine ProtocolError = "too big mbulk count string"
	errBulkCountLine      ProtocolError = "too big bulk count string"
	errInlineSize         ProtocolError = "too big inline request"
	errUnbalancedQuotes   ProtocolError = "unbalanced quotes in request"
	errUnauthMultibulk    ProtocolError = "unauthenticated multibulk length"
	errUnauthBulk         ProtocolError = "unauthenticated bulk length"
)
