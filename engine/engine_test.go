package engine

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/race"
)

// script records replies as text, one line for each part.
type script struct{ out []byte }

func (s *script) add(form string, a ...any)    { s.out = fmt.Appendf(s.out, form+"\n", a...) }
func (s *script) Bulk(b []byte)                { s.add("$%s", b) }
func (s *script) BulkString(b string)          { s.add("$%s", b) }
func (s *script) Simple(b string)              { s.add("+%s", b) }
func (s *script) Error(b string)               { s.add("-%s", b) }
func (s *script) Int(n int64)                  { s.add(":%d", n) }
func (s *script) Double(f float64)             { s.add(",%v", f) }
func (s *script) Null()                        { s.add("_") }
func (s *script) NullArray()                   { s.add("*-1") }
func (s *script) Bool(b bool)                  { s.add("#%t", b) }
func (s *script) Array(n int)                  { s.add("*%d", n) }
func (s *script) Map(n int)                    { s.add("%%%d", n) }
func (s *script) Pairs(n int)                  { s.add("*%d pairs", n) }
func (s *script) Pair()                        {}
func (s *script) Set(n int)                    { s.add("~%d", n) }
func (s *script) Verbatim(format, text string) { s.add("=%s:%s", format, text) }
func (s *script) Begin(int) reply.Writer       { return s }
func (s *script) End(int)                      {}
func (s *script) take() string                 { t := string(s.out); s.out = s.out[:0]; return t }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

type testEngine struct {
	*Engine
	t     testing.TB
	index uint64
	clock int64
	out   script
}

func tryOpen(fs vfs.FS) (*Engine, error) {
	return Open(Options{
		Store:  store.Options{FS: fs, Dir: "db", Logger: quiet(), TableSize: 64 << 10},
		Random: func() uint64 { return 42 }, Reserve: 8 << 30, Logger: quiet(),
	})
}

func openTest(t testing.TB, fs vfs.FS) *testEngine {
	t.Helper()
	e, err := tryOpen(fs)
	if err != nil {
		t.Fatal(err)
	}
	return &testEngine{Engine: e, t: t, index: e.AppliedIndex(), clock: 1_000_000}
}

func byteArgs(words ...string) [][]byte {
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	return args
}

func addTo(b *Batch, db int, args [][]byte) {
	if row := command.Lookup(args[0]); row.Flags&command.Write != 0 {
		b.AddWrite(row, db, args)
	} else {
		b.AddRead(row, db, args)
	}
}

// do applies one command on data base 0 and returns its reply without the last line break.
func (e *testEngine) do(words ...string) string {
	e.t.Helper()
	b := Batch{Replies: &e.out}
	addTo(&b, 0, byteArgs(words...))
	e.index++
	if err := e.Apply(e.index, 1, b.Seal(Header{Clock: e.clock, Seed: 7}), &b); err != nil {
		e.t.Fatal(err)
	}
	s := e.out.take()
	return s[:len(s)-1]
}

func (e *testEngine) want(want string, words ...string) {
	e.t.Helper()
	if got := e.do(words...); got != want {
		e.t.Fatalf("%.60q: got %.100q, want %.100q", words, got, want)
	}
}

func (e *testEngine) commit() {
	e.t.Helper()
	c, err := e.BeginCheckpoint()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := c.Commit(e.index, 1, nil, 0); err != nil {
		e.t.Fatal(err)
	}
}

// chill drops from the front all that the store has.
func (e *testEngine) chill() {
	e.Keys().SetBudget(1)
	for e.Keys().Upkeep() {
	}
	e.Keys().SetBudget(0)
}

func (e *testEngine) close() {
	e.t.Helper()
	if err := e.Close(); err != nil {
		e.t.Fatal(err)
	}
}

// writeValue writes all that a value holds, in its order.
func writeValue(h io.Writer, tx *keyspace.Tx, db int, key []byte, x keyspace.Entry) {
	part := func(b []byte) { fmt.Fprintf(h, "%d:%s", len(b), b) }
	switch x.Kind {
	case value.String:
		part(tx.Whole(db, key, x))
	case value.List:
		for _, e := range tx.List(db, key).From(0) {
			part(e)
		}
	case value.Set:
		for m := range tx.Set(db, key).All() {
			part(m)
		}
	case value.Hash:
		for f, v := range tx.Hash(db, key).All() {
			part(f)
			part(v)
		}
	case value.ZSet:
		z := tx.ZSet(db, key)
		for m, score := range z.From(0) {
			part(m)
			fmt.Fprint(h, score)
		}
		z.Scan(0, z.Len(), func(m []byte, score float64) { // the other run
			part(m)
			fmt.Fprint(h, score)
		})
	}
}

