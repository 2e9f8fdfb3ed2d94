package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/race"
)

// shard is an engine with its log, which outlives crashes.
type shard struct {
	*testEngine
	name string
	fs   *vfs.MemFS
	log  [][]byte
}

func newShard(t testing.TB, name string) *shard {
	s := &shard{name: name, fs: vfs.NewCrashableMem()}
	s.testEngine = openTest(t, s.fs)
	return s
}

// at applies one command and returns its reply.
func (s *shard) at(clock int64, db int, args [][]byte) string {
	s.t.Helper()
	b := Batch{Replies: &s.out}
	b.AddWrite(command.Lookup(args[0]), db, args)
	entry := append([]byte(nil), b.Seal(Header{Clock: clock, Seed: 7})...)
	s.log = append(s.log, entry)
	s.index = uint64(len(s.log))
	if err := s.Apply(s.index, 1, entry, &b); err != nil {
		s.t.Fatalf("%s: %.60q: %v", s.name, args, err)
	}
	return strings.TrimSuffix(s.out.take(), "\n")
}

func (s *shard) slots(step string, migration, attempt uint64, ranges []keyspace.SlotRange) string {
	return s.at(0, 0, command.SlotsArgs(step, migration, attempt, ranges))
}

// crash loses what was not synced and applies the log again.
func (s *shard) crash(r *rand.Rand) {
	image := s.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(2) * 100, RNG: r})
	s.close()
	s.fs = image
	t := s.t
	s.testEngine = openTest(t, image)
	for i := s.AppliedIndex() + 1; i <= uint64(len(s.log)); i++ {
		if err := s.Apply(i, 1, s.log[i-1], nil); err != nil {
			t.Fatal(err)
		}
	}
	s.index = uint64(len(s.log))
}

// migrationTest moves slots between two shards under load, and has a third engine that owns everything do the same.
type migrationTest struct {
	t              *testing.T
	r              *rand.Rand
	clock          int64
	source, target *shard
	model          *shard
	ranges         []keyspace.SlotRange
	moves          func(slot uint16) bool
	refused        map[keyspace.SlotState]int
	restarts       int
	flushes        bool
}

func newMigrationTest(t *testing.T, seed uint64) *migrationTest {
	m := &migrationTest{
		t: t, r: rand.New(rand.NewPCG(seed, 3)), clock: 1_000_000,
		source: newShard(t, "source"), target: newShard(t, "target"), model: newShard(t, "model"),
		ranges: []keyspace.SlotRange{{From: 100, To: 5000}, {From: 9000, To: 12000}}, refused: map[keyspace.SlotState]int{},
	}
	m.moves = func(slot uint16) bool { return slot >= 100 && slot <= 5000 || slot >= 9000 && slot <= 12000 }
	all := []keyspace.SlotRange{{From: 0, To: keyspace.SlotCount - 1}}
	if got := m.target.slots(command.SlotsDisown, 0, 0, all); got != "+OK" {
		t.Fatal(got)
	}
	return m
}

func (m *migrationTest) number(n int) string { return fmt.Sprint(m.r.IntN(n)) }

func (m *migrationTest) many(draw ...func() string) (out []string) {
	for range 1 + m.r.IntN(60) {
		for _, d := range draw {
			out = append(out, d())
		}
	}
	return out
}

// command draws a command whose keys share a slot.
func (m *migrationTest) command() []string {
	tag := m.r.IntN(60)
	if m.r.IntN(2) == 0 {
		tag = m.r.IntN(6)
	}
	key := func(name string) string { return fmt.Sprintf("{tag%d}%s", tag, name) }
	some := func() string { return key(m.number(50)) }
	member := func() string { return "member:" + m.number(2500) }
	score := func() string { return m.number(500) }
	kinds := []string{"hash", "set", "zset", "list", "long", "other"}
	any := key(kinds[m.r.IntN(len(kinds))])
	switch n := m.r.IntN(100); {
	case n < 25:
		return []string{"SET", some(), m.number(1 << 30)}
	case n < 30:
		return []string{"SET", some(), m.number(1 << 30), "PX", m.number(3000)}
	case n < 34:
		return []string{"APPEND", some(), strings.Repeat("x", m.r.IntN(3000))}
	case n < 38:
		return []string{"DEL", some(), any}
	case n < 40:
		return []string{"PEXPIRE", any, m.number(3000)}
	case n < 42:
		return []string{"PERSIST", any}
	case n < 52:
		return append([]string{"HSET", key("hash")}, m.many(member, score)...)
	case n < 56:
		return append([]string{"HDEL", key("hash")}, m.many(member)...)
	case n < 63:
		return append([]string{"SADD", key("set")}, m.many(member)...)
	case n < 66:
		return append([]string{"SREM", key("set")}, m.many(member)...)
	case n < 74:
		return append([]string{"ZADD", key("zset")}, m.many(score, member)...)
	case n < 77:
		return []string{"ZREMRANGEBYRANK", key("zset"), m.number(60), m.number(200)}
	case n < 84:
		return append([]string{"RPUSH", key("list")}, m.many(member)...)
	case n < 86:
		return []string{"LTRIM", key("list"), m.number(100), "-1"}
	case n < 89:
		return []string{"SETRANGE", key("long"), m.number(1_500_000), "patch"}
	case n < 92:
		return []string{"RENAME", any, key("other")}
	case n < 94:
		return []string{"RENAME", key("other"), any}
	case n < 96:
		return []string{"COPY", any, key("other"), "REPLACE"}
	case n < 98:
		return []string{"COPY", any, any, "DB", m.number(3), "REPLACE"}
	}
	return []string{"MOVE", some(), m.number(3)}
}

