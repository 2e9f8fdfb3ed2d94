package command

import (
	"math"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// The commands on times to live.
var expireCommands = []Command{
	{
		Name: "EXPIRE", Arity: -3, Flags: Write | Fast, Keys: oneKey(RW | Update), Do: expire,
		Group: "generic", Since: "1.0.0", Summary: "Sets a key's time to live in seconds.",
	},
	{
		Name: "EXPIREAT", Arity: -3, Flags: Write | Fast, Keys: oneKey(RW | Update), Do: expireAt,
		Group: "generic", Since: "1.2.0", Summary: "Sets a key's end as a Unix time in seconds.",
	},
	{
		Name: "EXPIRETIME", Arity: 2, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: expireTime,
		Group: "generic", Since: "7.0.0", Summary: "Returns a key's end as a Unix time in seconds.",
	},
	{
		Name: "PERSIST", Arity: 2, Flags: Write | Fast, Keys: oneKey(RW | Update), Do: persist,
		Group: "generic", Since: "2.2.0", Summary: "Removes a key's time to live.",
	},
	{
		Name: "PEXPIRE", Arity: -3, Flags: Write | Fast, Keys: oneKey(RW | Update), Do: pExpire,
		Group: "generic", Since: "2.6.0", Summary: "Sets a key's time to live in milliseconds.",
	},
	{
		Name: "PEXPIREAT", Arity: -3, Flags: Write | Fast, Keys: oneKey(RW | Update), Do: pExpireAt,
		Group: "generic", Since: "2.6.0", Summary: "Sets a key's end as a Unix time in milliseconds.",
	},
	{
		Name: "PEXPIRETIME", Arity: 2, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: pExpireTime,
		Group: "generic", Since: "7.0.0", Summary: "Returns a key's end as a Unix time in milliseconds.",
	},
	{
		Name: "PTTL", Arity: 2, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: pTTL,
		Group: "generic", Since: "2.6.0", Summary: "Returns a key's time to live in milliseconds.",
		Tips: []string{"nondeterministic_output"},
	},
	{
		Name: "TTL", Arity: 2, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: ttl,
		Group: "generic", Since: "1.0.0", Summary: "Returns a key's time to live in seconds.",
		Tips: []string{"nondeterministic_output"},
	},
	{
		Name: internal + "EXPIRE", Arity: -2, Flags: Write, Keys: allKeys(RM | Delete), Do: expireDue,
		Group: "generic", Since: "7.0.0", Summary: "Removes those keys whose time is up.",
	},
}

func expire(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	setDeadline(tx, args, w, expiryUnit{seconds: true}, "expire")
}

func expireAt(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	setDeadline(tx, args, w, expiryUnit{seconds: true, absolute: true}, "expireat")
}

func pExpire(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	setDeadline(tx, args, w, expiryUnit{}, "pexpire")
}

func pExpireAt(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	setDeadline(tx, args, w, expiryUnit{absolute: true}, "pexpireat")
}

// setDeadline is EXPIRE and its kin: name, in lower case, is the command's.
func setDeadline(tx *keyspace.Tx, args [][]byte, w reply.Writer, unit expiryUnit, name string) {
	condition, ok := expireConditions(args[3:], w)
	if !ok {
		return
	}
	at, ok := deadlineArg(w, args[2], unit, tx.Now(), name)
	if !ok {
		return
	}
	e, found := tx.Get(tx.DB(), args[1])
	switch {
	case !found || !condition.allows(e.Expire, at):
		w.Int(0)
		return
	case at <= tx.Now():
		tx.Delete(tx.DB(), args[1])
	default:
		tx.SetExpire(tx.DB(), args[1], at)
	}
	w.Int(1)
}

// deadlineArg reads a time to live as a Unix time in milliseconds. Unlike those that SET takes, it may be negative.
func deadlineArg(w reply.Writer, arg []byte, unit expiryUnit, now int64, name string) (at int64, ok bool) {
	at, ok = intArg(w, arg)
	if !ok {
		return 0, false
	}
	if unit.seconds {
		if at > math.MaxInt64/1000 || at < math.MinInt64/1000 {
			w.Error(invalidExpire(name))
			return 0, false
		}
		at *= 1000
	}
	if !unit.absolute {
		if at, ok = value.AddInts(at, now); !ok {
			w.Error(invalidExpire(name))
			return 0, false
		}
	}
	return at, true
}

// expireCondition says which present times to live may be changed: any of these may be set, but for what
// expireConditions refuses.
type expireCondition struct {
	nx bool // only none
	xx bool // only one that is there
	gt bool // only an earlier one; none counts as the latest
	lt bool // only a later one
}

// expireConditions reads the options; where they are wrong, it answers the error and returns false.
func expireConditions(args [][]byte, w reply.Writer) (c expireCondition, ok bool) {
	for _, arg := range args {
		switch {
		case isWord(arg, "NX"):
			c.nx = true
		case isWord(arg, "XX"):
			c.xx = true
		case isWord(arg, "GT"):
			c.gt = true
		case isWord(arg, "LT"):
			c.lt = true
		default:
			w.Error("ERR Unsupported option " + quoted(arg))
			return c, false
		}
	}
	if c.nx && (c.xx || c.gt || c.lt) {
		w.Error("ERR NX and XX, GT or LT options at the same time are not compatible")
		return c, false
	}
	if c.gt && c.lt {
		w.Error("ERR GT and LT options at the same time are not compatible")
		return c, false
	}
	return c, true
}

// allows says whether a key that ends at present (0: never) may be made to end at next.
func (c expireCondition) allows(present, next int64) bool {
	never := present == 0
	switch {
	case c.nx && !never, c.xx && never:
		return false
	case c.gt && (never || next <= present):
		return false
	case c.lt && !never && next >= present:
		return false
	}
	return true
}

func persist(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	e, found := tx.Get(tx.DB(), args[1])
	if !found || e.Expire == 0 {
		w.Int(0)
		return
	}
	tx.SetExpire(tx.DB(), args[1], 0)
	w.Int(1)
}

func ttl(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	replyDeadline(tx, args[1], w, expiryUnit{seconds: true})
}

func pTTL(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	replyDeadline(tx, args[1], w, expiryUnit{})
}

func expireTime(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	replyDeadline(tx, args[1], w, expiryUnit{seconds: true, absolute: true})
}

func pExpireTime(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	replyDeadline(tx, args[1], w, expiryUnit{absolute: true})
}

// replyDeadline answers when key ends: -2 if there is no such key, -1 if it never does. Seconds are rounded.
func replyDeadline(tx *keyspace.Tx, key []byte, w reply.Writer, unit expiryUnit) {
	e, found := tx.Peek(tx.DB(), key)
	switch {
	case !found:
		w.Int(-2)
		return
	case e.Expire == 0:
		w.Int(-1)
		return
	}
	at := e.Expire
	if !unit.absolute {
		at = max(0, at-tx.Now())
	}
	if unit.seconds {
		at = at/1000 + (at%1000+500)/1000
	}
	w.Int(at)
}

// expireDue looks every key up, which removes those that are due. A key that was given a longer life since it was
// named stays.
func expireDue(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	before := tx.Len(tx.DB())
	for _, key := range args[1:] {
		if tx.Owns(key) {
			tx.Peek(tx.DB(), key)
		}
	}
	w.Int(before - tx.Len(tx.DB()))
}
