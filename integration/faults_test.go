package integration

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecondServerOnTheSameFolderIsRefused(t *testing.T) {
	s := startLarder(t)
	conn := connect(t, s)
	conn.want(t, "+OK\r\n", "SET", "k", "v")
	said := newLarder(t, s.dir).refused()
	if !strings.Contains(said, s.dir) {
		t.Errorf("the folder is not named:\n%s", said)
	}
	conn.want(t, bulk("v"), "GET", "k")
	s.kill()
	s.restart() // what the second server did must not have hurt
	connect(t, s).want(t, bulk("v"), "GET", "k")
}

func TestFolderThatCannotBeUsedIsRefused(t *testing.T) {
	t.Run("read-only", func(t *testing.T) {
		dir := t.TempDir()
		s := newLarder(t, dir)
		if os.Geteuid() == 0 {
			// Root may write anywhere; so another user, who may not, runs the server.
			openParents(t, dir)
			asNobody(s)
		}
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
		if said := s.refused(); !strings.Contains(said, "permission denied") {
			t.Errorf("the reason is not named:\n%s", said)
		}
	})
	t.Run("a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if said := newLarder(t, file).refused(); !strings.Contains(said, file) {
			t.Errorf("the path is not named:\n%s", said)
		}
	})
}

// openParents lets everybody reach the folder.
func openParents(t *testing.T, dir string) {
	t.Helper()
	for at := filepath.Dir(dir); at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// asNobody has a user without rights run the server, by way of setpriv, which every Debian has.
func asNobody(s *server) {
	program, args := s.program, s.args
	s.program = "setpriv"
	s.args = func(port int) []string {
		return append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", program}, args(port)...)
	}
}

// boundFiles gives the server a limit of the size of each file, in KiB.
func boundFiles(s *server, kib int) {
	program, args := s.program, s.args
	s.program = "/bin/bash"
	s.args = func(port int) []string {
		return append([]string{"-c", fmt.Sprintf(`ulimit -f %d; exec "$0" "$@"`, kib), program}, args(port)...)
	}
}

// fillUp writes until the server refuses or ends, makes room, and checks that every acknowledged write is there.
func fillUp(t *testing.T, s *server, makeRoom func()) {
	t.Helper()
	s.start()
	conn := connect(t, s)
	random := make([]byte, 3000) // so that nothing can be gained by compressing
	rand.NewChaCha8([32]byte{}).Read(random)
	value := string(random)
	acknowledged := 0
	var outcome string
	for ; outcome == ""; acknowledged++ {
		if acknowledged == 50_000 {
			t.Fatalf("50000 writes of 3000 bytes were acknowledged on a small disk")
		}
		conn.put("SET", fmt.Sprint("full:", acknowledged), value)
		err := conn.send()
		reply := ""
		if err == nil {
			reply, err = conn.reply()
		}
		switch {
		case err != nil:
			outcome = "the connection ended"
		case reply != "+OK\r\n":
			outcome = reply
		}
	}
	acknowledged-- // the last one was not
	t.Logf("after %d writes: %q", acknowledged, outcome)
	if outcome == "the connection ended" {
		_ = s.wait(t)
		if said := s.output.String(); !strings.Contains(said, "no space left") && !strings.Contains(said, "too large") {
			t.Errorf("the server ended without naming the full disk:\n%s", said)
		}
	} else {
		if !strings.HasPrefix(outcome, "-MISCONF ") && !strings.HasPrefix(outcome, "-OOM ") {
			t.Errorf("a full disk is answered with %q", outcome)
		}
		if reply := conn.do(t, "GET", "full:0"); reply != bulk(value) {
			t.Errorf("reads on a full disk: %s", shorten(reply))
		}
		s.kill()
	}
	if said := s.output.String(); strings.Contains(said, "goroutine ") {
		t.Errorf("a stack trace instead of a reason:\n%s", said)
	}
	makeRoom()
	s.restart()
	conn = connect(t, s)
	for i := range acknowledged {
		if reply := conn.do(t, "GET", fmt.Sprint("full:", i)); reply != bulk(value) {
			t.Fatalf("acknowledged write %d of %d: %s", i, acknowledged, shorten(reply))
		}
	}
	conn.want(t, "+OK\r\n", "SET", "again", "writable")
}

// A damaged file may stop the start, or the process when it comes to read the damage, with the file's name; or it may
// make a read an error. It may never change or hide data.
func TestDamagedFilesAreReported(t *testing.T) {
	const keys = 3000
	s := startLarder(t)
	conn := connect(t, s)
	fill(t, conn, keys)
	conn.want(t, "+OK\r\n", "SAVE")
	conn.want(t, "+OK\r\n", "SET", "last", "written")
	s.terminate() // in order: then the end of the log is vouched for, and nothing counts as torn

	var files []string
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(whole) == 0 {
			continue
		}
		name, err := filepath.Rel(s.dir, file)
		if err != nil {
			t.Fatal(err)
		}
		damages := map[string][]byte{"cut in half": whole[:len(whole)/2]}
		used := len(bytes.TrimRight(whole, "\x00"))
		for _, at := range []int{0, used / 2, used - 1} {
			flipped := bytes.Clone(whole)
			if at >= 0 {
				flipped[at] ^= 0x10
				damages[fmt.Sprintf("byte %d flipped", at)] = flipped
			}
		}
		for damage, content := range damages {
			t.Run(name+" "+damage, func(t *testing.T) { startDamaged(t, s.dir, name, content, keys) })
		}
	}
}

