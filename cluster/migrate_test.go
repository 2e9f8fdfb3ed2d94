package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/raftfsm"
)

// failure is what becomes of one thing that a driver asks for.
type failure int

const (
	refusedOnce  failure = iota // it is not done
	unknownOnce                 // it is done, and the answer is lost
	lateOnce                    // it is done after the next, and the answer is lost
	crashBefore                 // the driver ends before it
	crashBehind                 // the driver ends, and it is done
	cancelBefore                // somebody cancels the migration
	pauseBefore                 // somebody pauses the migration, and has it go on once it rests
	flushTarget                 // somebody flushes the target
	failures
)

var errTest = errors.New("it failed")

// moving is a cluster of two shards, between which slots move while their counters are counted up.
type moving struct {
	t        testing.TB
	d        Document
	shards   [2]*movingShard
	counters []int64
	next     int
	crash    context.CancelCauseFunc

	asked    int // by drivers so far
	failAt   int
	how      failure
	fired    bool
	waiting  func() // what comes late
	canceled bool
}

// movingShard is one shard's engine. It implements ShardLog.
type movingShard struct {
	m      *moving
	e      *engine.Engine
	index  uint64
	target bool
}

func newMoving(t testing.TB) *moving {
	m := &moving{t: t, d: founded(t, 2, 1), counters: make([]int64, 80)}
	m.d = must(t, m.d, SetBorn{1, id(1)}, SetBorn{2, id(1)}, MigrateSlots{From: 1, To: 2, Slots: []Range{{0, 6000}, {7000, 8000}}})
	for i := range m.shards {
		m.begin(i)
	}
	for range 300 {
		m.load()
	}
	return m
}

// begin founds a shard, with an engine that is new, for the slots that it has in the document.
func (m *moving) begin(i int) {
	m.t.Helper()
	o := engine.Options{Store: store.Options{FS: vfs.NewMem(), Dir: "db"}, Random: func() uint64 { return 42 }, Reserve: 1 << 30}
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	o.Store.Logger = o.Logger
	e, err := engine.Open(o)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = e.Close() })
	m.shards[i] = &movingShard{m: m, e: e, target: i == 1}
	var foreign []keyspace.SlotRange
	for _, r := range without([]Range{{0, Slots - 1}}, m.d.Shards[i].Slots) {
		foreign = append(foreign, keyspace.SlotRange(r))
	}
	m.shards[i].apply(command.SlotsArgs(command.SlotsDisown, 0, 0, foreign))
}

func (s *movingShard) apply(commands ...[][]byte) []LogReply {
	replies := &logReplies{list: make([]LogReply, len(commands))}
	b := &engine.Batch{Replies: replies}
	for _, args := range commands {
		b.AddWrite(command.Lookup(args[0]), 0, args)
	}
	s.index++
	if err := s.e.Apply(s.index, 1, b.Seal(engine.Header{Clock: 1000, Seed: 1}), b); err != nil {
		s.m.t.Fatal(err)
	}
	return replies.list
}

func words(list ...string) (args [][]byte) {
	for _, w := range list {
		args = append(args, []byte(w))
	}
	return args
}

// load counts a counter up, and lets a set grow that becomes large.
func (m *moving) load() {
	i := m.next % len(m.counters)
	m.next++
	ran := 0
	for _, s := range m.shards {
		r := s.apply(words("INCR", "counter"+strconv.Itoa(i)), words("SADD", "{counter"+strconv.Itoa(i%8)+"}set", strconv.Itoa(m.next)))
		if r[0].Error == "" {
			ran++
		} else if _, refused := engine.ParseRefusal(r[0].Error); !refused {
			m.t.Fatal(r[0].Error)
		}
	}
	if ran > 1 {
		m.t.Fatal("two shards count the same counter")
	}
	m.counters[i] += int64(ran)
}

