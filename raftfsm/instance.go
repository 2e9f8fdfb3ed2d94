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
	checkpoints *checkpointGate
	ready       chan struct{}   // closed once the group goes by it
	context     context.Context // ends when the instance is about to stop
	cancel      context.CancelFunc
}

// start reconciles log and store and starts an instance on them. The one before has stopped; if it had failed to apply an
// entry, this one applies nothing either. Pace, if there is one, is that of what it applies.
func (g *Group) start(broken bool, pace *applyPacer) error {
	o := &g.opts
	lost, err := reconcile(o)
	if err != nil {
		return err
	}
	store, err := newLogStore(o, &g.disk)
	if err != nil {
		return err
	}
	store.ahead.limit = o.ReadAhead
	store.cut = g.cutLog
	store.pace = pace
	i := &instance{checkpoints: &checkpointGate{}, ready: make(chan struct{})}
	i.context, i.cancel = context.WithCancel(context.Background())
	if pace != nil {
		pace.stopped = func() bool { return i.context.Err() != nil }
	}
	transport := &lentTransport{sentry: g.sentry, group: g, instance: i, store: store}
	i.fsm = newFSM(o, g.inFlight, &g.gate, store.lastAtOpen)
	i.fsm.landed = g.landed
	i.fsm.broken = broken
	i.fsm.pace = pace
	i.fsm.checkpoints = i.checkpoints

	if err := g.recall(lost); err != nil {
		i.cancel()
		return err
	}
	config := o.raftConfig()
	config.NotifyCh = g.changes
	snapshots := &snapshotStore{engine: o.Engine, pins: &g.pins}
	if err := bootstrap(o, config, store, snapshots); err != nil {
		i.cancel()
		return fmt.Errorf("bootstrap: %w", err)
	}
	i.raft, err = raft.NewRaft(config, i.fsm, store, g.stable, snapshots, transport)
	if err != nil {
		i.cancel()
		return fmt.Errorf("start Raft: %w", err)
	}
	g.running.Store(i)
	g.countKept()
	close(i.ready)
	return nil
}

// stop begins to stop the instance; the answer comes when all that it did has ended. A checkpoint under way is interrupted,
// and so are snapshots that it sends.
func (i *instance) stop() raft.Future {
	i.cancel()
	i.checkpoints.shut()
	return i.raft.Shutdown()
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

// lentTransport is the sentry as one instance has it. It sends snapshots our way (send.go), and sees how far a follower has
// come that was sent one.
type lentTransport struct {
	*sentry
	group    *Group
	instance *instance
	store    *logStore
}

// SetHeartbeatHandler is what Raft does last before it begins to run: from here on it needs whole entries.
func (t *lentTransport) SetHeartbeatHandler(handle func(raft.RPC)) {
	t.store.ahead.running.Store(true)
	t.sentry.SetHeartbeatHandler(handle)
}

// RequestVote asks for a vote, once the group goes by the instance: which votes count depends on who else there is.
func (t *lentTransport) RequestVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestVoteRequest, a *raft.RequestVoteResponse) error {
	<-t.instance.ready
	return t.sentry.RequestVote(id, to, q, a)
}

// RequestPreVote does the same for a pre-vote.
func (t *lentTransport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestPreVoteRequest,
	a *raft.RequestPreVoteResponse) error {
	<-t.instance.ready
	return t.sentry.RequestPreVote(id, to, q, a)
}

// AppendEntries notes what a follower has that the log is kept for. Where entries do not arrive, it returns when there is
// something to be had from trying again.
func (t *lentTransport) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest,
	a *raft.AppendEntriesResponse) error {
	<-t.instance.ready
	answered := t.group.reach.next(id)
	since := t.proof.now()
	err := sendParts(q, a, func() bool { return t.instance.context.Err() == nil && t.proof.now()-since < partsTime },
		func(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
			return t.sentry.AppendEntries(id, to, q, a)
		})
	if err == nil {
		t.group.reach.answers(id)
	} else if q.PrevLogEntry > 0 || len(q.Entries) > 0 { // it is no heartbeat
		t.instance.hold(answered)
	}
	if err == nil && a.Success && q.PrevLogEntry+uint64(len(q.Entries)) > 0 {
		t.group.pins.advance(id, q.PrevLogEntry+uint64(len(q.Entries)), q.LeaderCommitIndex)
	}
	if err == nil {
		t.gather(id, q)
	}
	return err
}

// AppendEntriesPipeline is refused while the log is kept for the follower: the answers of a pipeline would have to pass
// through another goroutine to be seen, for as long as it lasts.
func (t *lentTransport) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	if t.group.pins.holds(id) {
		return nil, raft.ErrPipelineReplicationNotSupported
	}
	p, err := t.sentry.AppendEntriesPipeline(id, to)
	if err != nil {
		return nil, err
	}
	return gatheringPipeline{p, t, id}, nil
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
