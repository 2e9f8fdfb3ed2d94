package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// A snapshot that a leader sends is read and checked in full, beside the store, while this replica goes on. Then
//
//	proposals are refused, and those under way answered
//	Raft is stopped; a checkpoint under way is interrupted
//	it is judged again: the term, and whether its entries have come another way meanwhile
//	a higher term is written down
//	the store is replaced, in one step; the log is emptied but for the stand-in at A (reconcile)
//	Raft is started anew
//
// A crash leaves the old store and log, or the new store, whose log the next start empties. The stock library's own way never
// resets what it takes for the log's end, so that a follower with a longer tail that was not committed could never be installed.

// errBusy says that another snapshot is being installed.
var errBusy = errors.New("another snapshot is being installed")

// receiving is the snapshot that is being received, if there is one.
type receiving struct {
	sync.Mutex
	term uint64 // of its sender
	end  func()
	done chan struct{} // nil if there is none
}

// enter lets one in at a time. A leader of a higher term has the one before it ended.
func (r *receiving) enter(term uint64, end func()) (leave func(), ok bool) {
	r.Lock()
	defer r.Unlock()
	for r.done != nil {
		if term <= r.term {
			return nil, false
		}
		r.end()
		done := r.done
		r.Unlock()
		<-done
		r.Lock()
	}
	done := make(chan struct{})
	r.term, r.end, r.done = term, end, done
	return func() {
		r.Lock()
		defer r.Unlock()
		r.done = nil
		close(done)
	}, true
}

// ServeSnapshot is the receiver's end of a connection that a SnapshotDialer made: it installs what it is sent, and closes the
// connection. Close ends it.
func (g *Group) ServeSnapshot(conn io.ReadWriteCloser) {
	defer conn.Close()
	if !g.visit() {
		return
	}
	defer g.visitors.Done()
	ctx, cancel := context.WithCancelCause(g.context)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	watch := newStallWatch(g.opts.Timeouts.Stall, cancel)
	defer watch.end()
	o, err := readOffer(conn)
	if err == nil {
		err = g.receive(ctx, conn, o, watch)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = errors.Join(cause, err)
		}
		g.opts.Logger.Warn("a snapshot was not received", "shard", g.opts.Group, "index", o.index, "error", err)
	}
}

// visit counts a goroutine that is not the group's own but that Close waits for. It returns false if the group is closed.
func (g *Group) visit() bool {
	g.swap.Lock()
	defer g.swap.Unlock()
	if g.context.Err() != nil {
		return false
	}
	g.visitors.Add(1)
	return true
}

// receive answers an offer. An error means that the sender hears no judgement: it may still be writing.
func (g *Group) receive(ctx context.Context, conn io.ReadWriteCloser, o offer, watch *stallWatch) error {
	if o.shard != g.opts.Group {
		v := failed(fmt.Errorf("a snapshot of shard %d came to shard %d", o.shard, g.opts.Group))
		return v.write(conn)
	}
	leave, ok := g.receiving.enter(o.term, func() { _ = conn.Close() })
	if !ok {
		v := failed(errBusy)
		return v.write(conn)
	}
	defer leave()
	v := g.judge(o)
	if err := v.write(conn); err != nil || v.kind != judgedTake {
		return err
	}
	staged, err := g.opts.Engine.Stage(&watchedReader{conn, watch})
	if err != nil {
		return err
	}
	if index, term := staged.At(); index != o.index || term != o.termAtIndex {
		err := fmt.Errorf("the snapshot stands at %d of term %d, %d of term %d was offered", index, term, o.index, o.termAtIndex)
		return errors.Join(err, staged.Discard())
	}
	watch.end() // from here on nothing depends on the sender
	v = g.install(ctx, o, staged)
	err = staged.Discard()
	if v.kind == judgedFailed {
		err = errors.Join(errors.New(v.reason), err)
	}
	return errors.Join(err, v.write(conn))
}

