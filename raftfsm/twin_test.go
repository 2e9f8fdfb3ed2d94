package raftfsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// twinDisk is what of a twin engine survives a restart.
type twinDisk struct {
	mu            sync.Mutex
	ok            bool
	index, term   uint64
	configuration []byte
	configIndex   uint64
	state         []string
	clock         int64
}

// twinEngine is a state machine whose state is the list of the commands it ran. It answers each command with the
// number of commands so far.
type twinEngine struct {
	disk *twinDisk

	mu      sync.Mutex
	state   []string
	applied uint64
	clock   int64
	calls   []applied
	open    int // checkpoints begun, neither committed nor cancelled
	given   int // epochs given back

	onApply    func(index uint64, b *engine.Batch) error // before anything is done
	onPrefetch func(entry []byte)
	onWarm     func() // in one step
	onCommit   func(c *twinCheckpoint) error
	onInstall  func() error
	installs   int
	events     *trace
}

type applied struct {
	index     uint64
	withBatch bool
}

func openTwin(disk *twinDisk) *twinEngine {
	return &twinEngine{disk: disk, state: slices.Clone(disk.state), applied: disk.index, clock: disk.clock, events: &trace{}}
}

func (e *twinEngine) Apply(index, _ uint64, entry []byte, b *engine.Batch) error {
	if e.onApply != nil {
		if err := e.onApply(index, b); err != nil {
			return err
		}
	}
	h, commands, err := engine.DecodeHeader(entry)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if index <= e.applied {
		return fmt.Errorf("entry %d comes again after %d", index, e.applied)
	}
	e.clock = max(e.clock, h.Clock)
	for i := 0; len(commands) > 0; i++ {
		var args [][]byte
		if _, args, commands, err = engine.NextCommand(commands, nil); err != nil {
			return err
		}
		e.state = append(e.state, string(bytes.Join(args, []byte(" "))))
		if b != nil {
			b.Replies.Begin(i).Int(int64(len(e.state)))
			b.Replies.End(i)
		}
	}
	e.applied = index
	e.calls = append(e.calls, applied{index, b != nil})
	return nil
}

func (e *twinEngine) Prefetch(entry []byte) {
	if e.onPrefetch != nil {
		e.onPrefetch(entry)
	}
}

func (e *twinEngine) Warm(_ []byte, step func()) {
	if e.onWarm != nil {
		e.onWarm()
	}
	step()
}

func (e *twinEngine) AppliedIndex() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.applied
}

func (e *twinEngine) Clock() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.clock
}

func (e *twinEngine) Durable() (index, term uint64, configuration []byte, configurationIndex uint64, ok bool) {
	d := e.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.index, d.term, d.configuration, d.configIndex, d.ok
}

func (e *twinEngine) BeginCheckpoint() (Checkpoint, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open > 0 {
		return nil, errors.New("a checkpoint is under way")
	}
	e.open++
	e.events.add("begin")
	return &twinCheckpoint{engine: e, state: slices.Clone(e.state), applied: e.applied, clock: e.clock,
		interrupted: make(chan struct{})}, nil
}

// PinCheckpoint and Stage speak the real stream: a command is a record.
func (e *twinEngine) PinCheckpoint() (PinnedCheckpoint, error) {
	d := e.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ok {
		return nil, errors.New("no checkpoint")
	}
	return &twinPinned{snapshot.Header{Shard: 7, Index: d.index, Term: d.term, Configuration: d.configuration,
		ConfigurationIndex: d.configIndex, Seed: uint64(d.clock)}, slices.Clone(d.state)}, nil
}

func (e *twinEngine) Stage(from io.Reader) (StagedCheckpoint, error) {
	r, err := snapshot.NewReader(from)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	s := &twinStaged{engine: e, header: r.Header()}
	for {
		_, value, err := r.Next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		s.state = append(s.state, string(value))
	}
}

type twinPinned struct {
	header snapshot.Header
	state  []string
}

func (p *twinPinned) At() (index, term uint64, configuration []byte, configurationIndex uint64) {
	return p.header.Index, p.header.Term, p.header.Configuration, p.header.ConfigurationIndex
}

