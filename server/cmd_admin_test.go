package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// compare sends the same lines to both servers, in both protocols.
func compare(t *testing.T, theirs *redis, ours *testServer, lines string) {
	t.Helper()
	for _, proto := range []string{"2", "3"} {
		a, b := theirs.dial(), ours.dial()
		a.do("HELLO", proto)
		b.do("HELLO", proto)
		for l := range strings.Lines(lines) {
			words := strings.Fields(l)
			if len(words) == 0 {
				continue
			}
			if want, got := a.do(words...), b.do(words...); got != want {
				t.Errorf("RESP%s, %s:\n ours   %.600q\n theirs %.600q", proto, strings.TrimSpace(l), got, want)
			}
		}
	}
}

func TestAdminRepliesAreRedis(t *testing.T) {
	t.Parallel()
	compare(t, startRedis(t, "--enable-debug-command", "yes"), start(t, "enable-debug-command yes"), `
		TIME x
		SAVE
		SAVE x
		BGSAVE foo
		BGSAVE SCHEDULE x
		SHUTDOWN foo
		SHUTDOWN ABORT
		SHUTDOWN SAVE NOSAVE
		SHUTDOWN ABORT NOW
		SHUTDOWN NOSAVE x
		ROLE
		ROLE x
		REPLICAOF NO ONE
		SLAVEOF no one
		REPLICAOF a b
		REPLICAOF a 99999
		REPLICAOF a 6379x
		REPLICAOF a
		WAIT 0 0
		WAIT 1 20
		WAIT 1 x
		WAIT x 1
		WAIT 1 -1
		SLOWLOG
		SLOWLOG NOSUCH
		SLOWLOG RESET
		SLOWLOG RESET x
		SLOWLOG LEN
		SLOWLOG GET
		SLOWLOG GET -1
		SLOWLOG GET -2
		SLOWLOG GET x
		SLOWLOG GET 1 2
		LATENCY LATEST
		LATENCY HISTORY x
		LATENCY GRAPH x
		LATENCY RESET
		LATENCY RESET x y
		LATENCY HISTOGRAM nosuch
		LATENCY NOSUCH
		MEMORY
		MEMORY NOSUCH
		MEMORY PURGE
		MEMORY USAGE
		MEMORY USAGE nokey
		MEMORY USAGE nokey SAMPLES x
		MEMORY STATS x
		INFO nosuch
		DEBUG
		DEBUG NOSUCH
		DEBUG SLEEP
		DEBUG SLEEP x
		DEBUG SLEEP 0
		DEBUG SLEEP -1
		DEBUG OBJECT
		DEBUG OBJECT nokey
		DEBUG DIGEST x
		DEBUG DIGEST-VALUE
		DEBUG DIGEST-VALUE nokey x
		DEBUG RELOAD foo
		DEBUG SET-ACTIVE-EXPIRE
		DEBUG SET-ACTIVE-EXPIRE 1
		DEBUG POPULATE
		DEBUG POPULATE x
		DEBUG POPULATE -1
		DEBUG POPULATE 1 a -1
		DEBUG POPULATE 1 a 2 3
		DEBUG ERROR MYCODE
		DEBUG LOG x
		DEBUG PROTOCOL
		DEBUG PROTOCOL nosuch
		DEBUG PROTOCOL string
		DEBUG PROTOCOL integer
		DEBUG PROTOCOL double
		DEBUG PROTOCOL bignum
		DEBUG PROTOCOL null
		DEBUG PROTOCOL array
		DEBUG PROTOCOL set
		DEBUG PROTOCOL map
		DEBUG PROTOCOL verbatim
		DEBUG PROTOCOL true
		DEBUG PROTOCOL false
	`)
}