// digest is a fingerprint of all that can be observed of the data, whatever the order of keys, and their number.
func digest(t testing.TB, e *Engine) (sum [2]uint64) {
	t.Helper()
	err := e.Keys().Each(func(tx *keyspace.Tx, db int, key []byte, x keyspace.Entry) error {
		h := fnv.New64a()
		var head [32]byte
		head[0], head[1], head[2] = byte(db), byte(x.Kind), byte(x.Enc)
		binary.LittleEndian.PutUint64(head[8:], uint64(x.Expire))
		binary.LittleEndian.PutUint64(head[16:], uint64(len(key)))
		h.Write(head[:])
		h.Write(key)
		writeValue(h, tx, db, key, x)
		sum[0] ^= h.Sum64()
		sum[1]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestStateSurvivesCheckpointAndReopen(t *testing.T) {
	fs := vfs.NewMem()
	e := openTest(t, fs)
	const n = 5000
	for i := range n {
		e.do("SET", fmt.Sprint("key", i), fmt.Sprint("value", i))
	}
	e.commit()
	for i := 0; i < n; i += 2 {
		e.do("DEL", fmt.Sprint("key", i))
	}
	e.want(fmt.Sprint(":", n/2), "DBSIZE")
	e.commit()
	e.do("SET", "key1", "lost: after the checkpoint")
	e.close()
	e = openTest(t, fs)
	defer e.close()
	e.want(fmt.Sprint(":", n/2), "DBSIZE")
	for i := range n {
		want := "_"
		if i%2 == 1 {
			want = fmt.Sprint("$value", i)
		}
		e.want(want, "GET", fmt.Sprint("key", i))
	}
	e.want(fmt.Sprint(":", n/2), "DBSIZE")
}

// E6: what rides along draws from a generator of its own, so that writes draw the same where it does not run.
func TestReadsThatRideAlongChangeNothing(t *testing.T) {
	e := openTest(t, vfs.NewMem())
	defer e.close()
	var drawn []uint64
	draw := func(tx *keyspace.Tx, _ [][]byte, w reply.Writer) { drawn = append(drawn, tx.Rand()) }
	read := &command.Command{Name: "READ", Arity: 1, Flags: command.ReadOnly, Do: func(tx *keyspace.Tx, _ [][]byte, _ reply.Writer) { tx.Rand() }}
	write := &command.Command{Name: "WRITE", Arity: 1, Flags: command.Write, Do: draw}
	for _, reads := range []int{0, 3} {
		b := Batch{Replies: &e.out}
		for range 2 {
			for range reads {
				b.AddRead(read, 0, byteArgs("READ"))
			}
			b.AddWrite(write, 0, byteArgs("WRITE"))
		}
		if err := e.Apply(1, 1, b.Seal(Header{Seed: 9}), &b); err != nil {
			t.Fatal(err)
		}
	}
	if drawn[0] != drawn[2] || drawn[1] != drawn[3] || drawn[0] == drawn[1] {
		t.Fatalf("drawn %x", drawn)
	}
}

// Time never goes back inside Apply, so that what has expired stays away when a slower clock leads.
func TestTimeGoesForwardOnly(t *testing.T) {
	e := openTest(t, vfs.NewMem())
	defer e.close()
	e.clock = 1000
	e.want("+OK", "SET", "k", "v", "PX", "500")
	e.clock = 2000
	e.want(":0", "APPEND", "other", "")
	e.clock = 1200
	e.want("_", "GET", "k")
	if e.Clock() != 2000 {
		t.Fatalf("the clock is at %d", e.Clock())
	}
	e.commit()
	e.chill()
	e.want("_", "GET", "k")
}

// A string of 64 MB, grown in small steps: the cost is that of the steps, so this ends.
func TestLargeStringsGrowInPlace(t *testing.T) {
	fs := vfs.NewMem()
	e := openTest(t, fs)
	const size = 64 << 20 / race.Factor
	e.want(fmt.Sprint(":", size), "SETRANGE", "s", fmt.Sprint(size-1), "x")
	live := e.Keys().Stats().Live
	for i := range 20_000 / race.Factor { // so many copies of 64 MB would take minutes
		e.do("APPEND", "s", "0123456789")
		e.do("SETRANGE", "s", fmt.Sprint(i*300), "y")
	}
	// Zeros that were never written take no room until something is written beside them.
	if grown := e.Keys().Stats().Live - live; grown > 20_000/race.Factor*300+1<<20 {
		t.Fatalf("what was written takes up %d bytes", grown)
	}
	e.want(fmt.Sprint(":", size+200_000/race.Factor), "STRLEN", "s")
	before := digest(t, e.Engine)
	e.commit()
	e.chill()
	e.do("SETRANGE", "s", "5", "z") // cold, and back
	e.do("SETRANGE", "s", "5", "\x00")
	if digest(t, e.Engine) != before {
		t.Fatal("the string changed")
	}
	e.close()
}

// Warm fetches one key after the other; who meets them then need not wait.
func TestWarmFetchesInSteps(t *testing.T) {
	e := openTest(t, vfs.NewMem())
	defer e.close()
	keys := []string{"a", "b", "c", "d"} // of different slots
	for _, k := range keys {
		e.do("SET", k, "1")
	}
	e.commit()
	e.chill()
	cold := func(key string) bool {
		e.Keys().RLock()
		defer e.Keys().RUnlock()
		var tx keyspace.Tx
		tx.Begin(e.Keys(), keyspace.Reading, 0, 1, 0)
		tx.Get(0, []byte(key))
		return tx.Cold()
	}
	b := Batch{}
	b.AddWrite(command.Lookup([]byte("DEL")), 0, byteArgs("DEL", "a", "b"))
	b.AddWrite(command.Lookup([]byte("SET")), 0, byteArgs("SET", "c", "2"))
	entry := b.Seal(Header{})
	steps := 0
	e.Warm(entry, func() {
		for i, k := range keys {
			if cold(k) != (i > steps) {
				t.Errorf("after step %d: %s is cold: %v", steps, k, cold(k))
			}
		}
		steps++
	})
	if steps != 3 {
		t.Fatalf("%d steps", steps)
	}
	e.Warm(entry[:entryHeader-1], func() { t.Error("a step of no entry") })
}

func FuzzDecodeEntry(f *testing.F) {
	b := Batch{}
	b.AddWrite(command.Lookup([]byte("SET")), 3, byteArgs("SET", "key", "value"))
	b.AddWrite(command.Lookup([]byte("DEL")), 0, byteArgs("DEL", "key", "other"))
	f.Add(b.Seal(Header{Clock: 5, Seed: 6, Origin: Origin{Node: 1, Loop: 2, Group: 3, Batch: 4}}))
	f.Add([]byte{})
	f.Add(append(make([]byte, entryHeader), 0, 0xff, 0xff, 0xff, 0x7f))
	get := make([]byte, entryHeader)
	get[0] = FeatureLevel
	f.Add(append(get, 0, 1, 3, 'D', 'E', 'L'))          // fewer arguments than the command needs
	f.Add(append(get, 99, 2, 3, 'D', 'E', 'L', 1, 'k')) // no such data base
	e := openTest(f, vfs.NewMem())
	e.do("SET", "cold", "1")
	e.commit()
	e.chill() // so that keys are looked for beforehand
	f.Cleanup(e.close)
	f.Fuzz(func(t *testing.T, entry []byte) {
		e.Prefetch(entry)
		e.Warm(entry, func() {})
		_, rest, err := DecodeHeader(entry)
		if err != nil {
			return
		}
		_ = e.warmFor(rest, nil)
		var args [][]byte
		for len(rest) > 0 && err == nil {
			if _, args, rest, err = NextCommand(rest, args[:0]); len(args) > len(entry) {
				t.Fatalf("%d arguments from %d bytes", len(args), len(entry))
			}
		}
	})
}

func TestApplyRefusesWhatIsNoEntry(t *testing.T) {
	e := openTest(t, vfs.NewMem())
	defer e.close()
	b := Batch{}
	b.AddWrite(command.Lookup([]byte("SET")), 3, byteArgs("SET", "key", "value"))
	whole := b.Seal(Header{})
	for n := range whole {
		if n != entryHeader && e.Apply(1, 1, whole[:n], nil) == nil {
			t.Errorf("the first %d of %d bytes were applied", n, len(whole))
		}
	}
	for name, change := range map[string]func(b []byte){
		"level":     func(b []byte) { b[0] = FeatureLevel + 1 },
		"data base": func(b []byte) { b[entryHeader] = keyspace.Databases },
		"arity":     func(b []byte) { copy(b[entryHeader+1:], []byte{2, 3, 'S', 'E', 'T', 7}) },
		"command":   func(b []byte) { b[entryHeader+3] = 'X' },
	} {
		entry := append([]byte(nil), whole...)
		change(entry)
		if e.Apply(1, 1, entry, nil) == nil {
			t.Errorf("another %s was applied", name)
		}
	}
	if e.AppliedIndex() != 0 {
		t.Errorf("applied index %d", e.AppliedIndex())
	}
}
