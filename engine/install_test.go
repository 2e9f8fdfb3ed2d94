package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/store"
)

// two opens engines with seeds of their own: one at index 100, one behind it with other keys.
func two(t *testing.T) (ahead, behind *testEngine, fs vfs.FS) {
	ahead = openTest(t, vfs.NewMem())
	for i := range 100 {
		ahead.do("SET", fmt.Sprint("key", i), fmt.Sprint("ahead", i))
	}
	ahead.commit()
	ahead.do("SET", "later", "x") // not in the checkpoint
	fs = vfs.NewMem()
	e, err := Open(Options{
		Store:  store.Options{FS: fs, Dir: "db", Logger: quiet(), TableSize: 64 << 10},
		Random: func() uint64 { return 43 }, Reserve: 8 << 30, Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	behind = &testEngine{Engine: e, t: t, clock: 1_000_000}
	for i := range 50 {
		behind.do("SET", fmt.Sprint("key", 2*i), "behind")
		behind.do("SET", fmt.Sprint("other", i), "behind")
		if i == 30 {
			behind.commit()
		}
	}
	behind.index = 90
	t.Cleanup(ahead.close)
	t.Cleanup(behind.close)
	return ahead, behind, fs
}

func TestReadersGoOnAfterAnInstall(t *testing.T) {
	ahead, behind, _ := two(t)
	r := behind.NewReader()
	read := func(key string) string {
		t.Helper()
		for {
			r.Begin(behind.clock, 1)
			outcome, err := r.Do(lookup("GET"), 0, byteArgs("GET", key), &behind.out)
			r.End()
			if err != nil {
				t.Fatal(err)
			}
			got := behind.out.take()
			if outcome != Cold {
				return got
			}
			if err := behind.Keys().Warm([]keyspace.Key{{DB: 0, Key: []byte(key)}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := read("key4"); got != "$behind\n" {
		t.Fatalf("%q", got)
	}
	if err := transfer(ahead.Engine, behind.Engine); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"key4": "$ahead4\n", "key5": "$ahead5\n", "other4": "_\n", "later": "_\n"} {
		if got := read(key); got != want {
			t.Fatalf("%s: %q, want %q", key, got, want)
		}
	}
	if behind.AppliedIndex() != 100 {
		t.Fatal(behind.AppliedIndex())
	}
	behind.index = 100
	behind.do("SET", "later", "x")
	if digest(t, ahead.Engine) != digest(t, behind.Engine) {
		t.Fatal("E8: digests differ")
	}
}

func TestInstallWaitsForLongReads(t *testing.T) {
	ahead, behind, _ := two(t)
	met := 0
	err := behind.Keys().Each(func(*keyspace.Tx, int, []byte, keyspace.Entry) error {
		if met++; met > 1 {
			return nil
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		v, err := ahead.Store().View()
		if err != nil {
			return err
		}
		r, err := behind.Store().NewReplacement()
		if err == nil {
			err = v.Records(r.Add)
		}
		m, _ := v.Meta()
		if err = errors.Join(err, r.Finish(m), v.Close()); err != nil {
			return err
		}
		if err := behind.Install(gone, r); !errors.Is(err, context.Canceled) {
			t.Errorf("an install under a long read: %v", err)
		}
		return r.Abort()
	})
	if err != nil || met != 100 {
		t.Fatal(met, err)
	}
	if err := transfer(ahead.Engine, behind.Engine); err != nil {
		t.Fatal(err)
	}
	behind.want("$ahead7", "GET", "key7")
}

func TestInstallRefusesWhatItCannotRead(t *testing.T) {
	ahead, behind, _ := two(t)
	before := digest(t, behind.Engine)
	for _, m := range []store.Meta{
		{Index: 1 << 40, State: []byte("no state")},
		{Index: 70, State: meta(t, ahead).State},
	} {
		r, err := behind.Store().NewReplacement()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Finish(m); err != nil {
			t.Fatal(err)
		}
		if err := behind.Install(context.Background(), r); err == nil {
			t.Fatalf("installed at %d", m.Index)
		}
		if err := r.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	if digest(t, behind.Engine) != before {
		t.Fatal("a refused install has changed the state")
	}
}

func meta(t *testing.T, e *testEngine) store.Meta {
	m, ok := e.Store().Meta()
	if !ok {
		t.Fatal("no checkpoint")
	}
	return m
}

func TestInterruptedCheckpointGivesTheEpochBack(t *testing.T) {
	_, e, _ := two(t)
	for i := range 2000 {
		e.do("SET", fmt.Sprint("more", i), "x")
	}
	c, err := e.BeginCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	c.Pace = func() {
		if steps++; steps == 2 {
			c.Interrupt()
		}
	}
	if err := c.Commit(e.index, 1, nil, 0); !errors.Is(err, keyspace.ErrInterrupted) || steps != 2 {
		t.Fatalf("%v after %d steps", err, steps)
	}
	before := digest(t, e.Engine)
	e.commit()
	e.chill()
	if digest(t, e.Engine) != before {
		t.Fatal("what an interrupted checkpoint had is lost")
	}
}