// load runs commands at the shards that own their slots, and those that ran at the model too.
func (m *migrationTest) load(n int) {
	m.t.Helper()
	for range n {
		m.clock += int64(m.r.IntN(4))
		if m.flushes && m.r.IntN(400) == 0 {
			m.flush()
		}
		args, db := byteArgs(m.command()...), m.r.IntN(3)
		if m.r.IntN(8) == 0 {
			exec := command.BeginExec(command.Guard{}, 2)
			exec = command.AppendNested(exec, db, args)
			args = command.AppendNested(exec, db, byteArgs("INCR", "{"+strings.TrimPrefix(strings.SplitN(string(args[1]), "}", 2)[0], "{")+"}counter"))
		}
		ran, reply := 0, ""
		for _, s := range []*shard{m.source, m.target} {
			got := s.at(m.clock, db, args)
			if r, refused := ParseRefusal(strings.TrimPrefix(got, "-")); refused {
				m.refused[r.State]++
				continue
			}
			ran++
			reply = got
		}
		if ran > 1 {
			m.t.Fatalf("both shards ran %.60q", args)
		}
		if ran == 0 {
			continue
		}
		if want := m.model.at(m.clock, db, args); reply != want {
			m.t.Fatalf("%.60q: got %.100q, want %.100q", args, reply, want)
		}
	}
}

// flush has all shards forget a data base, unless one of them has to wait.
func (m *migrationTest) flush() {
	db, args := m.r.IntN(3), byteArgs("FLUSHDB")
	got := m.source.at(m.clock, db, args)
	if _, refused := ParseRefusal(strings.TrimPrefix(got, "-")); refused {
		m.refused[keyspace.Frozen]++
		return
	}
	m.target.at(m.clock, db, args)
	m.model.at(m.clock, db, args)
}

// trouble is a checkpoint, eviction, or a crash; it says whether the source crashed.
func (m *migrationTest) trouble() (sourceCrashed bool) {
	s := []*shard{m.source, m.target}[m.r.IntN(2)]
	switch m.r.IntN(6) {
	case 0:
		s.commit()
	case 1:
		s.commit()
		s.chill()
	case 2:
		s.crash(m.r)
		return s == m.source
	case 3:
		for range 20 {
			s.Keys().Upkeep()
		}
	}
	return false
}

