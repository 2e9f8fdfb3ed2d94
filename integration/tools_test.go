package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// runTool runs a program to its end and returns what it wrote, standard error included.
func runTool(t testing.TB, stdin []byte, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience+patience/4) // some are told to be patient themselves
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestRedisCLI(t *testing.T) {
	cli := needProgram(t, "redis-cli")
	s := startLarder(t)
	port := strconv.Itoa(s.port)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"SET", "greeting", "hello"}, "OK\n"},
		{[]string{"GET", "greeting"}, "hello\n"},
		{[]string{"-3", "GET", "greeting"}, "hello\n"},
		{[]string{"INCR", "greeting"}, "ERR value is not an integer or out of range\n\n"},
		{[]string{"-n", "3", "DBSIZE"}, "0\n"},
		{[]string{"--scan", "--pattern", "gr*"}, "greeting\n"},
		{[]string{"EVALX"}, "ERR unknown command 'EVALX', with args beginning with: \n\n"},
	} {
		out, err := runTool(t, nil, cli, append([]string{"-p", port}, c.args...)...)
		if out != c.want {
			t.Errorf("redis-cli %v: got %q, %v; want %q", c.args, out, err, c.want)
		}
	}
	if out, err := runTool(t, []byte("SET a 1\nINCR a\nGET a\n"), cli, "-p", port); out != "OK\n2\n2\n" {
		t.Errorf("redis-cli reading commands: %q, %v", out, err)
	}
	for _, args := range [][]string{{"INFO"}, {"CONFIG", "GET", "*"}, {"CLIENT", "LIST"}, {"COMMAND", "DOCS"}, {"-r", "3", "PING"}} {
		if out, err := runTool(t, nil, cli, append([]string{"-p", port}, args...)...); err != nil || strings.HasPrefix(out, "ERR") || out == "" {
			t.Errorf("redis-cli %v: %v, %q", args, err, shorten(out))
		}
	}
}

func TestRedisBenchmark(t *testing.T) {
	program := needProgram(t, "redis-benchmark")
	s := startLarder(t)
	out, err := runTool(t, nil, program, "-p", strconv.Itoa(s.port), "-t", "set,get,incr,mset", "-n", "10000", "-P", "16", "-r", "1000", "-q")
	if err != nil || !strings.Contains(out, "requests per second") || strings.Contains(out, "rror") {
		t.Errorf("redis-benchmark: %v\n%s", err, out)
	}
	t.Log(strings.ReplaceAll(out, "\r", "\n"))
	connect(t, s).want(t, "+PONG\r\n", "PING")
}

// TestLogTools: the log of a killed server checks out, can be read by people, and makes a real redis-server the same.
func TestLogTools(t *testing.T) {
	cli := needProgram(t, "redis-cli")
	s := startLarder(t)
	conn := connect(t, s)
	fill(t, conn, 1500)
	for _, line := range strings.Split(`SET lasting x EX 100000
SET gone x PXAT 1
INCRBYFLOAT number 10.5
APPEND string "a\x00b\r\n"
SETBIT bits 1000 1
BITFIELD field SET u8 3 200 INCRBY i5 100 1
RENAME string renamed
COPY renamed copied DB 3
SELECT 2
SET elsewhere 2
SELECT 5
SET dropped x
FLUSHDB
SWAPDB 2 7
MULTI
SET within x EX 100000
SELECT 9
INCR within
GET within
SET gone x PX 1
EXEC
GETDEL nothing
GETEX lasting PERSIST
HSET hash a 1 b 2
HINCRBYFLOAT hash a 0.1
EXPIRE hash 1000
RPUSH list a b c d
LMOVE list other LEFT RIGHT
LINSERT list BEFORE c x
SADD set 3 1 2 x
SADD integers 1 2 3
SMOVE set integers x
ZADD scores 1 a 2.5 b inf c
ZINCRBY scores -0.1 a
ZPOPMIN scores
ZRANGESTORE ranged scores 0 -1
SORT integers ALPHA STORE sorted
COPY hash hash2 DB 3
RENAME other another
SADD chance a b c
SPOP chance
DEL chance`, "\n") {
		if reply := conn.do(t, splitLine(t, line)...); reply[0] == '-' {
			t.Errorf("%s: %s", line, reply)
		}
	}
	digest := digestOf(t, conn)
	s.kill()

	if out, err := runTool(t, nil, larderProgram, "aof", "check", s.dir); err != nil {
		t.Errorf("aof check: %v\n%s", err, out)
	}
	out, err := runTool(t, nil, larderProgram, "aof", "cat", s.dir)
	if err != nil || !strings.Contains(out, "lasting") || !strings.Contains(out, "BITFIELD") {
		t.Errorf("aof cat: %v\n%s", err, shorten(out))
	}
	var warning strings.Builder
	exporting := exec.Command(larderProgram, "aof", "export", s.dir)
	exporting.Stderr = &warning
	export, err := exporting.Output()
	if err != nil || !strings.Contains(warning.String(), "1 SPOP") {
		t.Fatalf("aof export: %v\n%s", err, warning.String())
	}
	peer := startRedis(t)
	out, err = runTool(t, export, cli, "-p", strconv.Itoa(peer.port), "--pipe")
	if err != nil || !strings.Contains(out, "errors: 0") {
		t.Errorf("redis-cli --pipe: %v\n%s", err, out)
	}
	theirs := connect(t, peer)
	theirs.want(t, "$-1\r\n", "GET", "gone") // redis-server counts a key whose time is over until it looks for it
	theirs.want(t, digest, "DEBUG", "DIGEST")
	s.restart()
	connect(t, s).want(t, digest, "DEBUG", "DIGEST")
}

// TestLogCheckNamesDamage: a byte that changed in a log that was closed in order is named, with its file.
func TestLogCheckNamesDamage(t *testing.T) {
	s := startLarder(t)
	conn := connect(t, s)
	conn.want(t, "+OK\r\n", "SET", "torn", strings.Repeat("z", 300))
	fill(t, conn, 300)
	s.terminate()
	file := lastLogSegment(t, filepath.Join(s.dir, logFolder))
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[bytes.LastIndex(content, tornMark)] ^= 1
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := runTool(t, nil, larderProgram, "aof", "check", s.dir)
	if err == nil || !strings.Contains(out, filepath.Base(file)) {
		t.Errorf("aof check: %v\n%s", err, out)
	}
}

// logFolder is where the log lies in a server's folder.
const logFolder = "log"
