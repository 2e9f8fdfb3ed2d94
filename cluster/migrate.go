package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
)

// A migration is driven by the leader of its source. What has been decided stands in the document, what has been done in
// the state of either shard, and both are looked at rather than remembered: so whoever leads the source next goes on from
// there, with a new attempt that fences off the one before.
//
//	copying    the source owns the slots, unless an attempt froze them and did not come further: it thaws them and
//	           copies anew
//	owned      the target has everything and is to own the slots; the source keeps them frozen. No way back
//	flipped    the target owns them, the map says so: the source drops its copy. After a recovery without the source the
//	           target may have to be told first that it does
//	canceled   the source owns them: the target drops its copy
//
// The slots are frozen only while the last changes are sent, few of them, and until the target owns them.

// MigrationDocument is what a migration needs of the cluster's document; Meta has it.
type MigrationDocument interface {
	View() *View
	// Do applies a change and returns a view that shows it.
	Do(ctx context.Context, o Op) (*View, error)
}

// MigratorOptions are what a Migrator works with.
type MigratorOptions struct {
	Document MigrationDocument
	// Source is the log of the shard that gives slots away, which this node leads; Export and Seed are its engine's.
	Source ShardLog
	Export func(ranges []keyspace.SlotRange) *keyspace.SlotExport
	Seed   func() uint64
	// Target is the log of another shard.
	Target func(shard uint32) ShardLog

	Part   int           // bytes of records in a command; default 64 KiB
	Entry  int           // bytes of records in an entry, which takes some ms to apply; default 128 KiB
	Few    int           // the slots are frozen once no more records than this are left to send; default 512
	Little int           // and no more bytes of them than this; default 512 KiB
	Freeze time.Duration // how long they may stay frozen before the attempt gives up; default 2 s
	Clock  func() time.Time
	Busy   func() bool // says whether this node has other work in the background; nil: it has none
	Logger *slog.Logger
}

