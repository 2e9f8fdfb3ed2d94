package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value/collection"
)

// The commands on hashes. Those that calculate, draw at random or walk in steps have files of their own.
var hashCommands = []Command{
	{
		Name: "HDEL", Arity: -3, Flags: Write | Fast, Keys: oneKey(RW | Delete), Do: hDel,
		Group: "hash", Since: "2.0.0", Summary: "Removes fields from a hash, and its key with the last one.",
	},
	{
		Name: "HEXISTS", Arity: 3, Flags: ReadOnly | Fast, Keys: oneKey(RO), Do: hExists,
		Group: "hash", Since: "2.0.0", Summary: "Tells whether a hash has a field.",
	},
	{
		Name: "HGET", Arity: 3, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: hGet,
		Group: "hash", Since: "2.0.0", Summary: "Returns the value of a field of a hash.",
	},
	{
		Name: "HGETALL", Arity: 2, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: hGetAll,
		Group: "hash", Since: "2.0.0", Summary: "Returns all fields of a hash with their values.",
		Tips: []string{"nondeterministic_output_order"},
	},
	{
		Name: "HINCRBY", Arity: 4, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Access | Update), Do: hIncrBy,
		Group: "hash", Since: "2.0.0", Summary: "Adds a number to the integer that a field of a hash holds.",
	},
	{
		Name: "HINCRBYFLOAT", Arity: 4, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Access | Update), Do: hIncrByFloat,
		Group: "hash", Since: "2.6.0", Summary: "Adds a floating point number to the number that a field of a hash holds.",
	},
	{
		Name: "HKEYS", Arity: 2, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: hKeys,
		Group: "hash", Since: "2.0.0", Summary: "Returns all fields of a hash.",
		Tips: []string{"nondeterministic_output_order"},
	},
	{
		Name: "HLEN", Arity: 2, Flags: ReadOnly | Fast, Keys: oneKey(RO), Do: hLen,
		Group: "hash", Since: "2.0.0", Summary: "Returns the number of fields of a hash.",
	},
	{
		Name: "HMGET", Arity: -3, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: hMGet,
		Group: "hash", Since: "2.0.0", Summary: "Returns the values of several fields of a hash.",
	},
	{
		Name: "HMSET", Arity: -4, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Update), Do: hMSet,
		Group: "hash", Since: "2.0.0", Summary: "Stores several fields of a hash; the old form of HSET.",
	},
	{
		Name: "HRANDFIELD", Arity: -2, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: hRandField,
		Group: "hash", Since: "6.2.0", Summary: "Returns fields of a hash chosen at random, with their values if asked for.",
		Tips: []string{"nondeterministic_output"},
	},
	{
		Name: "HSCAN", Arity: -3, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: hScan,
		Group: "hash", Since: "2.8.0", Summary: "Lists fields of a hash in steps, each from the cursor that the last one returned.",
		Tips: []string{"nondeterministic_output"},
	},
	{
		Name: "HSET", Arity: -4, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Update), Do: hSet,
		Group: "hash", Since: "2.0.0", Summary: "Stores fields of a hash, which is created if need be.",
	},
	{
		Name: "HSETNX", Arity: 4, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Insert), Do: hSetNX,
		Group: "hash", Since: "2.0.0", Summary: "Stores a field of a hash unless the field exists.",
	},
	{
		Name: "HSTRLEN", Arity: 3, Flags: ReadOnly | Fast, Keys: oneKey(RO), Do: hStrLen,
		Group: "hash", Since: "3.2.0", Summary: "Returns the length of a field's value in bytes.",
	},
	{
		Name: "HVALS", Arity: 2, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: hVals,
		Group: "hash", Since: "2.0.0", Summary: "Returns all values of a hash.",
		Tips: []string{"nondeterministic_output_order"},
	},
}

func hSet(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if added, ok := storeFields(tx, args, w, "hset"); ok {
		w.Int(added)
	}
}

