package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// LARDER.EVICT ALLKEYS|VOLATILE key [key ...] removes keys that the leader has chosen by maxmemory-policy. What it says
// is all that Apply goes by. With VOLATILE a key that has no time to live any more stays. So does a key in a slot that the
// shard does not own.
var evictCommands = []Command{
	{
		Name: internal + "EVICT", Arity: -3, Flags: Write, Keys: []KeySpec{{First: 2, Last: -1, Step: 1, Use: RM | Delete}}, Do: evict,
		Group: "generic", Since: "7.0.0", Summary: "Removes keys to make room.",
	},
}

// EvictArgs begins the arguments of LARDER.EVICT: the keys follow.
func EvictArgs(timed bool) [][]byte {
	which := "ALLKEYS"
	if timed {
		which = "VOLATILE"
	}
	return [][]byte{[]byte(internal + "EVICT"), []byte(which)}
}

// EvictsTimed says of LARDER.EVICT's arguments whether only keys with a time to live go.
func EvictsTimed(args [][]byte) bool { return isWord(args[1], "VOLATILE") }

// evict answers how many keys it removed. Keys whose time has come are removed too, and do not count.
func evict(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	timed, n := EvictsTimed(args), int64(0)
	for _, key := range args[2:] {
		if !tx.Owns(key) {
			continue
		}
		if e, found := tx.Peek(tx.DB(), key); !found || timed && e.Expire == 0 {
			continue
		}
		tx.Delete(tx.DB(), key)
		n++
	}
	w.Int(n)
}
