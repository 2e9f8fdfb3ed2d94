package engine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/race"
)

// roundTrip has slots leave a shard and come back, again and again.
type roundTrip struct {
	id      uint64
	phase   int
	entry   uint64
	records [][]byte
}

var tripSlots = []keyspace.SlotRange{{From: 0, To: 6000}, {From: 12000, To: 15000}}

// batch is the next step.
func (x *roundTrip) batch(w *twins) (*Batch, []byte) {
	step := func(name string) [][]byte {
		x.phase++
		return command.SlotsArgs(name, x.id, 1, tripSlots)
	}
	var args [][]byte
	switch x.phase {
	case 0:
		x.id++
		x.records, x.entry = nil, 0
		args = step(command.SlotsFreeze)
	case 1: // the records as they are while nothing changes them
		e := w.plain.SlotExport(tripSlots)
		for more := true; more; {
			var parts [][]byte
			var err error
			if parts, more, err = e.Next(10 << 10); err != nil {
				w.t.Fatal(err)
			}
			x.records = append(x.records, parts...)
		}
		e.Close()
		args = step(command.SlotsDisown)
	case 2:
		args = command.SlotsArgs(command.SlotsDrop, x.id, 1, tripSlots)
		if n := w.plain.leftIn(tripSlots); n == 0 {
			args = step(command.SlotsBeginImport)
		}
	case 3:
		if len(x.records) > 0 {
			x.entry++
			args = command.ImportArgs(keyspace.ImportHead{Migration: x.id, Attempt: 1, Entry: x.entry, Seed: 42}, x.records[0])
			x.records = x.records[1:]
			break
		}
		args = step(command.SlotsSeal)
	default:
		args = step(command.SlotsOwn)
		x.phase = 0
	}
	b := &Batch{}
	b.AddWrite(command.Lookup(args[0]), 0, args)
	return b, b.Seal(Header{Clock: w.g.clock, Seed: w.g.r.Uint64()})
}

// leftIn is how many keys, shown or not, slots have.
func (e *testEngine) leftIn(ranges []keyspace.SlotRange) (n int) {
	x := e.SlotExport(ranges)
	defer x.Close()
	for {
		parts, more, err := x.Next(1 << 20)
		if err != nil {
			e.t.Fatal(err)
		}
		for _, p := range parts {
			n += len(p)
		}
		if !more {
			return n
		}
	}
}

// E8: as TestTwins, while slots leave and come back.
func TestTwinsMoveSlots(t *testing.T) {
	for seed := range uint64(3) {
		w := newTwins(t, seed+100, []int{800, 60, 2000}[seed])
		w.trip = &roundTrip{}
		for i := range 100 / race.Factor {
			for range w.g.r.IntN(60) {
				w.apply()
			}
			what := w.trouble()
			if i%4 == 0 || w.g.r.IntN(4) == 0 {
				w.compare(fmt.Sprint(what, " in round ", i))
			}
		}
		t.Log("round trips:", w.trip.id)
		w.plain.close()
		w.troubled.close()
	}
}

