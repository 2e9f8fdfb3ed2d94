package aof

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/aof/storetest"
	"github.com/larder-db/larder/race"
)

func TestReopen(t *testing.T) {
	opts, _ := testOptions(vfs.NewMem())
	want := map[uint64]state{}
	for round := range uint64(6) {
		l := mustOpen(t, opts)
		for shard := range uint64(3) {
			st := want[shard]
			must(t, st.matches(l.Shard(shard)))
			must(t, l.Shard(shard).StoreLogs(batch(st.last+1, st.last+10, round+1)))
			want[shard] = st.stored(st.last+1, st.last+10, round+1)
		}
		must(t, l.Close())
		if err := l.Close(); !errors.Is(err, ErrClosed) {
			t.Fatalf("second Close: %v", err)
		}
		if err := l.Shard(1).StoreLog(entry(want[1].last+1, 1)); !errors.Is(err, ErrClosed) {
			t.Fatalf("StoreLog after Close: %v", err)
		}
		if err := l.Shard(1).GetLog(1, new(raft.Log)); !errors.Is(err, ErrClosed) {
			t.Fatalf("GetLog after Close: %v", err)
		}
	}
}

// TestRefusals: what does not follow, or is too large, is refused and leaves the log as it was.
func TestRefusals(t *testing.T) {
	opts, fatal := testOptions(vfs.NewMem())
	l := mustOpen(t, opts)
	defer l.Close()
	s := l.Shard(1)
	must(t, s.StoreLogs(batch(5, 9, 1)))
	gap := []*raft.Log{entry(10, 1), entry(12, 1)}
	for name, err := range map[string]error{
		"gap":            s.StoreLog(entry(11, 1)),
		"again":          s.StoreLog(entry(9, 1)),
		"gap in a batch": s.StoreLogs(gap),
		"middle":         s.DeleteRange(6, 7),
		"cut beyond":     s.CutBelow(10),
		"reset to 0":     s.Reset(0, 1),
		"index 0":        l.Shard(2).StoreLog(entry(0, 1)),
	} {
		if !errors.Is(err, ErrNotContiguous) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	large := &raft.Log{Index: 10, Data: make([]byte, MaxEntrySize+1)}
	if err := s.StoreLog(large); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: got %v", err)
	}
	must(t, s.DeleteRange(20, 30))
	must(t, state{}.stored(5, 9, 1).matches(s))
	if err := s.matchesBytes(); err != nil || len(fatal.all()) > 0 {
		t.Fatal(err, fatal.all())
	}
	if _, err := Open(Options{SegmentSize: 5, Policy: 9}); err == nil || strings.Count(err.Error(), "\n") < 2 {
		t.Fatalf("options: %v", err)
	}
}

// matchesBytes compares the accounts of the shard with its entries.
func (s *ShardLog) matchesBytes() error {
	e := &s.mu.entries
	var bytes int64
	live := make(map[uint32]int)
	for i := range e.places.n {
		p := *e.places.at(i)
		bytes += p.size()
		live[p.segment]++
	}
	if bytes != s.Bytes() || len(live) != len(e.shares) {
		return fmt.Errorf("%d bytes in %d segments, counted %d in %d", s.Bytes(), len(e.shares), bytes, len(live))
	}
	for seq, n := range live {
		if e.shares[seq].live != n || e.shares[seq].segment.seq != seq {
			return fmt.Errorf("segment %d: %d live entries, counted %d", seq, e.shares[seq].live, n)
		}
	}
	return nil
}

// TestLargeBatch stores more than one write takes, and an entry larger than a segment.
func TestLargeBatch(t *testing.T) {
	mem := vfs.NewMem()
	opts, _ := testOptions(mem)
	l := mustOpen(t, opts)
	huge := entry(1, 1)
	huge.Data = make([]byte, 5<<20)
	for i := range huge.Data {
		huge.Data[i] = byte(i * i >> 7)
	}
	logs := []*raft.Log{huge}
	for index := uint64(2); index < 30; index++ {
		log := *huge
		log.Index, log.Data = index, huge.Data[index:300_000]
		logs = append(logs, &log)
	}
	must(t, l.Shard(1).StoreLogs(logs))
	must(t, l.Close())
	l = mustOpen(t, opts)
	defer l.Close()
	for _, log := range logs {
		var got raft.Log
		must(t, l.Shard(1).GetLog(log.Index, &got))
		must(t, storetest.Same(&got, log))
	}
}

