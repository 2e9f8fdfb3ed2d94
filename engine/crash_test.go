package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/store/crashtest"
	"github.com/larder-db/larder/race"
)

func lookup(name string) *command.Command { return command.Lookup([]byte(name)) }

const (
	crashRounds  = 2
	crashEntries = 20
	installedAt  = crashEntries + crashEntries/2 // where another replica's state is installed, in place of a checkpoint
)

// workload is a fixed run of entries and checkpoints, with the digest after each entry.
type workload struct {
	log     [][]byte
	digests [][2]uint64 // after as many entries
	source  *Engine     // has a checkpoint at installedAt

	mu  sync.Mutex
	now progress
}

// progress says how far a workload is.
type progress struct {
	committed uint64 // index of the last checkpoint whose Commit returned nil
	begun     uint64
}

func newWorkload(t *testing.T) *workload {
	w := &workload{}
	g := &generator{r: rand.New(rand.NewPCG(7, 7)), clock: 1_000_000, keys: 60}
	e := openTest(t, vfs.NewMem())
	t.Cleanup(e.close)
	w.source = e.Engine
	w.digests = append(w.digests, digest(t, e.Engine))
	for i := range crashRounds * crashEntries {
		entry := w.entry(g, i)
		w.log = append(w.log, slices.Clone(entry))
		if err := e.Apply(uint64(i+1), 1, entry, nil); err != nil {
			t.Fatal(err)
		}
		if e.index = uint64(i + 1); e.index == installedAt {
			e.commit()
		}
		w.digests = append(w.digests, digest(t, e.Engine))
	}
	return w
}

// entry is a random one, or, now and then, one about large collections: made, deleted and made again, moved to another slot,
// flushed and swapped, all in one entry.
func (w *workload) entry(g *generator, i int) []byte {
	if i%7 != 1 {
		_, entry := g.batch()
		return entry
	}
	var members, pairs []string
	for m := range 300 {
		members = append(members, fmt.Sprint("member:", m))
		pairs = append(pairs, fmt.Sprint(m%50), fmt.Sprint("member:", m))
	}
	b := &Batch{}
	for _, c := range [][]string{
		append([]string{"SADD", "set1"}, members...),
		append([]string{"ZADD", "zset1"}, pairs...),
		append([]string{"RPUSH", "list1"}, members...),
		{"DEL", "set1"},
		append([]string{"SADD", "set1"}, members[i:]...),
		{"RENAME", "zset1", "moved"},
		{"COPY", "list1", "list2", "DB", "1", "REPLACE"},
		{"SREM", "set1", "member:77"},
	} {
		addTo(b, 0, byteArgs(c...))
	}
	if i%3 == 0 {
		addTo(b, 1, byteArgs("FLUSHDB"))
	}
	addTo(b, 0, byteArgs("SWAPDB", "0", "1"))
	addTo(b, 0, byteArgs(append([]string{"HSET", "hash1"}, pairs...)...))
	return slices.Clone(b.Seal(Header{Clock: g.clock, Seed: g.r.Uint64()}))
}

func (w *workload) set(committed, begun uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = progress{max(w.now.committed, committed), max(w.now.begun, begun)}
}

func (w *workload) get() progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// run opens the engine once a round, applies entries, and writes a checkpoint amid them. A checkpoint that fails is
// no end: the next one has to bring its changes as well.
func (w *workload) run(fs vfs.FS) (failed error) {
	for range crashRounds {
		e, err := tryOpen(fs)
		if err != nil {
			return errors.Join(failed, err)
		}
		err = w.round(e)
		if cerr := e.Close(); err == nil {
			err = cerr
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func (w *workload) round(e *Engine) (failed error) {
	from := e.AppliedIndex()
	end := min(uint64(len(w.log)), from+crashEntries)
	apply := func(to uint64) error {
		for i := e.AppliedIndex() + 1; i <= min(to, end); i++ {
			if err := e.Apply(i, 1, w.log[i-1], nil); err != nil {
				return err
			}
		}
		return nil
	}
	for _, at := range []uint64{from + crashEntries/2, end} {
		if err := apply(at); err != nil {
			return errors.Join(failed, err)
		}
		at = e.AppliedIndex()
		w.set(0, at)
		commit := func() error {
			c, err := e.BeginCheckpoint()
			if err != nil {
				return err
			}
			return c.Commit(at, 1, nil, 0)
		}
		if at == installedAt {
			commit = func() error { return transfer(w.source, e) }
		}
		if err := commit(); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		w.set(at, at)
	}
	return failed
}

// recover opens what a crash left: it must be the state at a completed checkpoint, and the entries behind it bring it
// to the end.
func (w *workload) recover(t *testing.T, fs vfs.FS, committed, begun uint64, what string) {
	t.Helper()
	e, err := tryOpen(fs)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}()
	at := e.AppliedIndex()
	if at < committed || at > begun {
		t.Fatalf("E4: %s: at index %d, want %d to %d", what, at, committed, begun)
	}
	if got := digest(t, e); got != w.digests[at] {
		t.Fatalf("E4: %s: at index %d, and not that state", what, at)
	}
	for i := at + 1; i <= uint64(len(w.log)); i++ {
		if err := e.Apply(i, 1, w.log[i-1], nil); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	if got := digest(t, e); got != w.digests[len(w.log)] {
		t.Fatalf("E8: %s: replayed from %d, and another state", what, at)
	}
}

// E4, P6: a crash before every file operation that changes something.
func TestCrashAtEveryWrite(t *testing.T) {
	w := newWorkload(t)
	fs, crashes := crashtest.Watch(vfs.NewCrashableMem(), w.get)
	if err := w.run(fs); err != nil {
		t.Fatal(err)
	}
	all := crashes.All()
	if now := w.get(); now.committed != uint64(len(w.log)) || len(all) < 100 {
		t.Fatalf("checkpoint at %d of %d, %d crashes", now.committed, len(w.log), len(all))
	}
	t.Logf("%d crashes", len(all))
	for i := 0; i < len(all); i += race.Factor {
		w.recover(t, all[i].FS, all[i].Before.committed, all[i].After.begun, all[i].What)
	}
}

// E3, E4: an error at every file operation in turn. What a failed checkpoint had is in the next one; then a crash.
func TestErrorAtEveryOperation(t *testing.T) {
	w := newWorkload(t)
	for n := 0; ; n += race.Factor {
		disk := vfs.NewCrashableMem()
		fs, failed := crashtest.FailAt(disk, n)
		w.mu.Lock()
		w.now = progress{}
		w.mu.Unlock()
		err := w.run(fs)
		what := failed()
		if what == "" && err != nil {
			t.Fatal(err)
		}
		now := w.get()
		image := crashtest.Left(disk, crashtest.Kept[n%len(crashtest.Kept)], 1, uint64(n))
		w.recover(t, image, now.committed, now.begun, what)
		if what == "" {
			t.Logf("%d operations", n)
			return
		}
	}
}
