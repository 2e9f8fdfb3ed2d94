package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// The commands on members of sorted sets, and on how many there are. Ranges, popping and combining several sets have
// tables of their own, in their files.
var zsetCommands = []Command{
	{
		Name: "ZADD", Arity: -4, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Update), Do: zAdd,
		Group: "sorted-set", Since: "1.2.0", Summary: "Gives members of a sorted set their scores, adding those that are new.",
	},
	{
		Name: "ZCARD", Arity: 2, Flags: ReadOnly | Fast, Keys: oneKey(RO), Do: zCard,
		Group: "sorted-set", Since: "1.2.0", Summary: "Counts the members of a sorted set.",
	},
	{
		Name: "ZINCRBY", Arity: 4, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Access | Update), Do: zIncrBy,
		Group: "sorted-set", Since: "1.2.0", Summary: "Adds to the score of a member, which counts as 0 if it is new.",
	},
	{
		Name: "ZMSCORE", Arity: -3, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: zMScore,
		Group: "sorted-set", Since: "6.2.0", Summary: "Returns the scores of several members.",
	},
	{
		Name: "ZRANDMEMBER", Arity: -2, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: zRandMember,
		Group: "sorted-set", Since: "6.2.0", Summary: "Returns members of a sorted set chosen at random.",
		Tips: []string{"nondeterministic_output"},
	},
	{
		Name: "ZRANK", Arity: 3, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: zRank,
		Group: "sorted-set", Since: "2.0.0", Summary: "Returns a member's place, counted from the lowest score.",
	},
	{
		Name: "ZREM", Arity: -3, Flags: Write | Fast, Keys: oneKey(RW | Delete), Do: zRem,
		Group: "sorted-set", Since: "1.2.0", Summary: "Removes members and counts those that were there.",
	},
	{
		Name: "ZREVRANK", Arity: 3, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: zRevRank,
		Group: "sorted-set", Since: "2.0.0", Summary: "Returns a member's place, counted from the highest score.",
	},
	{
		Name: "ZSCAN", Arity: -3, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: zScan,
		Group: "sorted-set", Since: "2.8.0", Summary: "Lists members with scores in steps, each from the cursor that the last one returned.",
		Tips: []string{"nondeterministic_output"},
	},
	{
		Name: "ZSCORE", Arity: 3, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: zScore,
		Group: "sorted-set", Since: "1.2.0", Summary: "Returns the score of a member.",
	},
}

// openZSet is openHash for a sorted set.
func openZSet(tx *keyspace.Tx, key []byte, w reply.Writer) (z *collection.ZSet, ok bool) {
	if !holds(tx, key, value.ZSet, w) {
		return nil, false
	}
	return tx.ZSet(tx.DB(), key), true
}

func zCard(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if z, ok := openZSet(tx, args[1], w); ok {
		w.Int(int64(z.Len()))
	}
}

func zScore(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if z, ok := openZSet(tx, args[1], w); ok {
		replyScore(z, args[2], w)
	}
}

func zMScore(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	z, ok := openZSet(tx, args[1], w)
	if !ok {
		return
	}
	w.Array(len(args) - 2)
	for _, m := range args[2:] {
		replyScore(z, m, w)
	}
}

// replyScore answers with a member's score, or the absent value.
func replyScore(z *collection.ZSet, m []byte, w reply.Writer) {
	if score, ok := z.Score(m); ok {
		w.Double(score)
		return
	}
	w.Null()
}

func zRank(tx *keyspace.Tx, args [][]byte, w reply.Writer) { replyRank(tx, args, false, w) }

func zRevRank(tx *keyspace.Tx, args [][]byte, w reply.Writer) { replyRank(tx, args, true, w) }

func replyRank(tx *keyspace.Tx, args [][]byte, reverse bool, w reply.Writer) {
	z, ok := openZSet(tx, args[1], w)
	if !ok {
		return
	}
	rank, ok := z.Rank(args[2])
	switch {
	case !ok:
		w.Null()
	case reverse:
		w.Int(int64(z.Len() - 1 - rank))
	default:
		w.Int(int64(rank))
	}
}

func zRem(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	z, ok := openZSet(tx, args[1], w)
	if !ok {
		return
	}
	var removed int64
	for _, m := range args[2:] {
		if z.Remove(m) {
			removed++
		}
	}
	w.Int(removed)
}
