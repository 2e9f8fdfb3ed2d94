package server

import (
	"testing"
	"time"
)

// onLoop runs look on the loop of the only session.
func onLoop(ts *testServer, look func(s *session)) {
	ask(ts.Server, func(l *loop) struct{} {
		for _, s := range l.sessions {
			look(s)
		}
		return struct{}{}
	})
}

// TestLongReadsDoNotRide looks at what a session does with a read behind a write that is unfinished, and behind keys whose
// time has come: what rides in a batch holds the lock, so that a read which may be long has to wait.
func TestLongReadsDoNotRide(t *testing.T) {
	t.Parallel()
	ts := start(t, "io-threads 1")
	c := ts.dial()
	c.must("PING", "+PONG\r\n")
	words := func(list ...string) (args [][]byte) {
		for _, w := range list {
			args = append(args, []byte(w))
		}
		return args
	}
	onLoop(ts, func(s *session) {
		home := s.loop.of(ts.node.sole())
		lcs, get := s.server.table.find([]byte("lcs")), s.server.table.find([]byte("get"))
		s.issued++ // a write that is not finished
		if s.read(home, noSlot, lcs, words("LCS", "a", "b")) || home.open != nil {
			t.Error("LCS rides behind a write")
		}
		if !s.read(home, noSlot, get, words("GET", "a")) || home.open == nil || len(home.open.commands.Calls()) != 1 {
			t.Error("GET does not ride behind a write")
		}
		s.finished++
	})
	c.want("$-1\r\n")
	onLoop(ts, func(s *session) {
		lcs := s.server.table.find([]byte("lcs"))
		if s.readBehindExpiry(s.loop.of(ts.node.sole()), noSlot, lcs, words("LCS", "a", "b")) {
			t.Error("LCS rides behind the deletion of its keys")
		}
		if calls := s.loop.of(ts.node.sole()).open.commands.Calls(); len(calls) != 1 || calls[0].Local {
			t.Errorf("the batch has %v", calls)
		}
	})
}

// TestLongReadOfDueKeys has LCS meet keys whose time has come.
func TestLongReadOfDueKeys(t *testing.T) {
	t.Parallel()
	ts := start(t, "enable-debug-command yes")
	c := ts.dial()
	c.must("DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n")
	for range 20 {
		c.must("SET a same PX 1", "+OK\r\n")
		c.must("SET b same", "+OK\r\n")
		begun := time.Now()
		eventually(t, "two milliseconds pass", func() bool { return time.Since(begun) > 2*time.Millisecond })
		c.send(line("LCS a b") + line("INCR n") + line("LCS b b"))
		c.want(bulk(""))
		c.reply()
		c.want(bulk("same"))
	}
	f := infoFields(c.do("INFO", "everything"))
	if calls, _ := splitStat(f["cmdstat_lcs"]); f["expired_keys"] != "20" || calls != "calls=40,rejected_calls=0,failed_calls=0" {
		t.Errorf("%s keys are expired, LCS has %s", f["expired_keys"], f["cmdstat_lcs"])
	}
}
