package command

import (
	"slices"
	"strings"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// The commands that combine several sorted sets, or plain sets, whose members count as having a score of 1. How they
// are combined stands in zsets_combine.go.
var zsetAlgebraCommands = []Command{
	{
		Name: "ZDIFF", Arity: -3, Flags: ReadOnly | MovableKeys | LongRead, Keys: numberedKeySpec(1, RO|Access), Do: zDiff,
		Group: "sorted-set", Since: "6.2.0", Summary: "Returns the first set's members that no other set has.",
	},
	{
		Name: "ZDIFFSTORE", Arity: -4, Flags: Write | DenyOOM | MovableKeys, Keys: zStoreKeys, Do: zDiffStore,
		Group: "sorted-set", Since: "6.2.0", Summary: "Stores the first set's members that no other set has.",
	},
	{
		Name: "ZINTER", Arity: -3, Flags: ReadOnly | MovableKeys | LongRead, Keys: numberedKeySpec(1, RO|Access), Do: zInter,
		Group: "sorted-set", Since: "6.2.0", Summary: "Returns the members that all sets have, with combined scores.",
	},
	{
		Name: "ZINTERCARD", Arity: -3, Flags: ReadOnly | MovableKeys | LongRead, Keys: numberedKeySpec(1, RO|Access),
		Do:    zInterCard,
		Group: "sorted-set", Since: "7.0.0", Summary: "Counts the members that all sets have, up to a limit.",
	},
	{
		Name: "ZINTERSTORE", Arity: -4, Flags: Write | DenyOOM | MovableKeys, Keys: zStoreKeys, Do: zInterStore,
		Group: "sorted-set", Since: "2.0.0", Summary: "Stores the members that all sets have, with combined scores.",
	},
	{
		Name: "ZUNION", Arity: -3, Flags: ReadOnly | MovableKeys | LongRead, Keys: numberedKeySpec(1, RO|Access), Do: zUnion,
		Group: "sorted-set", Since: "6.2.0", Summary: "Returns the members that any set has, with combined scores.",
	},
	{
		Name: "ZUNIONSTORE", Arity: -4, Flags: Write | DenyOOM | MovableKeys, Keys: zStoreKeys, Do: zUnionStore,
		Group: "sorted-set", Since: "2.0.0", Summary: "Stores the members that any set has, with combined scores.",
	},
}

// numberedKeySpec is keys behind their number, which stands at the position given.
func numberedKeySpec(at int, use KeyUse) []KeySpec {
	return []KeySpec{{Numkeys: at, Step: 1, Use: use}}
}

// zStoreKeys is a destination, and sources behind their number.
var zStoreKeys = slices.Concat(oneKey(OW|Update), numberedKeySpec(2, RO|Access))

// zAlgebra is a command on several sets: what it does with them and how.
type zAlgebra struct {
	sources   []zSource
	combine   combination
	aggregate aggregation
	// withScores and limit are what the reply needs.
	withScores bool
	limit      int64 // of ZINTERCARD; 0: none
}

// zAlgebraForm says what a command's name settles.
type zAlgebraForm struct {
	combine combination
	store   bool // a destination stands before the number of keys
	count   bool // only the number of members is wanted
}

func zUnion(tx *keyspace.Tx, args [][]byte, w reply.Writer) { replyCombined(tx, args, zUnited, w) }

func zInter(tx *keyspace.Tx, args [][]byte, w reply.Writer) { replyCombined(tx, args, zCommon, w) }

func zDiff(tx *keyspace.Tx, args [][]byte, w reply.Writer) { replyCombined(tx, args, zRemaining, w) }

func zUnionStore(tx *keyspace.Tx, args [][]byte, w reply.Writer) { storeCombined(tx, args, zUnited, w) }

func zInterStore(tx *keyspace.Tx, args [][]byte, w reply.Writer) { storeCombined(tx, args, zCommon, w) }

func zDiffStore(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	storeCombined(tx, args, zRemaining, w)
}

func replyCombined(tx *keyspace.Tx, args [][]byte, combine combination, w reply.Writer) {
	a, ok := zAlgebraForm{combine: combine}.parse(tx, args, w)
	if !ok {
		return
	}
	members := a.members()
	if a.withScores {
		w.Pairs(len(members))
	} else {
		w.Array(len(members))
	}
	for i := range members {
		if a.withScores {
			w.Pair()
			w.Bulk(members[i].member)
			w.Double(members[i].score)
		} else {
			w.Bulk(members[i].member)
		}
	}
}

func storeCombined(tx *keyspace.Tx, args [][]byte, combine combination, w reply.Writer) {
	a, ok := zAlgebraForm{combine: combine, store: true}.parse(tx, args, w)
	if !ok {
		return
	}
	members := a.members()
	storeZSet(tx, args[1], members)
	w.Int(int64(len(members)))
}

func zInterCard(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if a, ok := (zAlgebraForm{combine: zCommon, count: true}).parse(tx, args, w); ok {
		w.Int(a.countCommon())
	}
}

// parse reads a command of the form and opens its sources; where that fails, it answers the error and returns false.
// As in Redis, a key of another kind comes to light before a wrong option does.
func (f zAlgebraForm) parse(tx *keyspace.Tx, args [][]byte, w reply.Writer) (a zAlgebra, ok bool) {
	at := 1
	if f.store {
		at = 2
	}
	n, ok := intArg(w, args[at])
	if !ok {
		return a, false
	}
	if n < 1 {
		w.Error("ERR at least 1 input key is needed for '" + strings.ToLower(string(args[0])) + "' command")
		return a, false
	}
	rest := args[at+1:]
	if n > int64(len(rest)) {
		w.Error(reply.Syntax)
		return a, false
	}
	a.combine = f.combine
	for _, key := range rest[:n] {
		source, ok := openZSource(tx, key, w)
		if !ok {
			return a, false
		}
		a.sources = append(a.sources, source)
	}
	return a, a.options(f, rest[n:], w)
}

// options reads what follows the keys; where that is wrong, it answers the error and returns false.
func (a *zAlgebra) options(f zAlgebraForm, args [][]byte, w reply.Writer) bool {
	combines := f.combine != zRemaining && !f.count
	for len(args) > 0 {
		used := 2
		switch {
		case combines && len(args) > len(a.sources) && isWord(args[0], "WEIGHTS"):
			used = 1 + len(a.sources)
			for i := range a.sources {
				weight, ok := value.ParseDouble(args[1+i])
				if !ok {
					w.Error("ERR weight value is not a float")
					return false
				}
				a.sources[i].weight = weight
			}
		case combines && len(args) > 1 && isWord(args[0], "AGGREGATE"):
			switch {
			case isWord(args[1], "SUM"):
				a.aggregate = sumOf
			case isWord(args[1], "MIN"):
				a.aggregate = lowestOf
			case isWord(args[1], "MAX"):
				a.aggregate = highestOf
			default:
				w.Error(reply.Syntax)
				return false
			}
		case !f.store && !f.count && isWord(args[0], "WITHSCORES"):
			used, a.withScores = 1, true
		case f.count && len(args) > 1 && isWord(args[0], "LIMIT"):
			limit, ok := value.ParseInt(args[1])
			if !ok || limit < 0 {
				w.Error("ERR LIMIT can't be negative")
				return false
			}
			a.limit = limit
		default:
			w.Error(reply.Syntax)
			return false
		}
		args = args[used:]
	}
	return true
}

// zSource is one of the sets to be combined: a sorted set, or a plain one.
type zSource struct {
	sorted *collection.ZSet // nil: plain counts
	plain  *collection.Set
	size   int
	weight float64
}

// openZSource opens the set of either kind under key, an empty one if there is no such key. ok is false where the key
// holds another kind: then the error has been answered.
func openZSource(tx *keyspace.Tx, key []byte, w reply.Writer) (s zSource, ok bool) {
	s.weight = 1
	if tx.Kind(tx.DB(), key) == value.Set {
		s.plain = tx.Set(tx.DB(), key)
		s.size = s.plain.Len()
		return s, true
	}
	if s.sorted, ok = openZSet(tx, key, w); ok {
		s.size = s.sorted.Len()
	}
	return s, ok
}