// attempt goes through a migration; false: it has to begin again. With done the target owns the slots.
func (m *migrationTest) attempt(id, attempt uint64) (owned bool) {
	if got := m.target.slots(command.SlotsState, id, attempt, m.ranges); strings.HasPrefix(got, fmt.Sprintf("*5\n:%d\n", 4901+3001)) {
		return true
	}
	for m.drop(m.target, id, attempt) {
		if m.r.IntN(10) == 0 {
			return false
		}
	}
	m.must(m.target.slots(command.SlotsBeginImport, id, attempt, m.ranges))
	x := m.source.SlotExport(m.ranges)
	defer func() { x.Close() }()
	head := keyspace.ImportHead{Migration: id, Attempt: attempt, Seed: m.source.Keys().Seed()}
	left := ""
	send := func(parts [][]byte, err error) bool {
		if errors.Is(err, keyspace.ErrExportLost) {
			return false
		}
		if err != nil {
			m.t.Fatal(err)
		}
		for _, p := range parts {
			head.Entry++
			args := command.ImportArgs(head, p)
			if left = m.target.at(m.clock, 0, args); strings.HasPrefix(left, "-LARDERSPOILED") {
				return false
			}
			if left[0] != ':' {
				m.t.Fatal(left)
			}
			if m.r.IntN(10) == 0 && m.target.at(m.clock, 0, args)[0] != ':' {
				m.t.Fatal("a repeated entry was refused")
			}
		}
		return true
	}
	for more := true; more; {
		var parts [][]byte
		var err error
		parts, more, err = x.Next(16 << 10)
		if !send(parts, err) {
			return false
		}
		m.load(m.r.IntN(8))
		if got := m.target.slots(command.SlotsDrop, id, attempt, m.ranges); m.r.IntN(4) == 0 && !strings.HasPrefix(got, "-LARDERSTATE") {
			m.t.Fatal("a request that came late was granted: ", got)
		}
		if m.r.IntN(12) == 0 {
			if m.trouble() {
				return false
			}
		}
		if m.r.IntN(3) == 0 && !send(x.Changes(50, 16<<10)) {
			return false
		}
	}
	m.load(20)
	if m.r.IntN(4) == 0 {
		return false
	}
	m.must(m.source.slots(command.SlotsFreeze, id, attempt, m.ranges))
	m.load(20)
	if m.trouble() || m.r.IntN(4) == 0 {
		return false
	}
	for n := 1; n > 0; {
		if !send(x.Changes(100, 16<<10)) {
			return false
		}
		var err error
		if n, err = x.Changed(); err != nil {
			return false
		}
	}
	for left != ":0" {
		if !send([][]byte{nil}, nil) {
			return false
		}
	}
	if got := m.target.slots(command.SlotsOwn, id, attempt, m.ranges); !strings.HasPrefix(got, "-LARDERSPOILED") {
		m.t.Fatal("slots were owned before the import was complete: ", got)
	}
	m.must(m.target.slots(command.SlotsSeal, id, attempt, m.ranges))
	if m.trouble() {
		return false
	}
	m.must(m.target.slots(command.SlotsOwn, id, attempt, m.ranges))
	return m.r.IntN(3) > 0
}

// drop removes some of what a shard has of the slots; false: nothing was left.
func (m *migrationTest) drop(s *shard, id, attempt uint64) bool {
	m.t.Helper()
	got := s.slots(command.SlotsDrop, id, attempt, m.ranges)
	if got[0] != ':' {
		m.t.Fatal(got)
	}
	return got != ":0"
}

func (m *migrationTest) must(reply string) {
	m.t.Helper()
	if reply != "+OK" {
		m.t.Fatal(reply)
	}
}

// migrate moves the slots, however many attempts it takes.
func (m *migrationTest) migrate(id uint64) {
	attempt := uint64(1)
	for ; !m.attempt(id, attempt); attempt++ {
		m.restarts++
		m.load(20)
		m.stale(id, attempt)
		if m.r.IntN(3) == 0 && m.source.SlotState(100) == keyspace.Frozen && m.target.SlotState(100) != keyspace.Owned {
			m.must(m.source.slots(command.SlotsThaw, id, attempt, m.ranges))
		}
	}
	m.load(20)
	m.trouble()
	m.must(m.source.slots(command.SlotsDisown, id, attempt, m.ranges))
	m.load(50)
	for m.drop(m.source, id, attempt) {
		m.load(2)
		if m.r.IntN(10) == 0 {
			m.trouble()
		}
	}
}

// stale checks that a leader who was deposed can do nothing once a newer attempt is known.
func (m *migrationTest) stale(id, attempt uint64) {
	m.must2(m.target.slots(command.SlotsState, id, attempt+1, m.ranges))
	for _, step := range []string{command.SlotsOwn, command.SlotsBeginImport, command.SlotsDrop, command.SlotsDisown, command.SlotsThaw} {
		if got := m.target.slots(step, id, attempt, m.ranges); !errors.Is(command.SlotError(strings.TrimPrefix(got, "-")), keyspace.ErrStale) {
			m.t.Fatalf("%s of an older attempt: %s", step, got)
		}
	}
	got := m.target.at(m.clock, 0, command.ImportArgs(keyspace.ImportHead{Migration: id, Attempt: attempt, Entry: 1, Seed: 42}, nil))
	if !strings.HasPrefix(got, "-LARDERSTALE") {
		m.t.Fatal(got)
	}
}

func (m *migrationTest) must2(reply string) {
	m.t.Helper()
	if reply[0] != '*' {
		m.t.Fatal(reply)
	}
}

