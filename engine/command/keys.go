package command

import (
	"math"
	"strconv"
	"strings"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// The commands on keys whatever they hold. Walking the key space, serialized values, introspection, whole data bases
// and times to live have files of their own.
var keyCommands = []Command{
	{
		Name: "COPY", Arity: -3, Flags: Write | DenyOOM, Keys: twoKeys(RO|Access, OW|Update), Do: copyKey,
		Group: "generic", Since: "6.2.0", Summary: "Stores what a key holds under a second key as well.",
	},
	{
		Name: "DEL", Arity: -2, Flags: Write, Keys: allKeys(RM | Delete), Do: del,
		Group: "generic", Since: "1.0.0", Summary: "Removes keys and counts those that were there.",
		Tips: []string{"request_policy:multi_shard", "response_policy:agg_sum"},
	},
	{
		Name: "EXISTS", Arity: -2, Flags: ReadOnly | Fast, Keys: allKeys(RO), Do: exists,
		Group: "generic", Since: "1.0.0", Summary: "Counts those of the keys named that exist, repetitions included.",
		Tips: []string{"request_policy:multi_shard", "response_policy:agg_sum"},
	},
	{
		Name: "MOVE", Arity: 3, Flags: Write | Fast, Keys: oneKey(RW | Access | Update), Do: moveKey,
		Group: "generic", Since: "1.0.0", Summary: "Moves a key to another data base.",
	},
	{
		Name: "RENAME", Arity: 3, Flags: Write, Keys: twoKeys(RW|Access|Delete, OW|Update), Do: rename,
		Group: "generic", Since: "1.0.0", Summary: "Gives a key another name, in place of what had it.",
	},
	{
		Name: "RENAMENX", Arity: 3, Flags: Write | Fast, Keys: twoKeys(RW|Access|Delete, OW|Insert), Do: renameNX,
		Group: "generic", Since: "1.0.0", Summary: "Gives a key another name unless that is taken.",
	},
	{
		Name: "TOUCH", Arity: -2, Flags: ReadOnly | Fast, Keys: allKeys(RO), Do: touch,
		Group: "generic", Since: "3.2.1", Summary: "Counts as a use of keys, and says how many of them exist.",
		Tips: []string{"request_policy:multi_shard", "response_policy:agg_sum"},
	},
	{
		Name: "TYPE", Arity: 2, Flags: ReadOnly | Fast, Keys: oneKey(RO), Do: typeOf,
		Group: "generic", Since: "1.0.0", Summary: "Names the kind of value that a key holds.",
	},
	{
		Name: "UNLINK", Arity: -2, Flags: Write | Fast, Keys: allKeys(RM | Delete), Do: del,
		Group: "generic", Since: "4.0.0", Summary: "Removes keys and leaves the freeing of memory for later.",
		Tips: []string{"request_policy:multi_shard", "response_policy:agg_sum"},
	},
}

// sameObject refuses to move or copy a key onto itself.
const sameObject = "ERR source and destination objects are the same"

// twoKeys is a source at position 1 and a destination at position 2.
func twoKeys(source, destination KeyUse) []KeySpec {
	return []KeySpec{
		{First: 1, Last: 1, Step: 1, Use: source},
		{First: 2, Last: 2, Step: 1, Use: destination},
	}
}

func del(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	var n int64
	for _, key := range args[1:] {
		if tx.Delete(tx.DB(), key) {
			n++
		}
	}
	w.Int(n)
}

func exists(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	var n int64
	for _, key := range args[1:] {
		if _, ok := tx.Peek(tx.DB(), key); ok {
			n++
		}
	}
	w.Int(n)
}

func touch(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	var n int64
	for _, key := range args[1:] {
		if _, ok := tx.Get(tx.DB(), key); ok {
			n++
		}
	}
	w.Int(n)
}

func typeOf(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	e, _ := tx.Peek(tx.DB(), args[1]) // the zero kind is "none"
	w.Simple(e.Kind.String())
}

func rename(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	source, destination := args[1], args[2]
	if _, ok := tx.Get(tx.DB(), source); !ok {
		w.Error(reply.NoSuchKey)
		return
	}
	if string(source) != string(destination) {
		tx.Move(tx.DB(), source, tx.DB(), destination)
	}
	w.Simple(reply.OK)
}

func renameNX(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	source, destination := args[1], args[2]
	_, taken := tx.Peek(tx.DB(), destination)
	_, ok := tx.Get(tx.DB(), source)
	switch {
	case !ok:
		w.Error(reply.NoSuchKey)
	case taken: // by the source itself, perhaps
		w.Int(0)
	default:
		tx.Move(tx.DB(), source, tx.DB(), destination)
		w.Int(1)
	}
}

func copyKey(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	to, replace := tx.DB(), false
	for i := 3; i < len(args); i++ {
		switch {
		case isWord(args[i], "REPLACE"):
			replace = true
		case isWord(args[i], "DB") && i+1 < len(args):
			var ok bool
			if to, ok = dbArg(tx, args[i+1], w); !ok {
				return
			}
			i++
		default:
			w.Error(reply.Syntax)
			return
		}
	}
	source, destination := args[1], args[2]
	if to == tx.DB() && string(source) == string(destination) {
		w.Error(sameObject)
		return
	}
	_, taken := tx.Peek(to, destination)
	e, ok := tx.Get(tx.DB(), source)
	if !ok || taken && !replace {
		w.Int(0)
		return
	}
	tx.Copy(tx.DB(), source, to, destination, e.Expire)
	w.Int(1)
}

func moveKey(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	key := args[1]
	to, ok := dbArg(tx, args[2], w)
	if !ok {
		return
	}
	if to == tx.DB() {
		w.Error(sameObject)
		return
	}
	_, taken := tx.Peek(to, key)
	if _, ok := tx.Get(tx.DB(), key); !ok || taken {
		w.Int(0)
		return
	}
	tx.Move(tx.DB(), key, to, key)
	w.Int(1)
}

// dbArg reads the number of a data base; where it is none, it answers the error and returns false.
func dbArg(tx *keyspace.Tx, arg []byte, w reply.Writer) (db int, ok bool) {
	n, ok := rangeArg(w, arg, math.MinInt32, math.MaxInt32)
	if !ok {
		return 0, false
	}
	if n < 0 || n >= int64(tx.Databases()) {
		w.Error(reply.DBOutOfRange)
		return 0, false
	}
	return int(n), true
}

// rangeArg reads an integer from lowest to highest; where it is none, it answers the error and returns false.
func rangeArg(w reply.Writer, arg []byte, lowest, highest int64) (n int64, ok bool) {
	n, ok = intArg(w, arg)
	if ok && (n < lowest || n > highest) {
		w.Error("ERR value is out of range, value must between " +
			strconv.FormatInt(lowest, 10) + " and " + strconv.FormatInt(highest, 10))
		return 0, false
	}
	return n, ok
}

// quoted is a client's bytes as an error shows them: up to the first NUL, without line breaks.
func quoted(arg []byte) string {
	s, _, _ := strings.Cut(string(arg), "\x00")
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
}
