package command

import (
	"math"
	"slices"
	"strings"
)

// name pairs a bit with the word for it.
type name[T any] struct {
	bit  T
	word string
}

// flagNames are the flags that COMMAND shows, in its order.
var flagNames = []name[Flags]{
	{Write, "write"}, {ReadOnly, "readonly"}, {DenyOOM, "denyoom"}, {Admin, "admin"}, {PubSub, "pubsub"},
	{NoScript, "noscript"}, {Blocking, "blocking"}, {Loading, "loading"}, {Stale, "stale"},
	{SkipMonitor, "skip_monitor"}, {SkipSlowlog, "skip_slowlog"}, {Asking, "asking"}, {Fast, "fast"},
	{NoAuth, "no_auth"}, {MayReplicate, "may_replicate"}, {NoAsyncLoading, "no_async_loading"},
	{NoMulti, "no_multi"}, {MovableKeys, "movablekeys"}, {AllowBusy, "allow_busy"},
}

// useNames are the uses of keys, in COMMAND's order.
var useNames = []name[KeyUse]{
	{RO, "RO"}, {RW, "RW"}, {OW, "OW"}, {RM, "RM"}, {Access, "access"}, {Update, "update"}, {Insert, "insert"},
	{Delete, "delete"}, {NotKey, "not_key"}, {Incomplete, "incomplete"}, {VariableFlags, "variable_flags"},
}

// categories are Redis's ACL categories, in its order.
var categories = []string{
	"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
	"stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
}

// groupCategories are the categories that a group of commands implies.
var groupCategories = map[string]string{
	"generic": "keyspace", "string": "string", "bitmap": "bitmap", "hash": "hash", "list": "list", "set": "set",
	"sorted-set": "sortedset", "stream": "stream", "hyperloglog": "hyperloglog", "geo": "geo", "pubsub": "pubsub",
	"connection": "connection", "transactions": "transaction", "scripting": "scripting",
}

func words[T Flags | KeyUse](set T, names []name[T]) []string {
	var out []string
	for _, n := range names {
		if set&n.bit != 0 {
			out = append(out, n.word)
		}
	}
	return out
}

// Names is the flags as COMMAND shows them; those of our own have none.
func (f Flags) Names() []string { return words(f, flagNames) }

// Names is the uses as COMMAND's key specifications show them.
func (u KeyUse) Names() []string { return words(u, useNames) }

// Categories is the ACL categories of the row, without the sign: those that its flags and its group imply, and Extra.
// A container has those of its flags only.
func (c *Command) Categories() []string {
	has := map[string]bool{}
	if c.Flags&Write != 0 {
		has["write"] = true
	}
	if c.Flags&ReadOnly != 0 && c.Group != "scripting" {
		has["read"] = true
	}
	if c.Flags&Admin != 0 {
		has["admin"], has["dangerous"] = true, true
	}
	if c.Flags&PubSub != 0 {
		has["pubsub"] = true
	}
	if c.Flags&Blocking != 0 {
		has["blocking"] = true
	}
	if c.Flags&Fast != 0 {
		has["fast"] = true
	} else {
		has["slow"] = true
	}
	if g := groupCategories[c.Group]; g != "" && c.Sub == nil {
		has[g] = true
	}
	for _, word := range strings.Fields(c.Extra) {
		word, without := strings.CutPrefix(word, "-")
		has[word] = !without
	}
	return slices.DeleteFunc(slices.Clone(categories), func(word string) bool { return !has[word] })
}

// KeyRange is the one range of positions that COMMAND shows besides the key specifications: first, last (negative:
// from the end) and step, all 0 where there is none. Several specifications are joined as far as they are
// neighbours.
func (c *Command) KeyRange() (first, last, step int) {
	if len(c.Keys) == 0 {
		return 0, 0, 0
	}
	if s := &c.Keys[0]; len(c.Keys) == 1 && s.isRange() {
		return s.First, s.Last, s.Step
	}
	first, last = math.MaxInt, 0
	for i := range c.Keys {
		s := &c.Keys[i]
		if !s.isRange() || s.Step != 1 || last != 0 && s.First != last+1 {
			continue
		}
		first = min(first, s.First)
		if last = max(last, s.Last); s.Last < 0 {
			last = s.Last
		}
	}
	if first == math.MaxInt {
		return 0, 0, 0
	}
	return first, last, 1
}

// isRange says whether s is positions alone.
func (s *KeySpec) isRange() bool { return s.Numkeys == 0 && s.Keyword == "" && !s.nowhere() }