// TestSeveralShards runs everything at once, for the race detector and the order of the locks.
func TestSeveralShards(t *testing.T) {
	opts, fatal := testOptions(vfs.NewMem())
	opts.SegmentSize = 64 << 10
	l := mustOpen(t, opts)
	const shards, rounds = 4, 150
	states := make([]state, shards)
	var writers, others sync.WaitGroup
	var done atomic.Bool
	for shard := range uint64(shards) {
		s := l.Shard(shard)
		writers.Go(func() {
			st := state{}
			for i := range uint64(rounds) {
				if err := s.StoreLogs(batch(st.last+1, st.last+1+i%5, 1)); err != nil {
					t.Error(err)
					return
				}
				st = st.stored(st.last+1, st.last+1+i%5, 1)
				if i%20 == 19 {
					st = st.cut(st.last - 3)
					if err := s.CutBelow(st.first); err != nil {
						t.Error(err)
						return
					}
				}
			}
			states[shard] = st
		})
		others.Go(func() {
			for !done.Load() {
				last, _ := s.LastIndex()
				var log raft.Log
				if err := s.GetLog(last, &log); err != nil && !errors.Is(err, raft.ErrLogNotFound) {
					t.Error(err)
					return
				}
			}
		})
	}
	others.Go(func() {
		for i := 0; !done.Load(); i++ {
			l.onTick()
			l.Stats()
			l.Pinned(1 << 20)
			if err := errors.Join(l.Sync(), l.SetPolicy(SyncPolicy(i%3))); err != nil {
				t.Error(err)
			}
		}
	})
	writers.Wait()
	done.Store(true)
	others.Wait()
	must(t, l.Close())
	if errs := fatal.all(); len(errs) > 0 {
		t.Fatal(errs)
	}
	l = mustOpen(t, opts)
	defer l.Close()
	for shard, st := range states {
		must(t, st.matches(l.Shard(uint64(shard))))
		must(t, l.Shard(uint64(shard)).matchesBytes())
	}
}

// TestCloseWhileStoring closes the log under writers: each of them gets ErrClosed, and what was acknowledged is there.
func TestCloseWhileStoring(t *testing.T) {
	opts, _ := testOptions(vfs.NewMem())
	l := mustOpen(t, opts)
	var writers sync.WaitGroup
	acked := make([]atomic.Uint64, 3)
	for shard := range acked {
		writers.Go(func() {
			for index := uint64(1); ; index++ {
				if err := l.Shard(uint64(shard)).StoreLog(entry(index, 1)); err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
				acked[shard].Store(index)
			}
		})
	}
	for acked[0].Load() < 50 || acked[2].Load() < 50 {
		l.settle()
	}
	must(t, l.Close())
	writers.Wait()
	l = mustOpen(t, opts)
	defer l.Close()
	for shard := range acked {
		if last, _ := l.Shard(uint64(shard)).LastIndex(); last < acked[shard].Load() {
			t.Fatalf("shard %d: last entry %d, acknowledged %d", shard, last, acked[shard].Load())
		}
	}
}

// TestQuietShard: a shard whose last entry must stay readable is reported as pinning the log, and carried
// forward when its owner cuts.
func TestQuietShard(t *testing.T) {
	mem := vfs.NewMem()
	opts, _ := testOptions(mem)
	l := mustOpen(t, opts)
	quiet, busy := l.Shard(1), l.Shard(2)
	must(t, quiet.Reset(40, 7))
	must(t, quiet.StoreLogs(batch(41, 43, 8)))
	st := state{}.standIn(40, 7).stored(41, 43, 8)
	index := uint64(0)
	for range 120 {
		index++
		must(t, busy.StoreLog(entry(index, 1)))
		must(t, busy.CutBelow(index))
		l.settle()
	}
	if got := l.Pinned(4 * minSegmentSize); len(got) != 1 || got[0] != 1 {
		t.Fatalf("pinned by %v", got)
	}
	before := l.Stats().Segments
	must(t, quiet.CutBelow(40))
	l.settle()
	if after := l.Stats().Segments; before < 5 || after > 2 {
		t.Fatalf("%d segments before, %d after", before, after)
	}
	if got := l.Pinned(4 * minSegmentSize); len(got) != 0 {
		t.Fatalf("still pinned by %v", got)
	}
	must(t, st.matches(quiet))
	must(t, quiet.matchesBytes())
	must(t, l.Close())
	l = mustOpen(t, opts)
	defer l.Close()
	must(t, st.matches(l.Shard(1)))
	must(t, l.Shard(1).StoreLog(entry(44, 8)))
}

