package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// The commands on strings as a whole. Options of SET and GETEX are read in strings_options.go; numbers, parts of
// strings and LCS have files of their own.
var stringCommands = []Command{
	{
		Name: "APPEND", Arity: 3, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Insert), Do: appendString,
		Group: "string", Since: "2.0.0", Summary: "Adds bytes to the end of a string, which is created if need be.",
	},
	{
		Name: "DECR", Arity: 2, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Access | Update), Do: decr,
		Group: "string", Since: "1.0.0", Summary: "Takes one from the integer that a string holds.",
	},
	{
		Name: "DECRBY", Arity: 3, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Access | Update), Do: decrBy,
		Group: "string", Since: "1.0.0", Summary: "Takes a number from the integer that a string holds.",
	},
	{
		Name: "GET", Arity: 2, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: get,
		Group: "string", Since: "1.0.0", Summary: "Returns the string stored under a key.",
	},
	{
		Name: "GETDEL", Arity: 2, Flags: Write | Fast, Keys: oneKey(RW | Access | Delete), Do: getDel,
		Group: "string", Since: "6.2.0", Summary: "Returns a string and removes its key.",
	},
	{
		Name: "GETEX", Arity: -2, Flags: Write | Fast, Do: getEx,
		Keys: []KeySpec{{
			First: 1, Last: 1, Step: 1, Use: RW | Access | Update, Notes: "RW and UPDATE because it changes the TTL",
		}},
		Group: "string", Since: "6.2.0", Summary: "Returns a string and sets or removes its time to live.",
	},
	{
		Name: "GETRANGE", Arity: 4, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: getRange,
		Group: "string", Since: "2.4.0", Summary: "Returns a part of a string, given by its first and last byte.",
	},
	{
		Name: "GETSET", Arity: 3, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Access | Update), Do: getSet,
		Group: "string", Since: "1.0.0", Summary: "Stores a string and returns the one it replaces.",
	},
	{
		Name: "INCR", Arity: 2, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Access | Update), Do: incr,
		Group: "string", Since: "1.0.0", Summary: "Adds one to the integer that a string holds.",
	},
	{
		Name: "INCRBY", Arity: 3, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Access | Update), Do: incrBy,
		Group: "string", Since: "1.0.0", Summary: "Adds a number to the integer that a string holds.",
	},
	{
		Name: "INCRBYFLOAT", Arity: 3, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Access | Update), Do: incrByFloat,
		Group: "string", Since: "2.6.0", Summary: "Adds a floating point number to the number that a string holds.",
	},
	{
		Name: "LCS", Arity: -3, Flags: ReadOnly | LongRead, Do: lcs,
		Keys:  []KeySpec{{First: 1, Last: 2, Step: 1, Use: RO | Access}},
		Group: "string", Since: "7.0.0", Summary: "Finds the longest common subsequence of two strings.",
	},
	{
		Name: "MGET", Arity: -2, Flags: ReadOnly | Fast, Keys: allKeys(RO | Access), Do: mGet,
		Group: "string", Since: "1.0.0", Summary: "Returns the strings stored under several keys.",
		Tips: []string{"request_policy:multi_shard"},
	},
	{
		Name: "MSET", Arity: -3, Flags: Write | DenyOOM, Do: mSet,
		Keys:  []KeySpec{{First: 1, Last: -1, Step: 2, Use: OW | Update}},
		Group: "string", Since: "1.0.1", Summary: "Stores several strings, all at once.",
		Tips: []string{"request_policy:multi_shard", "response_policy:all_succeeded"},
	},
	{
		Name: "MSETNX", Arity: -3, Flags: Write | DenyOOM, Do: mSetNX,
		Keys:  []KeySpec{{First: 1, Last: -1, Step: 2, Use: OW | Insert}},
		Group: "string", Since: "1.0.1", Summary: "Stores several strings, unless one of the keys exists.",
		Tips: []string{"request_policy:multi_shard", "response_policy:agg_min"},
	},
	{
		Name: "PSETEX", Arity: 4, Flags: Write | DenyOOM, Keys: oneKey(OW | Update), Do: pSetEx,
		Group: "string", Since: "2.6.0", Summary: "Stores a string with a time to live in milliseconds.",
	},
	{
		Name: "SET", Arity: -3, Flags: Write | DenyOOM, Do: set,
		Keys: []KeySpec{{
			First: 1, Last: 1, Step: 1, Use: RW | Access | Update | VariableFlags,
			Notes: "RW and ACCESS due to the optional `GET` argument",
		}},
		Group: "string", Since: "1.0.0", Summary: "Stores a string under a key, whatever the key held.",
	},
	{
		Name: "SETEX", Arity: 4, Flags: Write | DenyOOM, Keys: oneKey(OW | Update), Do: setEx,
		Group: "string", Since: "2.0.0", Summary: "Stores a string with a time to live in seconds.",
	},
	{
		Name: "SETNX", Arity: 3, Flags: Write | DenyOOM | Fast, Keys: oneKey(OW | Insert), Do: setNX,
		Group: "string", Since: "1.0.0", Summary: "Stores a string unless the key exists.",
	},
	{
		Name: "SETRANGE", Arity: 4, Flags: Write | DenyOOM, Keys: oneKey(RW | Update), Do: setRange,
		Group: "string", Since: "2.2.0", Summary: "Overwrites a part of a string from a byte offset on.",
	},
	{
		Name: "STRLEN", Arity: 2, Flags: ReadOnly | Fast, Keys: oneKey(RO), Do: strLen,
		Group: "string", Since: "2.2.0", Summary: "Returns the length of a string in bytes.",
	},
	{
		Name: "SUBSTR", Arity: 4, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: getRange,
		Group: "string", Since: "1.0.0", Summary: "Returns a part of a string; the old name of GETRANGE.",
	},
}