func hMSet(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if _, ok := storeFields(tx, args, w, "hmset"); ok {
		w.Simple(reply.OK)
	}
}

// storeFields stores fields given as field, value, field, value … behind the key, and returns how many of them are
// new. Where that cannot be, it answers the error in the name of command (lower case) and returns false.
func storeFields(tx *keyspace.Tx, args [][]byte, w reply.Writer, command string) (added int64, ok bool) {
	if len(args)%2 != 0 {
		w.Error("ERR wrong number of arguments for '" + command + "' command")
		return 0, false
	}
	h, ok := openHash(tx, args[1], w)
	if !ok {
		return 0, false
	}
	for i := 2; i < len(args); i += 2 {
		if h.Set(args[i], args[i+1]) {
			added++
		}
	}
	return added, true
}

func hSetNX(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	h, ok := openHash(tx, args[1], w)
	if !ok {
		return
	}
	if _, found := h.Get(args[2]); found {
		w.Int(0)
		return
	}
	h.Set(args[2], args[3])
	w.Int(1)
}

func hGet(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if h, ok := openHash(tx, args[1], w); ok {
		replyField(h, args[2], w)
	}
}

func hMGet(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	h, ok := openHash(tx, args[1], w)
	if !ok {
		return
	}
	w.Array(len(args) - 2)
	for _, field := range args[2:] {
		replyField(h, field, w)
	}
}

// replyField answers with a field's value, or the absent value.
func replyField(h *collection.Hash, field []byte, w reply.Writer) {
	if val, found := h.Get(field); found {
		w.Bulk(val)
	} else {
		w.Null()
	}
}

func hDel(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	h, ok := openHash(tx, args[1], w)
	if !ok {
		return
	}
	var n int64
	for _, field := range args[2:] {
		if h.Delete(field) {
			n++
		}
	}
	w.Int(n)
}

func hLen(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if h, ok := openHash(tx, args[1], w); ok {
		w.Int(int64(h.Len()))
	}
}

func hStrLen(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if h, ok := openHash(tx, args[1], w); ok {
		val, _ := h.Get(args[2])
		w.Int(int64(len(val)))
	}
}

func hExists(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if h, ok := openHash(tx, args[1], w); ok {
		_, found := h.Get(args[2])
		replyFound(found, w)
	}
}

// replyFound answers with 1 or 0.
func replyFound(found bool, w reply.Writer) {
	if found {
		w.Int(1)
	} else {
		w.Int(0)
	}
}

func hGetAll(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	h, ok := openHash(tx, args[1], w)
	if !ok {
		return
	}
	w.Map(h.Len())
	for field, val := range h.All() {
		w.Bulk(field)
		w.Bulk(val)
	}
}

func hKeys(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if h, ok := openHash(tx, args[1], w); ok {
		replyFields(h, w)
	}
}

// replyFields answers with all fields.
func replyFields(h *collection.Hash, w reply.Writer) {
	w.Array(h.Len())
	for field := range h.All() {
		w.Bulk(field)
	}
}

func hVals(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	h, ok := openHash(tx, args[1], w)
	if !ok {
		return
	}
	w.Array(h.Len())
	for _, val := range h.All() {
		w.Bulk(val)
	}
}

func hScan(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	cursor, ok := cursorArg(args[2])
	if !ok {
		w.Error(invalidCursor)
		return
	}
	h, ok := openHash(tx, args[1], w)
	if !ok {
		return
	}
	var found keyList
	if h.Len() == 0 { // Redis does not look at the options then
		found.replyScan(w, 0)
		return
	}
	o, ok := parseScanOptions(w, args[3:], false)
	if !ok {
		return
	}
	next := h.Scan(cursor, o.count, func(field, val []byte) {
		if o.pattern.match(field) {
			found.add(field)
			found.add(val)
		}
	})
	found.replyScan(w, next)
}
