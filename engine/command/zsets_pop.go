package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value/collection"
)

// The commands that take members with the lowest or highest scores out of a sorted set.
var zsetPopCommands = []Command{
	{
		Name: "ZMPOP", Arity: -4, Flags: Write | MovableKeys, Keys: numberedKeySpec(1, RW|Access|Delete), Do: zMPop,
		Group: "sorted-set", Since: "7.0.0", Summary: "Pops members off the first of several sorted sets that has any.",
	},
	{
		Name: "ZPOPMAX", Arity: -2, Flags: Write | Fast, Keys: oneKey(RW | Access | Delete), Do: zPopMax,
		Group: "sorted-set", Since: "5.0.0", Summary: "Removes and returns the members with the highest scores.",
	},
	{
		Name: "ZPOPMIN", Arity: -2, Flags: Write | Fast, Keys: oneKey(RW | Access | Delete), Do: zPopMin,
		Group: "sorted-set", Since: "5.0.0", Summary: "Removes and returns the members with the lowest scores.",
	},
}

func zPopMin(tx *keyspace.Tx, args [][]byte, w reply.Writer) { zPop(tx, args, false, w) }

func zPopMax(tx *keyspace.Tx, args [][]byte, w reply.Writer) { zPop(tx, args, true, w) }

func zPop(tx *keyspace.Tx, args [][]byte, highest bool, w reply.Writer) {
	count, counted := int64(1), len(args) == 3
	if len(args) > 3 {
		w.Error(reply.Syntax)
		return
	}
	if counted {
		var ok bool
		if count, ok = positiveArg(w, args[2]); !ok {
			return
		}
	}
	z, ok := openZSet(tx, args[1], w)
	if !ok {
		return
	}
	n := int(min(count, int64(z.Len())))
	if !counted && n == 1 { // one member and its score, which no version of the protocol nests
		w.Array(2)
		zPopOne(z, highest, w)
		return
	}
	w.Pairs(n)
	zPopMany(z, n, highest, w.Pair, w)
}

// zPopOne takes the first or the last member out and writes it with its score.
func zPopOne(z *collection.ZSet, highest bool, w reply.Writer) {
	at := 0
	if highest {
		at = z.Len() - 1
	}
	m, score := z.At(at)
	w.Bulk(m)
	w.Double(score)
	z.RemoveRange(at, at+1)
}

// zPopMany takes the first or the last n members out and writes each with its score, behind what announce writes.
func zPopMany(z *collection.ZSet, n int, highest bool, announce func(), w reply.Writer) {
	if n == 0 {
		return
	}
	from, to, members := 0, n, z.From(0)
	if highest {
		from, to, members = z.Len()-n, z.Len(), z.Backward(z.Len()-1)
	}
	left := n
	for m, score := range members {
		announce()
		w.Bulk(m)
		w.Double(score)
		if left--; left == 0 {
			break
		}
	}
	z.RemoveRange(from, to)
}

func zMPop(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	keys, rest, ok := numberedKeys(w, args[1:])
	if !ok {
		return
	}
	highest := isWord(rest[0], "MAX")
	if !highest && !isWord(rest[0], "MIN") {
		w.Error(reply.Syntax)
		return
	}
	count, ok := countArgs(w, rest[1:])
	if !ok {
		return
	}
	for _, key := range keys {
		z, ok := openZSet(tx, key, w)
		if !ok {
			return
		}
		if z.Len() == 0 {
			continue
		}
		n := int(min(count, int64(z.Len())))
		w.Array(2)
		w.Bulk(key)
		w.Array(n)
		zPopMany(z, n, highest, func() { w.Array(2) }, w)
		return
	}
	w.NullArray()
}
