package raftfsm

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

var errNoWay = errors.New("the network is down")

// network connects replicas in memory and knows what goes wrong between them.
type network struct {
	mu      sync.Mutex
	cut     map[raft.ServerAddress]bool
	hold    raft.ServerAddress // whose entries are held up
	deliver bool               // whether they arrive: then it is the answers that are held up
	release chan struct{}
	nodes   map[raft.ServerAddress]*node
	// weather, if set, says of a message whether it is lost, or the answer to it.
	weather func() (lost, answerLost bool)
}

// dial is a SnapshotDialer: it connects to a replica over a pipe.
func (n *network) dial(from raft.ServerAddress) SnapshotDialer {
	return func(_ context.Context, _ raft.ServerID, to raft.ServerAddress) (io.ReadWriteCloser, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.cut[from] || n.cut[to] {
			return nil, errNoWay
		}
		here, there := net.Pipe()
		go n.nodes[to].group.ServeSnapshot(there)
		return here, nil
	}
}

// wire is one replica's end. It has no pipelines, so that every message goes through AppendEntries.
type wire struct {
	*raft.InmemTransport
	net *network
}

func (w *wire) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (w *wire) isCut(to raft.ServerAddress) bool {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	return w.net.cut[to] || w.net.cut[w.LocalAddr()]
}

// carry sends a message through the weather.
func (w *wire) carry(to raft.ServerAddress, send func() error) error {
	lost, answerLost := false, false
	if w.net.weather != nil {
		lost, answerLost = w.net.weather()
	}
	if lost || w.isCut(to) {
		return errNoWay
	}
	if err := send(); err != nil || !answerLost {
		return err
	}
	return errNoWay
}

func (w *wire) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest,
	a *raft.AppendEntriesResponse) error {
	if w.isCut(to) {
		return errNoWay
	}
	w.net.mu.Lock()
	held, deliver, release := w.net.hold == w.LocalAddr() && len(q.Entries) > 0, w.net.deliver, w.net.release
	w.net.mu.Unlock()
	if !held {
		return w.carry(to, func() error { return w.InmemTransport.AppendEntries(id, to, q, a) })
	}
	if deliver {
		_ = w.InmemTransport.AppendEntries(id, to, q, a)
	}
	<-release
	return errNoWay
}

func (w *wire) RequestVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestVoteRequest,
	a *raft.RequestVoteResponse) error {
	return w.carry(to, func() error { return w.InmemTransport.RequestVote(id, to, q, a) })
}

func (w *wire) RequestPreVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestPreVoteRequest,
	a *raft.RequestPreVoteResponse) error {
	return w.carry(to, func() error { return w.InmemTransport.RequestPreVote(id, to, q, a) })
}

func (n *network) holdEntriesOf(who raft.ServerAddress, deliver bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hold, n.deliver, n.release = who, deliver, make(chan struct{})
}

func (n *network) isolate(who raft.ServerAddress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[who] = true
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	n.hold = ""
	if n.release != nil {
		close(n.release)
		n.release = nil
	}
}

// threeVoters opens a group of three and returns its leader and the others. change, if there is one, may adapt each.
func threeVoters(t *testing.T, change ...func(n *node)) (net *network, leader *node, others []*node) {
	net = &network{cut: make(map[raft.ServerAddress]bool), nodes: make(map[raft.ServerAddress]*node)}
	var servers []raft.Server
	var nodes []*node
	var wires []*wire
	for _, id := range []string{"a", "b", "c"} {
		servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
		_, inner := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), time.Second)
		wires = append(wires, &wire{inner, net})
	}
	for i, s := range servers {
		for _, w := range wires {
			wires[i].Connect(w.LocalAddr(), w.InmemTransport)
		}
		n := newNode(t, string(s.ID))
		n.opts.Node = uint64(1000 * (i + 1))
		n.opts.Bootstrap = servers
		n.opts.Timeouts = timesOut
		n.opts.Timeouts.Stuck = time.Hour // what wakes the reaper is the loss of leadership
		n.opts.Transport = wires[i]
		n.opts.DialSnapshot = net.dial(s.Address)
		for _, f := range change {
			f(n)
		}
		n.open()
		nodes = append(nodes, n)
		net.mu.Lock()
		net.nodes[s.Address] = n
		net.mu.Unlock()
	}
	t.Cleanup(func() {
		for _, n := range nodes {
			n.close()
		}
	})
	eventually(t, "a leader", func() bool {
		i := slices.IndexFunc(nodes, func(n *node) bool { return n.group.CanRead() })
		if i >= 0 {
			leader = nodes[i]
			others = append(slices.Clone(nodes[:i]), nodes[i+1:]...)
		}
		return i >= 0
	})
	return net, leader, others
}