// lookupString looks up a key that should hold a string or nothing. ok is false where it holds another kind: then the
// error has been answered.
func lookupString(tx *keyspace.Tx, key []byte, w reply.Writer) (e keyspace.Entry, found, ok bool) {
	e, found = tx.Get(tx.DB(), key)
	if found && e.Kind != value.String {
		w.Error(reply.WrongType)
		return keyspace.Entry{}, false, false
	}
	e.Value = tx.Whole(tx.DB(), key, e)
	return e, found, true
}

// replyString answers with the string under key, or the absent value. found and ok are lookupString's.
func replyString(tx *keyspace.Tx, key []byte, w reply.Writer) (found, ok bool) {
	e, found, ok := lookupString(tx, key, w)
	switch {
	case !ok:
	case found:
		w.Bulk(e.Value)
	default:
		w.Null()
	}
	return found, ok
}

// putString puts a new string under key with its time to live (0: none); one that is over already removes the key.
func putString(tx *keyspace.Tx, key, val []byte, expire int64) {
	if expire != 0 && expire <= tx.Now() {
		tx.Delete(tx.DB(), key)
		return
	}
	tx.Put(tx.DB(), key, keyspace.Entry{Kind: value.String, Value: val, Expire: expire})
}

func get(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	e, found := tx.Get(tx.DB(), args[1])
	switch {
	case !found:
		w.Null()
	case e.Kind != value.String:
		w.Error(reply.WrongType)
	default:
		w.Bulk(tx.Whole(tx.DB(), args[1], e))
	}
}

func set(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if len(args) > 3 {
		setWithOptions(tx, args, w)
		return
	}
	tx.Put(tx.DB(), args[1], keyspace.Entry{Kind: value.String, Value: args[2]})
	w.Simple(reply.OK)
}

func setWithOptions(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	o, ok := parseSetOptions(args[3:])
	if !ok {
		w.Error(reply.Syntax)
		return
	}
	var expire int64
	if o.expiry != nil {
		if expire, ok = expiryArg(w, o.expiry, o.unit, tx.Now(), "set"); !ok {
			return
		}
	}
	var old keyspace.Entry
	var found bool
	if o.get {
		if old, found, ok = lookupString(tx, args[1], w); !ok {
			return
		}
		if found {
			w.Bulk(old.Value)
		} else {
			w.Null()
		}
	} else if o.onlyNew || o.onlyOld || o.keepTTL {
		old, found = tx.Get(tx.DB(), args[1])
	}
	if o.onlyNew && found || o.onlyOld && !found {
		if !o.get {
			w.Null()
		}
		return
	}
	if o.keepTTL {
		expire = old.Expire
	}
	putString(tx, args[1], args[2], expire)
	if !o.get {
		w.Simple(reply.OK)
	}
}

func setNX(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if _, found := tx.Get(tx.DB(), args[1]); found {
		w.Int(0)
		return
	}
	putString(tx, args[1], args[2], 0)
	w.Int(1)
}

func setEx(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	setFor(tx, args, w, expiryUnit{seconds: true}, "setex")
}

func pSetEx(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	setFor(tx, args, w, expiryUnit{}, "psetex")
}

func setFor(tx *keyspace.Tx, args [][]byte, w reply.Writer, unit expiryUnit, command string) {
	expire, ok := expiryArg(w, args[2], unit, tx.Now(), command)
	if !ok {
		return
	}
	putString(tx, args[1], args[3], expire)
	w.Simple(reply.OK)
}

func getSet(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if _, ok := replyString(tx, args[1], w); ok {
		putString(tx, args[1], args[2], 0)
	}
}

func getDel(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if found, _ := replyString(tx, args[1], w); found {
		tx.Delete(tx.DB(), args[1])
	}
}

func getEx(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	o, ok := parseGetExOptions(args[2:])
	if !ok {
		w.Error(reply.Syntax)
		return
	}
	e, found, ok := lookupString(tx, args[1], w)
	if !ok {
		return
	}
	if !found {
		w.Null()
		return
	}
	var expire int64
	if o.expiry != nil {
		if expire, ok = expiryArg(w, o.expiry, o.unit, tx.Now(), "getex"); !ok {
			return
		}
	}
	w.Bulk(e.Value)
	switch {
	case o.persist:
		tx.SetExpire(tx.DB(), args[1], 0)
	case o.expiry == nil:
	case expire <= tx.Now():
		tx.Delete(tx.DB(), args[1])
	default:
		tx.SetExpire(tx.DB(), args[1], expire)
	}
}

func mGet(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	w.Array(len(args) - 1)
	for _, key := range args[1:] {
		if e, found := tx.Get(tx.DB(), key); found && e.Kind == value.String {
			w.Bulk(tx.Whole(tx.DB(), key, e))
		} else {
			w.Null()
		}
	}
}

func mSet(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if len(args)%2 == 0 {
		w.Error("ERR wrong number of arguments for 'mset' command")
		return
	}
	storePairs(tx, args[1:])
	w.Simple(reply.OK)
}

func mSetNX(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if len(args)%2 == 0 {
		w.Error("ERR wrong number of arguments for 'msetnx' command")
		return
	}
	for i := 1; i < len(args); i += 2 {
		if _, found := tx.Get(tx.DB(), args[i]); found {
			w.Int(0)
			return
		}
	}
	storePairs(tx, args[1:])
	w.Int(1)
}

// storePairs stores strings given as key, value, key, value …
func storePairs(tx *keyspace.Tx, pairs [][]byte) {
	for i := 0; i < len(pairs); i += 2 {
		putString(tx, pairs[i], pairs[i+1], 0)
	}
}