// ask does what a driver asks for, or not.
func (m *moving) ask(ctx context.Context, late bool, do func()) error {
	m.load()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.asked++
	waiting := m.waiting
	m.waiting = nil
	defer func() {
		if waiting != nil {
			waiting()
		}
	}()
	if m.asked != m.failAt {
		do()
		return nil
	}
	m.fired = true
	switch how := m.how; {
	case how == refusedOnce:
		return errTest
	case how == lateOnce && late:
		m.waiting = do
		return raftfsm.ErrIndeterminate
	case how == unknownOnce || how == lateOnce:
		do()
		return raftfsm.ErrIndeterminate
	case how == crashBehind:
		do()
		fallthrough
	case how == crashBefore:
		m.crash(errTest)
		return errTest
	case how == cancelBefore:
		if d, err := (CancelMigration{m.d.Migrations[0].ID}).Apply(m.d); err == nil {
			m.d, m.canceled = d, true
		}
	case how == pauseBefore:
		if d, err := (PauseMigration{m.d.Migrations[0].ID}).Apply(m.d); err == nil {
			m.d = d
		}
	case how == flushTarget:
		m.flushTarget()
	}
	do()
	return nil
}

// flushTarget removes what the target owns.
func (m *moving) flushTarget() {
	for i := range m.counters {
		if m.shards[1].e.SlotState(keyspace.Slot([]byte("counter"+strconv.Itoa(i)))) == keyspace.Owned {
			m.counters[i] = 0
		}
	}
	m.shards[1].apply(words("FLUSHALL"))
}

// Propose implements ShardLog.
func (s *movingShard) Propose(ctx context.Context, commands [][][]byte) (replies []LogReply, err error) {
	err = s.m.ask(ctx, s.target, func() { replies = s.apply(commands...) })
	return replies, err
}

// View implements MigrationDocument.
func (m *moving) View() *View { d := m.d; return NewView(&d) }

// Do implements MigrationDocument.
func (m *moving) Do(ctx context.Context, o Op) (v *View, err error) {
	asked := m.ask(ctx, false, func() {
		var d Document
		if d, err = o.Apply(m.d); err == nil {
			m.d = d
			v = m.View()
		}
	})
	return v, errors.Join(asked, err)
}

// drive runs one driver.
func (m *moving) drive() error { return m.driveBy(m) }

func (m *moving) driveBy(d MigrationDocument) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	m.crash = cancel
	g := NewMigrator(MigratorOptions{
		Document: d, Source: m.shards[0], Export: m.shards[0].e.SlotExport, Seed: m.shards[0].e.Keys().Seed,
		Target: func(uint32) ShardLog { return m.shards[1] }, Part: 120, Entry: 400, Few: 4,
	})
	return g.Run(ctx, m.d.Migrations[0].ID)
}

// run runs drivers, one after the other, until the migration has ended.
func (m *moving) run() {
	m.t.Helper()
	var err error
	for range 12 {
		if len(m.d.Migrations) == 0 {
			return
		}
		if m.d.Migrations[0].Paused && errors.Is(err, ErrPaused) {
			m.d = must(m.t, m.d, ResumeMigration{m.d.Migrations[0].ID})
		}
		err = m.drive()
	}
	if len(m.d.Migrations) > 0 {
		m.t.Fatalf("the migration does not end: %+v: %v", m.d.Migrations, err)
	}
}

// check makes sure that every counter is in one shard, the one that the map names, and that it is right.
func (m *moving) check() {
	m.t.Helper()
	for range 2 * len(m.counters) {
		m.load()
	}
	for i, want := range m.counters {
		key := "counter" + strconv.Itoa(i)
		owner := ownerOf(&m.d, keyspace.Slot([]byte(key)))
		for j, s := range m.shards {
			r := s.apply(words("INCRBY", key, "0"))[0]
			switch {
			case uint32(j+1) != owner && r.Error == "":
				m.t.Fatalf("shard %d has %s, which shard %d owns", j+1, key, owner)
			case uint32(j+1) == owner && (r.Error != "" || r.first() != want):
				m.t.Fatalf("%s is %v %q, want %d", key, r.Numbers, r.Error, want)
			}
		}
	}
	if m.canceled == (ownerOf(&m.d, 0) == 2) {
		m.t.Fatalf("canceled: %v; shard %d owns slot 0", m.canceled, ownerOf(&m.d, 0))
	}
	for _, s := range m.shards {
		for slot := range uint16(Slots) {
			if n := s.e.Keys().Slots().State(slot); n != keyspace.Owned && n != keyspace.Foreign {
				m.t.Fatalf("slot %d is %v in the end", slot, n)
			}
		}
	}
}

