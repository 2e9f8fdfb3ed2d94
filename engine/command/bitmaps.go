package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// The commands on the bits of strings. BITFIELD's are in bitmaps_field.go.
var bitmapCommands = []Command{
	{
		Name: "BITCOUNT", Arity: -2, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: bitCount,
		Group: "bitmap", Since: "2.6.0", Summary: "Counts the ones in a string or in a part of it.",
	},
	{
		Name: "BITFIELD", Arity: -2, Flags: Write | DenyOOM, Do: bitField,
		Keys: []KeySpec{{
			First: 1, Last: 1, Step: 1, Use: RW | Access | Update | VariableFlags,
			Notes: "This command allows both access and modification of the key",
		}},
		Group: "bitmap", Since: "3.2.0", Summary: "Reads and changes integers of any width inside a string.",
	},
	{
		Name: "BITFIELD_RO", Arity: -2, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: bitFieldRO,
		Group: "bitmap", Since: "6.0.0", Summary: "Reads integers of any width inside a string.",
	},
	{
		Name: "BITOP", Arity: -4, Flags: Write | DenyOOM, Do: bitOp,
		Keys: []KeySpec{
			{First: 2, Last: 2, Step: 1, Use: OW | Update},
			{First: 3, Last: -1, Step: 1, Use: RO | Access},
		},
		Group: "bitmap", Since: "2.6.0", Summary: "Combines strings bit by bit and stores the result.",
	},
	{
		Name: "BITPOS", Arity: -3, Flags: ReadOnly, Keys: oneKey(RO | Access), Do: bitPos,
		Group: "bitmap", Since: "2.8.7", Summary: "Finds the first one or the first zero in a string.",
	},
	{
		Name: "GETBIT", Arity: 3, Flags: ReadOnly | Fast, Keys: oneKey(RO | Access), Do: getBit,
		Group: "bitmap", Since: "2.2.0", Summary: "Returns one bit of a string.",
	},
	{
		Name: "SETBIT", Arity: 4, Flags: Write | DenyOOM, Keys: oneKey(RW | Access | Update), Do: setBit,
		Group: "bitmap", Since: "2.2.0", Summary: "Sets or clears one bit of a string and returns what it was.",
	},
}

const badBitOffset = "ERR bit offset is not an integer or out of range"

// bitOffsetArg reads the number of a bit that a string can have; otherwise it answers the error and returns false.
func bitOffsetArg(w reply.Writer, arg []byte) (uint64, bool) {
	n, ok := intArgOr(w, arg, badBitOffset)
	if !ok {
		return 0, false
	}
	return checkBitOffset(w, n)
}

func checkBitOffset(w reply.Writer, n int64) (uint64, bool) {
	if n < 0 || n>>3 >= MaxString {
		w.Error(badBitOffset)
		return 0, false
	}
	return uint64(n), true
}

func setBit(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	const badBit = "ERR bit is not an integer or out of range"
	offset, ok := bitOffsetArg(w, args[2])
	if !ok {
		return
	}
	bit, ok := intArgOr(w, args[3], badBit)
	if !ok {
		return
	}
	if bit != 0 && bit != 1 {
		w.Error(badBit)
		return
	}
	t, ok := lookupText(tx, args[1], w)
	if !ok {
		return
	}
	at := int(offset >> 3)
	var b [1]byte
	copy(b[:], t.part(at, at+1))
	was := value.PutBit(b[:], offset&7, bit == 1)
	t.write(at, b[:])
	w.Int(int64(was))
}

func getBit(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	offset, ok := bitOffsetArg(w, args[2])
	if !ok {
		return
	}
	if t, ok := lookupText(tx, args[1], w); ok {
		at := int(offset >> 3)
		w.Int(int64(value.Bit(t.part(at, at+1), offset&7)))
	}
}

