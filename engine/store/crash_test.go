package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/larder-db/larder/race"
)

// workload makes checkpoints of all kinds, closing and opening the store in between. It keeps what must be there.
type workload struct {
	mu        sync.Mutex
	begun     uint64              // the last checkpoint that was begun
	committed uint64              // the last one whose Commit returned nil
	states    map[uint64][]string // what the store holds after each
}

const workloadCheckpoints = 6

func (w *workload) build(c *Checkpoint, i uint64) error {
	var errs []error
	put := func(ns uint32, slot uint16, n int, expire int64) {
		for k := range n {
			errs = append(errs, c.Set(Position{ns, slot, uint64(k)}, fmt.Append(nil, "k", k), fmt.Appendf(nil, "%d:%040d", i, k), expire))
		}
	}
	switch i % 3 {
	case 0:
		c.DropNamespace(1)
		c.DropSlot(2, 3)
		put(1, 4, 60, 0)
		put(2, 3, 20, int64(i))
	case 1:
		put(1, 3, 80, int64(i))
		put(2, 3, 80, 0)
	case 2:
		c.TrimDue(int64(i) - 1)
		put(1, 3, 10, 0)
		for k := 10; k < 40; k++ {
			errs = append(errs, c.Delete(Position{1, 3, uint64(k)}, fmt.Append(nil, "k", k)))
		}
	}
	return errors.Join(errs...)
}

// run goes on until something fails.
func (w *workload) run(t *testing.T, fs vfs.FS) error {
	for i := uint64(1); i <= workloadCheckpoints; {
		s, err := Open(Options{FS: fs, Dir: "shard", Logger: quiet(), TableSize: 4 << 10})
		if err != nil {
			return err
		}
		for range 2 {
			w.mu.Lock()
			w.begun = i
			w.mu.Unlock()
			if err = w.checkpoint(s, i); err != nil {
				break
			}
			w.mu.Lock()
			w.committed = i
			if w.states[i] == nil {
				w.states[i] = state(t, s)
			}
			w.mu.Unlock()
			i++
		}
		if err = errors.Join(err, s.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (w *workload) checkpoint(s *Store, i uint64) error {
	before, _ := s.Meta()
	c, err := s.NewCheckpoint()
	if err != nil {
		return err
	}
	if err = w.build(c, i); err == nil {
		err = c.Commit(Meta{Index: i, Term: 1, State: fmt.Append(nil, "state of ", i)})
	}
	if err != nil {
		if after, _ := s.Meta(); s.usable() == nil && after.Index != before.Index {
			err = errors.Join(err, errWorkload)
		}
		return errors.Join(err, c.Abort())
	}
	return nil
}

var errWorkload = errors.New("a checkpoint failed and took effect, without Fatal")

// state is all that a store holds, as text.
func state(t testing.TB, s *Store) []string {
	t.Helper()
	all := contents(t, s)
	due, err := s.Due(1<<62, DueKey{}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := s.Meta()
	return append(all, fmt.Sprint(due, m.Index, m.Term, string(m.State), ok))
}

// recover opens what a crash left and compares it with the checkpoints that are allowed.
func (w *workload) recover(t *testing.T, fs *vfs.MemFS, committed, begun uint64, what string) {
	t.Helper()
	s, err := Open(Options{FS: fs, Dir: "shard", Logger: quiet(), TableSize: 4 << 10})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	m, ok := s.Meta()
	if m.Index < committed || m.Index > begun {
		t.Fatalf("%s: at index %d (%t), want %d to %d", what, m.Index, ok, committed, begun)
	}
	if got := state(t, s); ok && !slices.Equal(got, w.states[m.Index]) || !ok && len(got) != 1 {
		t.Fatalf("%s: not the state of checkpoint %d", what, m.Index)
	}
	if left, err := fs.List("shard/" + ingestFolder); err == nil && len(left) > 0 {
		t.Fatalf("%s: left behind: %v", what, left)
	}
	closeStore(t, s)
}

// reference is the workload run without faults.
func reference(t *testing.T) *workload {
	w := &workload{states: map[uint64][]string{}}
	if err := w.run(t, vfs.NewMem()); err != nil {
		t.Fatal(err)
	}
	return w
}

// lockedLinks keeps MemFS from dead-locking: its Link takes a read lock twice, and CrashClone wants to write in between.
type lockedLinks struct {
	*vfs.MemFS
	mu *sync.Mutex
}

func (l lockedLinks) Link(from, to string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.MemFS.Link(from, to)
}

// keptParts are how much of what was not synced a crash leaves on the disk, in percent: nothing, all, and parts drawn at
// random, in any order, blocks of files as well as names. A name that was removed is back unless its folder was synced. Under
// the race detector only every tenth crash is looked at: seven of them, so that all have a turn.
var keptParts = []int{0, 100, 20, 50, 50, 80, 35}

// E4: crash before every file operation that changes something.
func TestCrashEverywhere(t *testing.T) {
	fs := vfs.NewCrashableMem()
	w := &workload{states: reference(t).states}
	type crash struct {
		fs               *vfs.MemFS
		committed, begun uint64
		what             string
	}
	var crashes []crash
	var mu sync.Mutex
	points := uint64(0)
	clone := func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		points++
		for seed, kept := range keptParts {
			w.mu.Lock()
			committed := w.committed // before the clone: what is there by then is in it
			w.mu.Unlock()
			image := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(points, uint64(seed)))})
			w.mu.Lock()
			crashes = append(crashes, crash{image, committed, w.begun,
				fmt.Sprintf("crash %d.%d before %v of %s, %d%% kept", points, seed, op.Kind, op.Path, kept)})
			w.mu.Unlock()
		}
		return nil
	}
	if err := w.run(t, errorfs.Wrap(lockedLinks{fs, &mu}, errorfs.InjectorFunc(clone))); err != nil {
		t.Fatal(err)
	}
	if len(crashes) < 100 {
		t.Fatalf("only %d crashes", len(crashes))
	}
	t.Logf("%d crashes", len(crashes))
	for i := 0; i < len(crashes); i += race.Factor {
		c := crashes[i]
		w.recover(t, c.fs, c.committed, c.begun, c.what)
	}
}

// E4: an error at every file operation in turn, reads included; then the machine crashes.
func TestErrorEverywhere(t *testing.T) {
	states := reference(t).states
	for n := 0; ; n += race.Factor {
		fs := vfs.NewCrashableMem()
		var mu sync.Mutex
		count, fired := 0, ""
		inject := func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if count++; count-1 != n {
				return nil
			}
			fired = fmt.Sprintf("error %d at %v of %s", n, op.Kind, op.Path)
			return errorfs.ErrInjected
		}
		w := &workload{states: states}
		err := w.run(t, errorfs.Wrap(fs, errorfs.InjectorFunc(inject)))
		if errors.Is(err, errWorkload) {
			t.Fatal(fired, err)
		}
		mu.Lock()
		what := fired
		mu.Unlock()
		for seed, kept := range keptParts {
			image := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(uint64(n), uint64(seed)))})
			w.recover(t, image, w.committed, w.begun, fmt.Sprintf("%s, %d%% kept, seed %d", what, kept, seed))
		}
		if what == "" {
			t.Logf("%d errors", n)
			return
		}
	}
}
