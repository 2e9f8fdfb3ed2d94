package command

import (
	"slices"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value/collection"
)

// openSets opens the sets under keys; a key that does not exist is an empty one. ok is false where one holds another
// kind: then the error has been answered.
func openSets(tx *keyspace.Tx, keys [][]byte, w reply.Writer) (sets []*collection.Set, ok bool) {
	sets = make([]*collection.Set, len(keys))
	for i, key := range keys {
		if sets[i], ok = openSet(tx, key, w); !ok {
			return nil, false
		}
	}
	return sets, true
}

func sInter(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	replyCalculated(tx, args, intersection, w)
}

func sUnion(tx *keyspace.Tx, args [][]byte, w reply.Writer) { replyCalculated(tx, args, union, w) }

func sDiff(tx *keyspace.Tx, args [][]byte, w reply.Writer) { replyCalculated(tx, args, difference, w) }

func replyCalculated(tx *keyspace.Tx, args [][]byte, calculate func([]*collection.Set) keyList, w reply.Writer) {
	if sets, ok := openSets(tx, args[1:], w); ok {
		members := calculate(sets)
		members.replySet(w)
	}
}

func sInterStore(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if sets, ok := openSets(tx, args[2:], w); ok {
		storeSet(tx, args[1], intersection(sets), w)
	}
}

func sUnionStore(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if sets, ok := openSets(tx, args[2:], w); ok {
		storeSet(tx, args[1], union(sets), w)
	}
}

// sDiffStore has the destination hold for a moment what Redis, where it subtracts, has it hold: all of the first set.
// What a set has held shows in OBJECT ENCODING.
func sDiffStore(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	sets, ok := openSets(tx, args[2:], w)
	if !ok {
		return
	}
	var members, others keyList
	inOthers, subtracts := othersOf(sets)
	for m := range sets[0].All() {
		if !inOthers(m) {
			members.add(m)
		} else if subtracts {
			others.add(m)
		}
	}
	s := storeSet(tx, args[1], members, w)
	if s.Len() == 0 {
		return
	}
	for m := range others.all {
		s.Add(m)
	}
	for m := range others.all {
		s.Remove(m)
	}
}

// storeSet puts members under key, in place of what was there, and answers with their number. No set that was opened
// before may be used behind it.
func storeSet(tx *keyspace.Tx, key []byte, members keyList, w reply.Writer) *collection.Set {
	tx.Delete(tx.DB(), key)
	s := tx.Set(tx.DB(), key)
	s.Fill(len(members.ends), members.all)
	w.Int(int64(len(members.ends)))
	return s
}

// sInterCard counts at most LIMIT members, 0 being no limit.
func sInterCard(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	const noNumber = "ERR numkeys should be greater than 0"
	n, ok := intArgOr(w, args[1], noNumber)
	if !ok {
		return
	}
	if n < 1 {
		w.Error(noNumber)
		return
	}
	if n > int64(len(args)-2) {
		w.Error("ERR Number of keys can't be greater than number of args")
		return
	}
	keys, options := args[2:2+n], args[2+n:]
	var limit int64
	for ; len(options) > 0; options = options[2:] {
		const negative = "ERR LIMIT can't be negative"
		if len(options) < 2 || !isWord(options[0], "LIMIT") {
			w.Error(reply.Syntax)
			return
		}
		if limit, ok = intArgOr(w, options[1], negative); !ok {
			return
		}
		if limit < 0 {
			w.Error(negative)
			return
		}
	}
	sets, ok := openSets(tx, keys, w)
	if !ok {
		return
	}
	var count int64
	if !anyEmpty(sets) {
		for range collection.Intersect(sets) {
			if count++; count == limit {
				break
			}
		}
	}
	w.Int(count)
}

// anyEmpty says whether one of the sets has no members.
func anyEmpty(sets []*collection.Set) bool {
	for _, s := range sets {
		if s.Len() == 0 {
			return true
		}
	}
	return false
}

// intersection is the members that all of the sets have.
func intersection(sets []*collection.Set) (members keyList) {
	if !anyEmpty(sets) {
		for m := range collection.Intersect(sets) {
			members.add(m)
		}
	}
	return members
}

// union is the members that any of the sets has, in the order in which they appear.
func union(sets []*collection.Set) (members keyList) {
	seen := map[string]struct{}{} // in the sets between the first, which can be asked, and the last, which nothing follows
	for i, s := range sets {
		for m := range s.All() {
			if i > 0 {
				if sets[0].Has(m) {
					continue
				}
				if _, again := seen[string(m)]; again {
					continue
				}
				if i < len(sets)-1 {
					seen[string(m)] = struct{}{}
				}
			}
			members.add(m)
		}
	}
	return members
}

// difference is the members of the first set that no other has, in the first one's order.
func difference(sets []*collection.Set) (members keyList) {
	inOthers, _ := othersOf(sets)
	for m := range sets[0].All() {
		if !inOthers(m) {
			members.add(m)
		}
	}
	return members
}

// othersOf says how to tell whether another set than the first has one of the first's members. To ask every set costs
// the first one's size for each of them, at worst; to subtract them beforehand costs the size of all. Redis chooses by
// the same measure.
func othersOf(sets []*collection.Set) (has func(m []byte) bool, subtracts bool) {
	var others []*collection.Set
	asking, subtracting := sets[0].Len(), sets[0].Len()
	for _, s := range sets[1:] {
		if s.Len() > 0 {
			others = append(others, s)
			asking += sets[0].Len()
			subtracting += s.Len()
		}
	}
	if asking/2 <= subtracting {
		return func(m []byte) bool {
			return slices.ContainsFunc(others, func(s *collection.Set) bool { return s.Has(m) })
		}, false
	}
	subtracted := map[string]struct{}{}
	for _, s := range others {
		for m := range s.All() {
			if sets[0].Has(m) {
				subtracted[string(m)] = struct{}{}
			}
		}
	}
	return func(m []byte) bool {
		_, ok := subtracted[string(m)]
		return ok
	}, true
}