// TestCarryAcrossATurn: the current segment, which holds the shard's newer entries, has no room for the copies of
// the older ones. What is copied next must not depend on that segment, which goes when they are truncated.
func TestCarryAcrossATurn(t *testing.T) {
	opts, _ := testOptions(vfs.NewMem())
	l := mustOpen(t, opts)
	s, other := l.Shard(1), l.Shard(2)
	sized := func(index uint64, size int) *raft.Log {
		return &raft.Log{Index: index, Term: 1, Data: entry(29, 1).Data[:size]}
	}
	next := uint64(0)
	fill := func(size int) {
		next++
		must(t, other.StoreLog(sized(next, size)))
		l.settle()
	}
	must(t, s.StoreLog(sized(1, 1000)))
	fill(6000)
	fill(6000) // turns
	must(t, s.StoreLog(sized(2, 100)))
	fill(1500)
	if seq := l.currentLocked().seq; seq != 2 {
		t.Fatalf("current segment %d", seq)
	}
	must(t, s.CutBelow(1)) // carries
	if seq := l.currentLocked().seq; seq != 3 {
		t.Fatalf("current segment %d: the copies had room", seq)
	}
	must(t, s.StoreLog(sized(3, 100)))
	must(t, s.DeleteRange(2, 3))
	must(t, other.CutBelow(next))
	l.settle()
	if l.Stats().Segments != 1 {
		t.Fatalf("%d segments", l.Stats().Segments)
	}
	must(t, l.Close())
	l = mustOpen(t, opts)
	defer l.Close()
	if last, _ := l.Shard(1).LastIndex(); last != 1 {
		t.Fatalf("last entry %d", last)
	}
}

// TestFullDisk: when no new segment can be made, entries are refused, nothing is lost, and once there is
// space the log goes on.
func TestFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	var full atomic.Bool
	opts, fatal := testOptions(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpOpen && strings.Contains(op.Path, sparePrefix) {
			return syscall.ENOSPC
		}
		return nil
	})))
	l := mustOpen(t, opts)
	s := l.Shard(1)
	l.settle()
	full.Store(true)
	index, refused := uint64(0), error(nil)
	for refused == nil && index < 1000 {
		index++
		refused = s.StoreLog(entry(index, 1))
		l.settle()
	}
	if !errors.Is(refused, syscall.ENOSPC) || errors.Is(refused, ErrDead) || l.Stats().PrepareErr == nil {
		t.Fatalf("entry %d: %v; %v", index, refused, l.Stats().PrepareErr)
	}
	st := state{}.stored(1, index-1, 1)
	must(t, st.matches(s))
	must(t, s.CutBelow(index-1)) // what frees space must work
	st = st.cut(index - 1)
	full.Store(false)
	l.onTick()
	l.settle()
	must(t, s.StoreLog(entry(index, 1)))
	must(t, l.Close())
	l = mustOpen(t, opts)
	defer l.Close()
	must(t, st.stored(index, index, 1).matches(l.Shard(1)))
	if len(fatal.all()) > 0 {
		t.Fatal(fatal.all())
	}
}

// TestFailedSync: after a failed sync nothing is written or synced again, and Fatal has been called once.
func TestFailedSync(t *testing.T) {
	var fail, failed atomic.Bool
	var later atomic.Int32
	opts, fatal := testOptions(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch {
		case fail.Load() && !failed.Load() && op.Kind == errorfs.OpFileSyncData:
			failed.Store(true)
			return syscall.EIO
		case failed.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite:
			later.Add(1)
		}
		return nil
	})))
	l := mustOpen(t, opts)
	l.settle()
	must(t, l.Shard(1).StoreLog(entry(1, 1)))
	fail.Store(true)
	for range 3 {
		if err := l.Shard(1).StoreLog(entry(2, 1)); !errors.Is(err, ErrDead) || !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		if err := l.Sync(); !errors.Is(err, ErrDead) {
			t.Fatal(err)
		}
	}
	if last, _ := l.Shard(1).LastIndex(); last != 1 {
		t.Fatalf("last entry %d", last)
	}
	if err := l.Close(); !errors.Is(err, ErrDead) {
		t.Fatal(err)
	}
	if n := len(fatal.all()); n != 1 || later.Load() != 0 {
		t.Fatalf("Fatal was called %d times, %d operations after the failure", n, later.Load())
	}
}

