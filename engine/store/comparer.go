package store

import "github.com/cockroachdb/pebble/v2"

// comparer orders stored keys as bytes. What is special is Split: the prefix that bloom filters hold is the position of
// a key's record, a node's key, and next to nothing for the deadline index, which is never looked up by key.
// The split of a stored key must never change: tables on disk were written by it. Hence the version in the name.
var comparer = func() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "larder.store.v1"
	c.Split = split
	return &c
}()

func split(stored []byte) int {
	n := len(stored)
	if n == 0 {
		return 0
	}
	switch stored[0] {
	case kindKeys:
		switch {
		case n <= slotSize:
			return n
		case isNode(stored):
			return n
		default:
			return min(n, positionSize)
		}
	case kindDue:
		return min(n, duePrefixSize)
	}
	return n
}
