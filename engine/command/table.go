package command

import (
	"encoding/binary"
	"math/bits"
	"strings"
)

// internal leads the names of rows that only the server itself proposes: clients neither see nor call them.
const internal = "LARDER."

// Internal says whether the row is the server's own: hidden from COMMAND and refused to clients.
func (c *Command) Internal() bool { return strings.HasPrefix(c.Name, internal) }

// families is every row of the table.
func families() [][]Command {
	return [][]Command{
		keyCommands,
		scanCommands,
		dumpCommands,
		objectCommands,
		databaseCommands,
		expireCommands,
		evictCommands,
		metaCommands,
		slotCommands,
		debugCommands,
		stringCommands,
		bitmapCommands,
		transactionCommands,
		hashCommands,
		listCommands,
		sortCommands,
		setCommands,
		zsetCommands,
		zsetRangeCommands,
		zsetPopCommands,
		zsetAlgebraCommands,
	}
}

var (
	rows  []Command
	index nameIndex
)

// The table is filled here rather than where it is declared, so that a handler may look commands up.
func init() {
	for _, f := range families() {
		rows = append(rows, f...)
	}
	index = newNameIndex(rows)
	execRow = Lookup([]byte(internal + "EXEC"))
}

// Table is all rows. Lookup points into it.
func Table() []Command { return rows }

// Lookup finds a row by name, in upper or lower case; nil: there is none.
func Lookup(name []byte) *Command { return index.find(name) }

// Subcommand finds a row of a container by name, in upper or lower case; nil: there is none.
func (c *Command) Subcommand(name []byte) *Command {
	for i := range c.Sub {
		if isWord(name, c.Sub[i].Name) {
			return &c.Sub[i]
		}
	}
	return nil
}

// nameIndex is a hash table with open addressing, at most a quarter full, whose keys are the names' lower-cased
// first and last eight bytes and their length. That tells names of up to 16 bytes apart; longer ones are compared.
type nameIndex struct {
	slots []nameSlot
	shift uint
}

type nameSlot struct {
	key nameKey
	row *Command
}

type nameKey struct {
	head, tail uint64
	length     int
}

func newNameIndex(rows []Command) nameIndex {
	n := bits.Len(uint(len(rows)) * 4)
	x := nameIndex{slots: make([]nameSlot, 1<<n), shift: uint(64 - n)}
	for i := range rows {
		k := newNameKey([]byte(rows[i].Name))
		at := k.hash() >> x.shift
		for x.slots[at].row != nil {
			at = (at + 1) & uint64(len(x.slots)-1)
		}
		x.slots[at] = nameSlot{k, &rows[i]}
	}
	return x
}

func (x *nameIndex) find(name []byte) *Command {
	k := newNameKey(name)
	for at := k.hash() >> x.shift; ; at = (at + 1) & uint64(len(x.slots)-1) {
		s := &x.slots[at]
		if s.row == nil {
			return nil
		}
		if s.key == k && (len(name) <= 16 || isWord(name, s.row.Name)) {
			return s.row
		}
	}
}

func newNameKey(name []byte) nameKey {
	k := nameKey{length: len(name)}
	switch n := len(name); {
	case n >= 8:
		k.head = lower(binary.LittleEndian.Uint64(name))
		k.tail = lower(binary.LittleEndian.Uint64(name[n-8:]))
	case n >= 4: // the halves overlap
		k.head = lower(uint64(binary.LittleEndian.Uint32(name)) | uint64(binary.LittleEndian.Uint32(name[n-4:]))<<32)
	default:
		for _, c := range name {
			k.head = k.head<<8 | uint64(c)
		}
		k.head = lower(k.head)
	}
	return k
}

func (k nameKey) hash() uint64 {
	h := k.head ^ bits.RotateLeft64(k.tail, 29) ^ uint64(k.length)
	return (h ^ h>>32) * 0x9e3779b97f4a7c15
}

// lower puts the ASCII capitals among eight bytes into lower case. A sum of 7-bit bytes carries into the high bit
// exactly where a byte is at least 'A', or beyond 'Z'; 0x80 shifted by two is the bit between the cases.
func lower(x uint64) uint64 {
	const each = 0x0101010101010101
	low := x &^ (each * 0x80)
	fromA := low + each*(0x80-'A')
	beyondZ := low + each*(0x7f-'Z')
	capital := (fromA ^ beyondZ) &^ x & (each * 0x80)
	return x | capital>>2
}
