package engine

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/store"
)

type lastReply struct {
	reply.Writer
	text string
}

func (l *lastReply) Bulk(b []byte)          { l.text = string(b) }
func (l *lastReply) Simple(s string)        { l.text = s }
func (l *lastReply) Error(s string)         { l.text = s }
func (l *lastReply) Int(n int64)            { l.text = fmt.Sprint(n) }
func (l *lastReply) Null()                  { l.text = "nil" }
func (l *lastReply) Begin(int) reply.Writer { return l }
func (l *lastReply) End(int)                {}

type testEngine struct {
	*Engine
	t     *testing.T
	index uint64
	clock int64
}

func openTest(t *testing.T, fs vfs.FS) *testEngine {
	t.Helper()
	e, err := Open(Options{Store: store.Options{FS: fs, Dir: "db"}, Random: func() uint64 { return 42 }, Reserve: 1 << 32})
	if err != nil {
		t.Fatal(err)
	}
	return &testEngine{Engine: e, t: t, clock: 1_000_000}
}

func (e *testEngine) do(words ...string) string {
	e.t.Helper()
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	row := command.Lookup(args[0])
	var b Batch
	l := &lastReply{Writer: reply.Discard}
	b.Replies = l
	if row.Flags&command.Write != 0 {
		b.AddWrite(row, 0, args)
	} else {
		b.AddRead(row, 0, args)
	}
	e.index++
	if err := e.Apply(e.index, 1, b.Seal(Header{Clock: e.clock, Seed: 7}), &b); err != nil {
		e.t.Fatal(err)
	}
	return l.text
}

func (e *testEngine) want(want string, words ...string) {
	e.t.Helper()
	if got := e.do(words...); got != want {
		e.t.Fatalf("%q: got %q, want %q", words, got, want)
	}
}

func (e *testEngine) checkpoint() {
	e.t.Helper()
	c, err := e.BeginCheckpoint()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := c.Commit(e.index, 1, nil, 0); err != nil {
		e.t.Fatal(err)
	}
}

func TestStateSurvivesCheckpointAndReopen(t *testing.T) {
	fs := vfs.NewMem()
	e := openTest(t, fs)
	for i := range 20000 {
		e.do("SET", fmt.Sprint("key", i), fmt.Sprint("value", i))
	}
	e.checkpoint()
	for i := 0; i < 20000; i += 2 {
		e.do("DEL", fmt.Sprint("key", i))
	}
	e.want("10000", "DBSIZE")
	e.checkpoint()
	e.do("SET", "key1", "lost: after the checkpoint")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openTest(t, fs)
	defer e.Close()
	e.index = e.AppliedIndex()
	e.want("10000", "DBSIZE")
	for i := range 20000 {
		want := "nil"
		if i%2 == 1 {
			want = fmt.Sprint("value", i)
		}
		e.want(want, "GET", fmt.Sprint("key", i))
	}
	e.want("10000", "DBSIZE")
}