// slotTest is a shard that owns the slots of keys that begin with "mine", froze those with "frozen" and imports "coming".
func slotTest(t *testing.T) *testEngine {
	e := openTest(t, vfs.NewMem())
	of := func(tag string) []keyspace.SlotRange {
		s := keyspace.Slot([]byte(tag))
		return []keyspace.SlotRange{{From: s, To: s}}
	}
	for _, k := range []string{"{mine}a", "{frozen}a", "{frozen}b"} {
		e.want("+OK", "SET", k, "v")
	}
	slots := func(want, step string, id uint64, r []keyspace.SlotRange) {
		t.Helper()
		var list []string
		for _, a := range command.SlotsArgs(step, id, 1, r) {
			list = append(list, string(a))
		}
		e.want(want, list...)
	}
	other := openTest(t, vfs.NewMem())
	defer other.close()
	for i := range 20 {
		other.want("+OK", "SET", fmt.Sprint("{coming}", i), "v")
	}
	x := other.SlotExport(of("coming"))
	defer x.Close()
	parts, _, err := x.Next(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	slots("+OK", command.SlotsFreeze, 1, of("frozen"))
	slots("+OK", command.SlotsDisown, 0, of("coming"))
	slots("+OK", command.SlotsDisown, 0, of("foreign"))
	slots("-LARDERNOTEMPTY the slots have keys: slot "+fmt.Sprint(of("mine")[0].From), command.SlotsDisown, 0, of("mine"))
	slots("+OK", command.SlotsBeginImport, 2, of("coming"))
	var list []string
	for _, a := range command.ImportArgs(keyspace.ImportHead{Migration: 2, Attempt: 1, Entry: 1, Seed: 42}, parts[0]) {
		list = append(list, string(a))
	}
	e.want(":0", list...)
	return e
}

// Commands on keys whose slots are not owned are refused, in entries, at once and detached; what names no keys sees what
// is owned and what is frozen.
func TestRefusals(t *testing.T) {
	e := slotTest(t)
	defer e.close()
	for _, c := range []struct{ want, line string }{
		{"$v", "GET {mine}a"},
		{"-frozen", "GET {frozen}a"},
		{"-frozen", "SET {frozen}c v"},
		{"-importing", "GET {coming}1"},
		{"-foreign", "SET {foreign}1 v"},
		{"-foreign", "MSET {mine}b v {foreign}1 v"},
		{"-frozen", "FLUSHALL"},
		{"-frozen", "SWAPDB 0 1"},
		{":0", "LARDER.EVICT ALLKEYS {frozen}a {coming}1 {foreign}1"},
		{":0", "LARDER.EXPIRE {frozen}a {coming}1 {foreign}1"},
		{":3", "DBSIZE"},
	} {
		want := c.want
		if state, refused := strings.CutPrefix(want, "-"); refused {
			got := e.do(strings.Fields(c.line)...)
			if r, ok := ParseRefusal(strings.TrimPrefix(got, "-")); !ok || r.State.String() != state {
				t.Errorf("%s: %s, want it refused since a slot is %s", c.line, got, state)
			}
			continue
		}
		e.want(want, strings.Fields(c.line)...)
	}
	exec := command.BeginExec(command.Guard{}, 2)
	exec = command.AppendNested(exec, 0, byteArgs("SET", "{mine}x", "v"))
	exec = command.AppendNested(exec, 0, byteArgs("GET", "{frozen}a"))
	var list []string
	for _, a := range exec {
		list = append(list, string(a))
	}
	if got := e.do(list...); !strings.HasPrefix(got, "-LARDERSLOT ") {
		t.Errorf("EXEC: %s", got)
	}
	e.want(":0", "EXISTS", "{mine}x")
	e.checkReads(t)
	e.checkSeen(t)
	e.commit()
	e.chill()
	e.checkReads(t)
	e.checkSeen(t)
}

func (e *testEngine) checkReads(t *testing.T) {
	t.Helper()
	row := lookup("GET")
	for key, want := range map[string]keyspace.SlotState{"{frozen}a": keyspace.Frozen, "{coming}1": keyspace.Importing, "{foreign}": keyspace.Foreign} {
		r := e.NewReader()
		r.Begin(e.clock, 1)
		outcome, err := r.Do(row, 0, byteArgs("GET", key), &e.out)
		refusal := r.Refusal()
		r.End()
		if err != nil || outcome != NotOwned || refusal.State != want {
			t.Errorf("GET %s: outcome %d, %v, %v", key, outcome, refusal, err)
		}
		if _, err := e.Detached(row, 0, byteArgs("GET", key), e.clock, 1, &e.out); err != nil {
			t.Fatal(err)
		}
		if got, ok := ParseRefusal(strings.TrimSpace(strings.TrimPrefix(e.out.take(), "-"))); !ok || got != refusal {
			t.Errorf("GET %s, detached: %v", key, got)
		}
	}
}

// checkSeen lists the keys in every way there is.
func (e *testEngine) checkSeen(t *testing.T) {
	t.Helper()
	want := []string{"{frozen}a", "{frozen}b", "{mine}a"}
	seen := func(what, reply string) {
		t.Helper()
		var got []string
		for _, l := range strings.Split(strings.TrimSpace(reply), "\n") {
			if strings.HasPrefix(l, "${") {
				got = append(got, l[1:])
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s shows %q", what, got)
		}
	}
	seen("KEYS", e.do("KEYS", "*"))
	seen("SCAN", e.do("SCAN", "0", "COUNT", "1000"))
	if _, err := e.Detached(lookup("KEYS"), 0, byteArgs("KEYS", "*"), e.clock, 1, &e.out); err != nil {
		t.Fatal(err)
	}
	seen("KEYS, detached,", e.out.take())
	for range 50 {
		if got := e.do("RANDOMKEY"); got == "_" || !slices.Contains(want, got[1:]) {
			t.Fatalf("RANDOMKEY: %s", got)
		}
	}
	if n := digest(t, e.Engine)[1]; n != 3 {
		t.Errorf("a walk sees %d keys", n)
	}
	for tag, n := range map[string]int64{"mine": 1, "frozen": 2, "coming": 0, "foreign": 0} {
		slot := keyspace.Slot([]byte(tag))
		keys, err := e.KeysInSlot(0, slot, 10, e.clock)
		if err != nil || int64(len(keys)) != n || e.CountKeysInSlot(0, slot) != n {
			t.Errorf("slot of %s: %q, %v", tag, keys, err)
		}
	}
}

// Records that are none are refused whole.
func FuzzImport(f *testing.F) {
	e := openTest(f, vfs.NewMem())
	other := openTest(f, vfs.NewMem())
	all := []keyspace.SlotRange{{From: 0, To: keyspace.SlotCount - 1}}
	for i := range 700 {
		other.do("SET", fmt.Sprint("key", i), "v", "PX", "5000")
		other.do("SADD", "set", fmt.Sprint(i))
	}
	x := other.SlotExport(all)
	for more := true; more; {
		var parts [][]byte
		parts, more, _ = x.Next(300)
		for _, p := range parts {
			f.Add(p)
		}
	}
	x.Close()
	for _, step := range []string{command.SlotsDisown, command.SlotsBeginImport} {
		id := uint64(0)
		if step == command.SlotsBeginImport {
			id = 1
		}
		args := command.SlotsArgs(step, id, 1, all)
		b := Batch{Replies: &e.out}
		b.AddWrite(command.Lookup(args[0]), 0, args)
		e.index++
		if err := e.Apply(e.index, 1, b.Seal(Header{}), &b); err != nil {
			f.Fatal(err)
		}
	}
	e.out.take()
	entry := uint64(0)
	f.Fuzz(func(t *testing.T, records []byte) {
		before := e.Keys().Stats()
		args := command.ImportArgs(keyspace.ImportHead{Migration: 1, Attempt: 1, Entry: entry + 1, Seed: 42}, records)
		b := Batch{Replies: &e.out}
		b.AddWrite(command.Lookup(args[0]), 0, args)
		e.index++
		if err := e.Apply(e.index, 1, b.Seal(Header{}), &b); err != nil {
			t.Fatal(err)
		}
		if e.out.take()[0] == ':' {
			entry++
		} else if e.Keys().Stats() != before {
			t.Fatal("a refused import changed something")
		}
	})
}

// A slot is copied while another goroutine changes it, and a third one writes checkpoints and drops what is clean.
func TestSlotsAreCopiedWhileInUse(t *testing.T) {
	m := newMigrationTest(t, 7)
	source, target := m.source, m.target
	m.load(3000 / race.Factor)
	m.must(target.slots(command.SlotsBeginImport, 1, 1, m.ranges))
	x := source.SlotExport(m.ranges)
	defer x.Close()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			m.clock++
			source.at(m.clock, m.r.IntN(3), byteArgs(m.command()...))
			if i%50 == 0 {
				source.commit()
				source.chill()
			}
		}
	}()
	head := keyspace.ImportHead{Migration: 1, Attempt: 1, Seed: 42}
	left := ""
	send := func(parts [][]byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range append(parts, nil) {
			head.Entry++
			left = target.at(0, 0, command.ImportArgs(head, p))
		}
	}
	for more := true; more; {
		var parts [][]byte
		var err error
		parts, more, err = x.Next(8 << 10)
		send(parts, err)
		send(x.Changes(20, 8<<10))
	}
	for range 20 {
		send(x.Changes(100, 8<<10))
	}
	close(stop)
	<-stopped
	m.must(source.slots(command.SlotsFreeze, 1, 1, m.ranges))
	for n := 1; n > 0 || left != ":0"; n, _ = x.Changed() {
		send(x.Changes(100, 8<<10))
	}
	want := digest(t, source.Engine)
	m.must(target.slots(command.SlotsSeal, 1, 1, m.ranges))
	m.must(target.slots(command.SlotsOwn, 1, 1, m.ranges))
	m.must(source.slots(command.SlotsDisown, 1, 1, m.ranges))
	a, b := digest(t, source.Engine), digest(t, target.Engine)
	if got := [2]uint64{a[0] ^ b[0], a[1] + b[1]}; got != want {
		t.Fatalf("%d and %d keys of %d", a[1], b[1], want[1])
	}
	for _, s := range []*shard{m.source, m.target, m.model} {
		s.close()
	}
}

