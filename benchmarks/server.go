package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// server is a process that is measured.
type server struct {
	name  string
	port  int
	dir   string
	args  []string
	cmd   *exec.Cmd
	said  said
	ended chan struct{}
}

// said keeps the beginning of what a server writes, to show if it fails.
type said struct {
	mu struct {
		sync.Mutex
		text bytes.Buffer
	}
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.text.Len() < 1<<16 {
		s.mu.text.Write(b)
	}
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.text.String()
}

// startLarder starts larder with an empty folder.
func (b *bench) startLarder(directives ...string) (*server, error) {
	return b.start("larder", append([]string{b.larder, "server"}, directives...))
}

// startRedis starts redis-server with an empty folder, with its log on and without RDB snapshots.
func (b *bench) startRedis(directives ...string) (*server, error) {
	return b.start("redis-server", append([]string{b.redis, "--appendonly", "yes", "--save", ""}, directives...))
}

func (b *bench) start(name string, args []string) (*server, error) {
	dir, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{name: name, dir: dir, port: port}
	s.args = append(args, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--loglevel", "warning")
	if err := s.launch(); err != nil {
		return nil, err
	}
	return s, s.await(b.ctx, "PING\r\n", "+PONG")
}

// launch starts the process.
func (s *server) launch() error {
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	dieWithUs(s.cmd)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.ended = ended
	go func() {
		_ = s.cmd.Wait() // killed by us, or reported by the failing connection
		close(ended)
	}()
	return nil
}

// await asks until the answer begins as it should.
func (s *server) await(ctx context.Context, question, answer string) error {
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := s.askOnce(question, answer)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ended:
			return fmt.Errorf("%s ended: %s", s.name, s.said.String())
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer: %w", s.name, err)
		}
	}
}

func (s *server) askOnce(question, answer string) error {
	conn, err := net.DialTimeout("tcp", s.addr(), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(question)); err != nil {
		return err
	}
	reply := make([]byte, 256)
	n, err := conn.Read(reply)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(reply[:n]), answer) {
		return errors.New("answered " + strconv.Quote(string(reply[:n])))
	}
	return nil
}

// kill ends the process as kill -9 does.
func (s *server) kill() {
	if s == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended by itself
	<-s.ended
}

// end kills the server and removes its data.
func (s *server) end() {
	if s == nil {
		return
	}
	s.kill()
	_ = os.RemoveAll(s.dir) // the whole folder goes at the end in any case
}

func (s *server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// resident is the process's resident size in bytes, from /proc.
func (s *server) resident() (int64, error) {
	fields, err := s.proc("status", "VmRSS")
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseInt(fields, 10, 64)
	return kib << 10, err
}

// diskRead is how many bytes the process has had read from the disk.
func (s *server) diskRead() (int64, error) {
	field, err := s.proc("io", "read_bytes")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(field, 10, 64)
}

// proc is the first word of a "name: value" line of a file in the process's folder in /proc.
func (s *server) proc(file, name string) (string, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), file))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Fields(value)[0], nil
		}
	}
	return "", fmt.Errorf("no %s in /proc/…/%s", name, file)
}

// processorTime is what the process has used so far.
func (s *server) processorTime() (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "stat"))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold blanks; utime and stime are the 14th and 15th fields of all.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil // USER_HZ is 100 on every Linux that Go runs on
}

// rest waits until none of the servers is busy any more with what it does behind the clients' backs.
func (b *bench) rest(servers ...*server) error {
	deadline := time.Now().Add(time.Minute)
	for quiet := 0; quiet < 3 && time.Now().Before(deadline); {
		before, err := totalTime(servers)
		if err != nil {
			return err
		}
		select {
		case <-b.ctx.Done():
			return b.ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		after, err := totalTime(servers)
		if err != nil {
			return err
		}
		if quiet++; after-before > 20*time.Millisecond {
			quiet = 0
		}
	}
	return nil
}

func totalTime(servers []*server) (total time.Duration, err error) {
	for _, s := range servers {
		t, err := s.processorTime()
		if err != nil {
			return 0, err
		}
		total += t
	}
	return total, nil
}
