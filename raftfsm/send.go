package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// A follower that needs entries which the log has no more is sent the store's last checkpoint. The stock library notices
// (sendLatestSnapshot), opens a checkpoint through SnapshotStore.Open, and calls the transport, on the goroutine that
// replicates to that follower. What is opened is the checkpoint as it is then, pinned, and the log behind it; the
// transport's call carries it over a connection of our own. When it returns, the library goes on behind the index that
// SnapshotStore.Open told it.

// SnapshotDialer connects to a replica of this group, where ServeSnapshot has the other end. If ctx ends, it returns.
type SnapshotDialer func(ctx context.Context, id raft.ServerID, address raft.ServerAddress) (io.ReadWriteCloser, error)

// openCheckpoint is a checkpoint that is held for one follower.
type openCheckpoint struct {
	pinned PinnedCheckpoint
	meta   *raft.SnapshotMeta // Raft's: read again when the call has returned
	pins   *logPins
}

// Open pins the last checkpoint, whatever id says, and the log behind it.
func (s *snapshotStore) Open(string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	x := &openCheckpoint{pins: s.pins}
	err := s.pins.open(x, func() (_ uint64, err error) {
		if x.pinned, err = s.engine.PinCheckpoint(); err != nil {
			return 0, err
		}
		index, term, configuration, configurationIndex := x.pinned.At()
		if x.meta, err = snapshotMeta(index, term, configuration, configurationIndex); err != nil {
			return 0, errors.Join(err, x.pinned.Close())
		}
		return index, nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open the last checkpoint: %w", err)
	}
	return x.meta, x, nil
}

// Read is not how a checkpoint travels.
func (x *openCheckpoint) Read([]byte) (int, error) {
	return 0, errors.New("a checkpoint is not read through Raft's snapshot store")
}

// Close lets checkpoint and log go.
func (x *openCheckpoint) Close() error {
	x.pins.close(x)
	return x.pinned.Close()
}

// errDeposed says that a snapshot is not sent on because this node leads no more.
var errDeposed = errors.New("this node does not lead the shard any more")

// send brings a checkpoint to a follower and waits until it is installed there, in the manner of the stock transport's
// InstallSnapshot.
func (g *Group) send(i *instance, id raft.ServerID, to raft.ServerAddress, q *raft.InstallSnapshotRequest,
	a *raft.InstallSnapshotResponse, x *openCheckpoint) error {
	if g.opts.DialSnapshot == nil {
		return errors.New("this node cannot send snapshots")
	}
	log := g.opts.Logger.With("shard", g.opts.Group, "follower", id, "index", x.meta.Index)
	log.Info("the follower needs a snapshot")
	ctx, cancel := context.WithCancelCause(i.context)
	defer cancel(nil)
	watch := newStallWatch(g.opts.Timeouts.Stall, cancel)
	defer watch.end()
	conn, err := g.opts.DialSnapshot(ctx, id, to)
	if err != nil {
		return fmt.Errorf("reach the follower: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer conn.Close()
	w := &leadersWriter{to: conn, watch: watch, pace: g.paceSending(x.meta.Index), leads: func() bool {
		return i.raft.State() == raft.Leader && i.raft.CurrentTerm() == q.Term
	}}
	o := offer{shard: g.opts.Group, term: q.Term, index: x.meta.Index, termAtIndex: x.meta.Term}
	v, err := g.deliver(conn, w, o, x)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = errors.Join(cause, err)
	}
	if err == nil {
		err = g.settle(v, q, a, x, id)
	}
	if err != nil {
		log.Warn("the snapshot was not installed", "error", err)
		return err
	}
	log.Info("the follower has the snapshot", "up-to", x.meta.Index)
	return nil
}

// deliver speaks the sender's part and returns the last judgement.
func (g *Group) deliver(conn io.Reader, w *leadersWriter, o offer, x *openCheckpoint) (v judgement, err error) {
	if err := o.write(w); err != nil {
		return v, fmt.Errorf("offer a snapshot: %w", err)
	}
	if v, err = readJudgement(conn); err != nil || v.kind != judgedTake {
		return v, err
	}
	w.pace.begin()
	if err := x.pinned.Write(w); err != nil {
		return v, fmt.Errorf("send a snapshot: %w", err)
	}
	w.watch.progress()
	if v, err = readJudgement(conn); err == nil && v.kind == judgedTake {
		err = errors.New("the follower asks for the snapshot twice")
	}
	return v, err
}

// settle tells Raft what has become of it.
func (g *Group) settle(v judgement, q *raft.InstallSnapshotRequest, a *raft.InstallSnapshotResponse, x *openCheckpoint,
	id raft.ServerID) error {
	a.Term = max(q.Term, v.term)
	switch v.kind {
	case judgedHave:
		// The follower may be further, by a checkpoint of its own, and its log may begin there: Raft has to go on from that.
		if v.index > x.meta.Index && v.index <= g.raft().LastIndex() {
			x.meta.Index = v.index
		}
		a.Success = a.Term == q.Term
		g.pins.follow(id, x.meta.Index)
		return nil
	case judgedRefuse:
		if v.term > q.Term {
			return nil
		}
		return fmt.Errorf("the follower refused term %d in term %d", q.Term, v.term)
	case judgedFailed:
		return fmt.Errorf("the follower could not install it: %s", v.reason)
	}
	return fmt.Errorf("the follower answered with %d", v.kind)
}

// leadersWriter fails when this node no longer leads, and rests after each write.
type leadersWriter struct {
	to    io.Writer
	watch *stallWatch
	pace  *sendPacer
	leads func() bool
}

// Write writes, and tells the watch.
func (w *leadersWriter) Write(b []byte) (int, error) {
	if !w.leads() {
		return 0, errDeposed
	}
	n, err := w.pace.frame(b, w.to.Write)
	w.watch.progress()
	return n, err
}

// stallWatch cancels when nothing moves for too long.
type stallWatch struct {
	timer *time.Timer
	after time.Duration
}

func newStallWatch(after time.Duration, cancel context.CancelCauseFunc) *stallWatch {
	return &stallWatch{after: after, timer: time.AfterFunc(after, func() {
		cancel(fmt.Errorf("nothing has moved for %v", after))
	})}
}

func (w *stallWatch) progress() { w.timer.Reset(w.after) }
func (w *stallWatch) end()      { w.timer.Stop() }
