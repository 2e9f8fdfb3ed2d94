package command

import (
	"bytes"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value/collection"
)

// elementRange turns the first and last place as a client gives them, negative numbers counting from the end, into the
// places from <= i < to of a list of n elements. from == to where there are none.
func elementRange(first, last int64, n int) (from, to int) {
	if first < 0 {
		first = max(first+int64(n), 0)
	}
	if last < 0 {
		last += int64(n) // may stay negative: then the range is empty
	}
	last = min(last, int64(n-1))
	if first > last {
		return 0, 0
	}
	return int(first), int(last + 1)
}

// listPlace turns a place as a client gives it into that of one of n elements; ok is false where there is none.
func listPlace(i int64, n int) (at int, ok bool) {
	if i < 0 {
		i += int64(n)
	}
	if i < 0 || i >= int64(n) {
		return 0, false
	}
	return int(i), true
}

// rangeArgs reads the two places of LRANGE and LTRIM; where one is no integer, it answers the error and returns false.
func rangeArgs(w reply.Writer, args [][]byte) (first, last int64, ok bool) {
	if first, ok = intArg(w, args[0]); !ok {
		return 0, 0, false
	}
	last, ok = intArg(w, args[1])
	return first, last, ok
}

func lIndex(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	l, ok := openList(tx, args[1], w)
	if !ok {
		return
	}
	if l.Len() == 0 { // before the place is looked at, as Redis has it
		w.Null()
		return
	}
	i, ok := intArg(w, args[2])
	if !ok {
		return
	}
	if at, ok := listPlace(i, l.Len()); ok {
		w.Bulk(l.At(at))
	} else {
		w.Null()
	}
}

func lSet(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	l, ok := openList(tx, args[1], w)
	if !ok {
		return
	}
	if l.Len() == 0 {
		w.Error(reply.NoSuchKey)
		return
	}
	i, ok := intArg(w, args[2])
	if !ok {
		return
	}
	at, ok := listPlace(i, l.Len())
	if !ok {
		w.Error(reply.OutOfRange)
		return
	}
	l.Set(at, args[3])
	w.Simple(reply.OK)
}

func lInsert(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	after := isWord(args[2], "AFTER")
	if !after && !isWord(args[2], "BEFORE") {
		w.Error(reply.Syntax)
		return
	}
	l, ok := openList(tx, args[1], w)
	if !ok {
		return
	}
	if l.Len() == 0 {
		w.Int(0)
		return
	}
	at := findElement(l, args[3])
	if at < 0 {
		w.Int(-1)
		return
	}
	if after {
		at++
	}
	l.Insert(at, args[4])
	w.Int(int64(l.Len()))
}

// findElement is the place of the first element that equals v; -1 if none does.
func findElement(l *collection.List, v []byte) int {
	for i, e := range l.From(0) {
		if bytes.Equal(e, v) {
			return i
		}
	}
	return -1
}

func lRange(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	first, last, ok := rangeArgs(w, args[2:])
	if !ok {
		return
	}
	l, ok := openList(tx, args[1], w)
	if !ok {
		return
	}
	from, to := elementRange(first, last, l.Len())
	w.Array(to - from)
	if from == to {
		return
	}
	for i, v := range l.From(from) {
		w.Bulk(v)
		if i+1 == to {
			break
		}
	}
}

func lTrim(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	first, last, ok := rangeArgs(w, args[2:])
	if !ok {
		return
	}
	l, ok := openList(tx, args[1], w)
	if !ok {
		return
	}
	from, to := elementRange(first, last, l.Len())
	if l.Len() > 0 {
		tx.Touched(tx.DB(), args[1])
	}
	if to < l.Len() { // the tail first: it moves no places
		l.RemoveRange(to, l.Len())
	}
	if from > 0 {
		l.RemoveRange(0, from)
	}
	w.Simple(reply.OK)
}

func lRem(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	most, ok := intArg(w, args[2])
	if !ok {
		return
	}
	l, ok := openList(tx, args[1], w)
	if !ok {
		return
	}
	if l.Len() == 0 {
		w.Int(0)
		return
	}
	if most >= 0 {
		w.Int(removeFirst(l, args[3], most))
	} else {
		w.Int(removeLast(l, args[3], -most)) // the lowest integer negates to itself: no bound, as none could be reached
	}
}

// elementRun is neighbouring places from <= i < to.
type elementRun struct{ from, to int }

// removeFirst removes the first most elements (0: all) that equal v and counts them.
func removeFirst(l *collection.List, v []byte, most int64) (n int64) {
	var runs []elementRun
	for i, e := range l.From(0) {
		if !bytes.Equal(e, v) {
			continue
		}
		if k := len(runs) - 1; k >= 0 && runs[k].to == i {
			runs[k].to++
		} else {
			runs = append(runs, elementRun{i, i + 1})
		}
		if n++; n == most {
			break
		}
	}
	for k := len(runs) - 1; k >= 0; k-- { // from the end: the places before stay what they are
		l.RemoveRange(runs[k].from, runs[k].to)
	}
	return n
}

// removeLast removes the last most elements (below 0: all) that equal v and counts them.
func removeLast(l *collection.List, v []byte, most int64) (n int64) {
	var runs []elementRun
	for i, e := range l.Backward(l.Len() - 1) {
		if !bytes.Equal(e, v) {
			continue
		}
		if k := len(runs) - 1; k >= 0 && runs[k].from == i+1 {
			runs[k].from--
		} else {
			runs = append(runs, elementRun{i, i + 1})
		}
		if n++; n == most {
			break
		}
	}
	for _, r := range runs {
		l.RemoveRange(r.from, r.to)
	}
	return n
}
