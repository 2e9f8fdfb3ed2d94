package engine

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/keyspace"
)

// exporting applies entries to one engine, and what Portable makes of them to another, whose clock may be elsewhere.
type exporting struct {
	t        *testing.T
	from, to *testEngine
}

func newExporting(t *testing.T) *exporting {
	x := &exporting{t, openTest(t, vfs.NewMem()), openTest(t, vfs.NewMem())}
	t.Cleanup(func() { x.from.close(); x.to.close() })
	return x
}

// apply passes an entry on; the other side reads it at the given time, or, if that is 0, at the entry's own.
func (x *exporting) apply(entry []byte, at int64) {
	x.t.Helper()
	x.from.index++
	if err := x.from.Apply(x.from.index, 1, entry, nil); err != nil {
		x.t.Fatal(err)
	}
	h, rest, err := DecodeHeader(entry)
	if err != nil {
		x.t.Fatal(err)
	}
	if at == 0 {
		at = h.Clock
	}
	var b Batch
	for len(rest) > 0 {
		var db int
		var args [][]byte
		if db, args, rest, err = NextCommand(rest, nil); err != nil {
			x.t.Fatal(err)
		}
		now := max(h.Clock, x.from.Clock())
		for _, command := range Portable(db, args, now, now, 1) {
			if command.DB >= 0 { // else MULTI or EXEC
				b.AddWrite(lookup(string(command.Args[0])), command.DB, command.Args)
			}
		}
	}
	x.to.index++
	if err := x.to.Apply(x.to.index, 1, b.Seal(Header{Clock: at, Seed: h.Seed}), nil); err != nil {
		x.t.Fatal(err)
	}
}

// all are the keys of an engine with what they hold, by data base and name.
func all(t *testing.T, e *Engine) map[string]string {
	t.Helper()
	found := map[string]string{}
	if err := e.Keys().Each(func(_ *keyspace.Tx, db int, key []byte, x keyspace.Entry) error {
		found[string(rune('0'+db))+string(key)] = string(x.Value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestPortableIsExactAtItsTime reads random commands at the times at which they were applied: the data are the same, keys
// that came to their end in between included.
func TestPortableIsExactAtItsTime(t *testing.T) {
	for seed := range uint64(3) {
		x := newExporting(t)
		g := &generator{r: rand.New(rand.NewPCG(seed, 1)), clock: 1_000_000, keys: 60}
		for i := range 400 {
			_, entry := g.batch()
			x.apply(entry, 0)
			if i%50 != 49 {
				continue
			}
			if got, want := digest(t, x.to.Engine), digest(t, x.from.Engine); got != want {
				t.Fatalf("seed %d: they part by entry %d", seed, i)
			}
		}
	}
}

// TestPortableKeepsUntimedKeys reads random commands long after: keys that never had to do with a deadline are the same.
func TestPortableKeepsUntimedKeys(t *testing.T) {
	kept := 0
	for seed := range uint64(5) {
		x := newExporting(t)
		g := &generator{r: rand.New(rand.NewPCG(seed, 2)), clock: 1_000_000, keys: 400}
		timed := map[string]bool{} // names, whatever the data base
		for range 80 {
			_, entry := g.batch()
			_, rest, err := DecodeHeader(entry)
			for err == nil && len(rest) > 0 {
				var d declared
				var args [][]byte
				if _, args, rest, err = NextCommand(rest, nil); err != nil {
					t.Fatal(err)
				}
				keys := d.add(nil, lookup(string(args[0])), 0, args)
				touches := slices.ContainsFunc(args, func(a []byte) bool { return string(a) == "PX" || string(a) == "PEXPIRE" })
				touches = touches || slices.ContainsFunc(keys, func(k keyspace.Key) bool { return timed[string(k.Key)] })
				for _, k := range keys {
					timed[string(k.Key)] = timed[string(k.Key)] || touches
				}
			}
			x.apply(entry, 1_000_000_000)
		}
		from, to := all(t, x.from.Engine), all(t, x.to.Engine)
		for key, want := range from {
			if got, ok := to[key]; !timed[key[1:]] && (!ok || got != want) {
				t.Errorf("seed %d: %q is %.50q, want %.50q", seed, key, got, want)
			} else if !timed[key[1:]] {
				kept++
			}
		}
		for key := range to {
			if _, ok := from[key]; !ok && !timed[key[1:]] {
				t.Errorf("seed %d: %q is too much", seed, key)
			}
		}
	}
	if kept < 100 {
		t.Errorf("only %d keys were compared", kept)
	}
}

// TestPortableReadLate is what docs/differences.md says of an export that is read after a deadline which the keys outlived.
func TestPortableReadLate(t *testing.T) {
	x := newExporting(t)
	b := &Batch{}
	for _, words := range [][]string{
		{"SET", "future", "v", "PX", "100000"},
		{"SET", "past", "v", "PX", "1000"},
		{"SET", "kept", "v", "PX", "1000"}, {"PERSIST", "kept"},
		{"SET", "renewed", "v", "PX", "1000"}, {"PEXPIRE", "renewed", "100000"},
		{"SET", "source", "v", "PX", "1000"}, {"COPY", "source", "copied"}, {"PERSIST", "copied"},
		{"SET", "added", "v", "PX", "1000"}, {"APPEND", "added", "w"}, {"PERSIST", "added"},
		{"SET", "set", "v", "PX", "1000"}, {"SET", "set", "w"},
	} {
		addTo(b, 0, byteArgs(words...))
	}
	x.apply(slices.Clone(b.Seal(Header{Clock: 1_000_000, Seed: 1})), 1_050_000)
	want := map[string]string{
		"0future": "v", "0set": "w", // all that counts for them is still to come, or was never timed
		"0added": "w", // begun anew by what followed
		// past is gone as it should be; kept, renewed and copied are lost
	}
	got := all(t, x.to.Engine)
	for _, e := range []map[string]string{got, want} {
		for key := range e {
			if got[key] != want[key] {
				t.Errorf("%q is %q, want %q", key, got[key], want[key])
			}
		}
	}
}
