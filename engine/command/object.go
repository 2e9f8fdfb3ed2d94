package command

import (
	"iter"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/rdb"
)

// objectUnder is what key holds, e, as a value outside of the key space. It reads the collection where it lives, and is
// good for as long as the transaction's command.
func objectUnder(tx *keyspace.Tx, db int, key []byte, e keyspace.Entry) rdb.Object {
	o := rdb.Object{Kind: e.Kind}
	switch e.Kind {
	case value.String:
		o.String = tx.Whole(db, key, e)
	case value.List:
		l := tx.List(db, key)
		o.Len, o.Elements = l.Len(), elementsOf(l.From(0))
	case value.Set:
		s := tx.Set(db, key)
		o.Len, o.Elements = s.Len(), s.All()
	case value.Hash:
		h := tx.Hash(db, key)
		o.Len, o.Fields = h.Len(), h.All()
	case value.ZSet:
		z := tx.ZSet(db, key)
		o.Len, o.Scores = z.Len(), z.From(0)
	}
	return o
}

// elementsOf leaves places out.
func elementsOf(list iter.Seq2[int, []byte]) iter.Seq[[]byte] {
	return func(yield func(e []byte) bool) {
		for _, e := range list {
			if !yield(e) {
				return
			}
		}
	}
}

// putObject stores o under key, in place of what was there, with its time to live (0: none). o does not live in the key
// space.
func putObject(tx *keyspace.Tx, db int, key []byte, o rdb.Object, expire int64) {
	if o.Kind == value.String {
		tx.Put(db, key, keyspace.Entry{Kind: value.String, Value: o.String, Expire: expire})
		return
	}
	tx.Delete(db, key)
	switch o.Kind {
	case value.List:
		tx.List(db, key).Fill(o.Elements)
	case value.Set:
		tx.Set(db, key).Fill(o.Len, o.Elements)
	case value.Hash:
		tx.Hash(db, key).Fill(o.Len, o.Fields)
	case value.ZSet:
		tx.ZSet(db, key).Fill(o.Len, o.Scores)
	}
	if expire != 0 {
		tx.SetExpire(db, key, expire)
	}
}