// trip moves slots from one shard to another, as they are while nothing changes them.
func (m *migrationTest) trip(id uint64, from, to *shard) {
	m.t.Helper()
	m.must(from.slots(command.SlotsFreeze, id, 1, m.ranges))
	m.must(to.slots(command.SlotsBeginImport, id, 1, m.ranges))
	x := from.SlotExport(m.ranges)
	defer x.Close()
	head := keyspace.ImportHead{Migration: id, Attempt: 1, Seed: 42}
	for more := true; more; {
		var parts [][]byte
		var err error
		if parts, more, err = x.Next(16 << 10); err != nil {
			m.t.Fatal(err)
		}
		for _, p := range parts {
			head.Entry++
			if got := to.at(m.clock, 0, command.ImportArgs(head, p)); got != ":0" {
				m.t.Fatal("trip ", id, ": ", got)
			}
		}
	}
	m.must(to.slots(command.SlotsSeal, id, 1, m.ranges))
	m.must(to.slots(command.SlotsOwn, id, 1, m.ranges))
	m.must(from.slots(command.SlotsDisown, id, 1, m.ranges))
	for m.drop(from, id, 1) {
	}
}

// Slots with large collections go to and fro for as long as one likes: the numbers of collections are not used up.
func TestSlotsGoToAndFro(t *testing.T) {
	m := newMigrationTest(t, 1)
	m.load(1500 / race.Factor)
	want := digest(t, m.source.Engine)
	from, to := m.source, m.target
	kept := digest(t, to.Engine)
	for id := range uint64(60) {
		m.trip(id+1, from, to)
		from, to = to, from
		if id%7 == 0 {
			from.commit()
			from.chill()
		}
	}
	a, b := digest(t, from.Engine), digest(t, to.Engine)
	if got := [2]uint64{a[0] ^ b[0], a[1] + b[1]}; got != [2]uint64{want[0] ^ kept[0], want[1] + kept[1]} {
		t.Fatalf("%d and %d keys of %d", a[1], b[1], want[1])
	}
	for _, s := range []*shard{m.source, m.target, m.model} {
		s.close()
	}
}

