package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value/collection"
)

// The commands on ranges of sorted sets. What a range is stands in zsets_bounds.go.
var zsetRangeCommands = []Command{
	{
		Name: "ZCOUNT", Arity: 4, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: zCount,
		Group: "sorted-set", Since: "2.0.0", Summary: "Counts the members whose scores are in a range.",
	},
	{
		Name: "ZLEXCOUNT", Arity: 4, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: zLexCount,
		Group: "sorted-set", Since: "2.8.9", Summary: "Counts the members that lie in a range of names, all scores being equal.",
	},
	{
		Name: "ZRANGE", Arity: -4, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: zRange,
		Group: "sorted-set", Since: "1.2.0", Summary: "Lists the members in a range of places, scores or names.",
	},
	{
		Name: "ZRANGEBYLEX", Arity: -4, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: zRangeByLex,
		Group: "sorted-set", Since: "2.8.9", Summary: "Lists the members in a range of names, all scores being equal.",
	},
	{
		Name: "ZRANGEBYSCORE", Arity: -4, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: zRangeByScore,
		Group: "sorted-set", Since: "1.0.5", Summary: "Lists the members whose scores are in a range.",
	},
	{
		Name: "ZRANGESTORE", Arity: -5, Flags: Write | DenyOOM, Keys: twoKeys(OW|Update, RO|Access), Do: zRangeStore,
		Group: "sorted-set", Since: "6.2.0", Summary: "Stores the members in a range as a sorted set of their own.",
	},
	{
		Name: "ZREMRANGEBYLEX", Arity: 4, Flags: Write, Keys: oneKey(RW | Delete), Do: zRemRangeByLex,
		Group: "sorted-set", Since: "2.8.9", Summary: "Removes the members in a range of names, all scores being equal.",
	},
	{
		Name: "ZREMRANGEBYRANK", Arity: 4, Flags: Write, Keys: oneKey(RW | Delete), Do: zRemRangeByRank,
		Group: "sorted-set", Since: "2.0.0", Summary: "Removes the members in a range of places.",
	},
	{
		Name: "ZREMRANGEBYSCORE", Arity: 4, Flags: Write, Keys: oneKey(RW | Delete), Do: zRemRangeByScore,
		Group: "sorted-set", Since: "1.2.0", Summary: "Removes the members whose scores are in a range.",
	},
	{
		Name: "ZREVRANGE", Arity: -4, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: zRevRange,
		Group: "sorted-set", Since: "1.2.0", Summary: "Lists the members in a range of places, the highest score first.",
	},
	{
		Name: "ZREVRANGEBYLEX", Arity: -4, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: zRevRangeByLex,
		Group: "sorted-set", Since: "2.8.9", Summary: "Lists the members in a range of names, the last one first.",
	},
	{
		Name: "ZREVRANGEBYSCORE", Arity: -4, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: zRevRangeByScore,
		Group: "sorted-set", Since: "2.2.0", Summary: "Lists the members whose scores are in a range, the highest first.",
	},
}

func zCount(tx *keyspace.Tx, args [][]byte, w reply.Writer) { countSpan(tx, args, byScore, w) }

func zLexCount(tx *keyspace.Tx, args [][]byte, w reply.Writer) { countSpan(tx, args, byLex, w) }

func countSpan(tx *keyspace.Tx, args [][]byte, order zOrder, w reply.Writer) {
	span, ok := spanArgs(w, order, args[2], args[3])
	if !ok {
		return
	}
	if z, ok := openZSet(tx, args[1], w); ok {
		from, to := span.ranks(z, false)
		w.Int(int64(to - from))
	}
}

func zRemRangeByRank(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	removeSpan(tx, args, byRank, w)
}

func zRemRangeByScore(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	removeSpan(tx, args, byScore, w)
}

func zRemRangeByLex(tx *keyspace.Tx, args [][]byte, w reply.Writer) { removeSpan(tx, args, byLex, w) }

func removeSpan(tx *keyspace.Tx, args [][]byte, order zOrder, w reply.Writer) {
	span, ok := spanArgs(w, order, args[2], args[3])
	if !ok {
		return
	}
	z, ok := openZSet(tx, args[1], w)
	if !ok {
		return
	}
	from, to := span.ranks(z, false)
	if from < to {
		z.RemoveRange(from, to)
	}
	w.Int(int64(to - from))
}

// zQuery is what ZRANGE and its kin ask for.
type zQuery struct {
	span          zSpan
	reverse       bool
	withScores    bool
	offset, limit int64 // limit < 0: no limit
}

