package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/race"
)

// generator makes entries of random commands.
type generator struct {
	r     *rand.Rand
	clock int64
	keys  int
}

func (g *generator) key() string {
	i := g.r.IntN(g.keys)
	switch i % 5 {
	case 0:
		return fmt.Sprintf("{tag}%d", i) // many in one slot
	case 1:
		return fmt.Sprintf("%0*d", 1+i%300, i)
	}
	return fmt.Sprint("key", i)
}

func (g *generator) db() int {
	if g.r.IntN(3) == 0 {
		return g.r.IntN(keyspace.Databases)
	}
	return g.r.IntN(2)
}

func (g *generator) value() string {
	switch g.r.IntN(20) {
	case 0:
		return strings.Repeat("large", 200+g.r.IntN(3000))
	case 1, 2, 3, 4:
		return fmt.Sprint(g.r.IntN(1000))
	}
	return strings.Repeat(string(rune('a'+g.r.IntN(26))), g.r.IntN(100))
}

func (g *generator) number(n int) string { return fmt.Sprint(g.r.IntN(n)) }

// member draws one of many members of few collections.
func (g *generator) member() string {
	if g.r.IntN(60) == 0 {
		return strings.Repeat(g.number(50), 1+g.r.IntN(700))
	}
	return "member:" + g.number(1500)
}

func (g *generator) many(draw ...func() string) (out []string) {
	for range 1 + g.r.IntN(40) {
		for _, d := range draw {
			out = append(out, d())
		}
	}
	return out
}

// collection draws a command on a collection. Its keys are few, so that some of them grow large.
func (g *generator) collection() []string {
	i := g.r.IntN(4)
	key := func(kind string) string {
		if i == 0 {
			return "{tag}" + kind
		}
		return kind + fmt.Sprint(i)
	}
	h, s, z, l := key("hash"), key("set"), key("zset"), key("list")
	any := []string{h, s, z, l}[g.r.IntN(4)]
	i = g.r.IntN(4)
	score := func() string { return g.number(200) }
	switch n := g.r.IntN(100); {
	case n < 14:
		return append([]string{"HSET", h}, g.many(g.member, g.value)...)
	case n < 18:
		return append([]string{"HDEL", h}, g.many(g.member)...)
	case n < 20:
		return []string{"HINCRBY", h, "count", "7"}
	case n < 34:
		return append([]string{"SADD", s}, g.many(g.member)...)
	case n < 37:
		return append([]string{"SADD", s}, g.many(score)...)
	case n < 41:
		return append([]string{"SREM", s}, g.many(g.member)...)
	case n < 43:
		return []string{"SPOP", s, g.number(30)}
	case n < 46:
		return []string{"SUNIONSTORE", key("set"), s, key("set")}
	case n < 60:
		return append([]string{"ZADD", z}, g.many(score, g.member)...)
	case n < 64:
		return append([]string{"ZREM", z}, g.many(g.member)...)
	case n < 66:
		return []string{"ZREMRANGEBYRANK", z, g.number(60), g.number(200)}
	case n < 68:
		return []string{"ZINTERSTORE", key("zset"), "2", z, s}
	case n < 75:
		return append([]string{"RPUSH", l}, g.many(g.member)...)
	case n < 79:
		return append([]string{"LPUSH", l}, g.many(g.member)...)
	case n < 81:
		return []string{"LTRIM", l, g.number(100), "-" + g.number(50)}
	case n < 83:
		return []string{"LINSERT", l, "BEFORE", g.member(), g.value()}
	case n < 84:
		return []string{"LMPOP", "2", l, key("list"), "LEFT", "COUNT", g.number(90)}
	case n < 86:
		return []string{"RENAME", any, key("other")}
	case n < 88:
		return []string{"RENAME", key("other"), any}
	case n < 90:
		return []string{"COPY", any, key("other"), "REPLACE"}
	case n < 92:
		return []string{"DEL", any, key("other")}
	case n < 93:
		return []string{"SETRANGE", key("long"), g.number(1_200_000), g.value()}
	case n < 94:
		return []string{"PEXPIRE", any, g.number(4000)}
	case n < 95:
		return []string{"HGETALL", h}
	case n < 96:
		return []string{"SMEMBERS", s}
	case n < 97:
		return []string{"ZRANGE", z, "0", "-1", "WITHSCORES"}
	case n < 98:
		return []string{"LRANGE", l, "0", "-1"}
	}
	return []string{"SRANDMEMBER", s, "5"}
}

