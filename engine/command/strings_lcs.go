package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// lcsOptions are LCS's options.
type lcsOptions struct {
	ranges      bool // IDX
	length      bool // LEN
	withLengths bool // WITHMATCHLEN
	least       int64
}

func lcs(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	a, aFound := tx.Get(tx.DB(), args[1])
	b, bFound := tx.Get(tx.DB(), args[2])
	if aFound && a.Kind != value.String || bFound && b.Kind != value.String {
		w.Error("ERR The specified keys must contain string values")
		return
	}
	o, ok := parseLCSOptions(args[3:], w)
	if !ok {
		return
	}
	if o.ranges && o.length {
		w.Error("ERR If you want both the length and indexes, please just use IDX.")
		return
	}
	a.Value, b.Value = tx.Whole(tx.DB(), args[1], a), tx.Whole(tx.DB(), args[2], b)
	// Redis's table has four bytes for each cell; ours is far smaller, but the limit bounds the time as well.
	if int64(len(a.Value)+1)*int64(len(b.Value)+1)*4 > MaxString {
		w.Error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
		return
	}
	switch {
	case o.length:
		w.Int(int64(value.LCSLength(a.Value, b.Value)))
	case o.ranges:
		replyMatches(value.FindLCS(a.Value, b.Value), o, w)
	default:
		w.Bulk(value.FindLCS(a.Value, b.Value).Sequence())
	}
}

func parseLCSOptions(args [][]byte, w reply.Writer) (o lcsOptions, ok bool) {
	for ; len(args) > 0; args = args[1:] {
		switch arg := args[0]; {
		case isWord(arg, "IDX"):
			o.ranges = true
		case isWord(arg, "LEN"):
			o.length = true
		case isWord(arg, "WITHMATCHLEN"):
			o.withLengths = true
		case isWord(arg, "MINMATCHLEN") && len(args) > 1:
			if o.least, ok = intArg(w, args[1]); !ok {
				return o, false
			}
			args = args[1:]
		default:
			w.Error(reply.Syntax)
			return o, false
		}
	}
	return o, true
}

// replyMatches answers with the ranges that the two strings have in common, the last one first, and the length.
func replyMatches(l *value.LCS, o lcsOptions, w reply.Writer) {
	var matches []value.Match
	l.Matches(func(m value.Match) {
		if int64(m.Len) >= o.least {
			matches = append(matches, m)
		}
	})
	w.Map(2)
	w.BulkString("matches")
	w.Array(len(matches))
	for _, m := range matches {
		if o.withLengths {
			w.Array(3)
		} else {
			w.Array(2)
		}
		replyRange(m.A, m.Len, w)
		replyRange(m.B, m.Len, w)
		if o.withLengths {
			w.Int(int64(m.Len))
		}
	}
	w.BulkString("len")
	w.Int(int64(l.Length()))
}

// replyRange answers with the first and the last place of a run.
func replyRange(from, length int, w reply.Writer) {
	w.Array(2)
	w.Int(int64(from))
	w.Int(int64(from + length - 1))
}
