package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// instance is one run of the stock library. An install needs Raft to let go of log and store, and it knows no other way
// than to stop: the group then goes on with another instance, and keeps everything else.
type instance struct {
	raft        *raft.Raft
	fsm         *fsm
	transport   *lentTransport
	checkpoints *checkpointGate
	context     context.Context // ends when the instance is about to stop
	cancel      context.CancelFunc
}

// start reconciles log and store and starts an instance on them. The one before has stopped; if it had failed to apply an
// entry, this one applies nothing either.
func (g *Group) start(broken bool) error {
	o := &g.opts
	if err := reconcile(o); err != nil {
		return err
	}
	store, err := newLogStore(o.Log, o.Engine)
	if err != nil {
		return err
	}
	store.ahead.limit = o.ReadAhead
	store.keep = g.keepFrom
	i := &instance{checkpoints: &checkpointGate{}}
	i.context, i.cancel = context.WithCancel(context.Background())
	i.transport = &lentTransport{Transport: o.Transport, group: g, instance: i}
	i.fsm = newFSM(o, g.inFlight, &g.gate, store.lastAtOpen)
	i.fsm.landed = g.landed
	i.fsm.broken = broken
	i.fsm.checkpoints = i.checkpoints

	config := o.raftConfig()
	config.NotifyCh = g.changes
	snapshots := &snapshotStore{engine: o.Engine, pins: &g.pins}
	if err := bootstrap(o, config, store, snapshots); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	i.raft, err = raft.NewRaft(config, i.fsm, store, loudStable{o.Stable, o.Fatal}, snapshots, i.transport)
	if err != nil {
		return fmt.Errorf("start Raft: %w", err)
	}
	g.running.Store(i)
	store.ahead.running.Store(true)
	return nil
}

// halt stops the instance and waits for all that it does. A checkpoint under way is interrupted, and so are snapshots that
// it sends.
func (i *instance) halt() error {
	i.cancel()
	i.checkpoints.shut()
	i.transport.silence()
	if err := i.raft.Shutdown().Error(); err != nil {
		return fmt.Errorf("stop Raft: %w", err)
	}
	return nil
}

// raft is the stock library's present instance. It may have stopped: then its methods say so.
func (g *Group) raft() *raft.Raft { return g.running.Load().raft }

// checkpointGate knows the checkpoint that is under way.
type checkpointGate struct {
	sync.Mutex
	isShut  bool
	current Checkpoint
}

var errHalting = errors.New("the shard's Raft instance is being stopped")

// enter begins a checkpoint.
func (c *checkpointGate) enter(begin func() (Checkpoint, error)) (Checkpoint, error) {
	c.Lock()
	defer c.Unlock()
	if c.isShut {
		return nil, errHalting
	}
	begun, err := begin()
	if err == nil {
		c.current = begun
	}
	return begun, err
}

// shut interrupts the checkpoint under way and lets no other begin. Interrupting one that is over does nothing.
func (c *checkpointGate) shut() {
	c.Lock()
	defer c.Unlock()
	c.isShut = true
	if c.current != nil {
		c.current.Interrupt()
	}
}

// lentTransport is the group's transport as one instance has it. Raft closes its transport when it stops; this one has no
// Close. It sends snapshots our way (send.go), and sees how far a follower has come that was sent one.
type lentTransport struct {
	Transport
	group    *Group
	instance *instance

	mu struct {
		sync.RWMutex
		silent bool
	}
}

// silence ends the fast path of heartbeats: a stopped instance never answers what it is given there.
func (t *lentTransport) silence() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.silent = true
}

// SetHeartbeatHandler passes the handler on, to be used until silence.
func (t *lentTransport) SetHeartbeatHandler(handle func(raft.RPC)) {
	if handle == nil {
		t.Transport.SetHeartbeatHandler(nil)
		return
	}
	t.Transport.SetHeartbeatHandler(func(rpc raft.RPC) {
		t.mu.RLock()
		defer t.mu.RUnlock()
		if t.mu.silent {
			rpc.Respond(nil, raft.ErrRaftShutdown)
			return
		}
		handle(rpc)
	})
}

// AppendEntries notes what a follower has that the log is kept for.
func (t *lentTransport) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest,
	a *raft.AppendEntriesResponse) error {
	err := t.Transport.AppendEntries(id, to, q, a)
	if err == nil && a.Success && q.PrevLogEntry+uint64(len(q.Entries)) > 0 {
		t.group.pins.advance(id, q.PrevLogEntry+uint64(len(q.Entries)), q.LeaderCommitIndex)
	}
	return err
}

// AppendEntriesPipeline is refused while the log is kept for the follower: the answers of a pipeline would have to pass
// through another goroutine to be seen, for as long as it lasts.
func (t *lentTransport) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	if t.group.pins.holds(id) {
		return nil, raft.ErrPipelineReplicationNotSupported
	}
	return t.Transport.AppendEntriesPipeline(id, to)
}

// InstallSnapshot sends the follower what was opened.
func (t *lentTransport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, q *raft.InstallSnapshotRequest,
	a *raft.InstallSnapshotResponse, opened io.Reader) error {
	x, ok := opened.(*openCheckpoint)
	if !ok {
		return fmt.Errorf("a %T is no checkpoint of this shard", opened)
	}
	return t.group.send(t.instance, id, to, q, a, x)
}
