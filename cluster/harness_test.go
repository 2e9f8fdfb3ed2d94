package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/aof"
	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/raftfsm"
)

// world connects nodes in memory.
type world struct {
	t  *testing.T
	mu sync.Mutex
	// at is who listens at a peer address.
	at    map[string]*testNode
	wires map[string]*raft.InmemTransport // by group and node
}

// testNode is a node whose server is this file: it opens the replicas that the document gives it.
type testNode struct {
	w        *world
	self     Node
	log      *aof.Log
	stable   *raftfsm.StableFile
	server   *http.Server
	listener *pipeListener
	client   *Client
	meta     atomic.Pointer[Meta]
	agent    *Agent
	cut      atomic.Bool // nobody reaches it
	wires    []*raft.InmemTransport

	serving sync.WaitGroup

	mu       sync.Mutex
	replicas map[uint32]*testReplica
	conns    []net.Conn
}

type testReplica struct {
	*raftfsm.Group
	engine *engine.Engine
}

// pipeListener hands out in-memory connections.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

var errCut = errors.New("nobody answers there")

func (w *world) dial(from *testNode) Dial {
	return func(ctx context.Context, address string) (net.Conn, error) {
		w.mu.Lock()
		n := w.at[address]
		w.mu.Unlock()
		if n == nil || n.cut.Load() || from.cut.Load() {
			return nil, errCut
		}
		here, there := net.Pipe()
		select {
		case n.listener.conns <- there:
			n.keep(there)
			from.keep(here)
			return here, nil
		case <-n.listener.closed:
			return nil, errCut
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// keep notes a connection, to be closed when the node is cut off.
func (n *testNode) keep(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
}

func newWorld(t *testing.T) *world {
	return &world{t: t, at: map[string]*testNode{}, wires: map[string]*raft.InmemTransport{}}
}

var counter atomic.Uint64

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// start makes a node, listening, a member of nothing.
func (w *world) start(self Node) *testNode {
	n := &testNode{w: w, self: self, replicas: map[uint32]*testReplica{}}
	n.listener = &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	n.client = NewClient(w.dial(n))
	var err error
	dir := w.t.TempDir()
	n.log, err = aof.Open(aof.Options{Dir: filepath.Join(dir, "log"), Policy: aof.No, SegmentSize: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
	w.check(err)
	n.stable, err = raftfsm.OpenStable(filepath.Join(dir, "raft.db"))
	w.check(err)
	n.server = &http.Server{Handler: Control(ControlOptions{Self: self.ID, Meta: n.meta.Load, Replicas: n.list, Log: n.shardLog})}
	go func() { _ = n.server.Serve(n.listener) }()
	w.mu.Lock()
	old := w.at[self.Peer]
	w.at[self.Peer] = n
	w.mu.Unlock()
	if old != nil {
		old.isolate()
	}
	w.t.Cleanup(n.close)
	return n
}

func (n *testNode) list() map[uint32]Replica {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := map[uint32]Replica{}
	for g, r := range n.replicas {
		m[g] = r.Group
	}
	return m
}

// shardLog is the log of a shard that the node leads.
func (n *testNode) shardLog(shard uint32) ShardLog {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.replicas[shard]; r != nil && r.CanRead() {
		return GroupLog{Group: r.Group, Loop: 1 << 18}
	}
	return nil
}

// open opens a replica; founding says that it starts the group.
func (n *testNode) open(group uint32, founding bool) *testReplica {
	n.mu.Lock()
	defer n.mu.Unlock()
	if r := n.replicas[group]; r != nil {
		return r
	}
	e, err := engine.Open(engine.Options{
		Store:   store.Options{FS: vfs.NewMem(), Dir: "store"},
		Random:  func() uint64 { return counter.Add(1) },
		Reserve: 64 << 20,
		Logger:  slog.New(slog.DiscardHandler),
	})
	n.w.check(err)
	o := raftfsm.Options{
		ID:        raft.ServerID(n.self.ID),
		Group:     group,
		Node:      counter.Add(1),
		Engine:    raftfsm.ForEngine(e, "test", group),
		Log:       n.log.Shard(uint64(group)),
		Stable:    n.stable.Group(group),
		Transport: n.w.wire(n, group),
		Sync:      n.log.Sync,
		Clock:     time.Now,
		Random:    func() uint64 { return counter.Add(1) },
		Fatal:     func(err error) { n.w.t.Error(err) },
		Timeouts:  raftfsm.Timeouts{Heartbeat: 300 * time.Millisecond, Lease: 300 * time.Millisecond},
	}
	if founding {
		o.Bootstrap = []raft.Server{{ID: o.ID, Address: raft.ServerAddress(n.self.Peer)}}
	}
	g, err := raftfsm.Open(o)
	n.w.check(err)
	r := &testReplica{g, e}
	n.replicas[group] = r
	return r
}

// wire makes a node's transport for a group, joined up with the others'.
func (w *world) wire(n *testNode, group uint32) raftfsm.Transport {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, inner := raft.NewInmemTransportWithTimeout(raft.ServerAddress(n.self.Peer), time.Second)
	prefix := fmt.Sprint(group, "/")
	for key, other := range w.wires {
		if len(key) > len(prefix) && key[:len(prefix)] == prefix {
			inner.Connect(other.LocalAddr(), other)
			other.Connect(inner.LocalAddr(), inner)
		}
	}
	w.wires[prefix+string(n.self.ID)] = inner
	n.wires = append(n.wires, inner)
	return inner
}

// found makes the node the first of a cluster.
func (n *testNode) found(shards, replicas int) {
	d, err := Found(clusterID, 7, n.self, shards, replicas)
	n.w.check(err)
	r := n.open(MetaGroup, true)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n.w.check(r.WaitReady(ctx))
	n.begin(r)
	n.w.check(n.meta.Load().Found(ctx, d))
}

// join takes the node into the cluster of a member.
func (n *testNode) join(member *testNode) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d, err := n.client.Join(ctx, member.self.Peer, "", n.self)
	n.w.check(err)
	if d.ClusterID != clusterID || d.Node(n.self.ID) == nil {
		n.w.t.Fatalf("joined %+v", d)
	}
	n.begin(n.open(MetaGroup, false))
}

// begin starts what follows the document.
func (n *testNode) begin(r *testReplica) {
	m, err := OpenMeta(MetaOptions{Self: n.self.ID, Group: r.Group, Engine: r.engine, Client: n.client, Loop: 1 << 17})
	n.w.check(err)
	n.meta.Store(m)
	n.agent, err = StartAgent(AgentOptions{
		Self: n.self.ID, Meta: m, Client: n.client, Replicas: n.list, Clock: time.Now,
		Planner: Planner{ReplaceAfter: 1500 * time.Millisecond, Seen: time.Second},
		Tick:    20 * time.Millisecond, Call: 500 * time.Millisecond, Rest: 300 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(n.w.t.Output(), nil)),
	})
	n.w.check(err)
	n.serving.Go(func() { n.serve(m) })
}

// serve opens and closes shards as the document says.
func (n *testNode) serve(m *Meta) {
	for {
		changed := m.Changed()
		if v := m.View(); v != nil {
			for _, s := range v.Document.Shards {
				n.want(m, s)
			}
		}
		select {
		case <-changed:
		case <-m.stop:
			return
		}
	}
}

func (n *testNode) want(m *Meta, s Shard) {
	voters, learners := m.View().Document.Desired(s.ID)
	for _, id := range append(voters, learners...) {
		if id != n.self.ID {
			continue
		}
		founding := s.Founder == id && !s.Born
		if !founding && !s.Born {
			return
		}
		n.open(s.ID, founding)
		if founding {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			_, err := m.Do(ctx, SetBorn{s.ID, id})
			cancel()
			if err != nil && !errors.Is(err, raftfsm.ErrClosed) {
				n.w.t.Error(err)
			}
		}
	}
}

// isolate cuts the node off for good.
func (n *testNode) isolate() {
	n.cut.Store(true)
	n.mu.Lock()
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.mu.Unlock()
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	for _, w := range n.wires {
		for _, other := range n.w.wires {
			if other != w {
				other.Disconnect(w.LocalAddr())
				w.Disconnect(other.LocalAddr())
			}
		}
	}
}

func (n *testNode) close() {
	if m := n.meta.Load(); m != nil {
		m.Close()
	}
	n.serving.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	n.mu.Lock()
	var replicas []*testReplica
	for _, r := range n.replicas {
		replicas = append(replicas, r)
	}
	n.mu.Unlock()
	for _, r := range replicas {
		_ = r.Close(ctx) // a leader without its followers may have to be left hanging
	}
	if n.agent != nil {
		n.agent.Close()
	}
	_ = n.server.Close()
	n.client.Close()
	for _, r := range replicas {
		_ = r.engine.Close()
	}
	_ = n.stable.Close()
	_ = n.log.Close()
}

// patience bounds waits for what must happen; no test passes by waiting so long.
const patience = 90 * time.Second

// eventually waits until something is so.
func (w *world) eventually(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not in time: %s", what)
		}
	}
}

// document is what a node knows.
func (n *testNode) document() *Document {
	if m := n.meta.Load(); m != nil && m.View() != nil {
		return m.View().Document
	}
	return &Document{}
}

// settled says whether every group has the configuration that the document wants, as its leader sees it, and no move is
// under way.
func (w *world) settled(nodes ...*testNode) bool {
	d := nodes[0].document()
	if len(d.Moves) > 0 {
		return false
	}
	for group := range len(d.Shards) + 1 {
		ok := false
		for _, n := range nodes {
			r := n.list()[uint32(group)]
			if r == nil || !r.CanRead() {
				continue
			}
			v := GroupView{Members: map[NodeID]bool{}}
			v.Voters, v.Learners = d.Desired(uint32(group))
			servers, _ := r.Configuration()
			for _, s := range servers {
				v.Members[NodeID(s.ID)] = s.Suffrage == raft.Voter
			}
			ok = v.Settled()
		}
		if !ok {
			return false
		}
	}
	return true
}
