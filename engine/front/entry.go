package front

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/larder-db/larder/engine/value"
)

// Layout of an entry's block, from its first byte, little-endian:
//
//	meta    4 bytes  see below
//	recency 4 bytes  when and how often it is used (recency.go), changed atomically by readers
//	long    8 bytes  only with the long bit: key length (4), value length (4)
//	expire  8 bytes  only with the expire bit: Unix milliseconds
//	key, value       back to back
//
// Bits of meta: 0–3 what the block is (zero: free), 4–7 kind of value, 8–9 dirty tag, 10–11 encoding, 12 expire,
// 13 long, 14–21 key length and 22–31 value length of the short form.
const (
	whatEntry     = 1 // a live key
	whatTombstone = 2 // a key that is absent: deleted since A if dirty, known not to be in the store if clean
	whatTable     = 3 // a segment's table, see segment.go

	kindShift  = 4
	tagShift   = 8
	tagMask    = 3 << tagShift
	encShift   = 10
	expireBit  = 1 << 12
	longBit    = 1 << 13
	keyShift   = 14
	valueShift = 22

	shortKey   = 1<<8 - 1
	shortValue = 1<<10 - 1

	entryHeader = 8
)

// Tag says whether an entry differs from its stored form: Clean, or changed in one of two dirty epochs. While a
// checkpoint is written one epoch is the checkpoint's, the other takes new changes.
type Tag uint8

// Clean is the tag of an entry that equals its stored form; the dirty tags are 1 and 2.
const Clean Tag = 0

// Item is an entry's contents, for going in and out of the front. Value aliases the arena when it comes out.
type Item struct {
	Kind      value.Kind
	Enc       value.Encoding
	Tombstone bool
	Expire    int64
	Value     []byte
}

func blockBytes(key, val int, expire int64) (n int, long bool) {
	n = entryHeader + key + val
	if key > shortKey || val > shortValue {
		n += 8
		long = true
	}
	if expire != 0 {
		n += 8
	}
	return n, long
}

// EntryBytes is the memory that an entry takes up with its share of its segment's table.
func EntryBytes(key, val int, expire int64) int64 {
	n, _ := blockBytes(key, val, expire)
	return int64(blockSize(n)) + cellShare
}

// cellShare is an entry's share of its segment's table, bytes.
const cellShare = 11

func (a *arena) meta(r Ref) uint32       { return atomic.LoadUint32((*uint32)(a.ptr(r))) }
func (a *arena) setMeta(r Ref, m uint32) { atomic.StoreUint32((*uint32)(a.ptr(r)), m) }
func (a *arena) recency(r Ref) *uint32   { return (*uint32)(unsafe.Add(a.ptr(r), 4)) }
func tagOf(m uint32) Tag                 { return Tag(m >> tagShift & 3) }
func kindOf(m uint32) value.Kind         { return value.Kind(m >> kindShift & 15) }
func encOf(m uint32) value.Encoding      { return value.Encoding(m >> encShift & 3) }
func whatOf(m uint32) uint32             { return m & 15 }
func withTag(m uint32, t Tag) uint32     { return m&^tagMask | uint32(t)<<tagShift }
func (a *arena) at(r Ref, off, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(a.ptr(r), off)), n)
}

// shape gives where an entry's key begins and how long key and value are.
func (a *arena) shape(r Ref, m uint32) (keyAt, key, val int) {
	keyAt = entryHeader
	if m&longBit != 0 {
		l := a.at(r, entryHeader, 8)
		key, val = int(binary.LittleEndian.Uint32(l)), int(binary.LittleEndian.Uint32(l[4:]))
		keyAt += 8
	} else {
		key, val = int(m>>keyShift&shortKey), int(m>>valueShift)
	}
	if m&expireBit != 0 {
		keyAt += 8
	}
	return keyAt, key, val
}

func (a *arena) key(r Ref) []byte {
	at, k, _ := a.shape(r, a.meta(r))
	return a.at(r, at, k)
}

func (a *arena) expire(r Ref, m uint32) int64 {
	if m&expireBit == 0 {
		return 0
	}
	off := entryHeader
	if m&longBit != 0 {
		off += 8
	}
	return int64(binary.LittleEndian.Uint64(a.at(r, off, 8)))
}

func (a *arena) item(r Ref) Item {
	m := a.meta(r)
	at, k, v := a.shape(r, m)
	return Item{
		Kind:      kindOf(m),
		Enc:       encOf(m),
		Tombstone: whatOf(m) == whatTombstone,
		Expire:    a.expire(r, m),
		Value:     a.at(r, at+k, v),
	}
}

// blockLen is the length that the entry at r asked for.
func (a *arena) blockLen(r Ref) int {
	at, k, v := a.shape(r, a.meta(r))
	return at + k + v
}

// write fills block r with an entry. The value may be nil with n > 0: then its bytes are left as they are.
func (a *arena) write(r Ref, key []byte, it Item, n int, tag Tag, recency uint32) {
	m := uint32(whatEntry)
	if it.Tombstone {
		m = whatTombstone
	}
	m |= uint32(it.Kind)<<kindShift | uint32(tag)<<tagShift | uint32(it.Enc)<<encShift
	off := entryHeader
	if len(key) > shortKey || n > shortValue {
		m |= longBit
		l := a.at(r, off, 8)
		binary.LittleEndian.PutUint32(l, uint32(len(key)))
		binary.LittleEndian.PutUint32(l[4:], uint32(n))
		off += 8
	} else {
		m |= uint32(len(key))<<keyShift | uint32(n)<<valueShift
	}
	if it.Expire != 0 {
		m |= expireBit
		binary.LittleEndian.PutUint64(a.at(r, off, 8), uint64(it.Expire))
		off += 8
	}
	copy(a.at(r, off, len(key)), key)
	if it.Value != nil {
		copy(a.at(r, off+len(key), n), it.Value)
	}
	atomic.StoreUint32(a.recency(r), recency)
	a.setMeta(r, m)
}
