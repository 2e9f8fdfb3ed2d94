package command

import (
	"bytes"
	"strconv"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// LARDER.META expected document stores the meta group's document under MetaKey if the version of the one stored there is
// the expected one, 0 for none. It answers OK, or else the version of what is stored and changes nothing. The value is the
// version in decimal digits, a space, and the document.
var metaCommands = []Command{
	{
		Name: internal + "META", Arity: 3, Flags: Write, Do: setMeta,
		Group: "generic", Since: "7.0.0", Summary: "Stores the cluster's document if nobody has changed it.",
	},
}

// MetaKey is where the meta group's engine has the document, in data base 0.
const MetaKey = "larder:meta"

// MetaArgs are the arguments of LARDER.META.
func MetaArgs(expected uint64, document []byte) [][]byte {
	return [][]byte{[]byte(internal + "META"), strconv.AppendUint(nil, expected, 10), document}
}

// SplitMeta splits a stored value into version and document.
func SplitMeta(stored []byte) (version uint64, document []byte, ok bool) {
	digits, document, ok := bytes.Cut(stored, []byte(" "))
	if !ok {
		return 0, nil, false
	}
	version, err := strconv.ParseUint(string(digits), 10, 64)
	return version, document, err == nil
}

func setMeta(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	expected, err := strconv.ParseUint(string(args[1]), 10, 64)
	if err != nil || expected == 1<<64-1 {
		w.Error(reply.NotInteger)
		return
	}
	stored := uint64(0)
	if e, found := tx.Peek(0, []byte(MetaKey)); found && e.Kind == value.String {
		stored, _, _ = SplitMeta(tx.Whole(0, []byte(MetaKey), e))
	}
	if stored != expected {
		w.Int(int64(stored))
		return
	}
	text := strconv.AppendUint(nil, expected+1, 10)
	text = append(append(text, ' '), args[2]...)
	tx.Put(0, []byte(MetaKey), keyspace.Entry{Kind: value.String, Value: text})
	w.Simple(reply.OK)
}
