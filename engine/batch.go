package engine

import (
	"encoding/binary"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
)

// Replies takes the replies of a batch, one call after the other, on the goroutine that applies.
type Replies interface {
	// Begin gives the writer for the reply of the i-th call.
	Begin(i int) reply.Writer
	// End says that the reply of the i-th call is complete.
	End(i int)
}

// Call is one command of a batch, in the order in which they run.
type Call struct {
	Row   *command.Command
	DB    int
	Local bool // a read that rides along: it runs at its place but is not in the log
	Args  [][]byte
}

// Batch collects commands into one log entry. Writes are encoded straight into the entry's bytes, the only copy;
// reads that must see them in order are kept beside it. It belongs to one event loop until it is proposed.
type Batch struct {
	Replies Replies

	entry  []byte
	calls  []Call
	writes int
	args   [][]byte // the arguments of local calls, back to back
	bytes  []byte   // what args alias
}

// AddWrite appends a command that goes through the log. The arguments are copied.
func (b *Batch) AddWrite(row *command.Command, db int, args [][]byte) {
	if len(b.entry) == 0 {
		b.entry = append(b.entry, make([]byte, entryHeader)...)
	}
	b.entry = appendCommand(b.entry, db, args)
	b.calls = append(b.calls, Call{Row: row, DB: db})
	b.writes++
}

// AddRead appends a local read at this place. The arguments are copied.
func (b *Batch) AddRead(row *command.Command, db int, args [][]byte) {
	from := len(b.args)
	for _, a := range args {
		at := len(b.bytes)
		b.bytes = append(b.bytes, a...) // when this grows, earlier arguments keep the old array alive
		b.args = append(b.args, b.bytes[at:len(b.bytes):len(b.bytes)])
	}
	b.calls = append(b.calls, Call{Row: row, DB: db, Local: true, Args: b.args[from:len(b.args):len(b.args)]})
}

// Calls is what the batch holds, in order.
func (b *Batch) Calls() []Call { return b.calls }

// AllArgs are the arguments of all calls.
func (b *Batch) AllArgs() [][][]byte {
	all := make([][][]byte, len(b.calls))
	rest := b.entry[entryHeader:]
	for i := range b.calls {
		if b.calls[i].Local {
			all[i] = b.calls[i].Args
			continue
		}
		_, all[i], rest, _ = NextCommand(rest, nil) // the batch has encoded it itself
	}
	return all
}

// Args are the arguments of the i-th call. They are looked for from the beginning, so this is for exceptions.
func (b *Batch) Args(i int) [][]byte {
	if b.calls[i].Local {
		return b.calls[i].Args
	}
	rest := b.entry[entryHeader:]
	var args [][]byte
	for _, c := range b.calls[:i+1] {
		if !c.Local {
			_, args, rest, _ = NextCommand(rest, args[:0]) // the batch has encoded it itself
		}
	}
	return args
}

// Writes is how many of the calls go through the log.
func (b *Batch) Writes() int { return b.writes }

// Size is the length of the entry so far, bytes, with what rides along.
func (b *Batch) Size() int { return len(b.entry) + len(b.bytes) }

// EntrySize is the length of the entry so far, bytes.
func (b *Batch) EntrySize() int { return len(b.entry) }

// WriteBound is the most that an entry of one write takes, bytes, with so many arguments of so many bytes together.
func WriteBound(args, bytes int) int {
	return entryHeader + (args+2)*binary.MaxVarintLen64 + bytes
}

// Seal stamps the entry and returns its bytes, which stay the batch's: they are valid until Reset.
func (b *Batch) Seal(h Header) []byte {
	if len(b.entry) == 0 {
		b.entry = append(b.entry, make([]byte, entryHeader)...)
	}
	h.Level = FeatureLevel
	putHeader(b.entry, h)
	return b.entry
}

// Reset empties the batch for its next use; buffers that grew beyond keep bytes are given up.
func (b *Batch) Reset(keep int) {
	clear(b.calls)
	clear(b.args)
	b.calls, b.args, b.writes = b.calls[:0], b.args[:0], 0
	b.entry, b.bytes = b.entry[:0], b.bytes[:0]
	if cap(b.entry) > keep {
		b.entry = nil
	}
	if cap(b.bytes) > keep {
		b.bytes = nil
	}
}