// TestOutOfBandProtocol compares what is more than one reply: attributes and pushes.
func TestOutOfBandProtocol(t *testing.T) {
	t.Parallel()
	theirs, ours := startRedis(t, "--enable-debug-command", "yes"), start(t, "enable-debug-command yes")
	for _, proto := range []string{"2", "3"} {
		for _, kind := range []string{"attrib", "push"} {
			var got [2]string
			for i, c := range []*testClient{ours.dial(), theirs.dial()} {
				c.do("HELLO", proto)
				c.send(encode("DEBUG", "PROTOCOL", kind) + encode("ECHO", "end"))
				for !strings.HasSuffix(got[i], bulk("end")) {
					got[i] += c.reply()
				}
			}
			if got[0] != got[1] {
				t.Errorf("RESP%s %s:\n ours   %q\n theirs %q", proto, kind, got[0], got[1])
			}
		}
	}
}

func TestDebugIsRefusedUnlessEnabled(t *testing.T) {
	t.Parallel()
	ours := start(t)
	compare(t, startRedis(t), ours, "DEBUG DIGEST\nDEBUG\nDEBUG NOSUCH")
	start(t, "enable-debug-command local").dial().must("DEBUG SLEEP 0", "+OK\r\n") // over a Unix socket
}

// TestSaveWhileACheckpointIsUnderWay holds one open.
func TestSaveWhileACheckpointIsUnderWay(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	c.must("SET a 1", "+OK\r\n")
	run, err := ts.node.startCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	c.must("SAVE", "-ERR Background save already in progress\r\n")
	c.must("BGSAVE", "-ERR Background save already in progress\r\n")
	c.must("BGSAVE SCHEDULE", "-ERR Background save already in progress\r\n")
	if f := infoFields(c.do("INFO", "persistence")); f["rdb_bgsave_in_progress"] != "1" {
		t.Errorf("INFO does not show the checkpoint: %v", f)
	}
	c.must("BGREWRITEAOF", "+Background append only file rewriting scheduled\r\n")
	if err := run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the scheduled checkpoint is done", func() bool {
		f := infoFields(c.do("INFO", "persistence"))
		return f["rdb_bgsave_in_progress"] == "0" && f["aof_rewrite_scheduled"] == "0"
	})
	c.must("BGREWRITEAOF", "+Background append only file rewriting started\r\n")
	eventually(t, "no checkpoint is under way", func() bool { return c.do("SAVE") == "+OK\r\n" })
	if f := infoFields(c.do("INFO", "persistence")); f["rdb_changes_since_last_save"] != "0" || f["larder_checkpoint_index"] == "0" {
		t.Errorf("after SAVE: %v", f)
	}
	c.must("SET a 2", "+OK\r\n")
	if f := infoFields(c.do("INFO", "persistence")); f["rdb_changes_since_last_save"] != "1" {
		t.Errorf("after a change: %v", f)
	}
	c.must("BGSAVE", "+Background saving started\r\n")
}

func TestShutdownAnswersNothing(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"SHUTDOWN", "SHUTDOWN SAVE", "SHUTDOWN NOSAVE", "SHUTDOWN NOW FORCE"} {
		ts := start(t)
		c := ts.dial()
		c.send(line("SET a 1") + line(how) + line("SET a 2"))
		c.want("+OK\r\n")
		c.wantEnd()
		if err := ts.Wait(); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		ts.ended.Do(func() {})
	}
}

func TestSlowLog(t *testing.T) {
	t.Parallel()
	ts := start(t, "enable-debug-command yes", "slowlog-log-slower-than 1000", "slowlog-max-len 3")
	c := ts.dial()
	c.must("CLIENT SETNAME me", "+OK\r\n")
	for i := range 5 {
		c.must(fmt.Sprintf("DEBUG SLEEP 0.00%d", i+1), "+OK\r\n")
	}
	c.must("CONFIG SET slowlog-log-slower-than -1", "+OK\r\n")
	c.must("SLOWLOG LEN", ":3\r\n")
	got := parse(t, c.do("SLOWLOG", "GET", "2")).([]any)
	if len(got) != 2 {
		t.Fatalf("got %v", got)
	}
	newest := got[0].([]any)
	if fmt.Sprintf("%v %v %v", newest[2], newest[3], newest[5]) != "5000 [DEBUG SLEEP 0.005] me" || newest[0] == got[1].([]any)[0] {
		t.Errorf("got %v", got)
	}
	c.must("SLOWLOG RESET", "+OK\r\n")
	c.must("SLOWLOG GET", "*0\r\n")
	c.must("DEBUG SLEEP 0.001", "+OK\r\n")
	c.must("SLOWLOG LEN", ":0\r\n")
}