// A shard whose numbers of large collections are all but used up takes no more data, and serves what it has.
func TestNumbersUsedUp(t *testing.T) {
	s := newShard(t, "shard")
	defer s.close()
	s.at(0, 0, byteArgs("SET", "{a}small", "v"))
	s.at(0, 0, byteArgs("SET", "{a}large", strings.Repeat("v", 100_000)))
	slot := keyspace.Slot([]byte("b"))
	ranges := []keyspace.SlotRange{{From: slot, To: slot}}
	gone := binary.AppendUvarint([]byte{4, 0}, uint64(slot)) // a node that is gone, of a collection of a high number
	gone = binary.AppendUvarint(gone, (1<<36-3)<<27)
	for _, args := range [][][]byte{
		command.SlotsArgs(command.SlotsDisown, 0, 0, ranges), command.SlotsArgs(command.SlotsBeginImport, 1, 1, ranges),
		command.ImportArgs(keyspace.ImportHead{Migration: 1, Attempt: 1, Entry: 1, Seed: 42}, gone),
	} {
		if got := s.at(0, 0, args); got[0] == '-' {
			t.Fatal(got)
		}
	}
	exec := command.AppendNested(command.BeginExec(command.Guard{}, 1), 0, byteArgs("SET", "{a}x", "v"))
	for _, c := range []struct {
		want string
		args [][]byte
	}{
		{"-" + numbersUsedUp, byteArgs("SET", "{a}new", "v")},
		{"-" + numbersUsedUp, exec},
		{"$v", byteArgs("GET", "{a}small")},
		{"+OK", byteArgs("RENAME", "{a}large", "{c}large")},
		{":100000", byteArgs("STRLEN", "{c}large")},
		{":2", byteArgs("DEL", "{a}small", "{c}large")},
	} {
		if got := s.at(0, 0, c.args); got != c.want {
			t.Errorf("%.40q: %.80s, want %s", c.args, got, c.want)
		}
	}
}

// Changes are read by the megabyte, however few their records are.
func TestChangesAreBounded(t *testing.T) {
	e := openTest(t, vfs.NewMem())
	defer e.close()
	all := []keyspace.SlotRange{{From: 0, To: keyspace.SlotCount - 1}}
	const keys, size = 60, 300_000
	write := func(c string) {
		for i := range keys {
			e.do("HSET", fmt.Sprint("key", i), "field", strings.Repeat(c, size))
		}
	}
	write("a")
	x := e.SlotExport(all)
	defer x.Close()
	for more := true; more; {
		var err error
		if _, more, err = x.Next(64 << 10); err != nil {
			t.Fatal(err)
		}
	}
	write("b")
	if few, err := x.Few(500, 512<<10); err != nil || few {
		t.Fatal(few, err)
	}
	total := 0
	for n := 1; n > 0; {
		parts, err := x.Changes(4096, 64<<10)
		if err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for _, p := range parts {
			bytes += len(p)
		}
		if total += bytes; bytes > 5<<20 {
			t.Fatalf("%d bytes at a time", bytes)
		}
		if n, err = x.Changed(); err != nil {
			t.Fatal(err)
		}
	}
	if few, err := x.Few(500, 512<<10); err != nil || !few || total < keys*size {
		t.Fatal(few, total, err)
	}
}
