package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// The commands that tell how a value is held.
var objectCommands = []Command{
	{
		Name: "MEMORY", Arity: -2,
		Group: "server", Since: "4.0.0", Summary: "Commands that tell where memory goes.",
		Sub: []Command{
			{
				Name: "USAGE", Arity: -3, Flags: ReadOnly, Keys: keyOfSub(RO), Do: memoryUsage,
				Group: "server", Since: "4.0.0", Summary: "Returns the number of bytes that a key and its value take up in memory.",
			},
		},
	},
	{
		Name: "OBJECT", Arity: -2,
		Group: "generic", Since: "2.2.3", Summary: "Commands that tell how a value is held.",
		Sub: []Command{
			{
				Name: "ENCODING", Arity: 3, Flags: ReadOnly, Keys: keyOfSub(RO), Do: objectEncoding,
				Group: "generic", Since: "2.2.3", Summary: "Names the layout of a key's value.",
				Tips: []string{"nondeterministic_output"},
			},
			{
				Name: "FREQ", Arity: 3, Flags: ReadOnly, Keys: keyOfSub(RO), Do: objectFreq,
				Group: "generic", Since: "4.0.0", Summary: "Returns the logarithmic counter of a key's uses.",
				Tips: []string{"nondeterministic_output"},
			},
			{
				Name: "HELP", Arity: 2, Flags: Loading | Stale, Do: objectHelp,
				Group: "generic", Since: "6.2.0", Summary: "Lists the subcommands.",
			},
			{
				Name: "IDLETIME", Arity: 3, Flags: ReadOnly, Keys: keyOfSub(RO), Do: objectIdleTime,
				Group: "generic", Since: "2.2.3", Summary: "Returns the seconds since a key's last use.",
				Tips: []string{"nondeterministic_output"},
			},
			{
				Name: "REFCOUNT", Arity: 3, Flags: ReadOnly, Keys: keyOfSub(RO), Do: objectRefCount,
				Group: "generic", Since: "2.2.3", Summary: "Returns the number of references to a key's value.",
				Tips: []string{"nondeterministic_output"},
			},
		},
	},
}

// keyOfSub is a single key behind a subcommand.
func keyOfSub(use KeyUse) []KeySpec {
	return []KeySpec{{First: 2, Last: 2, Step: 1, Use: use}}
}

func memoryUsage(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	for i := 3; i < len(args); i += 2 {
		if i+1 == len(args) || !isWord(args[i], "SAMPLES") {
			w.Error(reply.Syntax)
			return
		}
		samples, ok := intArg(w, args[i+1]) // what they would estimate is known here
		if !ok {
			return
		}
		if samples < 0 {
			w.Error(reply.Syntax)
			return
		}
	}
	bytes, ok := tx.MemoryUsage(tx.DB(), args[2])
	if !ok {
		w.Null()
		return
	}
	w.Int(bytes)
}

func objectRefCount(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if _, ok := tx.Peek(tx.DB(), args[2]); !ok {
		w.Null()
		return
	}
	w.Int(1) // no value is shared
}

func objectIdleTime(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	idle, _, ok := tx.Recency(tx.DB(), args[2])
	switch {
	case !ok:
		w.Null()
	case tx.LFUPolicy():
		w.Error("ERR An LFU maxmemory policy is selected, idle time not tracked. " + policySwitch)
	default:
		w.Int(idle / 1000)
	}
}

func objectFreq(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	_, freq, ok := tx.Recency(tx.DB(), args[2])
	switch {
	case !ok:
		w.Null()
	case !tx.LFUPolicy():
		w.Error("ERR An LFU maxmemory policy is not selected, access frequency not tracked. " + policySwitch)
	default:
		w.Int(int64(freq))
	}
}

const policySwitch = "Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."

// objectHelpLines is the reply of OBJECT HELP.
var objectHelpLines = []string{
	"OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
	"ENCODING <key>",
	"    Return the kind of internal representation used in order to store the value",
	"    associated with a <key>.",
	"FREQ <key>",
	"    Return the access frequency index of the <key>. The returned integer is",
	"    proportional to the logarithm of the recent access frequency of the key.",
	"IDLETIME <key>",
	"    Return the idle time of the <key>, that is the approximated number of",
	"    seconds elapsed since the last access to the key.",
	"REFCOUNT <key>",
	"    Return the number of references of the value associated with the specified",
	"    <key>.",
	"HELP",
	"    Prints this help.",
}

func objectHelp(_ *keyspace.Tx, _ [][]byte, w reply.Writer) {
	w.Array(len(objectHelpLines))
	for _, line := range objectHelpLines {
		w.Simple(line)
	}
}