// Whatever goes wrong at whatever step, the migration ends, no count is lost and none is there twice.
func TestMigrationSurvivesFailures(t *testing.T) {
	whole := newMoving(t)
	whole.run()
	whole.check()
	t.Log("things asked for:", whole.asked)
	for how := range failures {
		t.Run(fmt.Sprint(how), func(t *testing.T) {
			for at := 1; ; at++ {
				if at > 20 && at < whole.asked-25 && at%7 != 0 {
					continue
				}
				m := newMoving(t)
				m.how, m.failAt = how, at
				m.run()
				m.check()
				if !m.fired {
					return
				}
			}
		})
	}
}

// goneAtLast has a large set deleted right before the slots are frozen, and counts the seals.
type goneAtLast struct {
	*movingShard
	freezes, seals int
}

func (s *goneAtLast) Propose(ctx context.Context, commands [][][]byte) ([]LogReply, error) {
	for _, args := range commands {
		switch string(args[1]) {
		case command.SlotsFreeze:
			s.freezes++
			s.apply(words("DEL", "{counter1}huge"))
		case command.SlotsSeal:
			s.seals++
		}
	}
	return s.movingShard.Propose(ctx, commands)
}

// The seal rides with the last changes. If those have so much removed that one entry does not, it is put again once the
// target has nothing left to remove.
func TestMigrationSealsOnceAllIsRemoved(t *testing.T) {
	m := newMoving(t)
	huge := words("SADD", "{counter1}huge")
	for i := range 30_000 {
		huge = append(huge, fmt.Appendf(nil, "%0700d", i))
	}
	source, target := &goneAtLast{movingShard: m.shards[0]}, &goneAtLast{movingShard: m.shards[1]}
	source.apply(huge)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	m.crash = cancel
	g := NewMigrator(MigratorOptions{
		Document: m, Source: source, Export: m.shards[0].e.SlotExport, Seed: m.shards[0].e.Keys().Seed,
		Target: func(uint32) ShardLog { return target },
	})
	if err := g.Run(ctx, m.d.Migrations[0].ID); err != nil {
		t.Fatal(err)
	}
	if source.freezes != 1 || target.seals != 2 {
		t.Fatalf("%d freezes, %d seals", source.freezes, target.seals)
	}
	m.check()
	if r := target.apply(words("SCARD", "{counter1}huge"))[0]; r.Error != "" || r.first() != 0 {
		t.Fatalf("the set is there: %+v", r)
	}
}

// TestRecoveryTakesBackWhatTheTargetLost: a cluster is recovered without the target of a migration that was decided already. What
// the source holds frozen is served again.
func TestRecoveryTakesBackWhatTheTargetLost(t *testing.T) {
	m := newMoving(t)
	one := m.d.Migrations[0]
	var ranges []keyspace.SlotRange
	for _, r := range one.Slots {
		ranges = append(ranges, keyspace.SlotRange{From: r.From, To: r.To})
	}
	m.shards[0].apply(command.SlotsArgs(command.SlotsFreeze, one.ID, 1, ranges))
	m.d = must(t, m.d, AttemptMigration{Migration: one.ID}, OwnMigration{Migration: one.ID, Attempt: 1})
	for i := range m.counters { // the target's own are lost
		if keyspace.Slot([]byte("counter"+strconv.Itoa(i))) >= 8192 {
			m.counters[i] = 0
		}
	}
	m.shards[1].apply(words("FLUSHALL"))
	m.d = must(t, m.d, Recover{ClusterID: strings.Repeat("a", 40), Self: id(1), Held: []uint32{1}}, SetBorn{2, id(1)})
	m.canceled = true
	m.run()
	m.check()
}

