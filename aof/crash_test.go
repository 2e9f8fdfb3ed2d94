package aof

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// tracker knows, for each shard, in which states its log may be found after a stop at this moment.
type tracker struct {
	mu      sync.Mutex
	allowed map[uint64][]state
}

func newTracker() *tracker { return &tracker{allowed: make(map[uint64][]state)} }

func (tr *tracker) now(shard uint64) state {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if a := tr.allowed[shard]; len(a) > 0 {
		return a[0]
	}
	return state{}
}

// step runs an operation that takes the shard through the states. An error leaves them all possible, unless
// the log goes on: then the shard is as it was.
func (tr *tracker) step(shard uint64, op func() error, through ...state) error {
	before := tr.now(shard)
	tr.set(shard, append([]state{before}, through...))
	err := op()
	switch {
	case err == nil:
		tr.set(shard, through[len(through)-1:])
	case !errors.Is(err, ErrDead):
		tr.set(shard, []state{before})
	}
	return err
}

// cut runs CutBelow. A state allows for a cut that was not made, so it does not matter if it fails halfway.
func (tr *tracker) cut(s *ShardLog, below uint64) error {
	before := tr.now(s.id)
	tr.set(s.id, []state{before, before.cut(below)})
	err := s.CutBelow(below)
	if !errors.Is(err, ErrDead) {
		tr.set(s.id, []state{before.cut(below)})
	}
	return err
}

func (tr *tracker) set(shard uint64, states []state) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.allowed[shard] = states
}

// freeze calls fn while no operation can begin or be acknowledged.
func (tr *tracker) freeze(fn func(allowed map[uint64][]state)) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	fn(tr.allowed)
}

// workload runs operations of all kinds on three shards until one fails for good.
func workload(l *Log, tr *tracker) error {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 90 {
		shard := uint64(1 + i%2)
		if i%30 == 5 {
			shard = 3 // a quiet one, which has to be carried
		}
		s, now := l.Shard(shard), tr.now(shard)
		term := uint64(1 + i/10)
		var err error
		switch kind := rng.IntN(10); {
		case kind == 0 && now.last > now.first+2:
			err = tr.step(shard, func() error { return s.DeleteRange(now.last-1, now.last) }, now.truncated(now.last-1))
		case (kind == 1 || kind == 2 || kind == 3) && now.last > now.first:
			err = tr.cut(s, now.last-1)
		case i == 50:
			err = tr.step(shard, func() error { return s.Reset(now.last+10, term) }, now.standIn(now.last+10, term))
		default:
			first, last := now.last+1, now.last+1+uint64(rng.IntN(6))
			var through []state
			for index := first; index <= last; index++ {
				through = append(through, now.stored(first, index, term))
			}
			err = tr.step(shard, func() error { return s.StoreLogs(batch(first, last, term)) }, through...)
		}
		if errors.Is(err, ErrDead) {
			return err
		}
		if i%7 == 0 {
			l.onTick()
			if quiet := tr.now(3); quiet.last > 0 {
				if err := tr.cut(l.Shard(3), quiet.last); errors.Is(err, ErrDead) {
					return err
				}
			}
		}
		l.settle()
	}
	return nil
}

// verify opens what a stop left behind twice, with more entries stored in between.
func verify(t *testing.T, fs vfs.FS, allowed map[uint64][]state) {
	t.Helper()
	opts, _ := testOptions(fs)
	found := make(map[uint64]state)
	l := mustOpen(t, opts)
	for shard, states := range allowed {
		s := l.Shard(shard)
		st, err := oneOf(s, states)
		if err != nil {
			t.Fatalf("shard %d: %v", shard, err)
		}
		found[shard] = st.stored(st.last+1, st.last+2, 99)
		must(t, s.StoreLogs(batch(st.last+1, st.last+2, 99)))
	}
	for _, shard := range l.Shards() {
		if first, _ := l.Shard(shard).FirstIndex(); first > 0 && len(allowed[shard]) == 0 {
			t.Fatalf("shard %d was invented", shard)
		}
	}
	must(t, l.Close())
	l = mustOpen(t, opts)
	for shard, st := range found {
		if err := st.matches(l.Shard(shard)); err != nil {
			t.Fatalf("shard %d, opened again: %v", shard, err)
		}
	}
	must(t, l.Close())
}

