package keyspace

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/race"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a key space with its store, and a clock.
type house struct {
	*Keyspace
	t     testing.TB
	fs    vfs.FS
	store *store.Store
	now   int64
	index uint64
}

func open(t testing.TB, fs vfs.FS) *house {
	t.Helper()
	h := &house{t: t, fs: fs, now: 1000}
	h.open()
	return h
}

func (h *house) open() {
	h.t.Helper()
	var err error
	h.store, err = store.Open(store.Options{FS: h.fs, Dir: "db", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		h.t.Fatal(err)
	}
	h.Keyspace, err = Open(Options{Store: h.store, Random: func() uint64 { return 99 }, Reserve: 8 << 30})
	if err != nil {
		h.t.Fatal(err)
	}
	m, _ := h.store.Meta()
	h.index = m.Index
}

func (h *house) close() {
	h.t.Helper()
	if err := errors.Join(h.Keyspace.Close(), h.store.Close()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) reopen() {
	h.t.Helper()
	h.close()
	h.open()
}

// write runs do inside an entry.
func (h *house) write(do func(tx *Tx)) {
	h.t.Helper()
	h.Lock()
	defer h.Unlock()
	var tx Tx
	tx.Begin(h.Keyspace, Writing, 0, h.Advance(h.now), 1)
	do(&tx)
	if tx.Err() != nil {
		h.t.Fatal(tx.Err())
	}
}

func (h *house) set(key, val string, expire int64) {
	h.t.Helper()
	h.write(func(tx *Tx) { tx.Put(0, []byte(key), Entry{Kind: value.String, Value: []byte(val), Expire: expire}) })
}

func (h *house) del(key string) {
	h.t.Helper()
	h.write(func(tx *Tx) { tx.Delete(0, []byte(key)) })
}

// get reads as a client does: at once, and detached where that does not do.
func (h *house) get(key string) (val string, ok bool) {
	h.t.Helper()
	var tx Tx
	h.RLock()
	tx.Begin(h.Keyspace, Reading, 0, h.now, 1)
	e, ok := tx.Get(0, []byte(key))
	val = string(e.Value)
	h.RUnlock()
	if !tx.Cold() {
		return val, ok
	}
	_, err := h.Detach([]Key{{0, []byte(key)}}, false, 0, h.now, 1, func(tx *Tx) {
		e, ok = tx.Get(0, []byte(key))
		val = string(e.Value)
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return val, ok
}

func (h *house) want(key, want string) {
	h.t.Helper()
	if got, ok := h.get(key); !ok || got != want {
		h.t.Fatalf("%q is %.50q (%t), want %.50q", key, got, ok, want)
	}
}

func (h *house) checkpoint() {
	h.t.Helper()
	c, err := h.BeginCheckpoint()
	if err != nil {
		h.t.Fatal(err)
	}
	h.index++
	if err := c.Commit(h.index, 1, nil, 0); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) chill() {
	h.SetBudget(1)
	for h.Upkeep() {
	}
	h.SetBudget(0)
}

// stuck is a file system on which the next read of a table waits, once armed.
type stuck struct {
	vfs.FS
	armed   atomic.Bool
	reached chan struct{}
	goOn    chan struct{}
}

func newStuck() *stuck {
	s := &stuck{reached: make(chan struct{}), goOn: make(chan struct{})}
	s.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, ".sst") && s.armed.CompareAndSwap(true, false) {
			s.reached <- struct{}{}
			<-s.goOn
		}
		return nil
	}))
	return s
}

