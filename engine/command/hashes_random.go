package command

import (
	"math"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value/collection"
)

// hRandField answers with one field, with a number of distinct ones, or, where the number is negative, with as many that
// may repeat.
func hRandField(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if len(args) == 2 {
		h, ok := openHash(tx, args[1], w)
		switch {
		case !ok:
		case h.Len() == 0:
			w.Null()
		default:
			field, _ := h.At(draw(tx, h.Len()))
			w.Bulk(field)
		}
		return
	}
	count, ok := drawsArg(w, args[2])
	if !ok {
		return
	}
	withValues := len(args) == 4 && isWord(args[3], "WITHVALUES")
	if len(args) > 3 && !withValues {
		w.Error(reply.Syntax)
		return
	}
	if withValues && (count < -math.MaxInt64/2 || count > math.MaxInt64/2) {
		w.Error(drawsOutOfRange)
		return
	}
	h, ok := openHash(tx, args[1], w)
	if !ok {
		return
	}
	if count < -mostRepeats && h.Len() > 0 {
		w.Error(drawsOutOfRange)
		return
	}
	replyDrawnFields(tx, h, int(count), withValues, w)
}

// replyDrawnFields answers with count fields, or -count that may repeat.
func replyDrawnFields(tx *keyspace.Tx, h *collection.Hash, count int, withValues bool, w reply.Writer) {
	n := min(max(count, -count), h.Len())
	if count < 0 && n > 0 {
		n = -count
	}
	if withValues {
		w.Pairs(n)
	} else {
		w.Array(n)
	}
	each := func(field, val []byte) {
		if withValues {
			w.Pair()
		}
		w.Bulk(field)
		if withValues {
			w.Bulk(val)
		}
	}
	switch {
	case count < 0:
		for range n {
			each(h.At(draw(tx, h.Len())))
		}
	case n == h.Len():
		for field, val := range h.All() {
			each(field, val)
		}
	default:
		sample(tx, n, h.Len(), func(place int) { each(h.At(place)) })
	}
}

// drawsArg reads how many elements are to be drawn; where it is no number that can be negated, it answers the error and
// returns false.
func drawsArg(w reply.Writer, arg []byte) (count int64, ok bool) {
	if count, ok = intArg(w, arg); ok && count == math.MinInt64 {
		w.Error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
		return 0, false
	}
	return count, ok
}

const drawsOutOfRange = "ERR value is out of range"