func (p *twinPinned) Write(to io.Writer) error {
	w, err := snapshot.NewWriter(to, p.header)
	for i := 0; err == nil && i < len(p.state); i++ {
		err = w.Add(nil, []byte(p.state[i]))
	}
	if err == nil {
		_, err = w.Close()
	}
	return err
}

func (p *twinPinned) Close() error { return nil }

type twinStaged struct {
	engine *twinEngine
	header snapshot.Header
	state  []string
}

func (s *twinStaged) At() (index, term uint64) { return s.header.Index, s.header.Term }
func (s *twinStaged) Discard() error           { return nil }

func (s *twinStaged) Install(context.Context) error {
	e, d := s.engine, s.engine.disk
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open > 0 {
		return errors.New("a checkpoint is under way")
	}
	if e.onInstall != nil {
		if err := e.onInstall(); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := s.header
	d.ok, d.index, d.term, d.configuration, d.configIndex = true, h.Index, h.Term, h.Configuration, h.ConfigurationIndex
	d.state, d.clock = s.state, int64(h.Seed)
	e.state, e.applied, e.clock = slices.Clone(s.state), h.Index, d.clock
	e.installs++
	e.events.add("install")
	return nil
}

func (e *twinEngine) installed() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.installs
}

func (e *twinEngine) commands() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.state)
}

func (e *twinEngine) appliedCalls() []applied {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.calls)
}

type twinCheckpoint struct {
	engine  *twinEngine
	state   []string
	applied uint64
	clock   int64
	ended   bool

	interrupted chan struct{}
	interrupt   sync.Once
}

func (c *twinCheckpoint) Interrupt() { c.interrupt.Do(func() { close(c.interrupted) }) }

func (c *twinCheckpoint) Commit(index, term uint64, configuration []byte, configurationIndex uint64) error {
	e := c.engine
	if e.onCommit != nil {
		if err := e.onCommit(c); err != nil {
			return err
		}
	}
	e.disk.mu.Lock()
	defer e.disk.mu.Unlock()
	d := e.disk
	d.ok, d.index, d.term, d.configuration, d.configIndex = true, index, term, configuration, configurationIndex
	d.state, d.clock = c.state, c.clock
	e.events.add("commit")
	c.end(false)
	return nil
}

func (c *twinCheckpoint) Cancel() { c.end(true) }

func (c *twinCheckpoint) end(back bool) {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	c.engine.open--
	if back {
		c.engine.given++
	}
}

// trace records events in their order.
type trace struct {
	mu     sync.Mutex
	events []string
}

func (t *trace) add(e string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
}

func (t *trace) take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.events
	t.events = nil
	return e
}

// memoryLog is a Log over the library's in-memory store. Like the real one it copies what it stores.
type memoryLog struct {
	*raft.InmemStore
	events  *trace
	onStore func([]*raft.Log) error
}

func newMemoryLog() *memoryLog { return &memoryLog{InmemStore: raft.NewInmemStore(), events: &trace{}} }

func (m *memoryLog) StoreLog(l *raft.Log) error { return m.StoreLogs([]*raft.Log{l}) }

func (m *memoryLog) StoreLogs(logs []*raft.Log) error {
	if m.onStore != nil {
		if err := m.onStore(logs); err != nil {
			return err
		}
	}
	copies := make([]*raft.Log, len(logs))
	for i, l := range logs {
		c := *l
		c.Data = slices.Clone(l.Data)
		copies[i] = &c
	}
	m.events.add("store")
	return m.InmemStore.StoreLogs(copies)
}

func (m *memoryLog) CutBelow(index uint64) error {
	m.events.add(fmt.Sprintf("cut below %d", index))
	first, _ := m.FirstIndex()
	if first == 0 || index <= first {
		return nil
	}
	return m.InmemStore.DeleteRange(first, index-1)
}

func (m *memoryLog) Reset(index, term uint64) error {
	m.events.add(fmt.Sprintf("reset at %d term %d", index, term))
	m.InmemStore = raft.NewInmemStore()
	return m.InmemStore.StoreLog(&raft.Log{Index: index, Term: term, Type: raft.LogNoop})
}

func (m *memoryLog) Bytes() int64 { return m.BytesBelow(1 << 62) }

