package command

import (
	"strconv"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// hIncrBy adds to the integer in a field; none counts as 0.
func hIncrBy(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	by, ok := intArg(w, args[3])
	if !ok {
		return
	}
	h, ok := openHash(tx, args[1], w)
	if !ok {
		return
	}
	var n int64
	if val, found := h.Get(args[2]); found {
		if n, ok = intArgOr(w, val, "ERR hash value is not an integer"); !ok {
			return
		}
	}
	if n, ok = value.AddInts(n, by); !ok {
		w.Error(sumOverflows)
		return
	}
	var digits [value.MaxIntDigits]byte
	h.Set(args[2], strconv.AppendInt(digits[:0], n, 10))
	w.Int(n)
}

// hIncrByFloat calculates as x87 does; a field that does not exist counts as 0.
func hIncrByFloat(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	by, ok := value.ParseLongDouble(args[3])
	if !ok {
		w.Error(reply.NotFloat)
		return
	}
	if by.IsInf() {
		w.Error("ERR value is NaN or Infinity")
		return
	}
	h, ok := openHash(tx, args[1], w)
	if !ok {
		return
	}
	val, found := h.Get(args[2])
	if !found {
		val = []byte("0")
	}
	n, ok := value.ParseLongDouble(val)
	if !ok {
		w.Error("ERR hash value is not a float")
		return
	}
	sum, ok := n.Add(by)
	if !ok {
		w.Error(sumNotFinite)
		return
	}
	text := sum.AppendHuman(nil)
	h.Set(args[2], text)
	w.Bulk(text)
}
