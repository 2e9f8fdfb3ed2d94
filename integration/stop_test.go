package integration

import (
	"strconv"
	"strings"
	"testing"
)

// Every way to stop keeps what was acknowledged: the log has it, whatever becomes of the last checkpoint.
func TestStopsKeepEverything(t *testing.T) {
	stops := map[string]func(t *testing.T, s *server){
		"SIGTERM":         func(_ *testing.T, s *server) { s.terminate() },
		"SHUTDOWN":        func(t *testing.T, s *server) { shutdown(t, s, "SHUTDOWN") },
		"SHUTDOWN SAVE":   func(t *testing.T, s *server) { shutdown(t, s, "SHUTDOWN", "SAVE") },
		"SHUTDOWN NOSAVE": func(t *testing.T, s *server) { shutdown(t, s, "SHUTDOWN", "NOSAVE") },
	}
	for name, stop := range stops {
		t.Run(name, func(t *testing.T) {
			s := startLarder(t)
			conn := connect(t, s)
			fill(t, conn, 1000)
			conn.want(t, "+OK\r\n", "SAVE")
			conn.want(t, "+OK\r\n", "SET", "after", "the checkpoint")
			digest := digestOf(t, conn)
			stop(t, s)
			s.restart()
			conn = connect(t, s)
			conn.want(t, digest, "DEBUG", "DIGEST")
			conn.want(t, bulk("the checkpoint"), "GET", "after")
		})
	}
}

// shutdown sends the command, which has no reply, and waits for the end.
func shutdown(t *testing.T, s *server, args ...string) {
	t.Helper()
	conn := connect(t, s)
	conn.put(args...)
	if err := conn.send(); err != nil {
		t.Fatal(err)
	}
	if reply, err := conn.reply(); err == nil {
		t.Fatalf("%s answered %s", quoteArgs(args), shorten(reply))
	}
	if err := s.wait(t); err != nil {
		t.Errorf("%s: %v; it said:\n%s", quoteArgs(args), err, s.output.String())
	}
}

// fill writes n keys of several sizes, in one pipeline per hundred.
func fill(t testing.TB, conn *wire, n int) {
	t.Helper()
	for i := 0; i < n; i += 100 {
		count := min(100, n-i)
		for j := range count {
			key, value := filled(i + j)
			conn.put("SET", key, value)
		}
		if err := conn.send(); err != nil {
			t.Fatal(err)
		}
		for range count {
			if reply, err := conn.reply(); err != nil || reply != "+OK\r\n" {
				t.Fatalf("SET: %s, %v", shorten(reply), err)
			}
		}
	}
}

// filled is fill's i-th key with its value.
func filled(i int) (key, value string) {
	key = "fill:" + string(rune('a'+i%26)) + strings.Repeat("k", i%7) + ":" + strconv.Itoa(i)
	return key, strings.Repeat(strconv.Itoa(i)+".", 1+i%300)
}

func TestUnknownDirectiveIsRefusedByName(t *testing.T) {
	said := newLarder(t, t.TempDir(), "--no-such-directive", "1").refused()
	if !strings.Contains(said, "no-such-directive") {
		t.Errorf("the directive is not named:\n%s", said)
	}
}

func TestDebugReloadAndLoadAOF(t *testing.T) {
	s := startLarder(t)
	conn := connect(t, s)
	fill(t, conn, 2000)
	conn.want(t, "+OK\r\n", "SET", "lasting", "x", "EX", "100000")
	for _, command := range []string{"RELOAD", "LOADAOF", "RELOAD"} {
		conn.want(t, "+OK\r\n", "SET", "since", command)
		digest := digestOf(t, conn)
		conn.want(t, "+OK\r\n", "DEBUG", command)
		conn.want(t, digest, "DEBUG", "DIGEST")
		conn.want(t, bulk(command), "GET", "since")
	}
}