// A fill is under way and has read its key, when the key changes, is checkpointed and leaves the front: what the fill
// has read is old news.
func TestFillNeverEntersOldNews(t *testing.T) {
	store := func(h *house) { h.checkpoint(); h.chill() }
	flush := func(h *house) {
		h.write(func(tx *Tx) { tx.Flush(0) })
		for h.Upkeep() { // until it is freed
		}
	}
	for name, test := range map[string]struct {
		change func(h *house, key string)
		gone   bool
	}{
		"changed":            {func(h *house, key string) { h.set(key, "new", 0) }, false},
		"changed, stored":    {func(h *house, key string) { h.set(key, "new", 0); h.checkpoint() }, false},
		"changed, cold":      {func(h *house, key string) { h.set(key, "new", 0); store(h) }, false},
		"deleted":            {func(h *house, key string) { h.del(key) }, true},
		"deleted, stored":    {func(h *house, key string) { h.del(key); h.checkpoint() }, true},
		"deleted, cold":      {func(h *house, key string) { h.del(key); store(h) }, true},
		"flushed":            {func(h *house, _ string) { flush(h) }, true},
		"flushed, set":       {func(h *house, key string) { flush(h); h.set(key, "new", 0) }, false},
		"flushed, set, cold": {func(h *house, key string) { flush(h); h.set(key, "new", 0); store(h) }, false},
		"reloaded, set":      {func(h *house, key string) { reload(h); h.set(key, "new", 0) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			fs := newStuck()
			h := open(t, fs)
			defer h.close()
			first := ""
			for i := range 300 { // several blocks of one slot
				key := fmt.Sprint("{s}", i)
				h.set(key, fmt.Sprintf("old%0100d", i), 0)
				if first == "" || h.hash([]byte(key)) < h.hash([]byte(first)) {
					first = key
				}
			}
			h.checkpoint()
			h.reopen() // everything is cold, the block cache too, but for the first block
			if _, found, err := h.store.Get(h.position(h.mu.dbs[0], []byte(first)), []byte(first), nil); err != nil || !found {
				t.Fatal(found, err)
			}
			fs.armed.Store(true)
			h.Prefetch([]Key{{0, []byte(first)}})
			<-fs.reached
			test.change(h, first)
			close(fs.goOn)
			h.fills.joined.Wait()
			if err := h.Warm([]Key{{0, []byte(first)}}); err != nil {
				t.Fatal(err)
			}
			h.wantEntriesOnce()
			if strings.HasPrefix(name, "flushed") && h.Stats().Entries > 1 {
				t.Fatalf("%d entries came into a dropped name space", h.Stats().Entries)
			}
			if got, ok := h.get(first); ok == test.gone || ok && got != "new" {
				t.Fatalf("%q is %.10q (%t) after the fill", first, got, ok)
			}
		})
	}
}

