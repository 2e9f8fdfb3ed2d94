// Package engine is one shard's state machine. It knows entries, commands and keys; it knows nothing of network or
// Raft.
//
// Apply is a pure function of state and entry (invariant E6): no wall clock, no random source, no configuration, no
// memory pressure and no residency changes what it does. Everything that differs between replicas (what is in the
// front, when checkpoints happen) stays below what a command can observe.
package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/store"
)

// Options say what an engine works on.
type Options struct {
	Store   store.Options
	Random  func() uint64 // draws the hash seed of a new shard; required
	Budget  int64         // bytes that the front may hold; 0: no bound
	Reserve int64         // address space for the front, bytes; 0: its default
	Logger  *slog.Logger
	Pace    func() // called between the bounded steps of a checkpoint; nil: none
}

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Engine is one shard's state machine.
type Engine struct {
	store *store.Store
	keys  *keyspace.Keyspace
	pace  func()

	applied atomic.Uint64
	done    workCounter // by Apply since the engine was opened
	saved   workCounter // of that, what the last checkpoint contains
	tx      keyspace.Tx // Apply's, reused
	args    [][]byte    // likewise
	next    []upcoming  // likewise
	ahead   keyspace.Ahead
	declare declared
}

// Open opens or makes the shard in its folder.
func Open(o Options) (*Engine, error) {
	o.EnsureDefaults()
	if o.Random == nil {
		return nil, errors.New("engine: Options.Random is not set")
	}
	s, err := store.Open(o.Store)
	if err != nil {
		return nil, err
	}
	ks, err := keyspace.Open(keyspace.Options{Store: s, Random: o.Random, Budget: o.Budget, Reserve: o.Reserve})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	e := &Engine{store: s, keys: ks, pace: o.Pace}
	index, _, _, _, _ := e.Durable()
	e.applied.Store(index)
	return e, nil
}

// Close closes the store and gives the memory back. Nothing may run on the engine any more.
func (e *Engine) Close() error { return errors.Join(e.keys.Close(), e.store.Close()) }

// Keys is the key space, for what is not a command: figures, upkeep, walks.
func (e *Engine) Keys() *keyspace.Keyspace { return e.keys }

// Store is the store, for its figures.
func (e *Engine) Store() *store.Store { return e.store }

// AppliedIndex is the index of the last entry applied.
func (e *Engine) AppliedIndex() uint64 { return e.applied.Load() }

// Clock is the greatest time stamp applied, Unix milliseconds.
func (e *Engine) Clock() int64 { return e.keys.Clock() }

// Durable describes the last completed checkpoint; ok is false while there is none but the empty one.
func (e *Engine) Durable() (index, term uint64, configuration []byte, configurationIndex uint64, ok bool) {
	m, ok := e.store.Meta()
	if !ok || m.Index == 0 {
		return 0, 0, nil, 0, false
	}
	return m.Index, m.Term, m.Configuration, m.ConfigurationIndex, true
}

// Checkpoint is the key space's, and knows how much of the log it saves from being replayed.
type Checkpoint struct {
	*keyspace.Checkpoint
	engine *Engine
	work   replayWork
}

// BeginCheckpoint turns the dirty epoch; it is called with Apply at rest.
func (e *Engine) BeginCheckpoint() (*Checkpoint, error) {
	c, err := e.keys.BeginCheckpoint()
	if err != nil {
		return nil, err
	}
	c.Pace = e.pace
	return &Checkpoint{Checkpoint: c, engine: e, work: e.done.load()}, nil
}

// Commit writes the checkpoint; see keyspace.Checkpoint.
func (c *Checkpoint) Commit(index, term uint64, configuration []byte, configurationIndex uint64) error {
	err := c.Checkpoint.Commit(index, term, configuration, configurationIndex)
	if err == nil {
		c.engine.saved.store(c.work)
	}
	return err
}

// Reload drops the front, goes back to the last checkpoint, and applies again what has been applied since: replay
// gives it the entries behind index from, up to and with index to. Everybody waits meanwhile. It is refused while a
// checkpoint is under way.
func (e *Engine) Reload(replay func(from, to uint64, apply func(index, term uint64, entry []byte) error) error) error {
	return e.keys.Reload(func() error {
		to := e.applied.Load()
		from, _, _, _, _ := e.Durable()
		return replay(from, to, func(index, term uint64, entry []byte) error {
			h, rest, err := DecodeHeader(entry)
			if err != nil {
				return err
			}
			return e.applyLocked(index, term, h, rest, nil)
		})
	})
}

// Apply runs the commands of an entry, in order. b is the batch that the entry was made from, whose replies are
// wanted and whose reads run at their places, or nil. Entries at or below the applied index must not be given again.
//
// An error means that the state is not what the log says: the process has to end.
func (e *Engine) Apply(index, term uint64, entry []byte, b *Batch) error {
	h, rest, err := DecodeHeader(entry)
	if err != nil {
		return fmt.Errorf("entry %d of term %d: %w", index, term, err)
	}
	if err := e.warmFor(rest, b); err != nil {
		return fmt.Errorf("entry %d of term %d: %w", index, term, err)
	}
	e.keys.Lock()
	defer e.keys.Unlock()
	return e.applyLocked(index, term, h, rest, b)
}

