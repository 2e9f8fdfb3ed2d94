package server

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// pastDue sets keys with a short life and returns once their time has come. Nobody has touched them since.
func pastDue(t *testing.T, c *testClient, keys string, set func()) {
	t.Helper()
	for _, key := range strings.Fields(keys) {
		c.must("SET "+key+" x PX 30", "+OK\r\n")
	}
	set()
	c.must("SET witness x PX 30", "+OK\r\n")
	eventually(t, "the witness's time comes", func() bool { return c.do("EXISTS", "witness") == ":0\r\n" })
}

// TestWatchedKeysThatExpire: a key that ends between WATCH and EXEC was touched; one that had ended before was not, until
// somebody sets it again.
func TestWatchedKeysThatExpire(t *testing.T) {
	t.Parallel()
	ts := start(t, "enable-debug-command yes")
	a, b := ts.dial(), ts.dial()
	b.must("DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n")
	exec := func(command, want string) {
		t.Helper()
		a.must("MULTI", "+OK\r\n")
		a.must(command, "+QUEUED\r\n")
		a.must("EXEC", want)
	}
	for _, command := range []string{"SET y 1", "PING"} {
		passed := map[string]string{"SET y 1": "*1\r\n+OK\r\n", "PING": "*1\r\n+PONG\r\n"}[command]
		pastDue(t, b, "k", func() { a.must("WATCH z k", "+OK\r\n") })
		exec(command, "*-1\r\n")

		pastDue(t, b, "k", func() {})
		a.must("WATCH k", "+OK\r\n")
		exec(command, passed)
		a.must("WATCH k", "+OK\r\n")
		b.must("GET k", "$-1\r\n") // which removes it
		exec(command, passed)

		pastDue(t, b, "k", func() {})
		a.must("WATCH k", "+OK\r\n")
		b.must("SET k 1", "+OK\r\n")
		exec(command, "*-1\r\n")

		pastDue(t, b, "k", func() {})
		a.must("WATCH k", "+OK\r\n")
		b.must("FLUSHALL", "+OK\r\n")
		exec(command, passed)
	}
}

// TestWatchedKeysThatAreCold: they are fetched by WATCH.
func TestWatchedKeysThatAreCold(t *testing.T) {
	t.Parallel()
	ts := start(t, "enable-debug-command yes")
	a, b := ts.dial(), ts.dial()
	b.must("SET k 1 PX 100000", "+OK\r\n")
	for _, touched := range []bool{false, true} {
		b.must("DEBUG RELOAD", "+OK\r\n")
		a.must("WATCH k missing", "+OK\r\n")
		if clients, keys := ts.node.sole().watches.figures(); clients != 1 || keys != 2 {
			t.Fatalf("%d clients watch %d keys", clients, keys)
		}
		want := "*2\r\n+OK\r\n" + bulk("2")
		if touched {
			b.must("APPEND k x", ":2\r\n")
			want = "*-1\r\n"
		}
		a.send(pipeline("MULTI\nSET k 2\nGET k\nEXEC"))
		a.reply()
		a.reply()
		a.reply()
		a.want(want)
		// A transaction of cold keys.
		b.must("DEBUG RELOAD", "+OK\r\n")
		a.send(pipeline("MULTI\nGET missing\nEXISTS k\nEXEC"))
		a.reply()
		a.reply()
		a.reply()
		a.want("*2\r\n$-1\r\n:1\r\n")
		b.must("SET k 1 PX 100000", "+OK\r\n")
	}
}

// TestSwappedWatches says what SWAPDB means for a watched key that is there before or not, and behind it, or due.
func TestSwappedWatches(t *testing.T) {
	for _, c := range []struct {
		stale, before, after, due bool
		wantStale, wantDirty      bool
	}{
		{},
		{before: true, wantDirty: true},
		{after: true, wantDirty: true},
		{before: true, after: true, wantDirty: true},
		{after: true, due: true, wantStale: true},
		{before: true, after: true, due: true, wantDirty: true},
		{stale: true, before: true},
		{stale: true, before: true, after: true, wantStale: true, wantDirty: true},
		{stale: true, before: true, after: true, due: true, wantStale: true},
	} {
		w, x := &watcher{}, &watch{stale: c.stale}
		w.swapped(x, c.before, c.after, c.due)
		if w.dirty.Load() != c.wantDirty || x.stale != c.wantStale {
			t.Errorf("%+v: dirty %v, stale %v", c, w.dirty.Load(), x.stale)
		}
	}
}