// zForm says what a command's name settles of a query.
type zForm struct {
	order      zOrder
	reverse    bool
	anyOrder   bool // BYSCORE and BYLEX choose the order
	anyDir     bool // REV chooses the direction
	scoreless  bool // there is no WITHSCORES
	firstBound int  // the position of the range's first end
}

func zRange(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	replySpan(tx, args, zForm{anyOrder: true, anyDir: true, firstBound: 2}, w)
}

func zRangeByScore(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	replySpan(tx, args, zForm{order: byScore, firstBound: 2}, w)
}

func zRangeByLex(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	replySpan(tx, args, zForm{order: byLex, firstBound: 2}, w)
}

func zRevRange(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	replySpan(tx, args, zForm{order: byRank, reverse: true, firstBound: 2}, w)
}

func zRevRangeByScore(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	replySpan(tx, args, zForm{order: byScore, reverse: true, firstBound: 2}, w)
}

func zRevRangeByLex(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	replySpan(tx, args, zForm{order: byLex, reverse: true, firstBound: 2}, w)
}

// parse reads a command of the form; where it is wrong, it answers the error and returns false.
func (f zForm) parse(args [][]byte, w reply.Writer) (q zQuery, ok bool) {
	q.limit = -1
	for i := f.firstBound + 2; i < len(args); i++ {
		switch arg := args[i]; {
		case !f.scoreless && isWord(arg, "WITHSCORES"):
			q.withScores = true
		case isWord(arg, "LIMIT") && i+2 < len(args):
			if q.offset, ok = intArg(w, args[i+1]); !ok {
				return q, false
			}
			if q.limit, ok = intArg(w, args[i+2]); !ok {
				return q, false
			}
			i += 2
		case f.anyDir && isWord(arg, "REV"):
			f.reverse, f.anyDir = true, false
		case f.anyOrder && isWord(arg, "BYLEX"):
			f.order, f.anyOrder = byLex, false
		case f.anyOrder && isWord(arg, "BYSCORE"):
			f.order, f.anyOrder = byScore, false
		default:
			w.Error(reply.Syntax)
			return q, false
		}
	}
	switch {
	case q.limit != -1 && f.order == byRank:
		w.Error("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
		return q, false
	case q.withScores && f.order == byLex:
		w.Error("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
		return q, false
	case f.order == byRank:
		q.offset = 0 // it stood beside a limit of -1, which counts as none
	}
	from, to := args[f.firstBound], args[f.firstBound+1]
	if f.reverse && f.order != byRank {
		from, to = to, from
	}
	q.reverse = f.reverse
	q.span, ok = spanArgs(w, f.order, from, to)
	return q, ok
}

// ranks is the part of z that the query covers: from <= rank < to.
func (q *zQuery) ranks(z *collection.ZSet) (from, to int) {
	from, to = q.span.ranks(z, q.reverse)
	size := int64(to - from)
	if q.offset < 0 || q.offset >= size {
		return 0, 0
	}
	size -= q.offset
	if q.limit >= 0 {
		size = min(size, q.limit)
	}
	if q.reverse {
		to -= int(q.offset)
		return to - int(size), to
	}
	from += int(q.offset)
	return from, from + int(size)
}

func replySpan(tx *keyspace.Tx, args [][]byte, form zForm, w reply.Writer) {
	q, ok := form.parse(args, w)
	if !ok {
		return
	}
	z, ok := openZSet(tx, args[1], w)
	if !ok {
		return
	}
	from, to := q.ranks(z)
	if q.withScores {
		w.Pairs(to - from)
	} else {
		w.Array(to - from)
	}
	replyRanks(z, from, to, q.reverse, q.withScores, w)
}

// replyRanks writes the members of ranks from <= rank < to, as pairs with their scores or alone.
func replyRanks(z *collection.ZSet, from, to int, reverse, withScores bool, w reply.Writer) {
	left := to - from
	if left == 0 {
		return
	}
	members := z.From(from)
	if reverse {
		members = z.Backward(to - 1)
	}
	for m, score := range members {
		if withScores {
			w.Pair()
			w.Bulk(m)
			w.Double(score)
		} else {
			w.Bulk(m)
		}
		if left--; left == 0 {
			return
		}
	}
}

func zRangeStore(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	q, ok := zForm{anyOrder: true, anyDir: true, scoreless: true, firstBound: 3}.parse(args, w)
	if !ok {
		return
	}
	z, ok := openZSet(tx, args[2], w)
	if !ok {
		return
	}
	from, to := q.ranks(z)
	var found scoredList
	if left := to - from; left > 0 {
		for m, score := range z.From(from) {
			found.add(m, score)
			if left--; left == 0 {
				break
			}
		}
	}
	storeZSet(tx, args[1], found.list)
	w.Int(int64(len(found.list)))
}
