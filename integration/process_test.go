package integration

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/larder-db/larder/integration/nodes"
)

// patience bounds every wait for a process. It is long because machines that run tests are slow at times; nothing is
// concluded from how long something took.
const patience = 60 * time.Second

// process is a program that a test has started.
type process struct {
	cmd    *exec.Cmd
	output output
	ended  chan struct{}
	err    error // of Wait, once ended is closed
}

// output keeps what a process says, up to a bound.
type output struct {
	mu struct {
		sync.Mutex
		text bytes.Buffer
	}
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.text.Len() < 4<<20 {
		o.mu.text.Write(b)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.text.String()
}

// startProcess starts the command and sees to it that it does not outlive the test.
func startProcess(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	return startWithin(t, cmd, nil)
}

// startWithin is startProcess with something around the start: see nodes.SpawnWithin.
func startWithin(t testing.TB, cmd *exec.Cmd, around func(start func() error) error) *process {
	t.Helper()
	p := &process{cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	if err := nodes.SpawnWithin(cmd, around); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			p.tell(t)
		}
		p.kill()
	})
	return p
}

// tell has a test that failed show what the process said, and keep what its goroutines were doing, if it still runs.
func (p *process) tell(t testing.TB) {
	said := p.output.String()
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err == nil {
		select {
		case <-p.ended:
		case <-time.After(patience / 10): // it may be stopped
		}
	}
	t.Logf("%s said:\n%s", p.cmd, said)
	if traces := strings.TrimPrefix(p.output.String(), said); strings.Contains(traces, "goroutine ") {
		file := filepath.Join(t.ArtifactDir(), fmt.Sprint(p.cmd.Process.Pid, ".txt"))
		if err := os.WriteFile(file, []byte(traces), 0o644); err != nil {
			t.Log(err)
		}
		t.Log("its goroutines are in", file)
	}
}

// kill ends the process as kill -9 does and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.ended
}

// wait returns what the process ended with; the test fails if it does not end.
func (p *process) wait(t testing.TB) error {
	t.Helper()
	select {
	case <-p.ended:
		return p.err
	case <-time.After(patience):
		t.Fatalf("%s did not end; it said:\n%s", p.cmd, p.output.String())
		return nil
	}
}

// server is a larder or a redis-server that listens on a port of its own.
type server struct {
	*process
	t       testing.TB
	program string
	args    func(port int) []string
	port    int
	dir     string
	around  func(start func() error) error // its starts (nodes.SpawnWithin); nil: nothing is
}

func (s *server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// startLarder starts a server with its data in a new folder. It takes directives as on the command line; none of its
// own save points and no bound of memory but what is given.
func startLarder(t testing.TB, directives ...string) *server {
	t.Helper()
	return startLarderIn(t, t.TempDir(), directives...)
}

// startLarderIn is startLarder for a given folder.
func startLarderIn(t testing.TB, dir string, directives ...string) *server {
	t.Helper()
	s := newLarder(t, dir, directives...)
	s.start()
	return s
}

// newLarder describes a server without starting it.
func newLarder(t testing.TB, dir string, directives ...string) *server {
	t.Helper()
	return &server{t: t, program: larderProgram, dir: dir, args: func(port int) []string {
		return append([]string{"server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
			"--save", "", "--enable-debug-command", "yes", "--log-segment-size", "1mb"}, directives...)
	}}
}

// startRedis starts a redis-server that keeps nothing.
func startRedis(t testing.TB, directives ...string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{t: t, program: needProgram(t, "redis-server"), dir: dir, args: func(port int) []string {
		return append([]string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir,
			"--save", "", "--appendonly", "no", "--enable-debug-command", "yes"}, directives...)
	}}
	s.start()
	return s
}

// start starts the server and waits until it answers. A port that was free may be taken a moment later, so the first
// start tries a few; a restart keeps its port.
func (s *server) start() {
	s.t.Helper()
	var err error
	for range 4 {
		port := s.port
		if port == 0 {
			port = freePort(s.t)
		}
		s.process = startWithin(s.t, exec.Command(s.program, s.args(port)...), s.around)
		if err = s.await(port); err == nil {
			s.port = port
			return
		}
		s.kill()
		if said := s.output.String(); s.port != 0 || !strings.Contains(strings.ToLower(said), "address already in use") {
			break
		}
	}
	s.t.Fatalf("%s does not start: %v; it said:\n%s", s.program, err, s.output.String())
}

// command is the server's command line, on the port that it has had.
func (s *server) command() *exec.Cmd { return exec.Command(s.program, s.args(s.port)...) }

// refused starts the server, which must not come up, and returns what it said.
func (s *server) refused() string {
	s.t.Helper()
	port := freePort(s.t)
	s.process = startProcess(s.t, exec.Command(s.program, s.args(port)...))
	if err := s.await(port); err == nil {
		s.kill()
		s.t.Fatalf("the server started, but should have refused; it said:\n%s", s.output.String())
	}
	if err := s.wait(s.t); err == nil {
		s.t.Errorf("the server ended with code 0, as if all were well; it said:\n%s", s.output.String())
	}
	said := s.output.String()
	if strings.Contains(said, "goroutine ") || strings.Contains(said, "panic:") {
		s.t.Errorf("the server ended with a stack trace instead of a reason:\n%s", said)
	}
	return said
}

// await waits until the server on the port answers PING, or has ended.
func (s *server) await(port int) error {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	deadline := time.Now().Add(patience)
	for {
		err := ping(addr)
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return errors.New("it ended")
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

func ping(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	if err != nil {
		return err
	}
	if string(answer[:n]) != "+PONG\r\n" {
		return errors.New("answered " + strconv.Quote(string(answer[:n])))
	}
	return nil
}

// restart starts a server that has ended again, on the same port and folder.
func (s *server) restart() {
	s.t.Helper()
	before := time.Now()
	s.start()
	s.t.Logf("answers again after %v", time.Since(before).Round(time.Millisecond))
}

// terminate asks the server to stop, which must end it with code 0.
func (s *server) terminate() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := s.wait(s.t); err != nil {
		s.t.Fatalf("SIGTERM: %v; it said:\n%s", err, s.output.String())
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	port, err := nodes.FreePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return port
}