// TestRecoveryEndsMigrations: a cluster is recovered with one shard of the two of a migration that was decided, wherever its
// driver was then. It comes to its end: what the shard that is left has of the slots it keeps if it is to own them.
func TestRecoveryEndsMigrations(t *testing.T) {
	for held := 1; held <= 2; held++ {
		seen := map[MigrationState]int{}
		for at := 1; ; at++ {
			m := newMoving(t)
			m.failAt, m.how = at, crashBehind
			_ = m.drive()
			if len(m.d.Migrations) == 0 {
				break
			}
			state := m.d.Migrations[0].State
			if state == MigrationCopying {
				continue
			}
			seen[state]++
			lost := 2 - held // its index
			m.d = must(t, m.d, Recover{ClusterID: strings.Repeat("a", 40), Self: id(1), Held: []uint32{uint32(held)}})
			m.begin(lost)
			m.d = must(t, m.d, SetBorn{uint32(lost + 1), id(1)})
			for i := range m.counters {
				if ownerOf(&m.d, keyspace.Slot([]byte("counter"+strconv.Itoa(i)))) == uint32(lost+1) {
					m.counters[i] = 0
				}
			}
			m.failAt, m.canceled = 0, state == MigrationOwned && lost == 1
			m.run()
			m.check()
		}
		if seen[MigrationOwned] < 2 || seen[MigrationFlipped] < 2 {
			t.Errorf("with shard %d: %v", held, seen)
		}
	}
}

// leaderless is the document while the meta group has no leader from some change on.
type leaderless struct {
	*moving
	from Op
	err  error
}

func (l leaderless) Do(ctx context.Context, o Op) (*View, error) {
	if o != l.from {
		return l.moving.Do(ctx, o)
	}
	if _, limited := ctx.Deadline(); o != (Look{}) && !limited {
		l.t.Errorf("%T is asked for without end while the slots are frozen", o)
	}
	return nil, l.err
}

// TestMigrationThawsWithoutALeader: where nobody leads the meta group the slots are not frozen, or not for longer than a
// migration may freeze them; unless they may be the target's.
func TestMigrationThawsWithoutALeader(t *testing.T) {
	own := OwnMigration{Migration: 1, Attempt: 1}
	for _, c := range []struct {
		from Op
		err  error
		want keyspace.SlotState
	}{
		{Look{}, ErrNoLeader, keyspace.Owned},
		{own, ErrNoLeader, keyspace.Owned},
		{own, refuse("no"), keyspace.Owned},
		{own, raftfsm.ErrIndeterminate, keyspace.Frozen},
	} {
		m := newMoving(t)
		err := m.driveBy(leaderless{m, c.from, c.err})
		if got := m.shards[0].e.Keys().Slots().State(0); !errors.Is(err, c.err) || got != c.want {
			t.Errorf("%T: %v: the slots are %v, not %v, and the driver ends with %v", c.from, c.err, got, c.want, err)
		}
		m.run()
		m.check()
	}
}

// busyLog is a target that is busy until somebody has looked.
type busyLog struct {
	*movingShard
	busy func(args [][]byte) bool
}

func (s *busyLog) Propose(ctx context.Context, commands [][][]byte) ([]LogReply, error) {
	for _, args := range commands {
		if s.busy(args) {
			return nil, Busy("it has one of three voters")
		}
	}
	return s.movingShard.Propose(ctx, commands)
}

// A migration waits for a target that is busy, says so, and can be paused; while clients wait it gives up at once.
func TestMigrationWaitsForABusyTarget(t *testing.T) {
	m := newMoving(t)
	id := m.d.Migrations[0].ID
	target := &busyLog{movingShard: m.shards[1]}
	g := NewMigrator(MigratorOptions{
		Document: m, Source: m.shards[0], Export: m.shards[0].e.SlotExport, Seed: m.shards[0].e.Keys().Seed,
		Target: func(uint32) ShardLog { return target },
	})
	run := func(busy func(args [][]byte) bool) error {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		m.crash, target.busy = cancel, busy
		return g.Run(ctx, id)
	}
	asked := 0
	begins := func(args [][]byte) bool { _, b := command.BeginsImport(args); return b }
	err := run(func(args [][]byte) bool {
		if !begins(args) {
			return false
		}
		if asked++; asked == 2 && g.Waits() == "it has one of three voters" {
			m.d = must(t, m.d, PauseMigration{id})
		}
		return true
	})
	if !errors.Is(err, ErrPaused) || asked != 2 {
		t.Fatalf("asked %d times: %v", asked, err)
	}
	m.d = must(t, m.d, ResumeMigration{id})
	if err := run(func(args [][]byte) bool { return string(args[1]) == command.SlotsSeal }); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	if s := m.shards[0].e.SlotState(0); s != keyspace.Owned {
		t.Fatalf("slot 0 is %v", s)
	}
	waits := map[bool]int{}
	err = run(func(args [][]byte) bool {
		if !begins(args) && !command.Imports(args) {
			return false
		}
		waits[begins(args)]++
		return waits[begins(args)] == 1
	})
	if err != nil || len(waits) != 2 {
		t.Fatal(waits, err)
	}
	m.check()
}

