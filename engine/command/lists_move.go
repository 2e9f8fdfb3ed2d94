package command

import (
	"bytes"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

func lMove(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	from, ok := endArg(w, args[3])
	if !ok {
		return
	}
	to, ok := endArg(w, args[4])
	if !ok {
		return
	}
	moveElement(tx, args[1], args[2], from, to, w)
}

func rPopLPush(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	moveElement(tx, args[1], args[2], rightEnd, leftEnd, w)
}

// moveElement takes an element from one end of the source and adds it to one of the destination, which may be the same
// list, and answers with it.
func moveElement(tx *keyspace.Tx, source, destination []byte, from, to listEnd, w reply.Writer) {
	s, ok := openList(tx, source, w)
	if !ok {
		return
	}
	if s.Len() == 0 {
		w.Null()
		return
	}
	if bytes.Equal(source, destination) {
		v := from.first(s)
		w.Bulk(v)
		if from != to && s.Len() > 1 { // a key that lost its only element would lose its time to live
			v = bytes.Clone(v)
			from.drop(s, 1)
			to.add(s, v)
		}
		return
	}
	d, ok := openList(tx, destination, w)
	if !ok {
		return
	}
	v := bytes.Clone(from.first(s))
	from.drop(s, 1)
	to.add(d, v)
	w.Bulk(v)
}

func lMPop(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	keys, rest, ok := numberedKeys(w, args[1:])
	if !ok {
		return
	}
	e, ok := endArg(w, rest[0])
	if !ok {
		return
	}
	most, ok := countArgs(w, rest[1:])
	if !ok {
		return
	}
	for _, key := range keys {
		if tx.Kind(tx.DB(), key) == value.None {
			continue
		}
		if l, ok := openList(tx, key, w); ok {
			w.Array(2)
			w.Bulk(key)
			e.take(l, most, w)
		}
		return
	}
	w.NullArray()
}

// numberedKeys splits arguments into the keys that the first one announces and what follows them, which is not empty.
// Where there is none, it answers the error and returns false.
func numberedKeys(w reply.Writer, args [][]byte) (keys, rest [][]byte, ok bool) {
	n, ok := atLeastArg(w, args[0], 1, "ERR numkeys should be greater than 0")
	if !ok {
		return nil, nil, false
	}
	if args = args[1:]; n >= int64(len(args)) {
		w.Error(reply.Syntax)
		return nil, nil, false
	}
	return args[:n], args[n:], true
}

// countArgs reads the option COUNT of LMPOP and ZMPOP, 1 if it is left out; where it is wrong, it answers the error and
// returns false.
func countArgs(w reply.Writer, args [][]byte) (n int64, ok bool) {
	if len(args) == 0 {
		return 1, true
	}
	if len(args) < 2 || !isWord(args[0], "COUNT") {
		w.Error(reply.Syntax)
		return 0, false
	}
	n, ok = atLeastArg(w, args[1], 1, "ERR count should be greater than 0")
	if ok && len(args) > 2 {
		w.Error(reply.Syntax)
		return 0, false
	}
	return n, ok
}