func TestMayHaveForgotten(t *testing.T) {
	for _, c := range []struct {
		policy SyncPolicy
		change []SyncPolicy
		clean  bool
		boot   string
		want   bool
	}{
		{policy: Always, boot: "boot-2"},
		{policy: EverySec, boot: "boot-1"},
		{policy: EverySec, boot: "boot-2", want: true},
		{policy: No, boot: "boot-2", want: true},
		{policy: No, boot: "boot-2", clean: true},
		{policy: Always, change: []SyncPolicy{No}, boot: "boot-2", want: true},
		{policy: No, change: []SyncPolicy{EverySec, Always}, boot: "boot-2"},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			opts, _ := testOptions(mem)
			opts.Policy = c.policy
			l := mustOpen(t, opts)
			for _, policy := range c.change {
				must(t, l.SetPolicy(policy))
			}
			must(t, l.Shard(1).StoreLog(entry(1, 1)))
			if c.clean {
				must(t, l.Close())
			}
			opts.FS, opts.BootID = mem.CrashClone(vfs.CrashCloneCfg{}), c.boot
			if !c.clean {
				must(t, l.Close())
			}
			for range 3 { // it is remembered over clean starts
				l = mustOpen(t, opts)
				if l.MayHaveForgotten() != c.want {
					t.Fatalf("MayHaveForgotten is %v", !c.want)
				}
				must(t, l.Close())
			}
			l = mustOpen(t, opts)
			must(t, l.ClearForgotten())
			must(t, l.Close())
			l = mustOpen(t, opts)
			defer l.Close()
			if l.MayHaveForgotten() {
				t.Fatal("MayHaveForgotten after ClearForgotten")
			}
		})
	}
}

// TestEverySec: entries are written at once, and on stable storage after a tick.
func TestEverySec(t *testing.T) {
	mem := vfs.NewCrashableMem()
	opts, _ := testOptions(mem)
	opts.Policy = EverySec
	l := mustOpen(t, opts)
	defer l.Close()
	st := state{}.stored(1, 1, 1)
	must(t, l.Shard(1).StoreLog(entry(1, 1)))
	must(t, loadState(mem, st))
	must(t, loadState(mem.CrashClone(vfs.CrashCloneCfg{}), state{}))
	l.onTick()
	must(t, loadState(mem.CrashClone(vfs.CrashCloneCfg{}), st))
}

// TestKilledThenPowerLost: what a process finds that starts after another was killed is on stable storage before
// it is used, whatever was synced by the other.
func TestKilledThenPowerLost(t *testing.T) {
	mem := vfs.NewCrashableMem()
	opts, _ := testOptions(mem)
	opts.Policy = No
	killed := mustOpen(t, opts)
	must(t, killed.Shard(1).StoreLogs(batch(1, 5, 1)))
	killed.settle()
	st := state{}.stored(1, 5, 1)
	l := mustOpen(t, opts)
	must(t, st.matches(l.Shard(1)))
	must(t, loadState(mem.CrashClone(vfs.CrashCloneCfg{}), st))
	must(t, l.Close())
	must(t, killed.Close())
}

