package command

import (
	"bytes"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// The commands on sets. Those that calculate with several sets or draw at random have files of their own.
var setCommands = []Command{
	{
		Name: "SADD", Arity: -3, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Insert), Do: sAdd,
		Group: "set", Since: "1.0.0", Summary: "Makes members part of a set, which is created if need be.",
	},
	{
		Name: "SCARD", Arity: 2, Flags: ReadOnly | Fast, Keys: oneKey(RO), Do: sCard,
		Group: "set", Since: "1.0.0", Summary: "Returns the number of members of a set.",
	},
	{
		Name: "SDIFF", Arity: -2, Flags: ReadOnly, Keys: allKeys(RO | Access), Do: sDiff,
		Group: "set", Since: "1.0.0", Summary: "Returns the members of a set that no other of the sets has.",
		Tips: []string{"nondeterministic_output_order"},
	},
	{
		Name: "SDIFFSTORE", Arity: -3, Flags: Write | DenyOOM, Keys: storeKeys(OW | Update), Do: sDiffStore,
		Group: "set", Since: "1.0.0", Summary: "Stores the members of a set that no other of the sets has.",
	},
	{
		Name: "SINTER", Arity: -2, Flags: ReadOnly, Keys: allKeys(RO | Access), Do: sInter,
		Group: "set", Since: "1.0.0", Summary: "Returns the members that all of the sets have.",
		Tips: []string{"nondeterministic_output_order"},
	},
	{
		Name: "SINTERCARD", Arity: -3, Flags: ReadOnly | MovableKeys, Do: sInterCard,
		Keys:  []KeySpec{{Numkeys: 1, Step: 1, Use: RO | Access}},
		Group: "set", Since: "7.0.0", Summary: "Returns how many members all of the sets have, or a limit.",
	},
	{
		Name: "SINTERSTORE", Arity: -3, Flags: Write | DenyOOM, Keys: storeKeys(RW | Update), Do: sInterStore,
		Group: "set", Since: "1.0.0", Summary: "Stores the members that all of the sets have.",
	},
	{
		Name: "SISMEMBER", Arity: 3, Flags: ReadOnly | Fast, Keys: oneKey(RO), Do: sIsMember,
		Group: "set", Since: "1.0.0", Summary: "Tells whether a set has a member.",
	},
	{
		Name: "SMEMBERS", Arity: 2, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: sMembers,
		Group: "set", Since: "1.0.0", Summary: "Returns all members of a set.",
		Tips: []string{"nondeterministic_output_order"},
	},
	{
		Name: "SMISMEMBER", Arity: -3, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: sMIsMember,
		Group: "set", Since: "6.2.0", Summary: "Tells of each of several values whether a set has it.",
	},
	{
		Name: "SMOVE", Arity: 4, Flags: Write | Fast, Keys: twoKeys(RW|Access|Delete, RW|Insert), Do: sMove,
		Group: "set", Since: "1.0.0", Summary: "Takes a member out of one set and puts it into another.",
	},
	{
		Name: "SPOP", Arity: -2, Flags: Write | Fast, Keys: oneKey(RW | Access | Delete), Do: sPop,
		Group: "set", Since: "1.0.0", Summary: "Removes members chosen at random from a set and returns them.",
		Tips: []string{"nondeterministic_output"},
	},
	{
		Name: "SRANDMEMBER", Arity: -2, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: sRandMember,
		Group: "set", Since: "1.0.0", Summary: "Returns members of a set chosen at random.",
		Tips: []string{"nondeterministic_output"},
	},
	{
		Name: "SREM", Arity: -3, Flags: Write | Fast, Keys: oneKey(RW | Delete), Do: sRem,
		Group: "set", Since: "1.0.0", Summary: "Removes members from a set, and its key with the last one.",
	},
	{
		Name: "SSCAN", Arity: -3, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: sScan,
		Group: "set", Since: "2.8.0", Summary: "Lists members of a set in steps, each from the cursor that the last one returned.",
		Tips: []string{"nondeterministic_output"},
	},
	{
		Name: "SUNION", Arity: -2, Flags: ReadOnly, Keys: allKeys(RO | Access), Do: sUnion,
		Group: "set", Since: "1.0.0", Summary: "Returns the members that any of the sets has.",
		Tips: []string{"nondeterministic_output_order"},
	},
	{
		Name: "SUNIONSTORE", Arity: -3, Flags: Write | DenyOOM, Keys: storeKeys(OW | Update), Do: sUnionStore,
		Group: "set", Since: "1.0.0", Summary: "Stores the members that any of the sets has.",
	},
}

// storeKeys is a destination that is used as use says, and the sources behind it.
func storeKeys(use KeyUse) []KeySpec {
	return []KeySpec{
		{First: 1, Last: 1, Step: 1, Use: use},
		{First: 2, Last: -1, Step: 1, Use: RO | Access},
	}
}

func sAdd(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	s, ok := openSet(tx, args[1], w)
	if !ok {
		return
	}
	var n int64
	for _, m := range args[2:] {
		if s.Add(m) {
			n++
		}
	}
	w.Int(n)
}

func sRem(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	s, ok := openSet(tx, args[1], w)
	if !ok {
		return
	}
	var n int64
	for _, m := range args[2:] {
		if s.Remove(m) {
			n++
		}
	}
	w.Int(n)
}

func sCard(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if s, ok := openSet(tx, args[1], w); ok {
		w.Int(int64(s.Len()))
	}
}

func sIsMember(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if s, ok := openSet(tx, args[1], w); ok {
		replyFound(s.Has(args[2]), w)
	}
}

func sMIsMember(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	s, ok := openSet(tx, args[1], w)
	if !ok {
		return
	}
	w.Array(len(args) - 2)
	for _, m := range args[2:] {
		replyFound(s.Has(m), w)
	}
}

func sMembers(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	s, ok := openSet(tx, args[1], w)
	if !ok {
		return
	}
	w.Set(s.Len())
	for m := range s.All() {
		w.Bulk(m)
	}
}

// sMove looks at the destination only where there is a source.
func sMove(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	from, ok := openSet(tx, args[1], w)
	if !ok {
		return
	}
	if from.Len() == 0 {
		w.Int(0)
		return
	}
	to, ok := openSet(tx, args[2], w)
	if !ok {
		return
	}
	if bytes.Equal(args[1], args[2]) {
		replyFound(from.Has(args[3]), w)
		return
	}
	moved := from.Remove(args[3])
	if moved {
		to.Add(args[3])
	}
	replyFound(moved, w)
}

func sScan(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	cursor, ok := cursorArg(args[2])
	if !ok {
		w.Error(invalidCursor)
		return
	}
	s, ok := openSet(tx, args[1], w)
	if !ok {
		return
	}
	var found keyList
	if s.Len() == 0 { // Redis does not look at the options then
		found.replyScan(w, 0)
		return
	}
	o, ok := parseScanOptions(w, args[3:], false)
	if !ok {
		return
	}
	next := s.Scan(cursor, o.count, func(m []byte) {
		if o.pattern.match(m) {
			found.add(m)
		}
	})
	found.replyScan(w, next)
}