func (m *memoryLog) BytesBelow(index uint64) (bytes int64) {
	first, _ := m.FirstIndex()
	last, _ := m.LastIndex()
	for i := max(first, 1); i < min(index, last+1); i++ {
		var l raft.Log
		if m.GetLog(i, &l) == nil {
			bytes += int64(len(l.Data))
		}
	}
	return bytes
}

func (m *memoryLog) Behind(index uint64, bytes int64) uint64 {
	first, _ := m.FirstIndex()
	for i := index; i > first; i-- {
		var l raft.Log
		if m.GetLog(i, &l) != nil {
			return i
		}
		if bytes -= int64(len(l.Data)); bytes < 0 {
			return i
		}
	}
	return min(first, index)
}

// node is one replica with everything that survives its restart.
type node struct {
	t      testing.TB
	disk   *twinDisk
	log    *memoryLog
	stable *MemoryStable
	engine *twinEngine
	group  *Group
	opts   Options
	fatal  atomic.Pointer[error]
}

// patience bounds waits for what must happen; no test passes by waiting so long.
const patience = 90 * time.Second

var timesOut = Timeouts{Heartbeat: 60 * time.Millisecond, Lease: 40 * time.Millisecond, Commit: 5 * time.Millisecond,
	Stuck: 20 * time.Millisecond}

// never is for tests in which no time-out may be what makes them pass.
var never = Timeouts{Heartbeat: time.Hour, Lease: time.Hour / 2, Stuck: 10 * time.Millisecond, Proposal: time.Hour}

func newNode(t testing.TB, id string) *node {
	n := &node{t: t, disk: &twinDisk{}, log: newMemoryLog(), stable: NewMemoryStable()}
	n.opts = Options{
		ID:        raft.ServerID(id),
		Group:     7,
		Node:      99,
		Bootstrap: []raft.Server{{ID: raft.ServerID(id), Address: raft.ServerAddress(id)}},
		Clock:     time.Now,
		Random:    func() uint64 { return 4 },
		Timeouts:  never,
		Fatal:     func(err error) { n.fatal.Store(&err) },
	}
	n.fresh()
	return n
}

// fresh gives the node the engine of a new process.
func (n *node) fresh() {
	n.engine = openTwin(n.disk)
	n.log.events = n.engine.events
	n.opts.Node++
	n.opts.Engine, n.opts.Log, n.opts.Stable = n.engine, n.log, n.stable.Group(7)
	n.opts.Transport = NewLoopback(raft.ServerAddress(n.opts.ID))
	n.opts.Sync = func() error { n.engine.events.add("sync"); return nil }
}

func (n *node) tryOpen() error {
	g, err := Open(n.opts)
	n.group = g
	return err
}

func (n *node) open() *node {
	n.t.Helper()
	if err := n.tryOpen(); err != nil {
		n.t.Fatal(err)
	}
	return n
}

func (n *node) ready() *node {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.group.WaitReady(ctx); err != nil {
		n.t.Fatal(err)
	}
	return n
}

func (n *node) close() *node {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.group.Close(ctx); err != nil {
		n.t.Fatal(err)
	}
	return n
}

// outcome is what became of a proposal.
type outcome struct {
	p       *Proposal
	replies *recorded
	done    chan error
	times   atomic.Int32
}

var row = &command.Command{Name: "SET"}

func (n *node) propose(commands ...string) *outcome {
	o := &outcome{done: make(chan error, 4), replies: &recorded{}}
	b := &engine.Batch{Replies: o.replies}
	for _, c := range commands {
		b.AddWrite(row, 0, [][]byte{[]byte(c)})
	}
	o.p = &Proposal{Batch: b, Done: func(p *Proposal, err error) {
		o.times.Add(1)
		o.replies.freeze()
		o.done <- err
	}}
	n.group.Propose(o.p)
	return o
}

func (o *outcome) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-o.done:
		return err
	case <-time.After(patience):
		t.Fatal("the proposal is not done")
		return nil
	}
}

// recorded takes a batch's replies; one that comes after Done is kept apart.
type recorded struct {
	reply.Writer
	mu     sync.Mutex
	ints   []int64
	late   int
	frozen bool
}

func (r *recorded) Begin(int) reply.Writer { return r }
func (r *recorded) End(int)                {}

func (r *recorded) Int(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen {
		r.late++
		return
	}
	r.ints = append(r.ints, n)
}

func (r *recorded) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = true
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never came: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