func (e *Engine) applyLocked(index, term uint64, h Header, rest []byte, b *Batch) (err error) {
	now := e.keys.Advance(h.Clock)
	e.tx.Begin(e.keys, keyspace.Writing, 0, now, mixSeed(h.Seed, index))
	e.tx.SetTerm(term)
	if b == nil {
		err = e.replay(rest)
	} else {
		err = e.run(rest, b)
	}
	if err == nil {
		err = e.tx.Err()
	}
	if err != nil {
		return fmt.Errorf("entry %d of term %d: %w", index, term, err)
	}
	e.done.bytes.Add(int64(len(rest)))
	e.applied.Store(index)
	return nil
}

// mixSeed joins an entry's seed and its index, so that a repeated seed does not repeat what is drawn.
func mixSeed(seed, index uint64) uint64 { return seed ^ index*0xd6e8feb86659fd93 }

// upcoming is a command that is about to run.
type upcoming struct {
	row  *command.Command
	db   int
	args [][]byte
	mode keyspace.Mode
}

// replay runs an entry whose proposer is not here.
func (e *Engine) replay(rest []byte) (err error) {
	for len(rest) > 0 {
		e.next, e.args = e.next[:0], e.args[:0]
		for len(rest) > 0 && len(e.next) < keyspace.Window {
			c := upcoming{mode: keyspace.Writing}
			if rest, err = e.decode(&c, rest); err != nil {
				return err
			}
			if c.row = command.Lookup(c.args[0]); c.row == nil {
				return fmt.Errorf("%w: it holds the unknown command %q", ErrFeatureLevel, c.args[0])
			}
			e.comes(c)
		}
		e.ahead.Approach(e.keys)
		for i := range e.next {
			if err := e.do(&e.next[i], reply.Discard); err != nil {
				return err
			}
		}
	}
	return nil
}

// decode splits the first command off the commands' bytes; its arguments stand in e.args.
func (e *Engine) decode(c *upcoming, b []byte) (rest []byte, err error) {
	from := len(e.args)
	c.db, e.args, rest, err = NextCommand(b, e.args)
	c.args = e.args[from:len(e.args):len(e.args)]
	return rest, err
}

// comes puts a command into the window of those that run next.
func (e *Engine) comes(c upcoming) {
	e.next = append(e.next, c)
	if c.db < keyspace.Databases && len(c.args) > 1 && c.row.FirstKey() == 1 {
		e.ahead.Add(e.keys, c.db, c.args[1])
	}
}