// startDamaged starts a server on a copy of the folder in which one file has other content.
func startDamaged(t *testing.T, from, name string, content []byte, keys int) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("cp", "-a", from+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
		t.Fatal(err)
	}
	s := newLarder(t, dir)
	port := freePort(t)
	s.process = startProcess(t, exec.Command(s.program, s.args(port)...))
	defer s.kill()
	if err := s.await(port); err != nil {
		endedNaming(t, s, name)
		return
	}
	s.port = port
	readDamaged(t, s, name, keys)
}

// endedNaming checks that a process which ended said why and named the file, as an operator needs it.
func endedNaming(t *testing.T, s *server, name string) {
	t.Helper()
	if err := s.wait(t); err == nil {
		t.Errorf("it ended with code 0")
	}
	said := s.output.String()
	if !strings.Contains(said, filepath.Base(name)) {
		t.Errorf("it ended without naming %s:\n%s", name, said)
	}
	if strings.Contains(said, "panic:") || strings.Contains(said, "goroutine ") {
		t.Errorf("it ended with a stack trace:\n%s", said)
	}
}

// readDamaged reads all there was: each key is right or an error, or the process ends with the reason.
func readDamaged(t *testing.T, s *server, name string, keys int) {
	t.Helper()
	conn := connect(t, s)
	reported := 0
	for i := range keys + 1 {
		key, value := "last", "written"
		if i < keys {
			key, value = filled(i)
		}
		conn.put("GET", key)
		if err := conn.send(); err != nil {
			endedNaming(t, s, name)
			return
		}
		reply, err := conn.reply()
		switch {
		case err != nil:
			endedNaming(t, s, name)
			return
		case reply == bulk(value):
		case strings.HasPrefix(reply, "-CLUSTERDOWN"):
			t.Fatalf("it serves without its shard, where it should have ended:\n%s", s.output.String())
		case reply[0] == '-':
			reported++
		default:
			t.Fatalf("%s holds %s, should hold %s, and nothing was reported", key, shorten(reply), shorten(value))
		}
	}
	t.Logf("%d keys right, %d reported", keys+1-reported, reported)
}

// TestTornTail: a log that a kill tore in its last record starts without it. A record that a later one vouched for is
// no tail; the log does that within a second when it falls idle, so the kill must be quick, and is tried again if not.
func TestTornTail(t *testing.T) {
	for range 5 {
		if s := tornServer(t); s != nil {
			conn := connect(t, s)
			for i := range 500 {
				key, value := filled(i)
				conn.want(t, bulk(value), "GET", key)
			}
			conn.want(t, "$-1\r\n", "GET", "last")
			return
		}
	}
	t.Error("a torn tail was refused each time")
}

// tornServer starts a server whose last write was torn; nil if it refuses.
func tornServer(t *testing.T) *server {
	t.Helper()
	s := startLarder(t)
	conn := connect(t, s)
	fill(t, conn, 500)
	conn.want(t, "+OK\r\n", "SET", "last", strings.Repeat("z", 300))
	s.kill()
	tail := lastLogSegment(t, s.dir)
	content, err := os.ReadFile(tail)
	if err != nil {
		t.Fatal(err)
	}
	content[bytes.LastIndex(content, tornMark)] ^= 1
	if err := os.WriteFile(tail, content, 0o644); err != nil {
		t.Fatal(err)
	}
	s.process = startProcess(t, exec.Command(s.program, s.args(s.port)...))
	if err := s.await(s.port); err != nil {
		t.Logf("refused:\n%s", s.output.String())
		return nil
	}
	return s
}

// tornMark is in the write that is torn, and nowhere else.
var tornMark = []byte("zzzzzzzz")

// lastLogSegment is the file of the log that holds the newest writes: the one that was changed last.
func lastLogSegment(t *testing.T, dir string) string {
	t.Helper()
	var newest string
	var when int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(content, tornMark) {
			return err
		}
		info, err := d.Info()
		if err == nil && info.ModTime().UnixNano() > when {
			newest, when = path, info.ModTime().UnixNano()
		}
		return err
	})
	if err != nil || newest == "" {
		t.Fatalf("the last write is in no file of %s: %v", dir, err)
	}
	return newest
}
