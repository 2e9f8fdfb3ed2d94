package command

import (
	"math"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// The commands on whole data bases.
var databaseCommands = []Command{
	{
		Name: "DBSIZE", Arity: 1, Flags: ReadOnly | Fast, Do: dbSize,
		Group: "server", Since: "1.0.0", Summary: "Counts the keys of the selected data base.",
		Extra: "keyspace", Tips: []string{"request_policy:all_shards", "response_policy:agg_sum"},
	},
	{
		Name: "FLUSHALL", Arity: -1, Flags: Write | TouchesAll, Do: flushAll,
		Group: "server", Since: "1.0.0", Summary: "Removes every key of every data base.",
		Extra: "keyspace dangerous", Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"},
	},
	{
		Name: "FLUSHDB", Arity: -1, Flags: Write | TouchesAll, Do: flushDB,
		Group: "server", Since: "1.0.0", Summary: "Removes every key of the selected data base.",
		Extra: "keyspace dangerous", Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"},
	},
	{
		Name: "SWAPDB", Arity: 3, Flags: Write | Fast | TouchesAll, Do: swapDB,
		Group: "server", Since: "4.0.0", Summary: "Exchanges two data bases, for all clients at once.",
		Extra: "keyspace dangerous",
	},
}

func dbSize(tx *keyspace.Tx, _ [][]byte, w reply.Writer) {
	w.Int(tx.Len(tx.DB()))
}

// flushArgs checks the way of flushing. Both ways are the same here: the keys are gone at once, and their memory is
// freed in the background.
func flushArgs(args [][]byte, w reply.Writer) bool {
	if len(args) == 1 || len(args) == 2 && (isWord(args[1], "ASYNC") || isWord(args[1], "SYNC")) {
		return true
	}
	w.Error(reply.Syntax)
	return false
}

func flushDB(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if !flushArgs(args, w) {
		return
	}
	tx.Flush(tx.DB())
	w.Simple(reply.OK)
}

func flushAll(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if !flushArgs(args, w) {
		return
	}
	for db := range tx.Databases() {
		tx.Flush(db)
	}
	w.Simple(reply.OK)
}

func swapDB(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	a, ok := swapArg(w, args[1], "ERR invalid first DB index")
	if !ok {
		return
	}
	b, ok := swapArg(w, args[2], "ERR invalid second DB index")
	if !ok {
		return
	}
	most := int64(tx.Databases())
	if a < 0 || a >= most || b < 0 || b >= most {
		w.Error(reply.DBOutOfRange)
		return
	}
	if a != b {
		tx.Swap(int(a), int(b))
	}
	w.Simple(reply.OK)
}

func swapArg(w reply.Writer, arg []byte, msg string) (n int64, ok bool) {
	n, ok = intArgOr(w, arg, msg)
	if ok && (n < math.MinInt32 || n > math.MaxInt32) {
		w.Error(msg)
		return 0, false
	}
	return n, ok
}
