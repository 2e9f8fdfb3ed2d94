package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// endOf is where part ends that is put at offset of a string. If no string may be that long, it answers the error and
// returns false.
func endOf(w reply.Writer, offset int64, part []byte) (int, bool) {
	end, ok := value.AddInts(offset, int64(len(part)))
	if !ok || end > MaxString {
		w.Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
		return 0, false
	}
	return int(end), true
}

// patch gives write access to the string under key, in place, with at least n bytes; e and found are lookupString's,
// and a string that is absent is made of zeros. The slice is valid until the next call on the transaction.
func patch(tx *keyspace.Tx, key []byte, e keyspace.Entry, found bool, n int) []byte {
	n = max(n, len(e.Value))
	if !found {
		tx.Put(tx.DB(), key, keyspace.Entry{Kind: value.String, Enc: value.Raw})
	}
	return tx.Grow(tx.DB(), key, n, value.Raw)
}

// clampRange turns the first and last of n elements as a client gives them, negative numbers counting from the end,
// into numbers of elements that exist; ok is false where there are none.
func clampRange(first, last, n int64) (_, _ int64, ok bool) {
	if first < 0 {
		first = max(first+n, 0)
	}
	if last < 0 {
		last = max(last+n, 0)
	}
	last = min(last, n-1)
	return first, last, first <= last
}

// backwards says of a range counted from the end that it is empty. Clamping would make it the first element if it lay
// before the start.
func backwards(first, last int64) bool { return first < 0 && last < 0 && first > last }

func strLen(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if e, _, ok := lookupString(tx, args[1], w); ok {
		w.Int(int64(len(e.Value)))
	}
}

func getRange(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	first, ok := intArg(w, args[2])
	if !ok {
		return
	}
	last, ok := intArg(w, args[3])
	if !ok {
		return
	}
	e, _, ok := lookupString(tx, args[1], w)
	if !ok {
		return
	}
	if backwards(first, last) {
		w.BulkString("")
		return
	}
	first, last, ok = clampRange(first, last, int64(len(e.Value)))
	if !ok {
		w.BulkString("")
		return
	}
	w.Bulk(e.Value[first : last+1])
}

func setRange(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	offset, ok := intArg(w, args[2])
	if !ok {
		return
	}
	if offset < 0 {
		w.Error("ERR offset is out of range")
		return
	}
	e, found, ok := lookupString(tx, args[1], w)
	if !ok {
		return
	}
	if len(args[3]) == 0 {
		w.Int(int64(len(e.Value)))
		return
	}
	end, ok := endOf(w, offset, args[3])
	if !ok {
		return
	}
	b := patch(tx, args[1], e, found, end)
	copy(b[offset:], args[3])
	w.Int(int64(len(b)))
}

func appendString(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	e, found, ok := lookupString(tx, args[1], w)
	if !ok {
		return
	}
	if !found {
		putString(tx, args[1], args[2], 0)
		w.Int(int64(len(args[2])))
		return
	}
	old := len(e.Value)
	end, ok := endOf(w, int64(old), args[2])
	if !ok {
		return
	}
	b := patch(tx, args[1], e, found, end)
	copy(b[old:], args[2])
	w.Int(int64(len(b)))
}