func oneOf(s *ShardLog, states []state) (state, error) {
	var errs []error
	for _, st := range states {
		err := st.matches(s)
		if err == nil {
			return st, nil
		}
		errs = append(errs, err)
	}
	return state{}, errors.Join(errs...)
}

// TestCrashAtEveryOperation stops the machine before every operation on files, with none, some or all of
// what was not synced on the disk. What was acknowledged is there, and nothing else.
func TestCrashAtEveryOperation(t *testing.T) {
	type stop struct {
		fs      *vfs.MemFS
		allowed map[uint64][]state
		name    string
	}
	var stops []stop
	mem, tr := vfs.NewCrashableMem(), newTracker()
	points := 0
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		tr.freeze(func(allowed map[uint64][]state) {
			points++
			copied := make(map[uint64][]state)
			for shard, states := range allowed {
				copied[shard] = states
			}
			for seed, percent := range []int{0, 100, 50, 50, 20, 80} {
				stops = append(stops, stop{
					fs:      mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(points), uint64(seed)))}),
					allowed: copied,
					name:    fmt.Sprintf("point %d, seed %d, %d%% of what was not synced", points, seed, percent),
				})
			}
		})
		return nil
	}))
	must(t, mem.MkdirAll(testDir, 0o755))
	root, err := mem.OpenDir("/")
	must(t, err)
	must(t, errors.Join(err, root.Sync(), root.Close()))
	opts, _ := testOptions(fs)
	l := mustOpen(t, opts)
	must(t, workload(l, tr))
	if l.Stats().SegmentsRetired == 0 {
		t.Fatal("the workload retires no segment")
	}
	must(t, l.Close())
	for _, s := range stops {
		if !t.Run(s.name, func(t *testing.T) { verify(t, s.fs, s.allowed) }) {
			return
		}
	}
	t.Logf("%d points", points)
}

// TestErrorAtEveryOperation lets every operation on files fail in turn. The log then either goes on
// without having lost anything, or is dead, and what was acknowledged is there afterwards.
func TestErrorAtEveryOperation(t *testing.T) {
	const tooMany = 10_000
	for k := int32(0); k < tooMany; k++ {
		mem, tr := vfs.NewCrashableMem(), newTracker()
		index := errorfs.OnIndex(k)
		opts, fatal := testOptions(errorfs.Wrap(mem, index))
		l, err := Open(opts)
		if err == nil {
			err = workload(l, tr)
			dead := errors.Is(err, ErrDead)
			// The failure may have struck in the background, after the last operation.
			if !dead && len(fatal.all()) > 0 && l.Sync() == nil {
				t.Fatalf("operation %d: Fatal was called, but the log goes on", k)
			}
			closeErr := l.Close() // joins the background, which may have been about to call Fatal
			if dead && len(fatal.all()) == 0 {
				t.Fatalf("operation %d: the log is dead, but Fatal was not called", k)
			}
			if len(fatal.all()) > 1 {
				t.Fatalf("operation %d: Fatal was called %d times", k, len(fatal.all()))
			}
			if err == nil && closeErr == nil && index.Load() >= 0 {
				return // no error fired: every operation has had its turn
			}
		} else if !errors.Is(err, errorfs.ErrInjected) {
			t.Fatalf("operation %d: %v", k, err)
		}
		allowed := tr.allowed
		crashed := mem.CrashClone(vfs.CrashCloneCfg{})
		if !t.Run(fmt.Sprintf("operation %d", k), func(t *testing.T) { verify(t, mem, allowed) }) {
			return
		}
		if !t.Run(fmt.Sprintf("operation %d, power lost", k), func(t *testing.T) {
			if err := crashed.MkdirAll(testDir, 0o755); err != nil {
				t.Fatal(err)
			}
			verify(t, crashed, allowed)
		}) {
			return
		}
	}
	t.Fatalf("more than %d operations", tooMany)
}