// command draws one command; relative times make some keys expire while the run goes on.
func (g *generator) command() []string {
	if g.r.IntN(3) == 0 {
		return g.collection()
	}
	k, other := g.key(), g.key()
	switch n := g.r.IntN(240); {
	case n < 8:
		return g.transaction()
	case n < 60:
		return []string{"SET", k, g.value()}
	case n < 70:
		return []string{"SET", k, g.value(), "PX", g.number(3000), "GET"}
	case n < 90:
		return []string{"APPEND", k, g.value()}
	case n < 100:
		return []string{"SETRANGE", k, g.number(3000), g.value()}
	case n < 115:
		return []string{"INCRBY", k, g.number(50)}
	case n < 119:
		return []string{"INCRBYFLOAT", k, "0.5"}
	case n < 127:
		return []string{"PEXPIRE", k, g.number(5000)}
	case n < 131:
		return []string{"PERSIST", k}
	case n < 150:
		return []string{"DEL", k, other}
	case n < 158:
		return []string{"RENAME", k, other}
	case n < 164:
		return []string{"COPY", k, other, "DB", g.number(keyspace.Databases), "REPLACE"}
	case n < 170:
		return []string{"MOVE", k, g.number(keyspace.Databases)}
	case n < 176:
		return []string{"GETDEL", k}
	case n < 182:
		return []string{"MSETNX", k, g.value(), other, g.value()}
	case n < 188:
		return []string{"SETBIT", k, g.number(9000), g.number(2)}
	case n < 192:
		return []string{"BITOP", "XOR", k, other, g.key()}
	case n < 210:
		return []string{"GET", k}
	case n < 216:
		return []string{"MGET", k, other}
	case n < 222:
		return []string{"PTTL", k}
	case n < 227:
		return []string{"OBJECT", "ENCODING", k}
	case n < 231:
		return []string{"DBSIZE"}
	case n < 234:
		return []string{"SCAN", "0", "COUNT", "100000"}
	case n < 237:
		return []string{"SWAPDB", g.number(keyspace.Databases), g.number(keyspace.Databases)}
	case n < 239:
		return []string{"FLUSHDB"}
	}
	return []string{"EXISTS", k, other}
}

// transaction draws a transaction of reads and writes, which may have come too late or in another term than its WATCH.
func (g *generator) transaction() []string {
	guard := command.Guard{Term: uint64(g.r.IntN(12)) / 5} // entries are of term 1
	if g.r.IntN(3) == 0 {
		guard.Deadline = g.clock + int64(g.r.IntN(40)) - 10
	}
	var commands [][]byte
	n := g.r.IntN(6)
	for i := 0; i < n; {
		if c := g.command(); c[0] != command.Exec().Name {
			commands = command.AppendNested(commands, g.db(), byteArgs(c...))
			i++
		}
	}
	var words []string
	for _, a := range append(command.BeginExec(guard, n), commands...) {
		words = append(words, string(a))
	}
	return words
}

// batch makes an entry and its batch.
func (g *generator) batch() (*Batch, []byte) {
	b := &Batch{}
	for range 1 + g.r.IntN(8) {
		addTo(b, g.db(), byteArgs(g.command()...))
	}
	g.clock += int64(g.r.IntN(20)) - 3 // it may go back
	return b, b.Seal(Header{Clock: g.clock, Seed: g.r.Uint64()})
}

// twins are two engines that get the same entries: one lives in peace, and is checkpointed only for the other's sake.
type twins struct {
	t        *testing.T
	g        *generator
	plain    *testEngine
	troubled *testEngine
	fs       *vfs.MemFS
	failing  *atomic.Bool
	log      [][]byte // the entry with index i stands at i-1
	trip     *roundTrip
}

func newTwins(t *testing.T, seed uint64, keys int) *twins {
	w := &twins{t: t, g: &generator{r: rand.New(rand.NewPCG(seed, 9)), clock: 1_000_000, keys: keys}}
	w.plain = openTest(t, vfs.NewMem())
	w.fs, w.failing = vfs.NewCrashableMem(), &atomic.Bool{}
	w.troubled = openTest(t, w.faulty())
	return w
}

