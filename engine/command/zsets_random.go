package command

import (
	"math"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value/collection"
)

// zRandMember answers with one member, with a number of distinct ones, or, where the number is negative, with as many
// that may repeat.
func zRandMember(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if len(args) == 2 {
		z, ok := openZSet(tx, args[1], w)
		switch {
		case !ok:
		case z.Len() == 0:
			w.Null()
		default:
			m, _ := z.At(draw(tx, z.Len()))
			w.Bulk(m)
		}
		return
	}
	count, ok := drawsArg(w, args[2])
	if !ok {
		return
	}
	withScores := len(args) == 4 && isWord(args[3], "WITHSCORES")
	if len(args) > 3 && !withScores {
		w.Error(reply.Syntax)
		return
	}
	if withScores && (count < -math.MaxInt64/2 || count > math.MaxInt64/2) {
		w.Error(drawsOutOfRange)
		return
	}
	z, ok := openZSet(tx, args[1], w)
	if !ok {
		return
	}
	if count < -mostRepeats && z.Len() > 0 {
		w.Error(drawsOutOfRange)
		return
	}
	replyDrawnMembers(tx, z, count, withScores, w)
}

// replyDrawnMembers answers with count members, or -count that may repeat.
func replyDrawnMembers(tx *keyspace.Tx, z *collection.ZSet, count int64, withScores bool, w reply.Writer) {
	size := z.Len()
	n := int(min(max(count, -count), int64(size)))
	if count < 0 && size > 0 {
		n = int(-count)
	}
	if withScores {
		w.Pairs(n)
	} else {
		w.Array(n)
	}
	each := func(rank int) {
		m, score := z.At(rank)
		if withScores {
			w.Pair()
		}
		w.Bulk(m)
		if withScores {
			w.Double(score)
		}
	}
	switch {
	case count < 0:
		for range n {
			each(draw(tx, size))
		}
	case n == size: // in Redis's order, though it counts for nothing
		replyRanks(z, 0, n, true, withScores, w)
	default:
		sample(tx, n, size, each)
	}
}
