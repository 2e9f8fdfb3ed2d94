package command

import (
	"fmt"
	"math"
	"strconv"

	"github.com/larder-db/larder/engine/reply"
)

// respWriter writes replies as redis-server 7.0 does, in RESP2 or RESP3.
type respWriter struct {
	proto int
	out   []byte
}

var _ reply.Writer = (*respWriter)(nil)

func (w *respWriter) Bulk(b []byte) { w.out = fmt.Appendf(w.out, "$%d\r\n%s\r\n", len(b), b) }

func (w *respWriter) BulkString(s string) { w.Bulk([]byte(s)) }

func (w *respWriter) Simple(s string) { w.out = fmt.Appendf(w.out, "+%s\r\n", s) }

func (w *respWriter) Error(msg string) { w.out = fmt.Appendf(w.out, "-%s\r\n", msg) }

func (w *respWriter) Int(n int64) { w.out = fmt.Appendf(w.out, ":%d\r\n", n) }

func (w *respWriter) Double(f float64) {
	var s string
	switch {
	case math.IsInf(f, 1):
		s = "inf"
	case math.IsInf(f, -1):
		s = "-inf"
	default:
		s = strconv.FormatFloat(f, 'g', 17, 64)
	}
	if w.proto == 2 {
		w.BulkString(s)
		return
	}
	w.out = fmt.Appendf(w.out, ",%s\r\n", s)
}

func (w *respWriter) Null() {
	if w.proto == 2 {
		w.out = append(w.out, "$-1\r\n"...)
		return
	}
	w.out = append(w.out, "_\r\n"...)
}

func (w *respWriter) NullArray() {
	if w.proto == 2 {
		w.out = append(w.out, "*-1\r\n"...)
		return
	}
	w.out = append(w.out, "_\r\n"...)
}

func (w *respWriter) Bool(b bool) {
	switch {
	case w.proto == 2 && b:
		w.Int(1)
	case w.proto == 2:
		w.Int(0)
	case b:
		w.out = append(w.out, "#t\r\n"...)
	default:
		w.out = append(w.out, "#f\r\n"...)
	}
}

func (w *respWriter) Array(n int) { w.out = fmt.Appendf(w.out, "*%d\r\n", n) }

func (w *respWriter) Map(n int) {
	if w.proto == 2 {
		w.Array(2 * n)
		return
	}
	w.out = fmt.Appendf(w.out, "%%%d\r\n", n)
}

func (w *respWriter) Pairs(n int) {
	if w.proto == 2 {
		n *= 2
	}
	w.Array(n)
}

func (w *respWriter) Pair() {
	if w.proto == 3 {
		w.Array(2)
	}
}

func (w *respWriter) Set(n int) {
	if w.proto == 2 {
		w.Array(n)
		return
	}
	w.out = fmt.Appendf(w.out, "~%d\r\n", n)
}

func (w *respWriter) Verbatim(format, text string) {
	if w.proto == 2 {
		w.BulkString(text)
		return
	}
	w.out = fmt.Appendf(w.out, "=%d\r\n%s:%s\r\n", len(text)+4, format, text)
}