// EnsureDefaults fills in what was left out.
func (o *MigratorOptions) EnsureDefaults() {
	if o.Part == 0 {
		o.Part = 64 << 10
	}
	if o.Entry == 0 {
		o.Entry = 128 << 10
	}
	if o.Few == 0 {
		o.Few = 512
	}
	if o.Little == 0 {
		o.Little = 512 << 10
	}
	if o.Freeze == 0 {
		o.Freeze = 2 * time.Second
	}
	if o.Busy == nil {
		o.Busy = func() bool { return false }
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Migrator drives migrations away from one shard.
type Migrator struct {
	opts  MigratorOptions
	sent  atomic.Int64
	waits atomic.Pointer[string]
}

// NewMigrator makes one.
func NewMigrator(o MigratorOptions) *Migrator {
	o.EnsureDefaults()
	return &Migrator{opts: o}
}

// Sent is how many bytes of records were sent so far.
func (g *Migrator) Sent() int64 { return g.sent.Load() }

// ErrPaused: somebody wants the migration to rest.
var ErrPaused = errors.New("the migration is paused")

var errNoView = errors.New("the cluster's document is not known here yet")

// Run goes on with a migration until it has ended, is paused, or something is in the way: then it can be run again. Only
// the leader of the source runs it; ctx ends with its leadership.
func (g *Migrator) Run(ctx context.Context, id uint64) error {
	v := g.opts.Document.View()
	if v == nil {
		return errNoView
	}
	m := v.Document.Migration(id)
	if m == nil {
		return nil
	}
	attempt := m.Attempt + 1
	v, err := g.opts.Document.Do(ctx, AttemptMigration{Migration: id, Attempt: m.Attempt})
	if err != nil {
		return fmt.Errorf("begin an attempt of migration %d: %w", id, err)
	}
	if m = v.Document.Migration(id); m == nil {
		return nil
	}
	if m.Attempt != attempt {
		return fmt.Errorf("migration %d: %w", id, keyspace.ErrStale)
	}
	r := &migrationRun{g: g, m: *m, target: g.opts.Target(m.To)}
	for _, s := range m.Slots {
		r.ranges = append(r.ranges, keyspace.SlotRange{From: s.From, To: s.To})
	}
	if err := r.run(ctx); err != nil {
		return fmt.Errorf("migration %d from shard %d to shard %d: %w", id, m.From, m.To, err)
	}
	return nil
}

// migrationRun is one attempt.
type migrationRun struct {
	g      *Migrator
	m      Migration // as the document had it after the last change
	ranges []keyspace.SlotRange
	target ShardLog
	entry  uint64 // the last one of the import
	left   int64  // collections that the target has still to remove
	pacer  pacer

	hurried bool // clients wait, and would not have to if this attempt failed
}

func (r *migrationRun) run(ctx context.Context) error {
	if err := r.source(ctx, command.SlotsState); err != nil { // fences the attempt before
		return err
	}
	if r.m.State == MigrationCopying {
		if err := r.decide(ctx); err != nil {
			return err
		}
	}
	if r.m.State == MigrationOwned || r.m.State == MigrationFlipped {
		if err := r.handOver(ctx); err != nil {
			return err
		}
	}
	if r.m.State == MigrationCanceled {
		return r.takeBack(ctx)
	}
	return r.end(ctx)
}

// decide copies the slots while they are in use, freezes them for the rest, and has the document say that the target is
// to own them.
func (r *migrationRun) decide(ctx context.Context) error {
	if err := r.source(ctx, command.SlotsThaw); err != nil {
		return err
	}
	if r.m.Paused {
		return ErrPaused
	}
	x, err := r.copy(ctx)
	if err != nil {
		return err
	}
	defer x.Close()
	if _, err := r.g.opts.Document.Do(ctx, Look{}); err != nil { // nobody could decide while the slots are frozen
		return fmt.Errorf("look for the meta group's leader: %w", err)
	}
	if err := r.catchUp(ctx, x); err != nil {
		return err
	}
	return r.freeze(ctx, x)
}

// wanted says whether the migration may go on copying.
func (r *migrationRun) wanted() error {
	v := r.g.opts.Document.View()
	m := v.Document.Migration(r.m.ID)
	switch {
	case m == nil || m.Attempt > r.m.Attempt:
		return keyspace.ErrStale
	case m.State == MigrationCanceled:
		return errors.New("the migration was canceled")
	case m.Paused && m.State == MigrationCopying:
		return ErrPaused
	}
	return nil
}

// copy has the target begin an import and sends it every record once. The export that it returns knows what has changed.
func (r *migrationRun) copy(ctx context.Context) (x *keyspace.SlotExport, err error) {
	if err := r.drop(ctx, r.target); err != nil {
		return nil, err
	}
	if err := r.step(ctx, r.target, command.SlotsBeginImport); err != nil {
		return nil, err
	}
	r.entry, r.left = 0, 0
	x = r.g.opts.Export(r.ranges)
	defer func() {
		if err != nil {
			x.Close()
		}
	}()
	for more := true; more; {
		if err := r.wanted(); err != nil {
			return x, err
		}
		var parts [][]byte
		if parts, more, err = r.read(x); err != nil {
			return x, err
		}
		if err := r.paced(ctx, func() error { return r.send(ctx, parts) }); err != nil {
			return x, err
		}
		changed, err := x.Changed()
		if err != nil {
			return x, err
		}
		if changed > r.g.opts.Few {
			if err := r.sendChanges(ctx, x); err != nil {
				return x, err
			}
		}
	}
	return x, nil
}

// read reads about as many records as an entry takes; more is false at the end.
func (r *migrationRun) read(x *keyspace.SlotExport) (parts [][]byte, more bool, err error) {
	more = true
	for size := 0; more && size < r.g.opts.Entry*3/4; {
		var some [][]byte
		if some, more, err = x.Next(r.g.opts.Part); err != nil {
			return nil, false, err
		}
		for _, p := range some {
			size += len(p)
		}
		parts = append(parts, some...)
	}
	return parts, more, nil
}

// patientRounds is how many times changes are sent before the slots are frozen with twice as many left.
const patientRounds = 32

// catchUp sends what has changed until little is left.
func (r *migrationRun) catchUp(ctx context.Context, x *keyspace.SlotExport) error {
	few, little := r.g.opts.Few, r.g.opts.Little
	for round := 1; ; round++ {
		if err := r.wanted(); err != nil {
			return err
		}
		if r.left > 0 {
			if err := r.send(ctx, [][]byte{nil}); err != nil {
				return err
			}
		}
		if enough, err := x.Few(few, little); err != nil || enough && r.left == 0 {
			return err
		}
		if err := r.sendChanges(ctx, x); err != nil {
			return err
		}
		if round%patientRounds == 0 && (few < 64*r.g.opts.Few || little < MaxLogRequest) {
			few, little = min(2*few, 64*r.g.opts.Few), min(2*little, MaxLogRequest)
			r.g.opts.Logger.Warn("slots change faster than they are sent; they will be frozen with more left to send", "migration", r.m.ID, "records", few, "bytes", little)
		}
	}
}

// freeze has the source serve the slots no more, sends the rest, and has the document decide, all in good time. Unless it is
// unknown what was decided the source serves them again if that fails.
func (r *migrationRun) freeze(ctx context.Context, x *keyspace.SlotExport) error {
	short, cancel := context.WithTimeout(ctx, r.g.opts.Freeze)
	defer cancel()
	r.hurried = true
	err := r.source(short, command.SlotsFreeze)
	if err == nil {
		err = r.sendRest(short, x)
	}
	if err == nil {
		err = r.change(short, OwnMigration{Migration: r.m.ID, Attempt: r.m.Attempt})
		if err == nil || !errors.Is(err, ErrRefused) && !errors.Is(err, ErrNoLeader) {
			return err // if it is unknown what was decided, the next attempt finds out
		}
	}
	return errors.Join(err, r.source(ctx, command.SlotsThaw))
}

// sendRest sends the changes that are left, nothing making new ones any more, and seals the import. The seal rides with the
// last of them: clients wait meanwhile.
func (r *migrationRun) sendRest(ctx context.Context, x *keyspace.SlotExport) error {
	seal := command.SlotsArgs(command.SlotsSeal, r.m.ID, r.m.Attempt, r.ranges)
	for {
		parts, err := x.Changes(mostChanges, r.g.opts.Part)
		if err != nil {
			return err
		}
		changed, err := x.Changed()
		switch {
		case err != nil:
			return err
		case changed > 0 || r.left > 0:
			if len(parts) == 0 {
				parts = [][]byte{nil}
			}
			err = r.send(ctx, parts)
		default:
			if err = r.send(ctx, parts, seal); err == nil {
				return nil
			}
			if errors.Is(err, keyspace.ErrUnremoved) {
				r.left, err = 1, nil // at least
			}
		}
		if err != nil {
			return err
		}
	}
}

// handOver has the target own the slots, which are frozen in the source, and the map say so. If the target has lost its
// copy, since its data bases were flushed meanwhile, it gets another one first.
func (r *migrationRun) handOver(ctx context.Context) error {
	r.hurried = false
	err := r.step(ctx, r.target, command.SlotsOwn)
	if errors.Is(err, keyspace.ErrSpoiled) {
		var x *keyspace.SlotExport
		if x, err = r.copy(ctx); err != nil {
			return err
		}
		defer x.Close()
		if err = r.sendRest(ctx, x); err == nil {
			err = r.step(ctx, r.target, command.SlotsOwn)
		}
	}
	if err != nil {
		return err
	}
	return r.change(ctx, FlipMigration{Migration: r.m.ID, Attempt: r.m.Attempt})
}

// end has the source drop what the target owns.
func (r *migrationRun) end(ctx context.Context) error {
	if err := r.source(ctx, command.SlotsDisown); err != nil {
		return err
	}
	if err := r.drop(ctx, r.g.opts.Source); err != nil {
		return err
	}
	_, err := r.g.opts.Document.Do(ctx, EndMigration{Migration: r.m.ID})
	return err
}

// takeBack has the source serve the slots again, and the target drop its copy.
func (r *migrationRun) takeBack(ctx context.Context) error {
	if err := r.source(ctx, command.SlotsThaw); err != nil {
		return err
	}
	if err := r.drop(ctx, r.target); err != nil {
		return err
	}
	if err := r.step(ctx, r.target, command.SlotsDisown); err != nil {
		return err
	}
	_, err := r.g.opts.Document.Do(ctx, EndMigration{Migration: r.m.ID})
	return err
}

// change changes the document, and looks at the migration as it is then.
func (r *migrationRun) change(ctx context.Context, o Op) error {
	v, err := r.g.opts.Document.Do(ctx, o)
	if err != nil {
		return err
	}
	m := v.Document.Migration(r.m.ID)
	if m == nil || m.Attempt != r.m.Attempt {
		return keyspace.ErrStale
	}
	r.m = *m
	return nil
}

// source has the source do a step.
func (r *migrationRun) source(ctx context.Context, step string) error {
	if err := r.step(ctx, r.g.opts.Source, step); err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	return nil
}

// step has a shard do a step.
func (r *migrationRun) step(ctx context.Context, log ShardLog, step string) error {
	_, err := r.propose(ctx, log, command.SlotsArgs(step, r.m.ID, r.m.Attempt, r.ranges))
	if err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}

// drop has a shard remove what it has of the slots, step by step.
func (r *migrationRun) drop(ctx context.Context, log ShardLog) error {
	for more := true; more; {
		err := r.paced(ctx, func() error {
			replies, err := r.propose(ctx, log, command.SlotsArgs(command.SlotsDrop, r.m.ID, r.m.Attempt, r.ranges))
			more = err == nil && replies[0].first() > 0
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", command.SlotsDrop, err)
		}
	}
	return nil
}

// sendChanges sends records that have changed, some thousands or some megabytes at most.
func (r *migrationRun) sendChanges(ctx context.Context, x *keyspace.SlotExport) error {
	parts, err := x.Changes(mostChanges, r.g.opts.Part)
	if err != nil {
		return err
	}
	return r.send(ctx, parts)
}

// mostChanges is how many changed records are read at a time.
const mostChanges = 4096

// hurriedEntry is how many times larger an entry is while clients wait: for them, not beside them.
const hurriedEntry = 4

// send has the target import parts, in order, several in an entry, and do what is to be done behind them, in the last.
func (r *migrationRun) send(ctx context.Context, parts [][]byte, behind ...[][]byte) error {
	entry := r.g.opts.Entry
	if r.hurried {
		entry *= hurriedEntry
	}
	for len(parts) > 0 || len(behind) > 0 {
		var commands [][][]byte
		size := 0
		for len(parts) > 0 && (size == 0 || size+len(parts[0]) <= entry) {
			r.entry++
			h := keyspace.ImportHead{Migration: r.m.ID, Attempt: r.m.Attempt, Entry: r.entry, Seed: r.g.opts.Seed()}
			commands = append(commands, command.ImportArgs(h, parts[0]))
			size += len(parts[0])
			parts = parts[1:]
		}
		imports := len(commands)
		if len(parts) == 0 {
			commands, behind = append(commands, behind...), nil
		}
		replies, err := r.propose(ctx, r.target, commands...)
		if err != nil {
			return fmt.Errorf("send records: %w", err)
		}
		if imports > 0 {
			r.left = replies[imports-1].first()
		}
		r.g.sent.Add(int64(size))
	}
	return nil
}

// proposals is how often something is proposed whose outcome is unknown. Every step may be done twice, and an entry of
// the import is applied once.
const proposals = 3

// propose puts commands into a log and returns their replies, none of which is an error. It waits while the shard is busy.
func (r *migrationRun) propose(ctx context.Context, log ShardLog, commands ...[][]byte) (replies []LogReply, err error) {
	for try := 0; ; try++ {
		replies, err = log.Propose(ctx, commands)
		if err == nil {
			r.g.waits.Store(nil)
			break
		}
		if errors.Is(err, ErrBusy) {
			if err := r.await(ctx, err); err != nil {
				return nil, err
			}
			try = -1
			continue
		}
		if try == proposals-1 || ctx.Err() != nil {
			return nil, err
		}
	}
	if len(replies) != len(commands) {
		return nil, fmt.Errorf("%d replies to %d commands", len(replies), len(commands))
	}
	for i := range replies {
		if err := replies[i].Err(); err != nil {
			return nil, err
		}
	}
	return replies, nil
}
