// Package command holds the table of commands that act on the key space: one row per command, in the file of its
// family, rows first, handlers below.
//
// A handler parses everything first and then mutates, so that a refused command has changed nothing. Handlers are
// pure functions of the transaction and the arguments: no clock (tx.Now), no random source (tx.Rand), no map
// iteration order, no configuration. The same handler runs on the leader, on followers and when the log is replayed.
package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// Handler runs one command inside a transaction. args[0] is the command's name as the client wrote it (for a
// subcommand, args[1] is the subcommand's); the arity has been checked. args alias a buffer of the caller's and are
// valid until the handler returns.
type Handler func(tx *keyspace.Tx, args [][]byte, w reply.Writer)

// Flags are a command's properties. Write alone decides between the log and a local read.
type Flags uint32

// The flags, with the names that COMMAND shows where Redis has them.
const (
	Write          Flags = 1 << iota // may change the key space: goes through the log
	ReadOnly                         // never changes the key space
	DenyOOM                          // refused when memory or disk is used up
	Fast                             // bounded work: may run on an event loop
	Admin                            // administrative
	PubSub                           // about channels
	NoScript                         // not callable from scripts
	Blocking                         // may block the client
	Loading                          // allowed while the data set is loading
	Stale                            // allowed on a replica that lost its leader
	SkipMonitor                      // not shown by MONITOR
	SkipSlowlog                      // not shown in the slow log
	Asking                           // allowed on an importing slot
	NoAuth                           // allowed before authentication
	MayReplicate                     // replicated though not a write
	NoAsyncLoading                   // refused during asynchronous loading
	NoMulti                          // refused inside MULTI
	MovableKeys                      // keys are not given by positions alone
	AllowBusy                        // allowed while a script is running too long
	LongRead                         // a read that may take long: runs on a worker over a view, never on a loop
	TouchesAll                       // may change keys that it does not name: FLUSHALL, SWAPDB
)

// KeyUse says what a command does with the keys of one KeySpec, in the words of COMMAND's key specifications.
type KeyUse uint16

// The uses of a key.
const (
	RO KeyUse = 1 << iota
	RW
	OW
	RM
	Access
	Update
	Insert
	Delete
	NotKey
	Incomplete
	VariableFlags
)

// KeySpec says where keys stand among the arguments, as data: positions First, First+Step … up to Last, where a
// negative Last counts from the end (-1 is the last argument). With Numkeys > 0 the argument at that position holds
// the number of keys, which begin behind it. With Keyword set, First counts from the argument that follows the
// keyword, searched from position From (negative: backwards). With Over, the search passes over the arguments of those
// words, the last place of the keyword counts, and an argument must follow it. A specification with none of First, Numkeys
// and Keyword stands for keys that the arguments do not tell.
type KeySpec struct {
	First, Last, Step int
	Numkeys           int
	Keyword           string
	From              int
	Over              []Operands
	Limit             int
	Use               KeyUse
	Notes             string
}

// Operands says how many arguments of its own a word has.
type Operands struct {
	Word  string
	Count int
}

// Unknown says whether COMMAND's key specifications have no words for where the keys are.
func (s *KeySpec) Unknown() bool { return s.nowhere() || len(s.Over) > 0 }

// nowhere says whether the arguments do not tell the keys.
func (s *KeySpec) nowhere() bool { return s.First == 0 && s.Numkeys == 0 && s.Keyword == "" }

// Command is one row of the table.
type Command struct {
	Name  string // upper case
	Arity int    // number of arguments with the name; negative: at least
	Flags Flags
	Keys  []KeySpec
	Do    Handler

	Group   string   // Redis's documentation group: "string", "bitmap", "generic", …
	Since   string   // the Redis version that introduced it
	Summary string   // one sentence of our own, for COMMAND DOCS
	Extra   string   // further ACL categories beyond those that group and flags imply, separated by spaces; -word takes one away
	Tips    []string // COMMAND's tips ("nondeterministic_output", "request_policy:all_shards" …)
	Sub     []Command
}

// oneKey is a single key at position 1 that is used as use says.
func oneKey(use KeyUse) []KeySpec {
	return []KeySpec{{First: 1, Last: 1, Step: 1, Use: use}}
}

// allKeys is every argument from position 1 on.
func allKeys(use KeyUse) []KeySpec {
	return []KeySpec{{First: 1, Last: -1, Step: 1, Use: use}}
}

// ArityOK says whether a command with n arguments, its name included, has the right number of them.
func (c *Command) ArityOK(n int) bool { return n == c.Arity || c.Arity < 0 && n >= -c.Arity }
