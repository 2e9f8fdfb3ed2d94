package store

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The first byte of a stored key says what it is.
const (
	kindKeys  = 0x10 // records of keys and, later, of their chunks
	kindDue   = 0x20 // the index of deadlines
	kindMeta  = 0x30 // the one meta record, behind everything: it is known last
	kindAbove = 0x31 // greater than any stored key
)

// Nodes is the bit of a name space's number that says that it holds the nodes of large collections.
const Nodes = uint32(1) << 31

// tagKey leads a key's hash.
const tagKey = 0x00

// Lengths of the parts of stored keys, bytes.
const (
	slotSize      = 1 + 4 + 2         // kind, name space, slot
	positionSize  = slotSize + 1 + 6  // and tag and hash: the prefix that bloom filters hold
	nodeSize      = slotSize + 8      // a node's key is all there is
	duePrefixSize = 1                 // deadlines are walked, never looked up: they cost the filters one entry
	dueSize       = 1 + 8 + 4 + 2 + 6 // kind, deadline, name space, slot, hash
	maxHash       = uint64(1)<<HashBits - 1
	maxNodeHash   = uint64(1)<<NodeHashBits - 1
)

var metaKey = []byte{kindMeta}

var errKey = errors.New("malformed stored key")

func appendNamespace(b []byte, ns uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, kindKeys), ns)
}

func appendSlot(b []byte, ns uint32, slot uint16) []byte {
	return binary.BigEndian.AppendUint16(appendNamespace(b, ns), slot)
}

func appendPosition(b []byte, p Position) []byte {
	if p.Namespace&Nodes != 0 {
		return binary.BigEndian.AppendUint64(appendSlot(b, p.Namespace, p.Slot), p.Hash)
	}
	return appendHash(append(appendSlot(b, p.Namespace, p.Slot), tagKey), p.Hash)
}

func appendRecordKey(b []byte, p Position, key []byte) []byte {
	b = appendPosition(b, p)
	if p.Namespace&Nodes != 0 {
		return b
	}
	return append(b, key...)
}

// isNode says whether a stored key is that of a node's record.
func isNode(stored []byte) bool { return stored[1]&(1<<7) != 0 }

// wellFormed says whether a stored key has all its parts.
func wellFormed(stored []byte) bool {
	if len(stored) > slotSize && isNode(stored) {
		return len(stored) == nodeSize
	}
	return len(stored) >= positionSize
}

// keyOf is a record's key: of a node, its slot and hash.
func keyOf(stored []byte) []byte {
	if isNode(stored) {
		return stored[slotSize-2:]
	}
	return stored[positionSize:]
}

func appendHash(b []byte, hash uint64) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(hash>>32))
	return binary.BigEndian.AppendUint32(b, uint32(hash))
}

// decodePosition reads the first bytes of a record's key: positionSize, or nodeSize.
func decodePosition(stored []byte) Position {
	if isNode(stored) {
		return Position{
			Namespace: binary.BigEndian.Uint32(stored[1:]),
			Slot:      binary.BigEndian.Uint16(stored[5:]),
			Hash:      binary.BigEndian.Uint64(stored[slotSize:]),
		}
	}
	return Position{
		Namespace: binary.BigEndian.Uint32(stored[1:]),
		Slot:      binary.BigEndian.Uint16(stored[5:]),
		Hash:      uint64(binary.BigEndian.Uint16(stored[8:]))<<32 | uint64(binary.BigEndian.Uint32(stored[10:])),
	}
}

// appendDue encodes a record of the deadline index. The deadline's sign bit is flipped, so that bytes sort as numbers do.
func appendDue(b []byte, d DueKey) []byte {
	b = appendDeadline(b, d.At)
	b = binary.BigEndian.AppendUint32(b, d.Namespace)
	b = binary.BigEndian.AppendUint16(b, d.Slot)
	return appendHash(b, d.Hash)
}

func appendDeadline(b []byte, at int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, kindDue), uint64(at)^1<<63)
}

func decodeDue(stored []byte) (DueKey, error) {
	if len(stored) != dueSize {
		return DueKey{}, fmt.Errorf("%w: deadline record of %d bytes", errKey, len(stored))
	}
	return DueKey{
		At: int64(binary.BigEndian.Uint64(stored[1:]) ^ 1<<63),
		Position: Position{
			Namespace: binary.BigEndian.Uint32(stored[9:]),
			Slot:      binary.BigEndian.Uint16(stored[13:]),
			Hash:      uint64(binary.BigEndian.Uint16(stored[15:]))<<32 | uint64(binary.BigEndian.Uint32(stored[17:])),
		},
	}, nil
}

// upperBound is the smallest key that does not begin with prefix. No prefix here is all 0xff.
func upperBound(prefix []byte) []byte {
	b := append([]byte(nil), prefix...)
	for i := len(b) - 1; i >= 0; i-- {
		b[i]++
		if b[i] != 0 {
			return b[:i+1]
		}
	}
	return nil
}
