package command

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// A transaction is one command of the log, so that for everybody else it is one step: LARDER.EXEC, with the commands
// of a MULTI among its arguments.
//
//	name
//	head    uvarints: term, deadline, number of commands
//	then for each command:
//	head    uvarints: data base, number of arguments
//	args    the command, its name first
//
// The client's watched keys are not told: who proposes a transaction has made sure that nothing before it in the log has
// changed them. Two things may go wrong behind his back. Another leader may have been there meanwhile: then the entry's
// term is not the one that the client's WATCH was answered in. And time goes on: deadline is when the first of the
// watched keys ends, Unix milliseconds. Either makes the transaction do nothing. 0 stands for no such condition.
var transactionCommands = []Command{
	{
		Name: internal + "EXEC", Arity: -2, Flags: Write, Do: runExec,
		Group: "transactions", Since: "7.0.0", Summary: "Runs the commands of a transaction.",
	},
}

// Exec is the row of LARDER.EXEC.
func Exec() *Command { return execRow }

var execRow *Command

// Guard is what has to hold when a transaction is applied.
type Guard struct {
	Term     uint64 // of leadership, Raft's; 0: any
	Deadline int64  // Unix milliseconds; 0: none
}

// holds says whether tx may run the transaction.
func (g *Guard) holds(tx *keyspace.Tx) bool {
	return (g.Term == 0 || g.Term == tx.Term()) && (g.Deadline == 0 || tx.Now() <= g.Deadline)
}

// BeginExec is the arguments of a LARDER.EXEC of n commands, which AppendNested adds.
func BeginExec(g Guard, n int) [][]byte {
	head := binary.AppendUvarint(nil, g.Term)
	head = binary.AppendUvarint(head, uint64(g.Deadline))
	return [][]byte{[]byte(execRow.Name), binary.AppendUvarint(head, uint64(n))}
}

// AppendNested adds one command to a LARDER.EXEC.
func AppendNested(exec [][]byte, db int, args [][]byte) [][]byte {
	head := binary.AppendUvarint(nil, uint64(db))
	exec = append(exec, binary.AppendUvarint(head, uint64(len(args))))
	return append(exec, args...)
}

// Nested is a command of a transaction.
type Nested struct {
	Row  *Command // a container's subcommand, not the container; nil: there is no such command
	DB   int
	Args [][]byte
}

// ErrExec reports a LARDER.EXEC that is none.
var ErrExec = errors.New("malformed transaction")

// ErrUnknown reports a transaction with a command that is not in the table.
var ErrUnknown = errors.New("unknown command in a transaction")

// OpenExec reads the beginning of a LARDER.EXEC: NextNested takes its n commands off rest.
func OpenExec(args [][]byte) (g Guard, n int, rest [][]byte, err error) {
	h := heads{args[1], true}
	g = Guard{Term: h.next(), Deadline: int64(h.next())}
	count := h.next()
	if !h.ok || len(h.b) > 0 || count > uint64(len(args)) {
		return g, 0, nil, ErrExec
	}
	return g, int(count), args[2:], nil
}

// NextNested takes the first command off what OpenExec left. Its arguments alias rest.
func NextNested(rest [][]byte) (c Nested, _ [][]byte, err error) {
	if len(rest) == 0 {
		return c, nil, ErrExec
	}
	h := heads{rest[0], true}
	db, argc := h.next(), h.next()
	if rest = rest[1:]; !h.ok || len(h.b) > 0 || db >= keyspace.Databases || argc == 0 || argc > uint64(len(rest)) {
		return c, nil, ErrExec
	}
	c.DB, c.Args = int(db), rest[:argc:argc]
	if c.Row = Lookup(c.Args[0]); c.Row != nil {
		c.Row = c.Row.Resolve(c.Args)
	}
	return c, rest[argc:], nil
}

// heads reads uvarints.
type heads struct {
	b  []byte
	ok bool
}

func (h *heads) next() uint64 {
	v, n := binary.Uvarint(h.b)
	if n <= 0 {
		h.ok = false
		return 0
	}
	h.b = h.b[n:]
	return v
}

// EachNested calls visit for every command of a LARDER.EXEC. The error is ErrExec or visit's.
func EachNested(args [][]byte, visit func(c Nested) error) error {
	_, n, rest, err := OpenExec(args)
	for ; n > 0 && err == nil; n-- {
		var c Nested
		if c, rest, err = NextNested(rest); err == nil {
			err = visit(c)
		}
	}
	if err == nil && len(rest) > 0 {
		return ErrExec
	}
	return err
}

// CheckExec makes sure that a LARDER.EXEC can be run, and counts its commands.
func CheckExec(args [][]byte) (n int, err error) {
	return n, EachNested(args, func(c Nested) error {
		switch {
		case c.Row == nil:
			return fmt.Errorf("%w: %q", ErrUnknown, c.Args[0])
		case c.Row == execRow || c.Row.Do == nil || !c.Row.ArityOK(len(c.Args)):
			return fmt.Errorf("%w: %s with %d arguments", ErrExec, c.Row.Name, len(c.Args))
		}
		n++
		return nil
	})
}

// runExec runs a transaction. Its reads change nothing, so that a replica to whom nobody listens leaves them out.
func runExec(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	g, n, rest, err := OpenExec(args)
	if err != nil || !g.holds(tx) {
		w.NullArray()
		return
	}
	w.Array(n)
	parts, _ := w.(reply.Parts)
	whole := tx.Mode()
	for i := range n {
		var c Nested
		if c, rest, err = NextNested(rest); err != nil {
			return // not reached: CheckExec has looked
		}
		if parts != nil {
			parts.Part(i)
		}
		mode := whole
		if whole == keyspace.Writing && c.Row.Flags&Write == 0 {
			if w == reply.Discard {
				continue
			}
			mode = keyspace.Riding
		}
		tx.Again(mode, c.DB)
		c.Row.Do(tx, c.Args, w)
		if tx.Err() != nil || tx.Cold() || tx.Due() {
			return // what is written so far is not used
		}
	}
}

// Resolve is the row of the subcommand that args name, or c itself where there is none.
func (c *Command) Resolve(args [][]byte) *Command {
	if len(c.Sub) > 0 && len(args) > 1 {
		if sub := c.Subcommand(args[1]); sub != nil {
			return sub
		}
	}
	return c
}
