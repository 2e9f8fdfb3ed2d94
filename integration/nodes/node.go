package nodes

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Node is one server of a cluster: a process that comes and goes over a folder that stays. Its methods may be called by
// several goroutines; what is so already, is left so.
type Node struct {
	Index int
	Dir   string // its data
	Said  string // the file with all that its processes have written

	cluster  *Cluster
	place    *place // nil: ours
	ip       string
	port     int
	peerPort int

	mu struct {
		sync.Mutex
		process *process // nil while none runs
		by      *Node    // by way of whom it joins; nil: it is the cluster's first
		paused  bool
		full    bool // its disk is
		fault   error
	}
}

// process is one run of the server.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of Wait, once ended is closed

	// Under the node's mu: it may end by itself, since its disk is full, or since it is taken out of the cluster.
	sawFullDisk, leaves bool
}

// Addr is where clients reach the node.
func (n *Node) Addr() string { return net.JoinHostPort(n.ip, strconv.Itoa(n.port)) }

// Name is how logs call the node: n1, n2, ….
func (n *Node) Name() string { return "n" + strconv.Itoa(n.Index+1) }

// Dial connects to the node as a client.
func (n *Node) Dial(timeout time.Duration) (*Conn, error) { return Dial(n.Addr(), timeout) }

// Start starts the node's process if none runs. It does not wait until it answers.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.startLocked()
}

func (n *Node) startLocked() error {
	if n.mu.process != nil {
		select {
		case <-n.mu.process.ended:
		default:
			return nil
		}
	}
	said, err := os.OpenFile(n.Said, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer said.Close()
	cmd := exec.Command(n.cluster.options.Program, n.cluster.args(n, n.mu.by)...)
	cmd.Stdout, cmd.Stderr = said, said
	tieToUs(cmd)
	start := cmd.Start
	if n.place != nil {
		start = func() error { return n.place.run(cmd.Start) }
	}
	if err := start(); err != nil {
		return err
	}
	p := &process{cmd: cmd, ended: make(chan struct{}), sawFullDisk: n.mu.full}
	n.mu.process, n.mu.paused = p, false
	go n.watch(p)
	return nil
}

// watch waits until the process ends. That nobody asked for it, is a fault, unless its disk has been full: then another
// is started, when there is room.
func (n *Node) watch(p *process) {
	p.err = p.cmd.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.process == p {
		n.mu.process = nil
		fault := fmt.Errorf("%s ended by itself: %v", n.Name(), p.err)
		switch {
		case p.leaves:
			fault = nil
		case p.sawFullDisk:
			fault = nil
			if !n.mu.full {
				fault = n.startLocked()
			}
		}
		if n.mu.fault == nil {
			n.mu.fault = fault
		}
	}
	close(p.ended)
}

// Fault tells whether a process of the node has ended that nobody ended.
func (n *Node) Fault() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.fault
}

// take makes the process that runs, if one does, the caller's to end.
func (n *Node) take() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.mu.process
	n.mu.process, n.mu.paused = nil, false
	return p
}

// Kill ends the process as kill -9 does, and waits until it is gone.
func (n *Node) Kill() {
	if p := n.take(); p != nil {
		_ = p.cmd.Process.Kill() // it may have ended by itself
		<-p.ended
	}
}

// Stop asks the process to end and waits until it has. An error means that it did not, or not as it should; then it is
// killed.
func (n *Node) Stop() error {
	n.Resume()
	p := n.take()
	if p == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-p.ended:
		if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGTERM {
			return nil // it had not begun to listen to signals
		}
		if p.err != nil {
			return fmt.Errorf("%s does not stop in order: %w", n.Name(), p.err)
		}
		return nil
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s does not stop", n.Name())
	}
}

// Leaves says whether the node is being taken out of the cluster, so that its process may end by itself.
func (n *Node) Leaves(leaves bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.process != nil {
		n.mu.process.leaves = leaves
	}
}

// Pause has the system run the process no more, until Resume.
func (n *Node) Pause() { n.signal(syscall.SIGSTOP, true) }

// Resume lets a paused process go on.
func (n *Node) Resume() { n.signal(syscall.SIGCONT, false) }

func (n *Node) signal(s syscall.Signal, paused bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.mu.process; p != nil && n.mu.paused != paused {
		_ = p.cmd.Process.Signal(s) // it may have ended by itself
		n.mu.paused = paused
	}
}

// Wipe kills the node and empties its disk. The next start joins as a new node.
func (n *Node) Wipe() error {
	n.Kill()
	entries, err := os.ReadDir(n.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(n.Dir, e.Name())))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.by == nil && len(n.cluster.Nodes) > 1 {
		n.mu.by = n.cluster.Nodes[1]
	}
	return err
}

// JoinBy has the next start of a new or wiped node join by way of the given one.
func (n *Node) JoinBy(member *Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.by = member
}

// Command asks the node something, for tests: an error reply is an error.
func (n *Node) Command(args ...string) (Reply, error) { return n.command(commandPatience, args) }

// TryCommand is Command for a node that may be broken: it soon gives up.
func (n *Node) TryCommand(args ...string) (Reply, error) { return n.command(brokenPatience, args) }

// Leads says that the node answers, and that it leads.
func (n *Node) Leads() bool {
	role, err := n.TryCommand("ROLE")
	return err == nil && len(role.Elements) > 0 && role.Elements[0].Text == "master"
}

func (n *Node) command(patience time.Duration, args []string) (Reply, error) {
	conn, err := n.Dial(patience)
	if err != nil {
		return Reply{}, err
	}
	defer conn.Close()
	replies, err := conn.Do(patience, args)
	if err != nil {
		return Reply{}, err
	}
	if replies[0].IsError() {
		return replies[0], errors.New(replies[0].Text)
	}
	return replies[0], nil
}

// ballast is the file that fills a node's disk.
func (n *Node) ballast() string { return filepath.Join(n.Dir, "ballast") }

// FillDisk leaves no room on the node's disk, which must be its own (Options.DiskSize). The process may end of it.
func (n *Node) FillDisk() error {
	if n.cluster.options.DiskSize == 0 {
		return errors.New("the node has no disk of its own")
	}
	n.mu.Lock()
	n.mu.full = true
	if n.mu.process != nil {
		n.mu.process.sawFullDisk = true
	}
	n.mu.Unlock()
	f, err := os.Create(n.ballast())
	if err != nil {
		return err
	}
	_, err = io.Copy(f, zeros{})
	if errors.Is(err, syscall.ENOSPC) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// FreeDisk makes room again, and starts the process if it has ended.
func (n *Node) FreeDisk() error {
	if err := os.Remove(n.ballast()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.full = false
	return n.startLocked()
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