// watchedReader tells a watch that something has moved.
type watchedReader struct {
	from  io.Reader
	watch *stallWatch
}

// Read reads.
func (r *watchedReader) Read(b []byte) (int, error) {
	n, err := r.from.Read(b)
	r.watch.progress()
	return n, err
}

// judge says what an offered snapshot is good for, by the term that is written down, the store and the log.
func (g *Group) judge(o offer) judgement {
	term, err := stableUint64(g.opts.Stable, keyCurrentTerm)
	if err != nil {
		return failed(err)
	}
	if o.term < term {
		return judgement{kind: judgedRefuse, term: term}
	}
	if durable, _, _, _, ok := g.opts.Engine.Durable(); ok && durable >= o.index {
		return judgement{kind: judgedHave, term: o.term, index: durable}
	}
	var at raft.Log
	switch err := g.opts.Log.GetLog(o.index, &at); {
	case err == nil && at.Term == o.termAtIndex:
		return judgement{kind: judgedHave, term: o.term, index: o.index}
	case err != nil && !errors.Is(err, raft.ErrLogNotFound):
		return failed(err)
	}
	return judgement{kind: judgedTake, term: o.term, index: o.index}
}

// install puts a staged snapshot in the place of this replica's state.
func (g *Group) install(ctx context.Context, o offer, staged StagedCheckpoint) judgement {
	g.swap.Lock()
	defer g.swap.Unlock()
	if g.context.Err() != nil {
		return failed(ErrClosed)
	}
	ctx, cancel := context.WithTimeout(ctx, g.opts.Timeouts.Drain)
	defer cancel()
	idle := g.inFlight.pause()
	defer g.inFlight.resume()
	g.gate.open()
	wakeUp(g.wakeReaper)
	select {
	case <-idle:
	case <-ctx.Done():
		return failed(fmt.Errorf("%d batches are in flight: %w", g.inFlight.len(), context.Cause(ctx)))
	}
	old := g.running.Load()
	if err := old.stop().Error(); err != nil {
		return failed(fmt.Errorf("stop Raft: %w", err))
	}
	v := g.replace(ctx, old, o, staged)
	var pace *applyPacer
	if v.kind == judgedHave {
		pace = g.paceApplying()
	}
	if err := g.start(old.fsm.broken, pace); err != nil {
		err = fmt.Errorf("shard %d: go on after an install: %w", g.opts.Group, err)
		g.opts.Fatal(err)
		return failed(err)
	}
	select {
	case g.changes <- false: // have leadership looked at again
	default:
	}
	return v
}

// replace is called with Raft at rest.
func (g *Group) replace(ctx context.Context, old *instance, o offer, staged StagedCheckpoint) judgement {
	if old.fsm.broken {
		return failed(errors.New("this replica has stopped applying"))
	}
	v := g.judge(o)
	if v.kind == judgedRefuse || v.kind == judgedFailed {
		return v
	}
	if err := g.raiseTerm(o.term); err != nil {
		return failed(err)
	}
	if v.kind == judgedHave {
		return v
	}
	if err := staged.Install(ctx); err != nil {
		if durable, _, _, _, _ := g.opts.Engine.Durable(); durable == o.index {
			g.opts.Fatal(fmt.Errorf("shard %d: a snapshot is in the store but cannot be used: %w", g.opts.Group, err))
		}
		return failed(err)
	}
	g.opts.Logger.Info("a snapshot has been installed", "shard", g.opts.Group, "index", o.index, "term", o.termAtIndex)
	return judgement{kind: judgedHave, term: o.term, index: o.index}
}

// raiseTerm writes a leader's term down if it is higher than this replica's.
func (g *Group) raiseTerm(term uint64) error {
	current, err := stableUint64(g.opts.Stable, keyCurrentTerm)
	if err != nil || current >= term {
		return err
	}
	return g.stable.SetUint64(keyCurrentTerm, term)
}
