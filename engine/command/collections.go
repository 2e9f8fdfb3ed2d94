package command

import (
	"math/bits"
	"slices"
	"strconv"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// What the handlers of hashes and sets share: how a key is opened, and how places are drawn.

// openHash opens the hash under key, an empty one where the key does not exist. ok is false where it holds another
// kind: then the error has been answered.
func openHash(tx *keyspace.Tx, key []byte, w reply.Writer) (h *collection.Hash, ok bool) {
	if !holds(tx, key, value.Hash, w) {
		return nil, false
	}
	return tx.Hash(tx.DB(), key), true
}

// openSet is openHash for a set.
func openSet(tx *keyspace.Tx, key []byte, w reply.Writer) (s *collection.Set, ok bool) {
	if !holds(tx, key, value.Set, w) {
		return nil, false
	}
	return tx.Set(tx.DB(), key), true
}

// holds says whether key holds the kind or does not exist; else it answers the error.
func holds(tx *keyspace.Tx, key []byte, kind value.Kind, w reply.Writer) bool {
	if k := tx.Kind(tx.DB(), key); k != kind && k != value.None {
		w.Error(reply.WrongType)
		return false
	}
	return true
}

// mostRepeats is how many elements a command draws that may draw the same one again. Nothing else bounds them, where
// distinct ones are bounded by the collection.
const mostRepeats = 1 << 20

// draw is a random number, 0 <= draw < n.
func draw(tx *keyspace.Tx, n int) int {
	high, _ := bits.Mul64(tx.Rand(), uint64(n))
	return int(high)
}

// sample visits k of the places 0 … n-1, chosen at random, none twice; 0 <= k <= n. The order is not random.
func sample(tx *keyspace.Tx, k, n int, visit func(place int)) {
	if k > n/4 { // each place is taken with the chance that gives every choice of k the same
		for i := 0; k > 0; i++ {
			if draw(tx, n-i) < k {
				visit(i)
				k--
			}
		}
		return
	}
	// Robert Floyd's algorithm (Communications of the ACM 30, 1987): a place that is taken already stands for the last
	// one of its round, which no earlier round could draw.
	taken := make(map[int]struct{}, k)
	for last := n - k; last < n; last++ {
		place := draw(tx, last+1)
		if _, again := taken[place]; again {
			place = last
		}
		taken[place] = struct{}{}
		visit(place)
	}
}

// intSetCount is up to how many integers Redis holds in a set that is ordered by number.
const intSetCount = 512

// replySet answers with the gathered members of a set that was calculated. Redis builds such a set anew, so that a few
// integers come in the order of numbers.
func (l *keyList) replySet(w reply.Writer) {
	w.Set(len(l.ends))
	numbers, ok := l.numbers()
	if !ok {
		for m := range l.all {
			w.Bulk(m)
		}
		return
	}
	slices.Sort(numbers)
	var digits [value.MaxIntDigits]byte
	for _, n := range numbers {
		w.Bulk(strconv.AppendInt(digits[:0], n, 10))
	}
}

// numbers is what was gathered, if that is a few integers and nothing else.
func (l *keyList) numbers() (numbers []int64, ok bool) {
	if len(l.ends) > intSetCount {
		return nil, false
	}
	for m := range l.all {
		n, isInt := value.ParseInt(m)
		if !isInt {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, true
}
