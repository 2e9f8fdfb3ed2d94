package keyspace

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/value"
)

// chosen asks for most victims until there are so many, deleting each, and returns their names in order.
func (h *house) chosen(v *Victims, rule EvictionRule, n int) (names []string) {
	h.t.Helper()
	for empty := 0; len(names) < n && empty < 1000; empty++ {
		keys, barren, err := v.Choose(rule, 1<<40, n-len(names))
		if err != nil {
			h.t.Fatal(err)
		}
		if barren {
			break
		}
		h.write(func(tx *Tx) {
			for _, k := range keys {
				if !tx.Delete(k.DB, k.Key) {
					h.t.Fatalf("%q is chosen and is not there", k.Key)
				}
			}
		})
		for _, k := range keys {
			empty = 0
			names = append(names, string(k.Key))
		}
	}
	return names
}

func newVictims(h *house) *Victims {
	rng := rand.New(rand.NewPCG(5, 6))
	return h.NewVictims(rng.Uint64)
}

// populate puts n keys, the i-th used at i seconds and due at expire(i).
func (h *house) populate(n int, expire func(i int) int64) {
	h.t.Helper()
	for i := range n {
		h.SetRecencyClock(uint32(i))
		h.write(func(tx *Tx) {
			tx.Put(i%2, fmt.Appendf(nil, "k%d", i), Entry{Kind: value.String, Value: []byte("v"), Expire: expire(i)})
		})
	}
}

func never(int) int64 { return 0 }

func numberOf(name string) (i int) {
	if _, err := fmt.Sscanf(name, "k%d", &i); err != nil {
		panic(err)
	}
	return i
}

// TestVictimsFitTheRule: a tenth of the keys is chosen; most are among the fifth that fits best.
func TestVictimsFitTheRule(t *testing.T) {
	const n = 4000
	for _, c := range []struct {
		name  string
		rule  EvictionRule
		among func(i int) bool
		share float64
	}{
		{"lru", EvictionRule{LeastRecent, false, 5}, func(i int) bool { return i < n/5 }, 0.8},
		{"lru with 10 samples", EvictionRule{LeastRecent, false, 10}, func(i int) bool { return i < n/5 }, 0.95},
		{"lru of those with a time to live", EvictionRule{LeastRecent, true, 5}, func(i int) bool { return i%4 == 0 && i < n/5*4 }, 0.8},
		{"ttl", EvictionRule{SoonestDue, true, 5}, func(i int) bool { return i%4 == 0 && i > n/5 }, 0.8},
		{"any with a time to live", EvictionRule{AnyKey, true, 5}, func(i int) bool { return i%4 == 0 }, 1},
		{"any", EvictionRule{AnyKey, false, 5}, func(i int) bool { return i < n }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, vfs.NewMem())
			defer h.close()
			h.populate(n, func(i int) int64 {
				if i%4 == 0 {
					return int64(1_000_000 - i)
				}
				return 0
			})
			h.SetRecencyClock(n)
			names := h.chosen(newVictims(h), c.rule, n/10)
			good := 0
			for _, name := range names {
				if c.among(numberOf(name)) {
					good++
				}
			}
			if len(names) != n/10 || float64(good) < c.share*float64(len(names)) {
				t.Errorf("of %d keys chosen %d fit", len(names), good)
			}
		})
	}
}

// TestLeastFrequentGoesFirst: keys that were used often stay, however long ago within the minute.
func TestLeastFrequentGoesFirst(t *testing.T) {
	const n = 2000
	h := open(t, vfs.NewMem())
	defer h.close()
	h.CountUses(true, front.LFU{LogFactor: 0, DecayMinutes: 1})
	h.populate(n, never)
	var tx Tx
	for i := range n / 2 {
		for range 10 {
			h.RLock()
			tx.Begin(h.Keyspace, Reading, 0, h.now, uint64(i))
			tx.Get(i%2, fmt.Appendf(nil, "k%d", i))
			h.RUnlock()
		}
	}
	h.write(func(tx *Tx) {
		if _, freq, ok := tx.Recency(0, []byte("k0")); !ok || freq != 10 { // 5 decayed to 0 in 33 minutes
			t.Errorf("k0 has the frequency %d (%t), want 10", freq, ok)
		}
	})
	often := 0
	for _, name := range h.chosen(newVictims(h), EvictionRule{LeastFrequent, false, 5}, n/4) {
		if numberOf(name) < n/2 {
			often++
		}
	}
	if often > n/40 {
		t.Errorf("%d keys that are used often go first", often)
	}
	h.SetRecencyClock(n + 20*60)
	h.write(func(tx *Tx) {
		if _, freq, ok := tx.Recency(0, []byte("k0")); ok && freq != 0 {
			t.Errorf("20 minutes later the frequency is %d", freq)
		}
	})
}

