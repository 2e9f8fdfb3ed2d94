package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// text is the string under a key, for commands that need a part of it: one that is stored in pieces is not put together.
type text struct {
	tx    *keyspace.Tx
	key   []byte
	whole []byte             // its bytes
	long  *collection.String // or, where it is stored in pieces, these
	found bool
}

// lookupText is lookupString for a part. ok is false where the key holds another kind: then the error has been answered.
func lookupText(tx *keyspace.Tx, key []byte, w reply.Writer) (t text, ok bool) {
	e, found := tx.Get(tx.DB(), key)
	switch {
	case found && e.Kind != value.String:
		w.Error(reply.WrongType)
		return t, false
	case e.Long():
		return text{tx: tx, key: key, long: tx.LongString(tx.DB(), key), found: true}, true
	}
	return text{tx: tx, key: key, whole: e.Value, found: found}, true
}

// size is the string's length, bytes.
func (t *text) size() int {
	if t.long != nil {
		return t.long.Len()
	}
	return len(t.whole)
}

// part is the bytes from <= i < to, as far as they exist; good until the next call on the transaction.
func (t *text) part(from, to int) []byte {
	to = min(to, t.size())
	if from >= to {
		return nil
	}
	if t.long != nil {
		return t.long.AppendTo(make([]byte, 0, to-from), from, to)
	}
	return t.whole[from:to]
}

// write puts part at an offset. What it makes the string longer by before the offset is zero.
func (t *text) write(offset int, part []byte) {
	n := max(offset+len(part), t.size())
	if t.long == nil && n > collection.LargeString {
		t.long = t.tx.Lengthen(t.tx.DB(), t.key)
	}
	if t.long != nil {
		t.long.Write(offset, part)
		return
	}
	if !t.found {
		t.tx.Put(t.tx.DB(), t.key, keyspace.Entry{Kind: value.String, Enc: value.Raw})
		t.found = true
	}
	t.whole = t.tx.Grow(t.tx.DB(), t.key, n, value.Raw)
	copy(t.whole[offset:], part)
}
