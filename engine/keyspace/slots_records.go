package keyspace

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// A slot is copied record by record, as the front and the store have them: keys with their values or the roots of their
// large collections, and the nodes of those, each on its own. So nothing large has to be taken apart or put together, what
// commands can observe stays the same (E7), and of a collection of ten million only the nodes that changed are sent
// again. What has been copied makes no sense before the last record is there, and nobody sees it until then.
//
// Layout of records on their way (lengths and numbers are uvarints unless said otherwise):
//
//	what        1 byte
//	data base   1 byte
//	of a key:         key; idle time in seconds, uses (1 byte); its record as in the store
//	of a gone key:    key
//	of a node:        slot, hash, its bytes
//	of a gone node:   slot, hash
//	of a collection that is gone: slot, number
const (
	sentKey = 1 + iota
	sentGoneKey
	sentNode
	sentGoneNode
	sentGoneCollection
)

// coldIdle is what is said of the last use of a key that only the store has, seconds.
const coldIdle = 30 * 24 * 3600

// sent is one record on its way. Bytes are aliased.
type sent struct {
	what   byte
	db     int
	slot   uint16
	key    []byte
	idle   uint32
	uses   uint8
	item   front.Item
	hash   uint64 // of a node
	number uint64 // of a collection
}

func (s *sent) append(b []byte) []byte {
	b = append(b, s.what, byte(s.db))
	switch s.what {
	case sentKey:
		b = appendBytes(b, s.key)
		b = append(binary.AppendUvarint(b, uint64(s.idle)), s.uses)
		b = binary.AppendUvarint(b, uint64(recordLen(s.item)))
		return appendRecord(b, s.item)
	case sentGoneKey:
		return appendBytes(b, s.key)
	case sentNode:
		b = appendNumbers(b, uint64(s.slot), s.hash)
		return appendBytes(b, s.item.Value)
	case sentGoneNode:
		return appendNumbers(b, uint64(s.slot), s.hash)
	}
	return appendNumbers(b, uint64(s.slot), s.number)
}

func appendBytes(b, data []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

// recordLen is how long appendRecord's bytes are.
func recordLen(it front.Item) int {
	n := 1 + len(it.Value)
	if it.Expire != 0 {
		n += 8
	}
	return n
}

// ErrImport reports records that are none.
var ErrImport = errors.New("malformed records of a slot")

// sentReader takes records apart.
type sentReader struct {
	b  []byte
	ok bool
}

func (r *sentReader) byte() byte {
	if len(r.b) == 0 {
		r.ok = false
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *sentReader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.ok, r.b = false, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *sentReader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.ok, r.b = false, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *sentReader) slot() uint16 {
	n := r.number()
	if n >= front.Slots {
		r.ok = false
		return 0
	}
	return uint16(n)
}

// next takes the first record off, and makes sure that it can be stored.
func (r *sentReader) next() (s sent, err error) {
	s.what, s.db = r.byte(), int(r.byte())
	switch s.what {
	case sentKey:
		s.key, s.idle, s.uses = r.bytes(), uint32(r.number()), r.byte()
		if s.item, err = decodeRecord(r.bytes()); err == nil {
			err = checkItem(s.item)
		}
		s.slot = Slot(s.key)
	case sentGoneKey:
		s.key = r.bytes()
		s.slot = Slot(s.key)
	case sentNode:
		s.slot, s.hash = r.slot(), r.number()
		s.item.Value = r.bytes()
		err = collection.CheckNode(s.item.Value)
	case sentGoneNode:
		s.slot, s.hash = r.slot(), r.number()
	case sentGoneCollection:
		s.slot, s.number = r.slot(), r.number()
	default:
		r.ok = false
	}
	if !r.ok || s.db >= Databases || s.hash>>store.NodeHashBits != 0 || s.number > maxCollection {
		return s, ErrImport
	}
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrImport, err)
	}
	return s, nil
}

// maxCollection is the greatest number of a large collection.
const maxCollection = 1<<(store.NodeHashBits-value.NodeBits) - 1

// checkItem says whether a key can have these contents.
func checkItem(it front.Item) error {
	if it.Kind == value.None || it.Kind > value.Stream {
		return fmt.Errorf("a value of kind %d", it.Kind)
	}
	if it.Kind > value.String || it.Enc == value.Large {
		return collection.CheckRoot(it.Value, it.Enc)
	}
	return nil
}
