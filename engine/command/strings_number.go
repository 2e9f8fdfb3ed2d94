package command

import (
	"math"
	"strconv"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// The errors about sums that cannot be held.
const (
	sumOverflows = "ERR increment or decrement would overflow"
	sumNotFinite = "ERR increment would produce NaN or Infinity"
)

func incr(tx *keyspace.Tx, args [][]byte, w reply.Writer) { addInteger(tx, args[1], 1, w) }

func decr(tx *keyspace.Tx, args [][]byte, w reply.Writer) { addInteger(tx, args[1], -1, w) }

func incrBy(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if n, ok := intArg(w, args[2]); ok {
		addInteger(tx, args[1], n, w)
	}
}

func decrBy(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	n, ok := intArg(w, args[2])
	if !ok {
		return
	}
	if n == math.MinInt64 {
		w.Error("ERR decrement would overflow")
		return
	}
	addInteger(tx, args[1], -n, w)
}

// addInteger adds to the integer under key (none counts as 0), which keeps its time to live.
func addInteger(tx *keyspace.Tx, key []byte, by int64, w reply.Writer) {
	e, found, ok := lookupString(tx, key, w)
	if !ok {
		return
	}
	var n int64
	if found {
		if n, ok = intArg(w, e.Value); !ok {
			return
		}
	}
	if n, ok = value.AddInts(n, by); !ok {
		w.Error(sumOverflows)
		return
	}
	var digits [value.MaxIntDigits]byte
	tx.Put(tx.DB(), key, keyspace.Entry{
		Kind: value.String, Value: strconv.AppendInt(digits[:0], n, 10), Expire: e.Expire,
	})
	w.Int(n)
}

// incrByFloat calculates as x87 does and keeps the time to live.
func incrByFloat(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	e, found, ok := lookupString(tx, args[1], w)
	if !ok {
		return
	}
	text := e.Value
	if !found {
		text = []byte("0")
	}
	n, ok := value.ParseLongDouble(text)
	if !ok {
		w.Error(reply.NotFloat)
		return
	}
	by, ok := value.ParseLongDouble(args[2])
	if !ok {
		w.Error(reply.NotFloat)
		return
	}
	sum, ok := n.Add(by)
	if !ok {
		w.Error(sumNotFinite)
		return
	}
	text = sum.AppendHuman(nil)
	tx.Put(tx.DB(), args[1], keyspace.Entry{Kind: value.String, Enc: value.NotInt, Value: text, Expire: e.Expire})
	w.Bulk(text)
}
