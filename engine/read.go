package engine

import (
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// Reader answers reads at once, on an event loop: it takes the shared lock once for a run of commands. It belongs to
// one loop.
type Reader struct {
	engine  *Engine
	tx      keyspace.Tx
	ahead   keyspace.Ahead
	declare declared
	refusal Refusal
}

// NewReader makes a reader.
func (e *Engine) NewReader() *Reader { return &Reader{engine: e} }

// Begin takes the shared lock. now is the time by which keys are judged, Unix milliseconds; seed is what RANDOMKEY and
// its kin draw from.
func (r *Reader) Begin(now int64, seed uint64) {
	r.engine.keys.RLock()
	r.tx.Begin(r.engine.keys, keyspace.Reading, 0, now, seed)
}

// Expect notes, between Begin and End, that a command will run soon.
func (r *Reader) Expect(row *command.Command, db int, args [][]byte) {
	if at := row.FirstKey(); at > 0 && at < len(args) {
		r.ahead.Add(r.engine.keys, db, args[at])
	}
}

// Approach has the memory of the expected commands' keys fetched, for all of them together.
func (r *Reader) Approach() { r.ahead.Approach(r.engine.keys) }

// SetNoTouch says whether the reads that follow do not count as uses of their keys.
func (r *Reader) SetNoTouch(on bool) { r.tx.SetNoTouch(on) }

// Outcome says what became of a read.
type Outcome int

const (
	// Answered: the reply is complete.
	Answered Outcome = iota
	// Cold: the store has to be asked; the reply is not to be used. Engine.Detached answers.
	Cold
	// Due: a key has to be deleted first because its time has come; the reply is not to be used.
	Due
	// NotOwned: the shard does not own the slot of one of the keys; nothing was written. Reader.Refusal says which.
	NotOwned
)

// Do runs one read between Begin and End.
func (r *Reader) Do(row *command.Command, db int, args [][]byte, w reply.Writer) (Outcome, error) {
	return r.do(row, db, args, false, w)
}

// DoPast is Do for a replica, which cannot delete a key whose time has come: it counts as absent, and nothing is Due.
func (r *Reader) DoPast(row *command.Command, db int, args [][]byte, w reply.Writer) (Outcome, error) {
	return r.do(row, db, args, true, w)
}

func (r *Reader) do(row *command.Command, db int, args [][]byte, past bool, w reply.Writer) (Outcome, error) {
	r.tx.Again(keyspace.Reading, db)
	row = row.Resolve(args)
	var refused bool
	if r.refusal, refused = r.declare.refused(r.engine.keys.Slots(), row, args); refused {
		return NotOwned, nil
	}
	row.Do(&r.tx, args, w)
	switch {
	case r.tx.Err() != nil:
		return Answered, r.tx.Err()
	case r.tx.Due() && !past:
		return Due, nil
	case r.tx.Cold():
		return Cold, nil
	}
	return Answered, nil
}

// Refusal says why the read that was NotOwned was not run.
func (r *Reader) Refusal() Refusal { return r.refusal }

// Bulky says whether a read's keys hold a large collection: then the read may take long, and should not ride in an entry,
// under the exclusive lock.
func (r *Reader) Bulky(row *command.Command, db int, args [][]byte) bool {
	r.declare.keys = r.declare.add(r.declare.keys[:0], row, db, args)
	return r.engine.keys.AnyLarge(r.declare.keys)
}

// End gives the lock back.
func (r *Reader) End() { r.engine.keys.RUnlock() }

// Detached answers a read without holding the lock while it runs: one that may take long, or whose keys are cold. It
// may wait for the disk, so it is not called on an event loop. due: a declared key has to be deleted first, nothing
// was written to w. Where the shard does not own a key's slot, the reply is a Refusal's text.
func (e *Engine) Detached(row *command.Command, db int, args [][]byte, now int64, seed uint64, w reply.Writer) (due bool, err error) {
	d, keys, all := detachable(&row, db, args)
	before := e.keys.Slots()
	return e.keys.Detach(keys, all, db, now, seed, func(tx *keyspace.Tx) { e.runDetached(tx, d, before, row, args, w) })
}

// DetachedPast is Detached for a replica, which cannot delete a key whose time has come: it counts as absent.
func (e *Engine) DetachedPast(row *command.Command, db int, args [][]byte, now int64, seed uint64, w reply.Writer) error {
	d, keys, all := detachable(&row, db, args)
	before := e.keys.Slots()
	return e.keys.DetachPast(keys, all, db, now, seed, func(tx *keyspace.Tx) { e.runDetached(tx, d, before, row, args, w) })
}

// detachable resolves the row, and says what has to be at hand for it.
func detachable(row **command.Command, db int, args [][]byte) (d *declared, keys []keyspace.Key, all bool) {
	d = &declared{}
	*row = (*row).Resolve(args)
	return d, d.add(nil, *row, db, args), (*row).Flags&command.LongRead != 0 && len((*row).Keys) == 0
}

// runDetached runs the read over its copies, which are of a moment since before was the table of slots: what is owned before
// and behind it, by the same table, was owned.
func (e *Engine) runDetached(tx *keyspace.Tx, d *declared, before *keyspace.SlotTable, row *command.Command, args [][]byte, w reply.Writer) {
	t := e.keys.Slots()
	r, refused := d.refused(t, row, args)
	if !refused && t != before {
		r, refused = d.refused(before, row, args)
	}
	if refused {
		w.Error(r.String())
		return
	}
	row.Do(tx, args, w)
}