// TestWhoLeavesWatchesNothing: disconnecting, RESET and DISCARD end what was watched; a first WATCH that comes while writes are
// in flight sees them.
func TestWhoLeavesWatchesNothing(t *testing.T) {
	t.Parallel()
	ts := start(t)
	watched := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprint(want, " clients watch"), func() bool {
			clients, _ := ts.node.sole().watches.figures()
			return clients == want
		})
	}
	a, b := ts.dial(), ts.dial()
	a.must("WATCH a b", "+OK\r\n")
	b.must("WATCH a", "+OK\r\n")
	watched(2)
	if info := b.do("INFO", "clients"); !strings.Contains(info, "larder_watching_clients:2\r\n") || !strings.Contains(info, "larder_watched_keys:3\r\n") {
		t.Errorf("%s", info)
	}
	a.must("RESET", "+RESET\r\n")
	watched(1)
	b.must("MULTI", "+OK\r\n")
	b.must("DISCARD", "+OK\r\n")
	watched(0)
	a.must("WATCH a", "+OK\r\n")
	a.must("MULTI", "+OK\r\n")
	a.must("SET a 1", "+QUEUED\r\n")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	watched(0)
	b.must("GET a", "$-1\r\n")
}

// TestExecInPipelines: transactions between other commands, all in one go, with replies that are not wanted among them.
func TestExecInPipelines(t *testing.T) {
	t.Parallel()
	c := start(t).dial()
	var want strings.Builder
	var script strings.Builder
	for i := range 50 {
		fmt.Fprintf(&script, "SET a %d\nWATCH a\nMULTI\nINCR a\nEXEC\nGET a\nMULTI\nGET a\nPING\nEXEC\nMULTI\nGET a\nEXISTS b\nEXEC\nINCR a\nCLIENT REPLY SKIP\nSET b 1\nMULTI\nDEL b\nSELECT 0\nEXEC\n", i)
		fmt.Fprintf(&want, "+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:%d\r\n%s+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n%s+PONG\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n%s:0\r\n:%d\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n+OK\r\n",
			i+1, bulk(fmt.Sprint(i+1)), bulk(fmt.Sprint(i+1)), bulk(fmt.Sprint(i+1)), i+2)
	}
	go func() { c.send(pipeline(script.String())) }()
	var got bytes.Buffer
	for got.Len() < want.Len() {
		got.WriteString(c.reply())
	}
	if got.String() != want.String() {
		t.Fatalf("got %.2000q\nwant %.2000q", got.String(), want.String())
	}
	c.must("MULTI", "+OK\r\n")
	c.must("HELLO 3", "+QUEUED\r\n")
	c.must("GET b", "+QUEUED\r\n")
	c.must("HELLO 2", "+QUEUED\r\n")
	c.must("GET b", "+QUEUED\r\n")
	if reply := c.do("EXEC"); !strings.HasPrefix(reply, "*4\r\n%7\r\n") || !strings.Contains(reply, "_\r\n*14\r\n") || !strings.HasSuffix(reply, "$-1\r\n") {
		t.Errorf("HELLO within a transaction: %q", reply)
	}
}

// TestTransactionsAreBounded: by client-query-buffer-limit.
func TestTransactionsAreBounded(t *testing.T) {
	t.Parallel()
	c := start(t, "client-query-buffer-limit 1mb").dial()
	c.must("MULTI", "+OK\r\n")
	big := strings.Repeat("x", 400_000)
	for range 2 {
		if got := c.do("SET", "k", big); got != "+QUEUED\r\n" {
			t.Fatal(got)
		}
	}
	if got := c.do("SET", "k", big); !strings.HasPrefix(got, "-ERR the transaction is too large") {
		t.Fatal(got)
	}
	c.must("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n")
	c.must("EXISTS k", ":0\r\n")
}
