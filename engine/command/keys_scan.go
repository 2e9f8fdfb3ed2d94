package command

import (
	"bytes"
	"math"
	"strconv"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// The commands that walk the key space.
var scanCommands = []Command{
	{
		Name: "KEYS", Arity: 2, Flags: ReadOnly | LongRead, Do: keys,
		Group: "generic", Since: "1.0.0", Summary: "Lists all keys that match a pattern.",
		Extra: "dangerous", Tips: []string{"request_policy:all_shards", "nondeterministic_output_order"},
	},
	{
		Name: "RANDOMKEY", Arity: 1, Flags: ReadOnly, Do: randomKey,
		Group: "generic", Since: "1.0.0", Summary: "Returns a key chosen at random.",
		Tips: []string{"request_policy:all_shards", "nondeterministic_output"},
	},
	{
		Name: "SCAN", Arity: -2, Flags: ReadOnly, Do: scan,
		Group: "generic", Since: "2.8.0", Summary: "Lists keys in steps, each from the cursor that the last one returned.",
		Tips: []string{"nondeterministic_output", "request_policy:special"},
	},
}

const (
	// defaultScan is how many keys SCAN visits unless told.
	defaultScan = 10
	// mostScan bounds how many it visits whatever it is told, so that one call cannot hold up a loop. COUNT is a
	// hint: a client goes on with the cursor anyway.
	mostScan = 10_000
	// keysStep is how many keys KEYS visits at a time.
	keysStep = 1_000
)

// keyList gathers keys, or members, during a walk, which lends them only.
type keyList struct {
	bytes []byte
	ends  []int
}

func (l *keyList) add(key []byte) {
	l.bytes = append(l.bytes, key...)
	l.ends = append(l.ends, len(l.bytes))
}

// all are the keys in the order in which they were added.
func (l *keyList) all(yield func(key []byte) bool) {
	from := 0
	for _, end := range l.ends {
		if !yield(l.bytes[from:end:end]) {
			return
		}
		from = end
	}
}

// reply answers with an array of the keys.
func (l *keyList) reply(w reply.Writer) {
	w.Array(len(l.ends))
	for key := range l.all {
		w.Bulk(key)
	}
}

// replyScan answers a step of SCAN or its kin: the cursor to go on from, and what was found.
func (l *keyList) replyScan(w reply.Writer, next uint64) {
	w.Array(2)
	w.BulkString(strconv.FormatUint(next, 10))
	l.reply(w)
}

// keyPattern is a compiled MATCH: nil takes every key, the empty one among them, which no pattern but * itself does.
type keyPattern []byte

func newKeyPattern(arg []byte) keyPattern {
	if string(arg) == "*" {
		return nil
	}
	if arg == nil {
		return keyPattern{}
	}
	return arg
}

func (p keyPattern) match(key []byte) bool { return p == nil || value.Glob(p, key) }

func keys(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	pattern := newKeyPattern(args[1])
	var found keyList
	for cursor := uint64(0); ; {
		cursor = tx.Scan(tx.DB(), cursor, keysStep, func(key []byte, _ keyspace.Entry) {
			if pattern.match(key) {
				found.add(key)
			}
		})
		if cursor == 0 {
			break
		}
	}
	found.reply(w)
}

func randomKey(tx *keyspace.Tx, _ [][]byte, w reply.Writer) {
	key, ok := tx.RandomKey(tx.DB())
	if !ok {
		w.Null()
		return
	}
	w.Bulk(key)
}

func scan(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	cursor, ok := cursorArg(args[1])
	if !ok {
		w.Error(invalidCursor)
		return
	}
	o, ok := parseScanOptions(w, args[2:], true)
	if !ok {
		return
	}
	var found keyList
	next := tx.Scan(tx.DB(), cursor, o.count, func(key []byte, e keyspace.Entry) {
		if o.pattern.match(key) && (o.kind == nil || bytes.EqualFold(o.kind, []byte(e.Kind.String()))) {
			found.add(key)
		}
	})
	found.replyScan(w, next)
}

const invalidCursor = "ERR invalid cursor"

// scanOptions are what may follow the cursor of SCAN and its kin.
type scanOptions struct {
	count   int
	pattern keyPattern
	kind    []byte // TYPE, which SCAN alone takes; nil: any
}

// parseScanOptions reads the options of SCAN, or of a walk over the members of one key; where they are wrong, it answers
// the error and returns false.
func parseScanOptions(w reply.Writer, args [][]byte, ofKeys bool) (o scanOptions, ok bool) {
	o.count = defaultScan
	for ; len(args) > 0; args = args[2:] {
		switch more := len(args) > 1; {
		case more && isWord(args[0], "COUNT"):
			count, ok := intArg(w, args[1])
			if !ok {
				return o, false
			}
			if count < 1 {
				w.Error(reply.Syntax)
				return o, false
			}
			o.count = int(min(count, mostScan))
		case more && isWord(args[0], "MATCH"):
			o.pattern = newKeyPattern(args[1])
		case more && ofKeys && isWord(args[0], "TYPE"):
			o.kind = args[1]
		default:
			w.Error(reply.Syntax)
			return o, false
		}
	}
	return o, true
}

// cursorArg reads a cursor as strtoul does, which is what Redis takes: a sign may lead, nothing at all is 0, and a
// NUL ends it. White space may not lead.
func cursorArg(arg []byte) (cursor uint64, ok bool) {
	if i := bytes.IndexByte(arg, 0); i >= 0 {
		arg = arg[:i]
	}
	if len(arg) == 0 {
		return 0, true
	}
	negative := arg[0] == '-'
	if negative || arg[0] == '+' {
		arg = arg[1:]
	}
	if len(arg) == 0 {
		return 0, false
	}
	for _, c := range arg {
		digit := uint64(c - '0')
		if digit > 9 || cursor > math.MaxUint64/10 {
			return 0, false
		}
		if cursor *= 10; cursor+digit < cursor {
			return 0, false
		}
		cursor += digit
	}
	if negative {
		cursor = -cursor
	}
	return cursor, true
}