func TestTools(t *testing.T) {
	im, st := smallLog(t, true)
	fs := im.mount(t, "", nil)
	var out strings.Builder
	must(t, Check(fs, testDir, &out))
	if !strings.Contains(out.String(), "shard 1: entries 3 to 7") {
		t.Fatalf("check:\n%s", &out)
	}
	next := st.first
	must(t, Records(fs, testDir, func(shard uint64, log *raft.Log) error {
		if shard == 2 {
			return storetest.Same(log, entry(11, 1))
		}
		next++
		return storetest.Same(log, st.want(next-1))
	}))
	if next != st.last+1 {
		t.Fatalf("records end at %d", next)
	}
	out.Reset()
	must(t, Cat(fs, testDir, &out, func(_ uint64, log *raft.Log) (string, error) {
		return fmt.Sprintf("<%d>", log.Index), nil
	}))
	if lines := strings.Split(out.String(), "\n"); len(lines) != 7 || !strings.Contains(lines[0], "index=3 term=1 type=LogCommand time=2023-11-14T22:13:20.000000003Z") || !strings.Contains(lines[0], "<3>") {
		t.Fatalf("cat:\n%s", &out)
	}
	broken := errors.New("broken")
	if err := Cat(fs, testDir, io.Discard, func(uint64, *raft.Log) (string, error) { return "", broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	im[segmentName(1)][segmentHeaderSize+300] ^= 1
	out.Reset()
	if err := Check(im.mount(t, "", nil), testDir, &out); !errors.Is(err, ErrDamaged) || !strings.Contains(out.String(), "DAMAGED") {
		t.Fatalf("check: %v\n%s", err, &out)
	}
	if after := readImage(t, fs); len(after) != len(im) {
		t.Fatal("the tools have changed the folder")
	}
}

func TestStoreLogsDoesNotAllocate(t *testing.T) {
	if race.Enabled {
		t.Skip("pools forget at random under the race detector")
	}
	opts, _ := testOptions(vfs.NewMem())
	opts.SegmentSize = 4 << 20
	l := mustOpen(t, opts)
	defer l.Close()
	l.settle()
	s := l.Shard(1)
	index := uint64(1)
	logs := batch(1, 32, 1)
	for _, log := range logs {
		log.Data = log.Data[:min(100, len(log.Data))]
	}
	allocs := testing.AllocsPerRun(100, func() {
		for _, log := range logs {
			log.Index = index
			index++
		}
		if err := s.StoreLogs(logs); err != nil {
			t.Error(err)
		}
	})
	if allocs >= 1 {
		t.Fatalf("%v allocations for %d entries", allocs, len(logs))
	}
}

// Behind goes by where entries stand in the node's log, other shards' between them included.
func TestBehind(t *testing.T) {
	opts, _ := testOptions(vfs.NewMem())
	l := mustOpen(t, opts)
	defer func() { must(t, l.Close()) }()
	a, b := l.Shard(1), l.Shard(2)
	if got := a.Behind(5, 1000); got != 0 {
		t.Fatal("behind nothing: ", got)
	}
	for i := uint64(1); i <= 200; i++ {
		must(t, a.StoreLog(&raft.Log{Index: i, Data: make([]byte, 100)}))
		if i > 100 {
			must(t, b.StoreLog(&raft.Log{Index: i - 100, Data: make([]byte, 900)}))
		}
	}
	for _, c := range []struct {
		index      uint64
		bytes      int64
		from, upTo uint64
	}{
		{200, 0, 200, 200},
		{200, 1 << 40, 1, 1},
		{100, 5000, 50, 75},     // some 140 bytes an entry
		{200, 60_000, 160, 180}, // these segments are so small that a good part of each is not used
		{250, 60_000, 160, 180},
		{1, 5, 1, 1},
	} {
		if got := a.Behind(c.index, c.bytes); got < c.from || got > c.upTo {
			t.Errorf("Behind(%d, %d) is %d, want %d to %d", c.index, c.bytes, got, c.from, c.upTo)
		}
	}
	all := a.Bytes()
	if a.BytesBelow(0) != 0 || a.BytesBelow(1) != 0 || a.BytesBelow(101)*2 != all || a.BytesBelow(201) != all || a.BytesBelow(1<<40) != all {
		t.Errorf("%d bytes below 101, %d below 201, %d in all", a.BytesBelow(101), a.BytesBelow(201), all)
	}
	must(t, a.CutBelow(150))
	if got := a.BytesBelow(151); got*200 != all {
		t.Errorf("%d bytes below 151 after a cut", got)
	}
	if got := l.Shard(9).BytesBelow(7); got != 0 {
		t.Errorf("%d bytes of nothing", got)
	}
	if got := a.Behind(200, 1<<40); got != 150 {
		t.Error("behind a cut: ", got)
	}
	if got := a.Behind(120, 1<<40); got != 120 {
		t.Error("an entry that was cut: ", got)
	}
}