// check compares the union of both shards with the model.
func (m *migrationTest) check() {
	m.t.Helper()
	a, b, want := digest(m.t, m.source.Engine), digest(m.t, m.target.Engine), digest(m.t, m.model.Engine)
	if got := [2]uint64{a[0] ^ b[0], a[1] + b[1]}; got != want {
		m.t.Fatalf("source and target have %d and %d keys, the model %d; digests %x, want %x", a[1], b[1], want[1], got[0], want[0])
	}
	if n, want := m.source.Keys().Stats().Nodes+m.target.Keys().Stats().Nodes, m.model.Keys().Stats().Nodes; n != want {
		m.t.Fatalf("source and target have %d nodes of large collections, the model %d", n, want)
	}
	for _, s := range []*shard{m.source, m.target} {
		for db := range 3 {
			n := int64(0)
			for slot := range uint16(keyspace.SlotCount) {
				c := s.CountKeysInSlot(db, slot)
				if n += c; c > 0 && m.moves(slot) != (s == m.target) {
					m.t.Fatalf("%s has %d keys in slot %d", s.name, c, slot)
				}
				if c == 0 || m.r.IntN(20) > 0 {
					continue
				}
				keys, err := s.KeysInSlot(db, slot, 1<<20, 0)
				if err != nil || int64(len(keys)) != c {
					m.t.Fatalf("slot %d: %d keys of %d: %v", slot, len(keys), c, err)
				}
			}
			if s.Keys().Stats().Keys[db] != n {
				m.t.Fatalf("%s: %d keys, counted slot by slot %d", s.name, s.Keys().Stats().Keys[db], n)
			}
		}
	}
}

// Slots move under load while either shard is checkpointed, evicted from and crashed: no write that was accepted is lost,
// and none is there twice.
func TestSlotsMove(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newMigrationTest(t, seed)
			m.flushes = seed%2 == 1
			m.load(4000 / race.Factor)
			m.migrate(1)
			m.load(200)
			m.check()
			m.source, m.target = m.target, m.source
			m.moves = func(uint16) bool { return true }
			m.migrate(2)
			m.load(200)
			m.check()
			if m.refused[keyspace.Frozen] == 0 || m.refused[keyspace.Foreign] == 0 || m.refused[keyspace.Importing] == 0 {
				t.Errorf("refused: %v", m.refused)
			}
			t.Log("attempts that failed:", m.restarts, "refused:", m.refused)
			for _, s := range []*shard{m.source, m.target, m.model} {
				s.crash(m.r)
			}
			m.check()
			for _, s := range []*shard{m.source, m.target, m.model} {
				s.close()
			}
		})
	}
}

// Of two large collections in different slots, one of them imported, the numbers may be the same. Who reads everything takes
// no node of the one for the other's.
func TestCollectionsOfOneNumber(t *testing.T) {
	first, second := "{b}zset", "{a}long" // in the order of their slots
	slot := keyspace.Slot([]byte(second))
	if keyspace.Slot([]byte(first)) >= slot {
		t.Fatal("the keys are in the wrong order")
	}
	ranges := []keyspace.SlotRange{{From: slot, To: slot}}
	source, target, model := newShard(t, "source"), newShard(t, "target"), newShard(t, "model")
	sparse := byteArgs("SETRANGE", second, "1400000", "the end") // most of its pieces are not there
	zadd := []string{"ZADD", first}
	for i := range 300 {
		zadd = append(zadd, fmt.Sprint(i), fmt.Sprintf("a member that takes some room: %d", i))
	}
	must := func(got, want string) {
		t.Helper()
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	must(target.slots(command.SlotsDisown, 0, 0, ranges), "+OK")
	must(source.at(1, 0, sparse), ":1400007")
	must(target.slots(command.SlotsBeginImport, 1, 1, ranges), "+OK")
	must(target.at(1, 0, byteArgs(zadd...)), ":300")
	x := source.SlotExport(ranges)
	defer x.Close()
	head := keyspace.ImportHead{Migration: 1, Attempt: 1, Seed: source.Keys().Seed()}
	for more := true; more; {
		var parts [][]byte
		var err error
		if parts, more, err = x.Next(16 << 10); err != nil {
			t.Fatal(err)
		}
		for _, p := range parts {
			head.Entry++
			must(target.at(1, 0, command.ImportArgs(head, p)), ":0")
		}
	}
	must(target.slots(command.SlotsSeal, 1, 1, ranges), "+OK")
	must(target.slots(command.SlotsOwn, 1, 1, ranges), "+OK")
	model.at(1, 0, sparse)
	model.at(1, 0, byteArgs(zadd...))
	if got, want := digest(t, target.Engine), digest(t, model.Engine); got != want {
		t.Errorf("digest and keys %x, want %x", got, want)
	}
}
