package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// The commands on lists that do not block. Adding, taking and counting are here; parts of a list, LPOS and what moves
// elements between lists have files of their own.
var listCommands = []Command{
	{
		Name: "LINDEX", Arity: 3, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: lIndex,
		Group: "list", Since: "1.0.0", Summary: "Returns the element at a place of a list.",
	},
	{
		Name: "LINSERT", Arity: 5, Flags: Write | DenyOOM, Keys: oneKey(RW | Insert), Do: lInsert,
		Group: "list", Since: "2.2.0", Summary: "Adds an element to a list, next to the first one that equals a given one.",
	},
	{
		Name: "LLEN", Arity: 2, Flags: ReadOnly | Fast, Keys: oneKey(RO), Do: lLen,
		Group: "list", Since: "1.0.0", Summary: "Counts the elements of a list.",
	},
	{
		Name: "LMOVE", Arity: 5, Flags: Write | DenyOOM, Keys: twoKeys(RW|Access|Delete, RW|Insert), Do: lMove,
		Group: "list", Since: "6.2.0", Summary: "Takes an element from an end of a list and adds it to an end of another.",
	},
	{
		Name: "LMPOP", Arity: -4, Flags: Write | MovableKeys, Do: lMPop,
		Keys:  []KeySpec{{Numkeys: 1, Step: 1, Use: RW | Access | Delete}},
		Group: "list", Since: "7.0.0", Summary: "Takes elements from an end of the first of several lists that has any.",
	},
	{
		Name: "LPOP", Arity: -2, Flags: Write | Fast, Keys: oneKey(RW | Access | Delete), Do: lPop,
		Group: "list", Since: "1.0.0", Summary: "Takes the first element of a list, or several.",
	},
	{
		Name: "LPOS", Arity: -3, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: lPos,
		Group: "list", Since: "6.0.6", Summary: "Finds the places at which a list has an element.",
	},
	{
		Name: "LPUSH", Arity: -3, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Insert), Do: lPush,
		Group: "list", Since: "1.0.0", Summary: "Adds elements before the first of a list, which is created if need be.",
	},
	{
		Name: "LPUSHX", Arity: -3, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Insert), Do: lPushX,
		Group: "list", Since: "2.2.0", Summary: "Adds elements before the first of a list that exists.",
	},
	{
		Name: "LRANGE", Arity: 4, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: lRange,
		Group: "list", Since: "1.0.0", Summary: "Returns the elements of a list from one place to another.",
	},
	{
		Name: "LREM", Arity: 4, Flags: Write, Keys: oneKey(RW | Delete), Do: lRem,
		Group: "list", Since: "1.0.0", Summary: "Removes those elements of a list that equal a given one.",
	},
	{
		Name: "LSET", Arity: 4, Flags: Write | DenyOOM, Keys: oneKey(RW | Update), Do: lSet,
		Group: "list", Since: "1.0.0", Summary: "Replaces the element at a place of a list.",
	},
	{
		Name: "LTRIM", Arity: 4, Flags: Write, Keys: oneKey(RW | Delete), Do: lTrim,
		Group: "list", Since: "1.0.0", Summary: "Removes all of a list but the elements from one place to another.",
	},
	{
		Name: "RPOP", Arity: -2, Flags: Write | Fast, Keys: oneKey(RW | Access | Delete), Do: rPop,
		Group: "list", Since: "1.0.0", Summary: "Takes the last element of a list, or several.",
	},
	{
		Name: "RPOPLPUSH", Arity: 3, Flags: Write | DenyOOM, Keys: twoKeys(RW|Access|Delete, RW|Insert), Do: rPopLPush,
		Group: "list", Since: "1.2.0", Summary: "Takes the last element of a list and makes it the first of another.",
	},
	{
		Name: "RPUSH", Arity: -3, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Insert), Do: rPush,
		Group: "list", Since: "1.0.0", Summary: "Adds elements behind the last of a list, which is created if need be.",
	},
	{
		Name: "RPUSHX", Arity: -3, Flags: Write | DenyOOM | Fast, Keys: oneKey(RW | Insert), Do: rPushX,
		Group: "list", Since: "2.2.0", Summary: "Adds elements behind the last of a list that exists.",
	},
}

