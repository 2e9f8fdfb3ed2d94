package store

import "cmp"

// HashBits is how many bits of a key's hash its position has.
const HashBits = 48

// NodeHashBits is how many bits the hash of a node has: its collection's number, then what tells its nodes apart.
const NodeHashBits = 63

// Position is a key's place in the one order that the whole engine goes by: name space, slot, hash of the key.
type Position struct {
	Namespace uint32
	Slot      uint16
	Hash      uint64 // HashBits wide; NodeHashBits in name spaces of nodes
}

// Compare orders positions; it returns -1, 0 or +1.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(p.Namespace, q.Namespace); c != 0 {
		return c
	}
	if c := cmp.Compare(p.Slot, q.Slot); c != 0 {
		return c
	}
	return cmp.Compare(p.Hash, q.Hash)
}

// Range is a contiguous part of the order. The zero Range is empty.
type Range struct {
	from, to []byte // stored keys: from included, to excluded
}

// All is the whole order.
func All() Range {
	return Range{from: appendNamespace(nil, 0), to: []byte{kindKeys + 1}}
}

// InNamespace is everything in one name space.
func InNamespace(ns uint32) Range {
	from := appendNamespace(nil, ns)
	return Range{from: from, to: upperBound(from)}
}

// InSlot is everything in one slot of a name space.
func InSlot(ns uint32, slot uint16) Range {
	from := appendSlot(nil, ns, slot)
	return Range{from: from, to: upperBound(from)}
}

// InRun is what stands in one slot between two hashes, the second excluded.
func InRun(ns uint32, slot uint16, from, to uint64) Range {
	return Range{from: appendPosition(nil, Position{ns, slot, from}), to: appendPosition(nil, Position{ns, slot, to})}
}

// From cuts off what comes before p; p itself stays.
func (r Range) From(p Position) Range {
	from := appendPosition(nil, p)
	if string(from) > string(r.from) {
		r.from = from
	}
	return r
}
