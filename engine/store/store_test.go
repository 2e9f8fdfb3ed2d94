package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func open(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(Options{FS: fs, Dir: "shard", Logger: quiet(), TableSize: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkpoint builds and commits one checkpoint at an index.
func checkpoint(t testing.TB, s *Store, index uint64, build func(c *Checkpoint)) {
	t.Helper()
	c, err := s.NewCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	build(c)
	if err := c.Commit(Meta{Index: index, Term: 1}); err != nil {
		t.Fatal(err)
	}
}

func set(t testing.TB, c *Checkpoint, p Position, key, value string, expire int64) {
	t.Helper()
	if err := c.Set(p, []byte(key), []byte(value), expire); err != nil {
		t.Fatal(err)
	}
}

// setMany sets n keys of a slot, enough of which fill several tables.
func setMany(t testing.TB, c *Checkpoint, ns uint32, slot uint16, n int, value string) {
	t.Helper()
	for i := range n {
		set(t, c, Position{ns, slot, uint64(i) << 20}, fmt.Sprint("k", i), value+strings.Repeat(fmt.Sprint(i), 30), 0)
	}
}

// list walks all records of a view as "ns/slot/hash key=value".
func list(t testing.TB, v *View, r Range) []string {
	t.Helper()
	it, err := v.Iter(r)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for it.Next() {
		value, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		p := it.Position()
		out = append(out, fmt.Sprintf("%d/%d/%x %s=%s", p.Namespace, p.Slot, p.Hash, it.Key(), value))
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

func contents(t testing.TB, s *Store) []string {
	t.Helper()
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	return list(t, v, All())
}

// In one ingestion, a Set survives a drop that covers it, although the drop is cut at the bounds of many tables.
func TestSetSurvivesDropsAcrossTables(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	checkpoint(t, s, 1, func(c *Checkpoint) {
		for ns := range uint32(4) {
			for slot := range uint16(3) {
				setMany(t, c, ns, slot, 100, "old")
			}
		}
	})
	checkpoint(t, s, 2, func(c *Checkpoint) {
		c.DropSlot(2, 1)
		c.DropNamespace(1)
		c.DropSlot(1, 2) // within the drop of the name space
		set(t, c, Position{0, 0, 1}, "below", "new", 0)
		setMany(t, c, 1, 1, 200, "new")
		setMany(t, c, 2, 1, 50, "new")
	})
	count := map[string]int{}
	for range 2 {
		clear(count)
		for _, record := range contents(t, s) {
			_, value, _ := strings.Cut(record, "=")
			count[record[:3]+" "+value[:3]]++
		}
		want := map[string]int{"0/0 old": 100, "0/0 new": 1, "0/1 old": 100, "0/2 old": 100, "1/1 new": 200,
			"2/0 old": 100, "2/1 new": 50, "2/2 old": 100, "3/0 old": 100, "3/1 old": 100, "3/2 old": 100}
		if fmt.Sprint(count) != fmt.Sprint(want) {
			t.Fatalf("got  %v\nwant %v", count, want)
		}
		closeStore(t, s)
		s = open(t, fs)
	}
	closeStore(t, s)
}

// A drop that no record follows, and one in front of all records, need tables too.
func TestDropsAlone(t *testing.T) {
	s := open(t, vfs.NewMem())
	checkpoint(t, s, 1, func(c *Checkpoint) { setMany(t, c, 0, 7, 50, "v"); setMany(t, c, 1<<32-1, 16383, 50, "v") })
	checkpoint(t, s, 2, func(c *Checkpoint) { c.DropNamespace(0) })
	if got := contents(t, s); len(got) != 50 {
		t.Fatalf("%d records, want 50", len(got))
	}
	checkpoint(t, s, 3, func(c *Checkpoint) { c.DropNamespace(1<<32 - 1) })
	if got := contents(t, s); len(got) != 0 {
		t.Fatalf("%d records, want none", len(got))
	}
	if m, ok := s.Meta(); !ok || m.Index != 3 {
		t.Fatal(m, ok)
	}
	closeStore(t, s)
}

func TestDueIndex(t *testing.T) {
	s := open(t, vfs.NewMem())
	p := Position{3, 9, 0xabc}
	checkpoint(t, s, 1, func(c *Checkpoint) {
		set(t, c, p, "a", "v", 50)
		set(t, c, p, "b", "v", 50) // same hash, same deadline: one record
		set(t, c, Position{3, 9, 0xabd}, "c", "v", -5)
		set(t, c, Position{3, 9, 0xabe}, "d", "v", 1<<62)
		set(t, c, Position{3, 9, 0xabf}, "e", "v", 0)
	})
	due := func(until int64, after DueKey, max int) []DueKey {
		t.Helper()
		keys, err := s.Due(until, after, max)
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	early, at50, late := DueKey{-5, Position{3, 9, 0xabd}}, DueKey{50, p}, DueKey{1 << 62, Position{3, 9, 0xabe}}
	for _, c := range []struct {
		until int64
		after DueKey
		max   int
		want  []DueKey
	}{
		{1<<63 - 1, DueKey{}, 10, []DueKey{early, at50, late}},
		{50, DueKey{}, 10, []DueKey{early, at50}},
		{49, DueKey{}, 10, []DueKey{early}},
		{50, early, 10, []DueKey{at50}},
		{50, at50, 10, nil},
		{1, late, 10, nil},
		{50, DueKey{}, 1, []DueKey{early}},
		{50, DueKey{}, 0, nil},
	} {
		if got := due(c.until, c.after, c.max); !slices.Equal(got, c.want) {
			t.Errorf("Due(%d, %v, %d) = %v, want %v", c.until, c.after, c.max, got, c.want)
		}
	}
	var at []string
	if err := s.KeyAt(p, func(key, value []byte) error { at = append(at, string(key)); return nil }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(at) != "[a b]" {
		t.Fatal(at)
	}
	fresh := DueKey{40, Position{3, 10, 1}}
	checkpoint(t, s, 2, func(c *Checkpoint) { // what this checkpoint writes stays, even below the trim
		c.TrimDue(50)
		set(t, c, fresh.Position, "f", "v", fresh.At)
	})
	if got := due(1<<63-1, DueKey{}, 10); !slices.Equal(got, []DueKey{fresh, late}) {
		t.Fatal(got)
	}
	closeStore(t, s)
}

func TestReads(t *testing.T) {
	s := open(t, vfs.NewMem())
	checkpoint(t, s, 1, func(c *Checkpoint) {
		setMany(t, c, 1, 5, 10, "v")
		setMany(t, c, 1, 6, 10, "w")
		setMany(t, c, 2, 5, 10, "x")
	})
	n := 0
	complete, err := s.LoadSlot(1, 5, 10, func(uint64, []byte, []byte) error { n++; return nil })
	if err != nil || !complete || n != 10 {
		t.Fatal(complete, err, n)
	}
	if complete, err = s.LoadSlot(1, 5, 9, func(uint64, []byte, []byte) error { return nil }); err != nil || complete {
		t.Fatal(complete, err)
	}
	mine := errors.New("mine")
	if _, err = s.LoadSlot(1, 5, 9, func(uint64, []byte, []byte) error { return mine }); err != mine {
		t.Fatal(err)
	}
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		r    Range
		want int
	}{
		{All(), 30}, {InNamespace(1), 20}, {InNamespace(3), 0}, {InSlot(1, 6), 10},
		{InSlot(1, 6).From(Position{1, 6, 3 << 20}), 7}, {InSlot(1, 6).From(Position{1, 5, 3}), 10},
		{All().From(Position{1, 6, 9<<20 + 1}), 10}, {InSlot(1, 6).From(Position{2, 0, 0}), 0},
	} {
		if got := list(t, v, c.r); len(got) != c.want {
			t.Errorf("%x..%x: %d records, want %d", c.r.from, c.r.to, len(got), c.want)
		}
	}
	if err := s.Close(); err == nil {
		t.Error("closed under a view")
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if _, _, err := s.Get(Position{}, nil, nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// A view does not see later checkpoints, whatever compactions do meanwhile.
func TestViewIsStable(t *testing.T) {
	s := open(t, vfs.NewMem())
	checkpoint(t, s, 1, func(c *Checkpoint) { setMany(t, c, 1, 1, 300, "first") })
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	want := list(t, v, All())
	for i := uint64(2); i < 12; i++ {
		checkpoint(t, s, i, func(c *Checkpoint) {
			if i%4 == 0 {
				c.DropNamespace(1)
			}
			setMany(t, c, 1, 1, 200, fmt.Sprint("later", i))
		})
	}
	if err := s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	if got := list(t, v, All()); !slices.Equal(got, want) {
		t.Fatal("the view has changed")
	}
	if m, ok := v.Meta(); !ok || m.Index != 1 {
		t.Fatal(m, ok)
	}
	value, found, err := v.Get(Position{1, 1, 299 << 20}, []byte("k299"), nil)
	if err != nil || !found || !strings.HasPrefix(string(value), "first") {
		t.Fatal(value, found, err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, s); len(got) != 200 {
		t.Fatalf("%d records, want 200", len(got))
	}
	closeStore(t, s)
}

// Readers see each checkpoint whole, and never one older than the last that was committed before they began.
func TestGetDuringCheckpoints(t *testing.T) {
	s := open(t, vfs.NewMem())
	const checkpoints = 20
	checkpoint(t, s, 1, func(c *Checkpoint) { setMany(t, c, 0, 0, 60, fmt.Sprintf("%03d:", 1)) })
	var readers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() {
			var buf []byte
			for n := r; ; n++ {
				before, _ := s.Meta()
				k := n % 60
				value, found, err := s.Get(Position{0, 0, uint64(k) << 20}, fmt.Append(nil, "k", k), buf[:0])
				if err != nil || !found {
					t.Error(found, err)
					return
				}
				var seen uint64
				if _, err := fmt.Sscanf(string(value[:3]), "%d", &seen); err != nil || seen < before.Index {
					t.Errorf("read checkpoint %d after %d was committed (%v)", seen, before.Index, err)
					return
				}
				buf = value
				if before.Index == checkpoints {
					return
				}
			}
		})
	}
	for i := uint64(2); i <= checkpoints; i++ {
		checkpoint(t, s, i, func(c *Checkpoint) { setMany(t, c, 0, 0, 60, fmt.Sprintf("%03d:", i)) })
	}
	readers.Wait()
	closeStore(t, s)
}

// Lookups of keys that are not there must be answered by filters, in the last level as well.
func TestFiltersAreUsed(t *testing.T) {
	s := open(t, vfs.NewMem())
	checkpoint(t, s, 1, func(c *Checkpoint) { setMany(t, c, 0, 0, 2000, "v") })
	if m := s.db.Metrics(); m.Levels[6].TablesCount == 0 {
		t.Fatal("the first checkpoint is not in the last level")
	}
	before := s.Metrics()
	for i := range 1000 {
		if _, found, err := s.Get(Position{0, 0, uint64(i)<<20 + 1}, fmt.Append(nil, "k", i), nil); err != nil || found {
			t.Fatal(found, err)
		}
	}
	after := s.Metrics()
	if hits := after.FilterHits - before.FilterHits; hits < 950 {
		t.Fatalf("filters answered %d of 1000 lookups", hits)
	}
	closeStore(t, s)
}

func TestCheckpointMisuse(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	begin := func() *Checkpoint {
		c, err := s.NewCheckpoint()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := begin()
	if _, err := s.NewCheckpoint(); err == nil {
		t.Error("two checkpoints at once")
	}
	if err := s.Close(); err == nil {
		t.Error("closed under a checkpoint")
	}
	set(t, c, Position{1, 1, 2}, "b", "", 0)
	for _, p := range []Position{{1, 1, 1}, {1, 0, 9}, {0, 9, 9}} {
		if err := c.Set(p, []byte("a"), nil, 0); err == nil {
			t.Error("out of order:", p)
		}
	}
	if err := c.Commit(Meta{Index: 1}); err == nil {
		t.Error("committed after an error")
	}
	c = begin()
	if err := c.Set(Position{Hash: 1 << HashBits}, nil, nil, 0); err == nil {
		t.Error("a hash of 49 bits")
	}
	if err := c.Abort(); err != nil {
		t.Error(err)
	}
	c = begin()
	set(t, c, Position{1, 1, 2}, "b", "", 0)
	c.DropNamespace(1)
	if err := c.Commit(Meta{Index: 1}); err == nil {
		t.Error("a drop after a record")
	}
	if err := c.Set(Position{1, 1, 2}, nil, nil, 0); err == nil {
		t.Error("a record after the end")
	}
	checkpoint(t, s, 5, func(*Checkpoint) {})
	if err := begin().Commit(Meta{Index: 4}); err == nil {
		t.Error("went back")
	}
	c = begin()
	setMany(t, c, 0, 0, 500, "v")
	if err := c.Abort(); err != nil {
		t.Error(err)
	}
	if left, err := fs.List("shard/" + ingestFolder); err != nil || len(left) > 0 {
		t.Error("left behind:", left, err)
	}
	if got := contents(t, s); len(got) > 0 {
		t.Error(got)
	}
	closeStore(t, s)
	if _, err := Open(Options{TableSize: 1, MaxSublevels: -1}); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Error("options:", err)
	}
}

// The caller is told to wait when compactions are behind.
func TestBusy(t *testing.T) {
	s, err := Open(Options{FS: vfs.NewMem(), Dir: "shard", Logger: quiet(), MaxSublevels: 1})
	if err != nil {
		t.Fatal(err)
	}
	checkpoint(t, s, 1, func(c *Checkpoint) { setMany(t, c, 0, 0, 10, "v") })
	if s.Busy() {
		t.Error("busy with one table in the last level")
	}
	s.compactions.Unregister() // no compaction comes in between
	checkpoint(t, s, 2, func(c *Checkpoint) { setMany(t, c, 0, 0, 10, "w") })
	if !s.Busy() || s.DiskUsage() == 0 {
		t.Errorf("not busy: %+v", s.Metrics())
	}
	s.compactions.allow()
	closeStore(t, s)
}

// A compaction lets others run where it reads, too: of what was deleted it writes nothing.
func TestCompactionThatWritesNothingYields(t *testing.T) {
	const n = 4000
	var yields atomic.Int64
	s, err := Open(Options{FS: vfs.NewMem(), Dir: "shard", Logger: quiet(), HoldCompactions: true, Yield: func() { yields.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	checkpoint(t, s, 1, func(c *Checkpoint) { setMany(t, c, 0, 7, n, "v") })
	checkpoint(t, s, 2, func(c *Checkpoint) {
		for i := range n {
			if err := c.Delete(Position{0, 7, uint64(i) << 20}, []byte(fmt.Sprint("k", i))); err != nil {
				t.Fatal(err)
			}
		}
	})
	blocks := s.DiskUsage() / blockSize
	yields.Store(0)
	s.AllowCompactions()
	if err := s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	if got := yields.Load(); got < blocks/2 {
		t.Errorf("it yielded %d times in %d blocks", got, blocks)
	}
	if got := contents(t, s); len(got) > 0 {
		t.Errorf("%d records are left", len(got))
	}
	closeStore(t, s)
}