// faulty is the file system of the troubled twin: while failing is set, no new file can be made.
func (w *twins) faulty() vfs.FS {
	return errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && w.failing.Load() {
			return errorfs.ErrInjected
		}
		return nil
	}))
}

// apply gives one entry to both and compares the replies.
func (w *twins) apply() {
	b, entry := w.g.batch()
	if w.trip != nil && w.g.r.IntN(12) == 0 {
		b, entry = w.trip.batch(w)
	}
	w.log = append(w.log, slices.Clone(entry))
	index := uint64(len(w.log))
	var replies [2]string
	for i, e := range []*testEngine{w.plain, w.troubled} {
		e.index = index
		b.Replies = &e.out
		if i == 1 {
			switch w.g.r.IntN(3) {
			case 0:
				e.Prefetch(entry)
			case 1:
				e.Warm(entry, func() {})
			}
		}
		if err := e.Apply(index, 1, entry, b); err != nil {
			w.t.Fatal(err)
		}
		replies[i] = e.out.take()
	}
	if replies[0] != replies[1] {
		w.t.Fatalf("entry %d: replies differ:\n%.1000s\n\n%.1000s", index, replies[0], replies[1])
	}
}

func (w *twins) compare(what string) {
	w.t.Helper()
	a, b := w.plain.Keys().Stats(), w.troubled.Keys().Stats()
	if a.Keys != b.Keys || a.Timed != b.Timed {
		w.t.Fatalf("after %s: keys %v and %v, timed %v and %v", what, a.Keys, b.Keys, a.Timed, b.Timed)
	}
	if w.plain.Clock() != w.troubled.Clock() {
		w.t.Fatalf("after %s: clocks %d and %d", what, w.plain.Clock(), w.troubled.Clock())
	}
	if x, y := digest(w.t, w.plain.Engine), digest(w.t, w.troubled.Engine); x != y {
		w.t.Fatalf("E8: after %s: digests %x and %x", what, x, y)
	}
}

// checkpoint writes one while entries go on being applied, or does not finish it.
func (w *twins) checkpoint() string {
	c, err := w.troubled.BeginCheckpoint()
	if err != nil {
		w.t.Fatal(err)
	}
	at := uint64(len(w.log))
	steps := 0
	c.Pace = func() {
		if steps++; steps < 60 {
			w.apply()
			w.upkeep(1)
		}
	}
	switch w.g.r.IntN(4) {
	case 0:
		for range w.g.r.IntN(50) {
			w.apply()
		}
		c.Cancel()
		return "a cancelled checkpoint"
	case 1:
		w.failing.Store(true)
		err := c.Commit(at, 1, nil, 0)
		w.failing.Store(false)
		if !errors.Is(err, errorfs.ErrInjected) {
			w.t.Fatalf("Commit on a full disk: %v", err)
		}
		return "a failed checkpoint"
	}
	if err := c.Commit(at, 1, []byte("configuration"), 1); err != nil {
		w.t.Fatal(err)
	}
	if index, term, configuration, _, ok := w.troubled.Durable(); !ok || index != at || term != 1 || string(configuration) != "configuration" {
		w.t.Fatalf("durable: %d, want %d", index, at)
	}
	return "a checkpoint"
}

func (w *twins) upkeep(steps int) {
	for range steps {
		if !w.troubled.Keys().Upkeep() {
			return
		}
	}
}

// crash loses what was not synced, and replays what comes behind the store's index.
func (w *twins) crash() string {
	image := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.g.r.IntN(2) * 100, RNG: w.g.r})
	w.troubled.close()
	w.fs = image
	w.troubled = openTest(w.t, w.faulty())
	w.replay(w.troubled.Engine, uint64(len(w.log)))
	return "a crash"
}