// A shard that has not all its voters yet is given no slots, unless the migration is decided.
func TestReceives(t *testing.T) {
	d := must(t, founded(t, 2, 3), Join{Node: aNode(2, "")}, Join{Node: aNode(3, "")}, MigrateSlots{From: 1, To: 2, Slots: []Range{{0, 6000}}})
	one := d.Migrations[0].ID
	for voters, want := range []bool{false, false, true, true} {
		if err := d.Receives(one, 2, voters); (err == nil) != want || err != nil && !errors.Is(err, ErrBusy) {
			t.Errorf("%d voters: %v", voters, err)
		}
	}
	if d.Receives(one+1, 2, 3) == nil {
		t.Error("slots of a migration that nobody knows are taken")
	}
	pinned := d.Clone()
	pinned.Shard(2).Pinned = true
	if err := pinned.Receives(one, 2, 1); err != nil {
		t.Error(err)
	}
	decided := must(t, d, AttemptMigration{Migration: one}, OwnMigration{Migration: one, Attempt: 1})
	if err := decided.Receives(one, 2, 1); err != nil {
		t.Error(err)
	}
}

// rewriting is a source and a target of which the last entries of the copy have large values rewritten.
type rewriting struct {
	*movingShard
	source         *movingShard
	rounds, behind int // behind: bytes of records that came while the slots were frozen
	frozen         bool
}

func (s *rewriting) Propose(ctx context.Context, commands [][][]byte) ([]LogReply, error) {
	for _, args := range commands {
		switch {
		case string(args[1]) == command.SlotsFreeze:
			s.frozen = true
		case command.Imports(args) && s.frozen:
			s.behind += len(args[5])
		case command.Imports(args) && s.rounds > 0:
			s.rounds--
			for i := range 200 {
				s.source.apply(words("SET", fmt.Sprintf("{counter1}big%d", i), strings.Repeat(strconv.Itoa(s.rounds), 10_000)))
			}
		}
	}
	return s.movingShard.Propose(ctx, commands)
}

// The slots are not frozen while much is left to send, though in few records.
func TestMigrationFreezesOnceLittleIsLeft(t *testing.T) {
	m := newMoving(t)
	target := &rewriting{movingShard: m.shards[1], source: m.shards[0], rounds: 40}
	source := &rewriting{movingShard: m.shards[0]}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	m.crash = cancel
	g := NewMigrator(MigratorOptions{
		Document: m, Source: &froze{source, target}, Export: m.shards[0].e.SlotExport, Seed: m.shards[0].e.Keys().Seed,
		Target: func(uint32) ShardLog { return target }, Little: 100 << 10,
	})
	if err := g.Run(ctx, m.d.Migrations[0].ID); err != nil {
		t.Fatal(err)
	}
	if target.rounds > 0 || target.behind > 200<<10 {
		t.Fatalf("%d rounds are left; %d bytes were sent while the slots were frozen", target.rounds, target.behind)
	}
	m.check()
}

// froze tells the target's log that the source's slots are frozen.
type froze struct{ source, target *rewriting }

func (s *froze) Propose(ctx context.Context, commands [][][]byte) ([]LogReply, error) {
	replies, err := s.source.Propose(ctx, commands)
	s.target.frozen = s.source.frozen
	return replies, err
}