// openList opens the list under key, an empty one if the key does not exist. ok is false where it holds another kind:
// then the error has been answered.
func openList(tx *keyspace.Tx, key []byte, w reply.Writer) (l *collection.List, ok bool) {
	switch tx.Kind(tx.DB(), key) {
	case value.None, value.List:
		return tx.List(tx.DB(), key), true
	}
	w.Error(reply.WrongType)
	return nil, false
}

// listEnd is one of the two ends of a list.
type listEnd bool

const (
	leftEnd  listEnd = false
	rightEnd listEnd = true
)

// endArg reads LEFT or RIGHT; where it is neither, it answers the error and returns false.
func endArg(w reply.Writer, arg []byte) (e listEnd, ok bool) {
	switch {
	case isWord(arg, "LEFT"):
		return leftEnd, true
	case isWord(arg, "RIGHT"):
		return rightEnd, true
	}
	w.Error(reply.Syntax)
	return leftEnd, false
}

// add puts an element, which may not alias the list, at an end, and returns how many there are.
func (e listEnd) add(l *collection.List, v []byte) int {
	if e == leftEnd {
		return l.Prepend(v)
	}
	return l.Append(v)
}

// first is the element at an end of a list that has some.
func (e listEnd) first(l *collection.List) []byte {
	if e == leftEnd {
		return l.At(0)
	}
	return l.At(l.Len() - 1)
}

// drop removes the n elements, 0 < n <= Len, next to an end.
func (e listEnd) drop(l *collection.List, n int) {
	if e == leftEnd {
		l.RemoveRange(0, n)
	} else {
		l.RemoveRange(l.Len()-n, l.Len())
	}
}

// take answers with up to most elements, the nearest to the end first, and removes them.
func (e listEnd) take(l *collection.List, most int64, w reply.Writer) {
	n := int(min(most, int64(l.Len())))
	w.Array(n)
	if n == 0 {
		return
	}
	elements := l.From(0)
	if e == rightEnd {
		elements = l.Backward(l.Len() - 1)
	}
	rest := n
	for _, v := range elements {
		w.Bulk(v)
		if rest--; rest == 0 {
			break
		}
	}
	e.drop(l, n)
}

func lLen(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if l, ok := openList(tx, args[1], w); ok {
		w.Int(int64(l.Len()))
	}
}

func lPush(tx *keyspace.Tx, args [][]byte, w reply.Writer) { pushElements(tx, args, w, leftEnd, false) }
func rPush(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	pushElements(tx, args, w, rightEnd, false)
}
func lPushX(tx *keyspace.Tx, args [][]byte, w reply.Writer) { pushElements(tx, args, w, leftEnd, true) }
func rPushX(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	pushElements(tx, args, w, rightEnd, true)
}

func pushElements(tx *keyspace.Tx, args [][]byte, w reply.Writer, e listEnd, onlyOld bool) {
	l, ok := openList(tx, args[1], w)
	if !ok {
		return
	}
	if onlyOld && l.Len() == 0 {
		w.Int(0)
		return
	}
	n := 0
	for _, v := range args[2:] {
		n = e.add(l, v)
	}
	w.Int(int64(n))
}

func lPop(tx *keyspace.Tx, args [][]byte, w reply.Writer) { popElements(tx, args, w, leftEnd, "lpop") }
func rPop(tx *keyspace.Tx, args [][]byte, w reply.Writer) { popElements(tx, args, w, rightEnd, "rpop") }

func popElements(tx *keyspace.Tx, args [][]byte, w reply.Writer, e listEnd, command string) {
	if len(args) > 3 {
		w.Error("ERR wrong number of arguments for '" + command + "' command")
		return
	}
	var most int64
	counted, ok := len(args) == 3, true
	if counted {
		if most, ok = atLeastArg(w, args[2], 0, "ERR value is out of range, must be positive"); !ok {
			return
		}
	}
	l, ok := openList(tx, args[1], w)
	switch {
	case !ok:
	case counted && l.Len() == 0:
		w.NullArray()
	case counted:
		e.take(l, most, w)
	case l.Len() == 0:
		w.Null()
	default:
		w.Bulk(e.first(l))
		e.drop(l, 1)
	}
}

// atLeastArg reads an integer that is not below least; where it is none, it answers msg and returns false.
func atLeastArg(w reply.Writer, arg []byte, least int64, msg string) (int64, bool) {
	n, ok := intArgOr(w, arg, msg)
	if ok && n < least {
		w.Error(msg)
		return 0, false
	}
	return n, ok
}
