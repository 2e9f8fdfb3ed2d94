package command

import (
	"errors"
	"math"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value/rdb"
)

// The commands that take values out and in as Redis serializes them.
var dumpCommands = []Command{
	{
		Name: "DUMP", Arity: 2, Flags: ReadOnly | LongRead, Keys: oneKey(RO | Access), Do: dump,
		Group: "generic", Since: "2.6.0", Summary: "Returns what a key holds in Redis's serialized form.",
		Tips: []string{"nondeterministic_output"},
	},
	{
		Name: "RESTORE", Arity: -4, Flags: Write | DenyOOM, Keys: oneKey(OW | Update), Do: restore,
		Group: "generic", Since: "2.6.0", Summary: "Creates a key from what DUMP returned.", Extra: "dangerous",
	},
}

func dump(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	e, ok := tx.Get(tx.DB(), args[1])
	if !ok {
		w.Null()
		return
	}
	payload, err := rdb.AppendDump(nil, objectUnder(tx, tx.DB(), args[1], e))
	if err != nil {
		w.Error("ERR " + err.Error())
		return
	}
	w.Bulk(payload)
}

// restoreOptions are what may follow RESTORE's payload.
type restoreOptions struct {
	replace, absolute bool
	idle              int64 // seconds, -1: not given
	freq              int64 // -1: not given
}

func restore(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	o, ok := restoreArgs(args[4:], w)
	if !ok {
		return
	}
	key := args[1]
	_, taken := tx.Peek(tx.DB(), key)
	if taken && !o.replace {
		w.Error("BUSYKEY Target key name already exists.")
		return
	}
	ttl, ok := intArg(w, args[2])
	if !ok {
		return
	}
	if ttl < 0 {
		w.Error("ERR Invalid TTL value, must be >= 0")
		return
	}
	object, err := rdb.ParseDump(args[3])
	if errors.Is(err, rdb.ErrFooter) {
		w.Error("ERR DUMP payload version or checksum are wrong")
		return
	}
	if err != nil {
		w.Error("ERR Bad data format")
		return
	}
	if ttl != 0 && !o.absolute {
		ttl += tx.Now() // beyond 64 bits it wraps around to the past, as in Redis
	}
	if ttl != 0 && ttl <= tx.Now() {
		tx.Delete(tx.DB(), key)
		w.Simple(reply.OK)
		return
	}
	if taken { // what is known of the old value's use goes with it
		tx.Delete(tx.DB(), key)
	}
	putObject(tx, tx.DB(), key, object, ttl)
	if o.idle >= 0 || o.freq >= 0 {
		tx.SetRecency(tx.DB(), key, idleMillis(o.idle), int(o.freq))
	}
	w.Simple(reply.OK)
}

// restoreArgs reads the options; where they are wrong, it answers the error and returns false.
func restoreArgs(args [][]byte, w reply.Writer) (o restoreOptions, ok bool) {
	o.idle, o.freq = -1, -1
	for i := 0; i < len(args); i++ {
		switch more := i+1 < len(args); {
		case isWord(args[i], "REPLACE"):
			o.replace = true
		case isWord(args[i], "ABSTTL"):
			o.absolute = true
		case isWord(args[i], "IDLETIME") && more && o.freq == -1:
			if o.idle, ok = intArg(w, args[i+1]); !ok {
				return o, false
			}
			if o.idle < 0 {
				w.Error("ERR Invalid IDLETIME value, must be >= 0")
				return o, false
			}
			i++
		case isWord(args[i], "FREQ") && more && o.idle == -1:
			if o.freq, ok = intArg(w, args[i+1]); !ok {
				return o, false
			}
			if o.freq < 0 || o.freq > math.MaxUint8 {
				w.Error("ERR Invalid FREQ value, must be >= 0 and <= 255")
				return o, false
			}
			i++
		default:
			w.Error(reply.Syntax)
			return o, false
		}
	}
	return o, true
}

// idleMillis turns seconds into milliseconds and stays within 64 bits; a negative number stays one.
func idleMillis(seconds int64) int64 {
	return min(seconds, math.MaxInt64/1000) * 1000
}