func (w *twins) replay(e *Engine, to uint64) {
	for i := e.AppliedIndex() + 1; i <= to; i++ {
		if e.Prefetch(w.log[min(i, to-1)]); i%2 == 0 {
			e.Warm(w.log[i-1], func() {})
		}
		if err := e.Apply(i, 1, w.log[i-1], nil); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *twins) reload() string {
	err := w.troubled.Reload(func(from, to uint64, apply func(index, term uint64, entry []byte) error) error {
		for i := from + 1; i <= to; i++ {
			if err := apply(i, 1, w.log[i-1]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return "a reload"
}

// install lets the troubled twin miss some entries and puts the other's state in place of its own. What goes wrong leaves
// its own, and then the log has what it missed.
func (w *twins) install() string {
	for range w.g.r.IntN(40) {
		_, entry := w.g.batch()
		w.log = append(w.log, slices.Clone(entry))
		if err := w.plain.Apply(uint64(len(w.log)), 1, entry, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	w.plain.index = uint64(len(w.log))
	w.plain.commit()
	before := w.troubled.AppliedIndex()
	w.failing.Store(w.g.r.IntN(3) == 0)
	err := transfer(w.plain.Engine, w.troubled.Engine)
	if w.failing.Load() != (err != nil) {
		w.t.Fatal(err)
	}
	if w.failing.Swap(false) {
		if w.troubled.AppliedIndex() != before {
			w.t.Fatalf("at %d after a failed install", w.troubled.AppliedIndex())
		}
		w.replay(w.troubled.Engine, uint64(len(w.log)))
		return "a failed install"
	}
	if at, _, _, _, _ := w.troubled.Durable(); at != w.plain.index || w.troubled.AppliedIndex() != at {
		w.t.Fatalf("installed at %d, want %d", at, w.plain.index)
	}
	return "an install"
}

// transfer installs what one engine's store holds upon another engine.
func transfer(from, to *Engine) (err error) {
	v, err := from.Store().View()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	r, err := to.Store().NewReplacement()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Abort()) }()
	if err := v.Records(r.Add); err != nil {
		return err
	}
	m, _ := v.Meta()
	if err := r.Finish(m); err != nil {
		return err
	}
	return to.Install(context.Background(), r)
}

func (w *twins) trouble() string {
	switch w.g.r.IntN(11) {
	case 10:
		return w.install()
	case 0, 1, 2:
		return w.checkpoint()
	case 3, 4:
		w.troubled.Keys().SetBudget(1 + int64(w.g.r.IntN(300_000)))
		w.upkeep(1000)
		return "eviction"
	case 5:
		w.troubled.chill()
		return "eviction of all"
	case 6:
		w.troubled.Keys().SetBudget(0)
		w.upkeep(1000)
		return "upkeep"
	case 7:
		return w.reload()
	case 8:
		return w.crash()
	}
	w.expire()
	return "expiry"
}

// expire proposes the deletion of keys that are due, as a leader does. Only one twin is asked; both delete.
func (w *twins) expire() {
	if _, err := w.troubled.Keys().Due(w.g.clock, 50, 20); err != nil {
		w.t.Fatal(err)
	}
}

// E8: random entries to two engines, one of which is checkpointed, evicted, crashed and reopened at random.
func TestTwins(t *testing.T) {
	for seed := range uint64(3) {
		w := newTwins(t, seed, []int{3000, 60, 800}[seed])
		for i := range 120 / race.Factor {
			for range w.g.r.IntN(40) {
				w.apply()
			}
			what := w.trouble()
			if i%4 == 0 || w.g.r.IntN(4) == 0 {
				w.compare(fmt.Sprint(what, " in round ", i))
			}
		}
		w.compareReads()
		w.plain.close()
		w.troubled.close()
	}
}

// compareReads asks both for every key, at once and detached.
func (w *twins) compareReads() {
	w.troubled.chill()
	var keys [keyspace.Databases][]string
	err := w.plain.Keys().Each(func(_ *keyspace.Tx, db int, key []byte, _ keyspace.Entry) error {
		keys[db] = append(keys[db], string(key))
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for db, list := range keys {
		for _, key := range append(list, "missing") {
			x, y := w.read(w.plain, db, key), w.read(w.troubled, db, key)
			if x != y {
				w.t.Fatalf("GET %q on %d: %.100q and %.100q", key, db, x, y)
			}
		}
	}
}

func (w *twins) read(e *testEngine, db int, key string) string {
	r := e.NewReader()
	now := w.g.clock
	args := byteArgs("GET", key)
	row := lookup("GET")
	r.Begin(now, 1)
	outcome, err := r.Do(row, db, args, &e.out)
	r.End()
	if err != nil {
		w.t.Fatal(err)
	}
	got := e.out.take()
	if outcome == Cold {
		due, err := e.Detached(row, db, args, now, 1, &e.out)
		if err != nil {
			w.t.Fatal(err)
		}
		got = e.out.take()
		if due {
			outcome = Due
		}
	}
	if outcome == Due {
		return "due"
	}
	return got
}