// TestSlowLogSeesEveryWay has everything count as slow: reads on a loop, behind a write and cold, writes, the server's own
// commands; passwords are not shown.
func TestSlowLogSeesEveryWay(t *testing.T) {
	t.Parallel()
	ts := start(t, "enable-debug-command yes", "slowlog-log-slower-than -1")
	c := ts.dial()
	c.must("SET cold 1", "+OK\r\n")
	c.must("DEBUG RELOAD", "+OK\r\n")
	c.must("CONFIG SET slowlog-log-slower-than 0", "+OK\r\n")
	c.must("GET cold", bulk("1"))
	c.send(pipeline(`
		INCR first
		GET first
		SET second 2
		LCS first second
		GET second
		PING
		AUTH me secret
		HELLO 2 AUTH me secret SETNAME x`))
	for range 8 {
		c.reply()
	}
	c.must("CONFIG SET slowlog-log-slower-than -1", "+OK\r\n")
	var got []string
	for _, e := range parse(t, c.do("SLOWLOG", "GET", "-1")).([]any) {
		got = append(got, fmt.Sprint(e.([]any)[3]))
	}
	slices.Reverse(got)
	want := []string{
		"[GET cold]", "[INCR first]", "[GET first]", "[SET second 2]", "[LCS first second]", "[GET second]", "[PING]",
		"[AUTH (redacted) (redacted)]", "[HELLO 2 AUTH (redacted) (redacted) SETNAME x]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the slow log has\n%q, want\n%q", got, want)
	}
}

// TestLatencyIsWatched has a command take long enough for an event of each kind of reply.
func TestLatencyIsWatched(t *testing.T) {
	t.Parallel()
	ts := start(t, "enable-debug-command yes")
	c := ts.dial()
	c.must("DEBUG SLEEP 0.002", "+OK\r\n")
	c.must("LATENCY LATEST", "*0\r\n")
	c.must("CONFIG SET latency-monitor-threshold 2", "+OK\r\n")
	c.must("DEBUG SLEEP 0.003", "+OK\r\n")
	c.must("DEBUG SLEEP 0.002", "+OK\r\n")
	latest := func() map[string][]any {
		events := map[string][]any{}
		for _, e := range parse(t, c.do("LATENCY", "LATEST")).([]any) {
			events[e.([]any)[0].(string)] = e.([]any)
		}
		return events
	}
	if e := latest()["command"]; len(e) != 4 || e[3] == "0" {
		t.Errorf("LATEST has %v", e)
	}
	if h := parse(t, c.do("LATENCY", "HISTORY", "command")).([]any); len(h) == 0 || len(h[0].([]any)) != 2 {
		t.Errorf("HISTORY has %v", h)
	}
	if g := parse(t, c.do("LATENCY", "GRAPH", "command")).(string); !strings.HasPrefix(g, "command - high ") || !strings.Contains(g, "#") {
		t.Errorf("GRAPH draws %q", g)
	}
	if d := parse(t, c.do("LATENCY", "DOCTOR")).(string); !strings.Contains(d, "command: ") || !strings.Contains(d, "SLOWLOG") {
		t.Errorf("DOCTOR says %q", d)
	}
	c.must("LATENCY RESET command nosuch", ":1\r\n")
	if e := latest()["command"]; e != nil {
		t.Errorf("after RESET: %v", e)
	}
	ts.node.delayed(eventSync, time.Second)
	if e := latest()[eventSync]; len(e) == 0 || e[2] != "1000" {
		t.Errorf("LATEST has %v", e)
	}
}

