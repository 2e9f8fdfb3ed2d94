package resp

import (
	"math"
	"strconv"
	"strings"

	"github.com/tidwall/redcon"

	"github.com/larder-db/larder/engine/reply"
)

// Writer appends replies to Buf. It implements reply.Writer for both protocol versions: in RESP2, shapes that it does
// not have take the form that Redis 7.0 gives them.
//
// Byte slices are copied. The owner may take, replace or cut Buf at any time between two replies.
type Writer struct {
	Buf []byte
	// RESP3 selects the protocol version.
	RESP3 bool

	errors    int
	errorCode string
}

var _ reply.Writer = (*Writer)(nil)

// Errors returns how many errors have been written since the last ResetErrors.
func (w *Writer) Errors() int { return w.errors }

// ErrorCode returns the code of the last error ("WRONGTYPE"), as it is counted in INFO's errorstats, or "".
func (w *Writer) ErrorCode() string { return w.errorCode }

// ResetErrors makes Errors count from zero again.
func (w *Writer) ResetErrors() { w.errors, w.errorCode = 0, "" }

// Bulk implements reply.Writer.
func (w *Writer) Bulk(b []byte) { w.Buf = redcon.AppendBulk(w.Buf, b) }

// BulkString implements reply.Writer.
func (w *Writer) BulkString(s string) { w.Buf = redcon.AppendBulkString(w.Buf, s) }

// Simple implements reply.Writer.
func (w *Writer) Simple(s string) { w.Buf = redcon.AppendString(w.Buf, s) }

// Error implements reply.Writer. Line ends within msg become spaces.
func (w *Writer) Error(msg string) {
	w.errors++
	w.errorCode = errorCode(msg)
	w.Buf = redcon.AppendError(w.Buf, msg)
}

// errorCode returns the first word of msg; a message without one counts as ERR, as in Redis.
func errorCode(msg string) string {
	const longest = 31
	i := strings.IndexByte(msg[:min(len(msg), longest)], ' ')
	if i < 0 {
		return "ERR"
	}
	return msg[:i]
}

// Int implements reply.Writer.
func (w *Writer) Int(n int64) { w.Buf = redcon.AppendInt(w.Buf, n) }

// Double implements reply.Writer: 17 significant digits without trailing zeros, "inf", "-inf" or "nan".
func (w *Writer) Double(f float64) {
	var digits [32]byte
	text := appendDouble(digits[:0], f)
	if !w.RESP3 {
		w.Buf = redcon.AppendBulk(w.Buf, text)
		return
	}
	w.Buf = append(w.Buf, ',')
	w.Buf = append(w.Buf, text...)
	w.Buf = append(w.Buf, '\r', '\n')
}

func appendDouble(b []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(b, "inf"...)
	case math.IsInf(f, -1):
		return append(b, "-inf"...)
	case math.IsNaN(f):
		return append(b, "nan"...)
	}
	return strconv.AppendFloat(b, f, 'g', 17, 64)
}

// Null implements reply.Writer.
func (w *Writer) Null() {
	if w.RESP3 {
		w.Buf = append(w.Buf, "_\r\n"...)
		return
	}
	w.Buf = redcon.AppendNull(w.Buf)
}

// NullArray implements reply.Writer.
func (w *Writer) NullArray() {
	if w.RESP3 {
		w.Buf = append(w.Buf, "_\r\n"...)
		return
	}
	w.Buf = append(w.Buf, "*-1\r\n"...)
}

// Bool implements reply.Writer.
func (w *Writer) Bool(b bool) {
	switch {
	case w.RESP3 && b:
		w.Buf = append(w.Buf, "#t\r\n"...)
	case w.RESP3:
		w.Buf = append(w.Buf, "#f\r\n"...)
	case b:
		w.Buf = append(w.Buf, ":1\r\n"...)
	default:
		w.Buf = append(w.Buf, ":0\r\n"...)
	}
}

// Array implements reply.Writer.
func (w *Writer) Array(n int) { w.Buf = redcon.AppendArray(w.Buf, n) }

// Map implements reply.Writer.
func (w *Writer) Map(n int) {
	if !w.RESP3 {
		n *= 2
	}
	w.aggregate('%', n)
}

// Pairs implements reply.Writer.
func (w *Writer) Pairs(n int) {
	if !w.RESP3 {
		n *= 2
	}
	w.Array(n)
}

// Pair implements reply.Writer.
func (w *Writer) Pair() {
	if w.RESP3 {
		w.Array(2)
	}
}

// Set implements reply.Writer.
func (w *Writer) Set(n int) { w.aggregate('~', n) }

// Push announces n elements that answer no command (pub/sub messages, invalidations): an array in RESP2.
func (w *Writer) Push(n int) { w.aggregate('>', n) }

// aggregate writes a header that is RESP3's only; in RESP2 it is an array's.
func (w *Writer) aggregate(kind byte, n int) {
	if !w.RESP3 {
		kind = '*'
	}
	w.Buf = append(w.Buf, kind)
	w.Buf = strconv.AppendInt(w.Buf, int64(n), 10)
	w.Buf = append(w.Buf, '\r', '\n')
}

// Verbatim implements reply.Writer.
func (w *Writer) Verbatim(format, text string) {
	if !w.RESP3 {
		w.Buf = redcon.AppendBulkString(w.Buf, text)
		return
	}
	w.Buf = append(w.Buf, '=')
	w.Buf = strconv.AppendInt(w.Buf, int64(len(format)+1+len(text)), 10)
	w.Buf = append(w.Buf, '\r', '\n')
	w.Buf = append(w.Buf, format...)
	w.Buf = append(w.Buf, ':')
	w.Buf = append(w.Buf, text...)
	w.Buf = append(w.Buf, '\r', '\n')
}

// BigNumber writes an integer of any size, given in decimal: a bulk string in RESP2.
func (w *Writer) BigNumber(decimal string) {
	if !w.RESP3 {
		w.Buf = redcon.AppendBulkString(w.Buf, decimal)
		return
	}
	w.Buf = append(w.Buf, '(')
	w.Buf = append(w.Buf, decimal...)
	w.Buf = append(w.Buf, '\r', '\n')
}