// run runs an entry with its batch: the commands of the log and the reads between them.
func (e *Engine) run(rest []byte, b *Batch) (err error) {
	for i := 0; i < len(b.calls); {
		e.next, e.args = e.next[:0], e.args[:0]
		for _, c := range b.calls[i:min(i+keyspace.Window, len(b.calls))] {
			u := upcoming{row: c.Row, db: c.DB, args: c.Args, mode: keyspace.Riding}
			if !c.Local {
				u.mode = keyspace.Writing
				if rest, err = e.decode(&u, rest); err != nil {
					return err
				}
			}
			e.comes(u)
		}
		e.ahead.Approach(e.keys)
		for j := range e.next {
			err = e.do(&e.next[j], b.Replies.Begin(i))
			b.Replies.End(i)
			if err != nil {
				return err
			}
			i++
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%w: more commands than its batch has", ErrEntry)
	}
	return nil
}

func (e *Engine) do(c *upcoming, w reply.Writer) error {
	row := c.row.Resolve(c.args)
	if c.db >= keyspace.Databases || !row.ArityOK(len(c.args)) || row.Do == nil {
		return fmt.Errorf("%w: %s with %d arguments on data base %d", ErrEntry, row.Name, len(c.args), c.db)
	}
	commands := 1
	if row == command.Exec() {
		n, err := command.CheckExec(c.args)
		if err != nil {
			return execError(err)
		}
		commands = n
	}
	e.tx.Again(c.mode, c.db)
	if r, ok := e.declare.refused(e.keys.Slots(), row, c.args); ok {
		w.Error(r.String())
	} else if e.keys.NumbersUsedUp() && addsData(row, c.args) {
		w.Error(numbersUsedUp)
	} else {
		row.Do(&e.tx, c.args, w)
	}
	e.done.commands.Add(int64(commands))
	return e.tx.Err()
}

// numbersUsedUp answers commands that add data once a shard has made some 64 billion large collections.
const numbersUsedUp = "ERR the numbers of this shard's large collections are used up: it takes no new data; move its slots to a new shard"

// addsData says whether a command, or one of a transaction's, is for storing more.
func addsData(row *command.Command, args [][]byte) (adds bool) {
	if row != command.Exec() {
		return row.Flags&command.DenyOOM != 0
	}
	_ = command.EachNested(args, func(c command.Nested) error { // do has checked it
		adds = adds || c.Row != nil && c.Row.Flags&command.DenyOOM != 0
		return nil
	})
	return adds
}

// execError says what is wrong with an entry that holds a bad transaction.
func execError(err error) error {
	if errors.Is(err, command.ErrUnknown) {
		return fmt.Errorf("%w: %w", ErrFeatureLevel, err)
	}
	return fmt.Errorf("%w: %w", ErrEntry, err)
}

// declared finds the keys that commands name.
type declared struct {
	at   []int
	keys []keyspace.Key
	args [][]byte
}

// of collects the declared keys of an entry's commands. Bytes alias the entry.
func (d *declared) of(commands []byte) []keyspace.Key {
	d.keys = d.keys[:0]
	for len(commands) > 0 {
		var db int
		var err error
		if db, d.args, commands, err = NextCommand(commands, d.args[:0]); err != nil || db >= keyspace.Databases {
			return d.keys // Apply reports it
		}
		if row := command.Lookup(d.args[0]); row != nil {
			d.keys = d.add(d.keys, row, db, d.args)
		}
	}
	return d.keys
}

func (d *declared) add(keys []keyspace.Key, row *command.Command, db int, args [][]byte) []keyspace.Key {
	row = row.Resolve(args)
	if !row.ArityOK(len(args)) {
		return keys
	}
	if row == command.Exec() {
		_ = command.EachNested(args, func(c command.Nested) error { // Apply reports the error
			if c.Row != nil && c.Row != row {
				keys = d.add(keys, c.Row, c.DB, c.Args)
			}
			return nil
		})
		return keys
	}
	at, err := row.KeyPositions(args, d.at[:0])
	if err != nil {
		return keys
	}
	d.at = at
	for _, i := range at {
		keys = append(keys, keyspace.Key{DB: db, Key: args[i]})
	}
	return keys
}

// warmFor fetches the cold keys of an entry's commands, and of the reads that ride along, before the lock is taken.
func (e *Engine) warmFor(commands []byte, b *Batch) error {
	if e.keys.AllWarm() {
		return nil
	}
	keys := e.declare.of(commands)
	if b != nil {
		for i := range b.calls {
			if c := &b.calls[i]; c.Local && c.DB < keyspace.Databases {
				keys = e.declare.add(keys, c.Row, c.DB, c.Args)
			}
		}
	}
	if err := e.keys.Warm(keys); err != nil || !e.keys.AnyCold(keys) {
		return err
	}
	return e.warmNodes(commands)
}

// warmNodes fetches the cold nodes of large collections that an entry's commands will need.
func (e *Engine) warmNodes(commands []byte) (err error) {
	for len(commands) > 0 {
		var db int
		if db, e.args, commands, err = NextCommand(commands, e.args[:0]); err != nil {
			return nil // Apply reports it
		}
		row := command.Lookup(e.args[0])
		if row == nil || db >= keyspace.Databases {
			return nil // likewise
		}
		if row = row.Resolve(e.args); !row.ArityOK(len(e.args)) {
			continue
		}
		if row != command.Exec() {
			err = e.warmNodesOf(row, db, e.args)
		} else if err = command.EachNested(e.args, func(c command.Nested) error {
			if c.Row == nil || c.Row == row || !c.Row.ArityOK(len(c.Args)) {
				return nil
			}
			return e.warmNodesOf(c.Row, c.DB, c.Args)
		}); errors.Is(err, command.ErrExec) {
			err = nil // likewise
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// warmNodesOf fetches the cold nodes of large collections that a command will need.
func (e *Engine) warmNodesOf(row *command.Command, db int, args [][]byte) error {
	if keys := e.declare.add(e.declare.keys[:0], row, db, args); row.Do == nil || !e.keys.AnyCold(keys) {
		return nil
	}
	return e.keys.WarmFor(db, func(tx *keyspace.Tx) { row.Do(tx, args, reply.Discard) })
}

// Warm fetches an entry's cold keys one after the other and calls step after each key, so that a caller in no hurry can do other things
// in between. It is called by whom Apply is called by, which reports what goes wrong.
func (e *Engine) Warm(entry []byte, step func()) {
	if e.keys.AllWarm() {
		return
	}
	_, commands, err := DecodeHeader(entry)
	if err != nil {
		return
	}
	keys := e.declare.of(commands)
	for i := range keys {
		if e.keys.Warm(keys[i:i+1]) != nil {
			return
		}
		step()
	}
}

// Prefetch starts the fetches of an entry's cold keys and returns at once. The bytes are not kept.
func (e *Engine) Prefetch(entry []byte) {
	if e.keys.AllWarm() {
		return
	}
	if _, commands, err := DecodeHeader(entry); err == nil {
		var d declared
		e.keys.Prefetch(d.of(commands))
	}
}