func TestLatencyHistogram(t *testing.T) {
	t.Parallel()
	c := start(t).dial()
	for range 5 {
		c.must("SET a 1", "+OK\r\n")
	}
	c.must("CLIENT ID", ":1\r\n")
	all := dictionary(parse(t, c.do("LATENCY", "HISTOGRAM", "set", "client", "nosuch", "get")))
	if len(all) != 2 || all["client|id"] == nil {
		t.Fatalf("got %v", all)
	}
	set := dictionary(all["set"])
	h, ok := set["histogram_usec"].([]any)
	if set["calls"] != "5" || !ok || len(h) == 0 || h[len(h)-1] != "5" {
		t.Errorf("SET: %v", set)
	}
	for took, want := range map[time.Duration]int64{0: 1, 1023: 1, 1024: 2, 2047: 2, 5 * time.Microsecond: 8, time.Hour: 1073741} {
		if got := classEnd(classOf(took)); got != want {
			t.Errorf("%v ends in the class up to %d µs, want %d", took, got, want)
		}
	}
}

// TestLatencyMonitorIsBounded notes more delays than are kept, several in a second.
func TestLatencyMonitorIsBounded(t *testing.T) {
	var m latencyMonitor
	for i := range int64(4 * latencySamples) {
		m.note(eventSync, i/2, 100+i)
	}
	d := m.of(eventSync)
	last := d.samples[len(d.samples)-1]
	if len(d.samples) != latencySamples || d.longest != 99+4*latencySamples || last.millis != d.longest {
		t.Errorf("%d samples, the longest %d, the last %v", len(d.samples), d.longest, last)
	}
	if rows := strings.Split(d.graph(eventSync, last.at), "\n"); len(rows) < 2+graphRows || len(rows[3]) != graphColumns {
		t.Errorf("the graph is\n%s", strings.Join(rows, "\n"))
	}
}

func TestSlowLogShortensCommands(t *testing.T) {
	var args [][]byte
	for range 40 {
		args = append(args, []byte(strings.Repeat("x", 200)))
	}
	got := slowArgsOf(args)
	if len(got) != 32 || got[31] != "... (9 more arguments)" || got[0] != strings.Repeat("x", 128)+"... (72 more bytes)" {
		t.Errorf("got %d arguments, %q … %q", len(got), got[0], got[len(got)-1])
	}
	if got := slowArgsOf(args[:32]); len(got) != 32 || got[31] != got[0] {
		t.Errorf("32 arguments: the last is %q", got[31])
	}
}

func TestMemoryIsInBothTables(t *testing.T) {
	t.Parallel()
	c := start(t).dial()
	c.must("SET a 1", "+OK\r\n")
	if reply := c.do("MEMORY", "USAGE", "a"); !strings.HasPrefix(reply, ":") {
		t.Errorf("MEMORY USAGE: %q", reply)
	}
	stats := dictionary(parse(t, c.do("MEMORY", "STATS")))
	for _, name := range []string{"total.allocated", "peak.allocated", "dataset.bytes", "allocator.resident"} {
		if text := fmt.Sprint(stats[name]); text == "0" || strings.Trim(text, "0123456789") != "" {
			t.Errorf("%s is %v", name, stats[name])
		}
	}
	if fmt.Sprint(stats["keys.count"]) != "1" {
		t.Errorf("keys.count is %v", stats["keys.count"])
	}
	for _, sub := range []string{"DOCTOR", "MALLOC-STATS", "HELP"} {
		if reply := c.do("MEMORY", sub); reply[0] != '$' && reply[0] != '*' {
			t.Errorf("MEMORY %s: %q", sub, reply)
		}
	}
}
