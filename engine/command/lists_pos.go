package command

import (
	"bytes"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value/collection"
)

// posOptions are the options of LPOS.
type posOptions struct {
	rank    int64 // of the first match that counts, from 1
	reverse bool  // counted from the end
	counted bool  // COUNT: the reply is an array
	count   int64 // matches to find; 0: all
	maxLen  int64 // elements to look at; 0: all
}

// parsePosOptions reads what follows LPOS's element; where it is wrong, it answers the error and returns false.
func parsePosOptions(w reply.Writer, args [][]byte) (o posOptions, ok bool) {
	o.rank, o.count = 1, 1
	for ; len(args) > 0; args = args[2:] {
		switch {
		case len(args) >= 2 && isWord(args[0], "RANK"):
			o.rank, ok = intArg(w, args[1])
			if ok && o.rank == 0 {
				w.Error("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... " +
					"or use negative to start from the end of the list")
				ok = false
			}
		case len(args) >= 2 && isWord(args[0], "COUNT"):
			o.counted = true
			o.count, ok = atLeastArg(w, args[1], 0, "ERR COUNT can't be negative")
		case len(args) >= 2 && isWord(args[0], "MAXLEN"):
			o.maxLen, ok = atLeastArg(w, args[1], 0, "ERR MAXLEN can't be negative")
		default:
			w.Error(reply.Syntax)
			ok = false
		}
		if !ok {
			return o, false
		}
	}
	if o.reverse = o.rank < 0; o.reverse {
		o.rank = max(-o.rank, 1) // the lowest integer negates to itself: Redis finds the last match then
	}
	return o, true
}

func lPos(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	o, ok := parsePosOptions(w, args[3:])
	if !ok {
		return
	}
	l, ok := openList(tx, args[1], w)
	if !ok {
		return
	}
	var places []int
	if l.Len() > 0 {
		places = o.places(l, args[2])
	}
	switch {
	case o.counted:
		w.Array(len(places))
		for _, i := range places {
			w.Int(int64(i))
		}
	case len(places) == 0:
		w.Null()
	default:
		w.Int(int64(places[0]))
	}
}

// places are those of the matches that the options ask for, in the order of the search. The list has elements.
func (o *posOptions) places(l *collection.List, v []byte) (places []int) {
	elements := l.From(0)
	if o.reverse {
		elements = l.Backward(l.Len() - 1)
	}
	skip, budget := o.rank-1, o.maxLen
	for i, e := range elements {
		if bytes.Equal(e, v) {
			if skip > 0 {
				skip--
			} else if places = append(places, i); int64(len(places)) == o.count {
				break
			}
		}
		if budget--; budget == 0 {
			break
		}
	}
	return places
}
