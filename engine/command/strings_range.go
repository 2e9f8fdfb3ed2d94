package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// fits says whether a string may have part at an offset; if it would be too long, the error has been answered.
func fits(w reply.Writer, offset int64, part []byte) bool {
	end, ok := value.AddInts(offset, int64(len(part)))
	if !ok || end > MaxString {
		w.Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
		return false
	}
	return true
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
	if t, ok := lookupText(tx, args[1], w); ok {
		w.Int(int64(t.size()))
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
	t, ok := lookupText(tx, args[1], w)
	if !ok {
		return
	}
	if backwards(first, last) {
		w.BulkString("")
		return
	}
	first, last, ok = clampRange(first, last, int64(t.size()))
	if !ok {
		w.BulkString("")
		return
	}
	w.Bulk(t.part(int(first), int(last+1)))
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
	t, ok := lookupText(tx, args[1], w)
	if !ok {
		return
	}
	if len(args[3]) == 0 {
		w.Int(int64(t.size()))
		return
	}
	if !fits(w, offset, args[3]) {
		return
	}
	t.write(int(offset), args[3])
	w.Int(int64(t.size()))
}

func appendString(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	t, ok := lookupText(tx, args[1], w)
	if !ok {
		return
	}
	if !t.found {
		putString(tx, args[1], args[2], 0)
		w.Int(int64(len(args[2])))
		return
	}
	if !fits(w, int64(t.size()), args[2]) {
		return
	}
	t.write(t.size(), args[2])
	w.Int(int64(t.size()))
}
