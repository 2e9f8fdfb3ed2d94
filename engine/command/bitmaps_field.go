package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// fieldVerb is what a subcommand of BITFIELD does.
type fieldVerb uint8

const (
	fieldGet fieldVerb = iota
	fieldSet
	fieldAdd
)

// fieldOp is one subcommand of BITFIELD.
type fieldOp struct {
	verb     fieldVerb
	overflow value.Overflow
	field    value.BitField
	offset   uint64
	operand  int64
}

func bitField(tx *keyspace.Tx, args [][]byte, w reply.Writer) { bitFieldOps(tx, args, w, false) }

func bitFieldRO(tx *keyspace.Tx, args [][]byte, w reply.Writer) { bitFieldOps(tx, args, w, true) }

func bitFieldOps(tx *keyspace.Tx, args [][]byte, w reply.Writer, readOnly bool) {
	var few [4]fieldOp
	ops, ok := parseFieldOps(args[2:], few[:0], w)
	if !ok {
		return
	}
	size := 0 // bytes up to the last bit that may be written
	for _, op := range ops {
		if op.verb != fieldGet {
			size = max(size, int((op.offset+uint64(op.field.Bits)-1)>>3)+1)
		}
	}
	if readOnly && size > 0 {
		w.Error("ERR BITFIELD_RO only supports the GET subcommand")
		return
	}
	t, ok := lookupText(tx, args[1], w)
	if !ok {
		return
	}
	if size > 0 {
		t.write(size, nil) // the string gets its length even where an overflow stops every change
	}
	w.Array(len(ops))
	for _, op := range ops {
		if n, ok := op.run(&t); ok {
			w.Int(n)
		} else {
			w.Null()
		}
	}
}

// run carries the subcommand out and returns its reply; ok is false where an overflow stopped it.
func (op *fieldOp) run(t *text) (result int64, ok bool) {
	var buf [fieldBytes]byte
	at, offset := int(op.offset>>3), op.offset&7
	b := buf[:(offset+uint64(op.field.Bits)+7)>>3]
	copy(b, t.part(at, at+len(b)))
	old := op.field.Get(b, offset)
	result, n := old, op.operand
	switch op.verb {
	case fieldGet:
		return old, true
	case fieldSet:
		n, ok = op.field.Convert(n, op.overflow)
	case fieldAdd:
		n, ok = op.field.Add(old, n, op.overflow)
		result = n
	}
	if ok {
		op.field.Put(b, offset, n)
		t.write(at, b)
	}
	return result, ok
}

// fieldBytes is how many bytes a field of 64 bits may stand in.
const fieldBytes = 9

// parseFieldOps appends the subcommands to ops; where one is wrong, it answers the error and returns false.
func parseFieldOps(args [][]byte, ops []fieldOp, w reply.Writer) ([]fieldOp, bool) {
	overflow := value.Wrap
	for len(args) > 0 {
		var op fieldOp
		used := 4
		switch arg := args[0]; {
		case isWord(arg, "GET") && len(args) >= 3:
			op.verb, used = fieldGet, 3
		case isWord(arg, "SET") && len(args) >= 4:
			op.verb = fieldSet
		case isWord(arg, "INCRBY") && len(args) >= 4:
			op.verb = fieldAdd
		case isWord(arg, "OVERFLOW") && len(args) >= 2:
			var ok bool
			if overflow, ok = overflowArg(w, args[1]); !ok {
				return nil, false
			}
			args = args[2:]
			continue
		default:
			w.Error(reply.Syntax)
			return nil, false
		}
		if !op.parseOperands(args[1:used], w) {
			return nil, false
		}
		op.overflow = overflow
		ops = append(ops, op)
		args = args[used:]
	}
	return ops, true
}

// parseOperands reads a subcommand's type, its offset, and its number unless it is GET.
func (op *fieldOp) parseOperands(args [][]byte, w reply.Writer) (ok bool) {
	if op.field, ok = fieldTypeArg(w, args[0]); !ok {
		return false
	}
	if op.offset, ok = fieldOffsetArg(w, args[1], op.field.Bits); !ok {
		return false
	}
	if op.verb != fieldGet {
		op.operand, ok = intArg(w, args[2])
	}
	return ok
}

func overflowArg(w reply.Writer, arg []byte) (value.Overflow, bool) {
	switch {
	case isWord(arg, "WRAP"):
		return value.Wrap, true
	case isWord(arg, "SAT"):
		return value.Saturate, true
	case isWord(arg, "FAIL"):
		return value.Fail, true
	}
	w.Error("ERR Invalid OVERFLOW type specified")
	return 0, false
}

// fieldTypeArg reads a type such as i16 or u8.
func fieldTypeArg(w reply.Writer, arg []byte) (value.BitField, bool) {
	if len(arg) > 0 && (arg[0] == 'i' || arg[0] == 'u') {
		signed := arg[0] == 'i'
		most := int64(63)
		if signed {
			most = 64
		}
		if n, ok := value.ParseInt(arg[1:]); ok && n >= 1 && n <= most {
			return value.BitField{Signed: signed, Bits: uint(n)}, true
		}
	}
	w.Error("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.")
	return value.BitField{}, false
}

// fieldOffsetArg reads an offset in bits, or behind a # in fields.
func fieldOffsetArg(w reply.Writer, arg []byte, bits uint) (uint64, bool) {
	if len(arg) == 0 || arg[0] != '#' {
		return bitOffsetArg(w, arg)
	}
	n, ok := intArgOr(w, arg[1:], badBitOffset)
	if !ok {
		return 0, false
	}
	return checkBitOffset(w, n*int64(bits)) // modulo 2^64, as in Redis
}