// bitUnit reads whether a range counts bytes or bits; otherwise it answers the error and returns false.
func bitUnit(w reply.Writer, arg []byte) (inBits, ok bool) {
	switch {
	case isWord(arg, "BIT"):
		return true, true
	case isWord(arg, "BYTE"):
		return false, true
	}
	w.Error(reply.Syntax)
	return false, false
}

// bitRange clamps a range of bits or bytes to a string of size bytes, and returns it in bits.
func bitRange(first, last int64, inBits bool, size int) (_, _ uint64, ok bool) {
	if inBits {
		first, last, ok = clampRange(first, last, int64(size)*8)
		return uint64(first), uint64(last), ok
	}
	first, last, ok = clampRange(first, last, int64(size))
	return uint64(first) * 8, uint64(last)*8 + 7, ok
}

func bitCount(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	e, found, ok := lookupString(tx, args[1], w)
	if !ok {
		return
	}
	if !found {
		w.Int(0) // whatever the other arguments say
		return
	}
	first, last, inBits := int64(0), int64(-1), false
	switch len(args) {
	case 2:
	case 4, 5:
		if first, ok = intArg(w, args[2]); !ok {
			return
		}
		if last, ok = intArg(w, args[3]); !ok {
			return
		}
		if backwards(first, last) {
			w.Int(0)
			return
		}
		if len(args) == 5 {
			if inBits, ok = bitUnit(w, args[4]); !ok {
				return
			}
		}
	default:
		w.Error(reply.Syntax)
		return
	}
	from, to, ok := bitRange(first, last, inBits, len(e.Value))
	if !ok {
		w.Int(0)
		return
	}
	w.Int(value.CountBits(e.Value, from, to))
}

func bitPos(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	bit, ok := intArg(w, args[2])
	if !ok {
		return
	}
	if bit != 0 && bit != 1 {
		w.Error("ERR The bit argument must be 1 or 0.")
		return
	}
	e, found, ok := lookupString(tx, args[1], w)
	if !ok {
		return
	}
	if !found {
		w.Int(-bit) // an endless row of zeros
		return
	}
	first, last, inBits := int64(0), int64(-1), false
	if len(args) > 6 {
		w.Error(reply.Syntax)
		return
	}
	if len(args) > 3 {
		if first, ok = intArg(w, args[3]); !ok {
			return
		}
	}
	if len(args) > 5 {
		if inBits, ok = bitUnit(w, args[5]); !ok {
			return
		}
	}
	if len(args) > 4 {
		if last, ok = intArg(w, args[4]); !ok {
			return
		}
	}
	from, to, ok := bitRange(first, last, inBits, len(e.Value))
	if !ok {
		w.Int(-1)
		return
	}
	at := value.FindBit(e.Value, bit == 1, from, to)
	if at < 0 && bit == 0 && len(args) < 5 {
		at = int64(len(e.Value)) * 8 // no end was given: zeros follow
	}
	w.Int(at)
}

func bitOp(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	var op value.BitOp
	switch {
	case isWord(args[1], "AND"):
		op = value.BitAnd
	case isWord(args[1], "OR"):
		op = value.BitOr
	case isWord(args[1], "XOR"):
		op = value.BitXor
	case isWord(args[1], "NOT"):
		op = value.BitNot
	default:
		w.Error(reply.Syntax)
		return
	}
	if op == value.BitNot && len(args) != 4 {
		w.Error("ERR BITOP NOT must be called with a single source key.")
		return
	}
	var result []byte
	for _, key := range args[3:] {
		e, _, ok := lookupString(tx, key, w)
		if !ok {
			return
		}
		result = op.Fold(result, e.Value) // at once: looking the next key up may delete one that is due
	}
	if len(result) == 0 {
		tx.Delete(tx.DB(), args[2])
	} else {
		tx.Put(tx.DB(), args[2], keyspace.Entry{Kind: value.String, Enc: value.Raw, Value: result})
	}
	w.Int(int64(len(result)))
}
