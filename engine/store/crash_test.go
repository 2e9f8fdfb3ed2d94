package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/store/crashtest"
	"github.com/larder-db/larder/race"
)

// workload makes checkpoints of all kinds, closing and opening the store in between. It keeps what must be there.
type workload struct {
	mu     sync.Mutex
	now    progress
	states map[uint64][]string // what the store holds after each checkpoint
}

// progress says how far a workload is.
type progress struct {
	begun     uint64 // the last checkpoint that was begun
	committed uint64 // the last one whose Commit returned nil
}

func (w *workload) progress() progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
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
			w.now.begun = i
			w.mu.Unlock()
			if err = w.checkpoint(s, i); err != nil {
				break
			}
			w.mu.Lock()
			w.now.committed = i
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

// replaced is the checkpoint in whose place the whole store is replaced.
const replaced = 4

// replace is checkpoint with another store's records.
func (w *workload) replace(s *Store, i uint64) error {
	before, _ := s.Meta()
	r, err := s.NewReplacement()
	if err != nil {
		return err
	}
	for slot := uint16(3); slot < 6 && err == nil; slot++ {
		for k := 0; k < 60 && err == nil; k++ {
			key := appendRecordKey(nil, Position{2, slot, uint64(k)}, fmt.Append(nil, "k", k))
			err = r.Add(key, fmt.Appendf(nil, "replaced %d:%040d", i, k))
		}
	}
	if err == nil {
		err = r.Add(appendDue(nil, DueKey{At: 7, Position: Position{2, 3, 5}}), nil)
	}
	if err == nil {
		err = r.Finish(Meta{Index: i, Term: 1, State: []byte("replaced")})
	}
	if err == nil {
		err = r.Shut(context.Background())
	}
	if err == nil {
		err = r.Commit()
	}
	if err != nil {
		if after, _ := s.Meta(); s.usable() == nil && after.Index != before.Index {
			err = errors.Join(err, errWorkload)
		}
		return errors.Join(err, r.Abort())
	}
	return nil
}

func (w *workload) checkpoint(s *Store, i uint64) error {
	if i == replaced {
		return w.replace(s, i)
	}
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
	for _, folder := range []string{ingestFolder, stagingFolder} {
		if left, err := fs.List("shard/" + folder); err == nil && len(left) > 0 {
			t.Fatalf("%s: left behind: %v", what, left)
		}
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

// E4: crash before every file operation that changes something.
func TestCrashEverywhere(t *testing.T) {
	w := &workload{states: reference(t).states}
	fs, crashes := crashtest.Watch(vfs.NewCrashableMem(), w.progress)
	if err := w.run(t, fs); err != nil {
		t.Fatal(err)
	}
	all := crashes.All()
	if len(all) < 100 {
		t.Fatalf("only %d crashes", len(all))
	}
	t.Logf("%d crashes", len(all))
	for i := 0; i < len(all); i += race.Factor {
		w.recover(t, all[i].FS, all[i].Before.committed, all[i].After.begun, all[i].What)
	}
}

// E4: an error at every file operation in turn, reads included; then the machine crashes.
func TestErrorEverywhere(t *testing.T) {
	states := reference(t).states
	for n := 0; ; n += race.Factor {
		disk := vfs.NewCrashableMem()
		fs, failed := crashtest.FailAt(disk, n)
		w := &workload{states: states}
		err := w.run(t, fs)
		what := failed()
		if errors.Is(err, errWorkload) {
			t.Fatal(what, err)
		}
		for seed, kept := range crashtest.Kept {
			image := crashtest.Left(disk, kept, uint64(n), uint64(seed))
			w.recover(t, image, w.now.committed, w.now.begun, fmt.Sprintf("%s, %d%% kept, seed %d", what, kept, seed))
		}
		if what == "" {
			t.Logf("%d errors", n)
			return
		}
	}
}