// held proposes at a leader whose entries are held up. Leadership may be lost before, on a slow machine.
func held(t *testing.T, deliver bool) (net *network, leader *node, others []*node, o *outcome) {
	t.Helper()
	for {
		net, leader, others = threeVoters(t)
		net.holdEntriesOf(raft.ServerAddress(leader.opts.ID), deliver)
		o = leader.propose("doubtful")
		eventually(t, "the entry is stored, or refused", func() bool {
			return o.times.Load() > 0 || leader.has("doubtful") &&
				(!deliver || others[0].has("doubtful") && others[1].has("doubtful"))
		})
		if o.times.Load() == 0 {
			net.isolate(raft.ServerAddress(leader.opts.ID))
			return net, leader, others, o
		}
		net.heal()
	}
}

// has says whether a node's log holds an entry with the command.
func (n *node) has(command string) bool {
	first, _ := n.log.FirstIndex()
	last, _ := n.log.LastIndex()
	for i := first; i <= last; i++ {
		var l raft.Log
		if n.log.GetLog(i, &l) == nil && l.Type == raft.LogCommand &&
			slices.Equal(l.Data[len(l.Data)-len(command):], []byte(command)) {
			return true
		}
	}
	return false
}

func (n *node) stateIs(state ...string) func() bool {
	return func() bool { return slices.Equal(n.engine.commands(), state) }
}

func TestLostLeadershipOfAnEntryThatIsCommittedLater(t *testing.T) {
	net, leader, others, o := held(t, true)
	if err := o.wait(t); !errors.Is(err, ErrIndeterminate) || !errors.Is(err, raft.ErrLeadershipLost) {
		t.Fatal(err)
	}
	if leader.group.CanRead() {
		t.Fatal("a leader without its followers serves")
	}
	for _, n := range others {
		eventually(t, "the others commit it", n.stateIs("doubtful"))
	}
	net.heal()
	eventually(t, "the old leader applies it", leader.stateIs("doubtful"))
	for _, c := range leader.engine.appliedCalls() {
		if c.withBatch {
			t.Fatal("applied with the batch that was given back")
		}
	}
	o.once(t)
}

func TestLostLeadershipOfAnEntryThatIsNeverCommitted(t *testing.T) {
	net, leader, others, o := held(t, false)
	if err := o.wait(t); !errors.Is(err, ErrIndeterminate) {
		t.Fatal(err)
	}
	refused := leader.propose("elsewhere")
	if err := refused.wait(t); !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	var certain *outcome
	eventually(t, "the others go on", func() bool {
		for _, n := range others {
			if n.group.CanRead() {
				certain = n.propose("certain")
				return certain.wait(t) == nil
			}
		}
		return false
	})
	net.heal()
	eventually(t, "the old leader follows", func() bool {
		return slices.Contains(leader.engine.commands(), "certain") && !leader.has("doubtful")
	})
	for _, n := range append(others, leader) {
		eventually(t, "all agree", n.stateIs(others[0].engine.commands()...))
		if slices.Contains(n.engine.commands(), "doubtful") || slices.Contains(n.engine.commands(), "elsewhere") {
			t.Fatal(n.engine.commands())
		}
	}
	o.once(t)
	refused.once(t)
}