// wantEntriesOnce looks for keys that the front has twice.
func (h *house) wantEntriesOnce() {
	h.t.Helper()
	met := map[string]bool{}
	err := h.Each(func(_ *Tx, db int, key []byte, _ Entry) error {
		k := fmt.Sprint(db, string(key))
		if met[k] {
			return fmt.Errorf("%q is there twice", k)
		}
		met[k] = true
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if n := h.Stats().Keys[0]; int64(len(met)) != n {
		h.t.Fatalf("%d keys are there, %d are counted", len(met), n)
	}
}

func reload(h *house) {
	h.t.Helper()
	if err := h.Reload(func() error { return nil }); err != nil {
		h.t.Fatal(err)
	}
}

func TestReloadIsRefusedBesideACheckpoint(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	h.set("k", "v", 0)
	c, err := h.BeginCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Reload(func() error { return nil }); !errors.Is(err, ErrCheckpointing) {
		t.Fatalf("Reload: %v", err)
	}
	if _, err := h.BeginCheckpoint(); !errors.Is(err, ErrCheckpointing) {
		t.Fatalf("a second checkpoint: %v", err)
	}
	c.Cancel()
	h.want("k", "v")
	reload(h)
	if _, ok := h.get("k"); ok {
		t.Fatal("a key that no checkpoint has is there after Reload")
	}
}

// Once it is durable a checkpoint lets others run between the steps in which its entries become clean; they may change
// what has not been settled yet.
func TestCheckpointRestsWhileItSettles(t *testing.T) {
	const n = 8 * settleStep
	h := open(t, vfs.NewMem())
	defer h.close()
	for i := range n {
		h.set(strconv.Itoa(i), "old", 0)
	}
	c, err := h.BeginCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	rests := 0
	c.Pace = func() {
		if m, _ := h.store.Meta(); m.Index != 1 {
			return
		}
		h.set(strconv.Itoa(rests*settleStep/2), "new", 0)
		rests++
	}
	if err := c.Commit(1, 1, nil, 0); err != nil {
		t.Fatal(err)
	}
	if rests < n/settleStep/2 {
		t.Errorf("%d rests", rests)
	}
	if got := h.Stats().DirtyKeys; got != int64(rests) {
		t.Errorf("%d keys are dirty, %d were set", got, rests)
	}
	h.checkpoint()
	h.reopen()
	for i := range rests {
		h.want(strconv.Itoa(i*settleStep/2), "new")
	}
	h.want(strconv.Itoa(n-1), "old")
}

// dueKeys goes on with Due until it has been everywhere.
func (h *house) dueKeys() map[string]bool {
	h.t.Helper()
	found := map[string]bool{}
	for range 60 {
		keys, err := h.Due(h.now, 20, 50)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, k := range keys {
			found[string(k.Key)] = true
		}
	}
	return found
}

func (h *house) expire() (n int) {
	for k := range h.dueKeys() {
		h.write(func(tx *Tx) { tx.Peek(0, []byte(k)) }) // a key that is due is deleted when a write meets it
		n++
	}
	return n
}

func TestDueFindsEveryKey(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	for i := range 300 {
		h.set(fmt.Sprint("timed", i), "v", int64(2000+i))
		h.set(fmt.Sprint("stays", i), "v", 0)
	}
	h.checkpoint()
	h.chill()
	for i := 300; i < 400; i++ {
		h.set(fmt.Sprint("timed", i), "v", int64(2000+i)) // in the front alone
	}
	h.set("timed1", "no more", 0)
	h.del("timed2")
	h.set("timed3", "later", 9000)
	h.now = 2200 // due: 0 to 199, but for three
	if n := h.expire(); n != 197 {
		t.Fatalf("%d keys are due, want 197", n)
	}
	h.checkpoint()
	h.chill()
	h.now = 2400 // the key with the deadline at 2399 is the last
	if n := h.expire(); n != 200 {
		t.Fatalf("%d keys are due, want 200", n)
	}
	if s := h.Stats(); s.Keys[0] != 302 || s.Timed[0] != 1 {
		t.Fatalf("%d keys, %d timed", s.Keys[0], s.Timed[0])
	}
	h.dueKeys()
	h.checkpoint()
	if left, err := h.store.Due(1<<60, store.DueKey{}, 1000); err != nil || len(left) != 1 {
		t.Fatalf("%d index records are left (%v), want 1", len(left), err)
	}
}

// A key that becomes due while it is dirty comes into the index after the pass that went beyond its deadline.
func TestTrimLeavesWhatACheckpointBrings(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	h.set("k", "v", 2000)
	h.now = 3000
	c, err := h.BeginCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	h.dueKeys()
	if err := c.Commit(1, 1, nil, 0); err != nil {
		t.Fatal(err)
	}
	h.index = 1
	h.checkpoint()
	h.dueKeys()
	h.checkpoint()
	h.chill()
	if due := h.dueKeys(); !due["k"] {
		t.Fatal("the key is forgotten")
	}
}

func (h *house) scan(cursor uint64, count int, mode Mode) (keys []string, next uint64) {
	h.t.Helper()
	var tx Tx
	if mode == Riding {
		h.Lock()
		defer h.Unlock()
		tx.Begin(h.Keyspace, Riding, 0, h.now, 1)
		next = tx.Scan(0, cursor, count, func(key []byte, _ Entry) { keys = append(keys, string(key)) })
		if tx.Err() != nil {
			h.t.Fatal(tx.Err())
		}
		return keys, next
	}
	_, err := h.Detach(nil, false, 0, h.now, 1, func(tx *Tx) {
		next = tx.Scan(0, cursor, count, func(key []byte, _ Entry) { keys = append(keys, string(key)) })
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return keys, next
}

// Every key that is there throughout comes exactly once, whatever happens between the calls.
func TestScanMeetsEachKeyOnce(t *testing.T) {
	for _, tag := range []string{"", "{one slot}"} {
		h := open(t, vfs.NewMem())
		r := rand.New(rand.NewPCG(5, 5))
		const n = 3000 / raceFactor
		for i := range n {
			h.set(fmt.Sprint(tag, "stays", i), "v", 0)
			h.set(fmt.Sprint(tag, "comes and goes", i), "v", 0)
		}
		for round := range 3 {
			met := map[string]int{}
			calls := 0
			for cursor := uint64(0); ; calls++ {
				keys, next := h.scan(cursor, 10, []Mode{Riding, Detached}[calls%2])
				for _, k := range keys {
					met[k]++
				}
				if cursor = next; cursor == 0 {
					break
				}
				k := fmt.Sprint(tag, "comes and goes", r.IntN(n))
				switch r.IntN(40) {
				case 0:
					h.checkpoint()
				case 1:
					h.chill()
				case 2:
					h.checkpoint()
					h.reopen()
				case 3:
					if err := h.Warm([]Key{{0, fmt.Append(nil, tag, "stays", r.IntN(n))}}); err != nil {
						t.Fatal(err)
					}
				case 4, 5, 6, 7, 8:
					h.set(k, "again", 0)
				default:
					h.del(k)
				}
			}
			for i := range n {
				if k := fmt.Sprint(tag, "stays", i); met[k] != 1 {
					t.Fatalf("round %d: %q was met %d times", round, k, met[k])
				}
			}
			for k, times := range met {
				if times > 1 && strings.Contains(k, "goes") && times > calls {
					t.Fatalf("%q was met %d times", k, times)
				}
			}
		}
		h.close()
	}
}

// A step of a scan is bounded, also where the store alone has the keys, and where one slot has them all.
func TestScanOfColdKeysIsBounded(t *testing.T) {
	for _, tag := range []string{"", "{one slot}"} {
		h := open(t, vfs.NewMem())
		const n = 5000
		for i := range n {
			h.set(fmt.Sprint(tag, i), strings.Repeat("v", 100), 0)
		}
		h.checkpoint()
		h.reopen()
		met := 0
		for cursor := uint64(0); ; {
			keys, next := h.scan(cursor, 10, Detached)
			if len(keys) > 12 {
				t.Fatalf("%d keys at once", len(keys))
			}
			met += len(keys)
			if cursor = next; cursor == 0 {
				break
			}
		}
		if met != n {
			t.Fatalf("%d keys met, want %d", met, n)
		}
		h.close()
	}
}

// Each sees one moment, while everything changes.
func TestEachIsOneMoment(t *testing.T) {
	for _, tag := range []string{"", "{one slot}"} {
		h := open(t, vfs.NewMem())
		r := rand.New(rand.NewPCG(6, 6))
		const n = 4000 / raceFactor
		key := func() string { return fmt.Sprint(tag, r.IntN(n)) }
		want := map[string]string{}
		for i := range 3 * n {
			k := key()
			want[k] = fmt.Sprint("value", i)
			h.set(k, want[k], 0)
			if i == n {
				h.checkpoint()
				h.chill()
			}
		}
		got := map[string]string{}
		err := h.Each(func(_ *Tx, _ int, key2 []byte, e Entry) error {
			if _, again := got[string(key2)]; again {
				t.Fatalf("%q again", key2)
			}
			got[string(key2)] = string(e.Value)
			h.set(key(), "later", 0)
			h.del(key())
			switch r.IntN(300) {
			case 0:
				h.checkpoint()
			case 1:
				h.chill()
			case 2:
				h.write(func(tx *Tx) { tx.Swap(0, 1) })
			case 3:
				h.write(func(tx *Tx) { tx.Flush(0) })
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%d keys, want %d", len(got), len(want))
		}
		for k, v := range want {
			if got[k] != v {
				t.Fatalf("%q is %q, was %q", k, got[k], v)
			}
		}
		h.close()
	}
}

func TestRandomKeyIsRoughlyEven(t *testing.T) {
	for _, tag := range []string{"", "{one slot}"} {
		for _, cold := range []bool{false, true} {
			h := open(t, vfs.NewMem())
			const n, draws = 1000 / raceFactor, 8000 / raceFactor
			for i := range n {
				h.set(fmt.Sprint(tag, i), "v", 0)
				h.set(fmt.Sprint(tag, "gone", i), "v", 0)
			}
			h.checkpoint()
			for i := range n {
				h.del(fmt.Sprint(tag, "gone", i))
			}
			if cold {
				h.checkpoint()
				h.reopen()
			}
			drawn := map[string]int{}
			h.Lock()
			var tx Tx
			tx.Begin(h.Keyspace, Riding, 0, h.now, 5)
			for range draws {
				key, ok := tx.RandomKey(0)
				if !ok {
					t.Fatal(tx.Err())
				}
				drawn[string(key)]++
			}
			h.Unlock()
			most := 0
			for k, c := range drawn {
				most = max(most, c)
				if strings.Contains(k, "gone") {
					t.Fatalf("%q was drawn", k)
				}
			}
			if len(drawn) < n*98/100 || most > 5*draws/n {
				t.Errorf("%q, cold %t: %d of %d keys in %d draws, one of them %d times", tag, cold, len(drawn), n, draws, most)
			}
			h.close()
		}
	}
}

// A key that is due is not shown, and the caller is told.
func TestDetachReportsWhatIsDue(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	h.set("k", "v", 2000)
	h.checkpoint()
	h.chill()
	ran := false
	for now, want := range map[int64]bool{2000: false, 2001: true} {
		due, err := h.Detach([]Key{{0, []byte("k")}}, false, 0, now, 1, func(*Tx) { ran = true })
		if err != nil || due != want || ran == want {
			t.Errorf("at %d: due %t, %v, ran %t", now, due, err, ran)
		}
		ran = false
	}
}

// Where nobody can delete a key that is due, it counts as absent, and the others are read all the same: also when one of them
// leaves the front again and again while they are copied.
func TestDetachPastReadsWhatIsNotDue(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	h.set("live", "v", 0)
	h.checkpoint()
	h.set("due", "v", 2000) // dirty: it stays
	h.SetBudget(1)
	stop := make(chan struct{})
	var joined sync.WaitGroup
	joined.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				h.Upkeep()
			}
		}
	})
	defer joined.Wait()
	defer close(stop)
	for range 20_000 / race.Factor {
		var live, due bool
		err := h.DetachPast([]Key{{0, []byte("due")}, {0, []byte("live")}}, false, 0, 2001, 1, func(tx *Tx) {
			_, due = tx.Get(0, []byte("due"))
			_, live = tx.Get(0, []byte("live"))
		})
		if err != nil || due || !live {
			t.Fatalf("due %t, live %t: %v", due, live, err)
		}
	}
}

// Eviction keeps the front within its budget, and everything can be read.
func TestBudgetIsKept(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	const n, budget = 20_000, 1 << 20
	for i := range n {
		h.set(fmt.Sprint("key", i), fmt.Sprintf("%0200d", i), 0)
	}
	h.SetBudget(budget)
	for h.Upkeep() {
	}
	if s := h.Stats(); s.Entries < n {
		t.Fatalf("E3: dirty entries are gone: %d of %d left", s.Entries, n)
	}
	h.checkpoint()
	for i := range n {
		h.want(fmt.Sprint("key", i), fmt.Sprintf("%0200d", i))
		for i%50 == 0 && h.Upkeep() {
		}
	}
	for h.Upkeep() {
	}
	if s := h.Stats(); s.Live > budget || s.DirtyKeys != 0 || !s.Cold || s.Keys[0] != n {
		t.Fatalf("%+v", s)
	}
}

// Everybody at once. What a reader has seen of a key never goes back.
func TestConcurrentUse(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	const keys, writes = 500, 6000
	h.SetBudget(100_000)
	var done atomic.Bool
	var all sync.WaitGroup
	loop := func(step func(r *rand.Rand)) {
		r := rand.New(rand.NewPCG(rand.Uint64(), 1))
		all.Go(func() {
			for !done.Load() {
				step(r)
			}
		})
	}
	for range 2 {
		seen := map[string]int{}
		loop(func(r *rand.Rand) {
			k := fmt.Sprint("key", r.IntN(keys))
			if v, ok := h.get(k); ok {
				n, err := strconv.Atoi(strings.TrimLeft(v, "x"))
				if err != nil || n < seen[k] {
					t.Errorf("%q was %d and is %q", k, seen[k], v)
					done.Store(true)
				}
				seen[k] = n
			} else if seen[k] > 0 {
				t.Errorf("%q was %d and is gone", k, seen[k])
				done.Store(true)
			}
		})
	}
	loop(func(*rand.Rand) { h.Upkeep() })
	loop(func(*rand.Rand) {
		c, err := h.BeginCheckpoint()
		if err != nil {
			t.Error(err)
			return
		}
		if h.index++; h.index%4 == 0 {
			c.Cancel()
		} else if err := c.Commit(h.index, 1, nil, 0); err != nil {
			t.Error(err)
		}
	})
	loop(func(*rand.Rand) {
		last := -1
		err := h.Each(func(_ *Tx, _ int, _ []byte, e Entry) error {
			n, err := strconv.Atoi(strings.TrimLeft(string(e.Value), "x"))
			last = max(last, n)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if _, err := h.Due(h.now, 10, 10); err != nil {
			t.Error(err)
		}
	})
	r := rand.New(rand.NewPCG(1, 1))
	for i := range writes {
		if done.Load() {
			break
		}
		k := []byte(fmt.Sprint("key", r.IntN(keys)))
		h.Prefetch([]Key{{0, k}})
		h.set(string(k), strings.Repeat("x", r.IntN(300))+fmt.Sprint(i+1), 0)
	}
	done.Store(true)
	all.Wait()
}

// A name space that was flushed leaves the store with the next checkpoint that succeeds.
func TestFlushedNamespaceLeavesTheStore(t *testing.T) {
	var full atomic.Bool
	h := open(t, errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && full.Load() {
			return errorfs.ErrInjected
		}
		return nil
	})))
	defer h.close()
	h.set("k", "v", 0)
	h.checkpoint()
	h.write(func(tx *Tx) { tx.Flush(0) })
	for _, cancel := range []bool{true, false} {
		c, err := h.BeginCheckpoint()
		if err != nil {
			t.Fatal(err)
		}
		if cancel {
			c.Cancel()
			continue
		}
		full.Store(true)
		if err := c.Commit(2, 1, nil, 0); !errors.Is(err, errorfs.ErrInjected) {
			t.Fatalf("Commit on a full disk: %v", err)
		}
		full.Store(false)
	}
	h.checkpoint()
	v, err := h.store.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	it, err := v.Iter(store.All())
	if err != nil {
		t.Fatal(err)
	}
	if it.Next() {
		t.Errorf("%q is left", it.Key())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
}