// TestRareTimesToLiveAreFound among very many keys without one, and then there is none.
func TestRareTimesToLiveAreFound(t *testing.T) {
	const n = 30_000 / raceFactor
	h := open(t, vfs.NewMem())
	defer h.close()
	h.populate(n, func(i int) int64 {
		if i%(n/5) == 7 {
			return 1 << 40
		}
		return 0
	})
	v := newVictims(h)
	for _, p := range []Preference{LeastRecent, AnyKey, SoonestDue} {
		names := h.chosen(v, EvictionRule{p, true, 5}, 1)
		if len(names) != 1 || numberOf(names[0])%(n/5) != 7 {
			t.Fatalf("chose %q", names)
		}
	}
	if names := h.chosen(v, EvictionRule{LeastFrequent, true, 5}, 10); len(names) != 2 {
		t.Fatalf("chose %q of the last two", names)
	}
	if keys, barren, err := v.Choose(EvictionRule{LeastRecent, true, 5}, 1, 1); err != nil || len(keys) > 0 || !barren {
		t.Errorf("chose %v, barren %t, %v", keys, barren, err)
	}
	if _, barren, err := v.Choose(EvictionRule{LeastRecent, false, 5}, 1, 1); err != nil || barren {
		t.Errorf("without a rule on times to live it is barren, %v", err)
	}
}

// TestColdKeysGoFirst where use decides, and in proportion where chance does; every key can be evicted in the end.
func TestColdKeysGoFirst(t *testing.T) {
	const n = 2000
	for _, p := range []Preference{LeastRecent, LeastFrequent, AnyKey, SoonestDue} {
		h := open(t, vfs.NewMem())
		h.populate(n, func(i int) int64 { return int64(1_000_000 + i%7) })
		h.checkpoint()
		h.reopen()
		for i := range n / 4 {
			h.want(fmt.Sprintf("k%d", i*2), "v")
		}
		v := newVictims(h)
		names := h.chosen(v, EvictionRule{p, p == SoonestDue, 5}, n/4)
		if len(names) != n/4 {
			t.Fatalf("rule %d: chose %d of %d", p, len(names), n/4)
		}
		rest := h.chosen(v, EvictionRule{p, p == SoonestDue, 5}, 2*n)
		all := map[string]bool{}
		for _, name := range append(names, rest...) {
			all[name] = true
		}
		if len(all) != n || len(names)+len(rest) != n {
			t.Errorf("rule %d: %d and %d choices of %d keys", p, len(names), len(rest), n)
		}
		h.close()
	}
}

// TestLoadSome brings everything into memory, whatever the slots hold.
func TestLoadSome(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer func() { h.close() }()
	const n = 3000
	for i := range n {
		h.set(fmt.Sprintf("k%d", i), "v", 0)
		h.set(fmt.Sprintf("{big}%d", i), strings.Repeat("v", i%100), 0)
	}
	h.checkpoint()
	h.reopen()
	h.set("k1", "new", 0)
	h.del("{big}7")
	if h.AllWarm() {
		t.Fatal("nothing is cold behind a start")
	}
	for db := range Databases {
		for at, more := 0, true; more; {
			var err error
			if at, more, err = h.LoadSome(db, at, func() {}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !h.AllWarm() {
		t.Error("some is cold still")
	}
	h.want("k1", "new")
	h.want("k2", "v")
	h.want("{big}99", strings.Repeat("v", 99))
	if _, ok := h.get("{big}7"); ok {
		t.Error("what was deleted is there again")
	}
	if s := h.Stats(); s.Keys[0] != 2*n-1 || s.Entries != 2*n {
		t.Errorf("%d keys, %d entries", s.Keys[0], s.Entries)
	}
}

// TestWholeKeepsCleanEntries: where all data is to be in memory, a little over the budget only tombstones go.
func TestWholeKeepsCleanEntries(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	h.populate(2000, never)
	h.checkpoint()
	h.SetWhole(true)
	live := h.Stats().Live
	h.SetBudget(live)
	for range 100 {
		h.Upkeep()
	}
	if h.Stats().Entries != 2000 || !h.AllWarm() {
		t.Errorf("%d entries are left", h.Stats().Entries)
	}
	if used := h.Used(); used != live+live/12 {
		t.Errorf("%d bytes are used, %d live", used, live)
	}
	h.SetBudget(live / 2)
	for h.Upkeep() {
	}
	if got := h.Stats().Live; got > live*3/4 || h.AllWarm() {
		t.Errorf("%d bytes are live under a budget of %d", got, live/2)
	}
	h.SetWhole(false)
	for h.Upkeep() {
	}
	if got := h.Stats().Live; got > live/2 {
		t.Errorf("%d bytes are live under a budget of %d", got, live/2)
	}
}

// TestWholeKeepsCleanEntriesWhileACheckpointIsWritten: what was changed meanwhile takes up memory until it has ended, and
// what was not is not dropped for that.
func TestWholeKeepsCleanEntriesWhileACheckpointIsWritten(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	const n = 1000
	value := strings.Repeat("v", 100)
	for i := range n {
		h.set(fmt.Sprint("clean", i), value, 0)
	}
	h.checkpoint()
	for i := range n {
		h.set(fmt.Sprint("dirty", i), value, 0)
	}
	h.SetWhole(true)
	h.SetBudget(h.Used())
	c, err := h.BeginCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		h.set(fmt.Sprint("dirty", i), value, 0)
	}
	if s := h.Stats(); withSlack(s.Live) <= patient(s.Budget) {
		t.Fatalf("%d bytes are live: the test does not put the front far over its budget", s.Live)
	}
	for range 1000 {
		h.Upkeep()
	}
	if s := h.Stats(); s.Entries != 2*n || !h.AllWarm() {
		t.Errorf("%d entries are left", s.Entries)
	}
	h.index++
	if err := c.Commit(h.index, 1, nil, 0); err != nil {
		t.Fatal(err)
	}
}
