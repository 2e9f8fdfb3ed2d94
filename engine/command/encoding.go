package command

import (
	"iter"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// Thresholds are up to where OBJECT ENCODING calls a collection compact: the numbers of hash-max-listpack-entries,
// hash-max-listpack-value and so on. They change what is said, never how anything is stored.
type Thresholds struct {
	HashEntries, HashValue int64
	ZSetEntries, ZSetValue int64
	SetIntegers            int64
}

// storedThresholds are those by which collections are stored. Where the configured ones are the same, the stored form
// decides, and so does history: what has once been large stays so. Where they are not, the present content does.
var storedThresholds = Thresholds{
	HashEntries: collection.SmallFields, HashValue: collection.SmallElement,
	ZSetEntries: collection.SmallMembers, ZSetValue: collection.SmallElement,
	SetIntegers: collection.SmallIntegers,
}

// maxEncodingLook is how many elements are looked at in order to name an encoding; with more, a collection is not compact.
const maxEncodingLook = 1024

// embstrLimit is the length up to which Redis holds a string in one piece with its header.
const embstrLimit = 44

// encodingName is what OBJECT ENCODING says of key, which holds e.
func encodingName(tx *keyspace.Tx, db int, key []byte, e keyspace.Entry, t Thresholds) string {
	stored, large := storedThresholds, e.Enc == value.Large
	switch e.Kind {
	case value.String:
		return stringEncoding(e)
	case value.List:
		return "quicklist"
	case value.Hash:
		if t.HashEntries != stored.HashEntries || t.HashValue != stored.HashValue {
			h := tx.Hash(db, key)
			large = !compact(h.Len(), t.HashEntries, h.All(), func(f, v []byte) bool {
				return int64(max(len(f), len(v))) <= t.HashValue
			})
		}
		if large {
			return "hashtable"
		}
		return "listpack"
	case value.ZSet:
		if t.ZSetEntries != stored.ZSetEntries || t.ZSetValue != stored.ZSetValue {
			z := tx.ZSet(db, key)
			large = !compact(z.Len(), t.ZSetEntries, z.From(0), func(m []byte, _ float64) bool { return int64(len(m)) <= t.ZSetValue })
		}
		if large {
			return "skiplist"
		}
		return "listpack"
	case value.Set:
		integers := e.Enc == value.Integers
		if t.SetIntegers != stored.SetIntegers {
			integers = integersWithin(tx.Set(db, key), t.SetIntegers)
		}
		if integers {
			return "intset"
		}
		return "hashtable"
	}
	return e.Kind.String()
}

// compact says whether n elements are no more than most, and all of them fit.
func compact[A, B any](n int, most int64, all iter.Seq2[A, B], fits func(A, B) bool) bool {
	if int64(n) > min(most, maxEncodingLook) {
		return false
	}
	for a, b := range all {
		if !fits(a, b) {
			return false
		}
	}
	return true
}

// integersWithin says whether a set consists of at most so many integers.
func integersWithin(s *collection.Set, most int64) bool {
	if int64(s.Len()) > min(most, maxEncodingLook) {
		return false
	}
	for m := range s.All() {
		if _, ok := value.ParseInt(m); !ok {
			return false
		}
	}
	return true
}

// stringEncoding is what OBJECT ENCODING says of a string.
func stringEncoding(e keyspace.Entry) string {
	if e.Enc == value.Raw || e.Long() {
		return "raw"
	}
	if e.Enc == value.Natural {
		if _, ok := value.ParseInt(e.Value); ok {
			return "int"
		}
	}
	if len(e.Value) <= embstrLimit {
		return "embstr"
	}
	return "raw"
}

// ObjectEncoding is OBJECT ENCODING by thresholds that are asked for at each call.
func ObjectEncoding(thresholds func() Thresholds) Handler {
	return func(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
		e, ok := tx.Peek(tx.DB(), args[2])
		if !ok {
			w.Null()
			return
		}
		w.BulkString(encodingName(tx, tx.DB(), args[2], e, thresholds()))
	}
}

// objectEncoding is ObjectEncoding where nobody has a configuration.
var objectEncoding = ObjectEncoding(func() Thresholds { return storedThresholds })
