package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Group is this node's replica of one shard. Its methods may be called by any goroutine.
type Group struct {
	opts     Options
	raft     *raft.Raft
	fsm      *fsm
	inFlight *inFlight
	gate     gate
	clock    *slewedClock
	filter   filter
	order    sync.Mutex // held while a batch is registered and passes the gate
	sentry   *sentry
	proof    *proof

	// provenTerm is the term whose Barrier has been applied here; 0 before the first.
	provenTerm atomic.Uint64
	stuck      chan question // from the reaper to the asker
	wakeReaper chan struct{}
	closing    chan struct{} // closed first: nothing is proposed any more
	stop       chan struct{} // closed once Raft has stopped
	goroutines sync.WaitGroup
	closeOnce  sync.Once
	closeErr   error

	checkpoint struct {
		sync.Mutex
		running *sharedCheckpoint
	}
	served struct {
		sync.Mutex
		changed chan struct{} // closed and replaced whenever CanRead may have changed
	}
}

// Open brings the replica up: it reconciles log and store (open.go), bootstraps a new group, starts Raft, and makes a
// sole voter stand at once. It does not wait for a leader: see WaitReady.
func Open(o Options) (*Group, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := reconcile(&o); err != nil {
		return nil, fmt.Errorf("shard %d: %w", o.Group, err)
	}
	g := &Group{
		opts:       o,
		inFlight:   newInFlight(o.MaxInFlight),
		clock:      newSlewedClock(o.Clock),
		stuck:      make(chan question, o.MaxInFlight),
		wakeReaper: make(chan struct{}, 1),
		closing:    make(chan struct{}),
		stop:       make(chan struct{}),
	}
	g.clock.shift = o.WallShift
	g.served.changed = make(chan struct{})
	store, err := newLogStore(o.Log, o.Engine)
	if err != nil {
		return nil, fmt.Errorf("shard %d: %w", o.Group, err)
	}
	store.ahead.limit = o.ReadAhead
	g.gate.hand = g.toRaft
	g.fsm = newFSM(&o, g.inFlight, &g.gate, store.lastAtOpen)
	g.fsm.landed = g.landed

	config := o.raftConfig()
	changes := make(chan bool, 16)
	config.NotifyCh = changes
	snapshots := &snapshotStore{engine: o.Engine}
	if err := bootstrap(&o, config, store, snapshots); err != nil {
		return nil, fmt.Errorf("shard %d: bootstrap: %w", o.Group, err)
	}
	g.proof = newProof(g)
	g.sentry = newSentry(o.Transport, g.proof)
	stable := fencedStable{loudStable{o.Stable, o.Fatal}, &g.sentry.fence}
	g.raft, err = raft.NewRaft(config, g.fsm, store, stable, snapshots, g.sentry)
	if err != nil {
		_ = g.sentry.close()
		return nil, fmt.Errorf("shard %d: start Raft: %w", o.Group, err)
	}
	store.ahead.running.Store(true)
	g.goroutines.Go(func() { g.watchLeadership(changes) })
	g.goroutines.Go(g.reap)
	g.goroutines.Go(g.askFutures)
	if g.IsSoleVoter() {
		g.goroutines.Go(g.standAtOnce)
	}
	return g, nil
}

// Now is the shard's clock, Unix milliseconds: what an entry would be stamped with now. It never goes back, is never
// behind an applied entry's stamp, and follows the wall clock without its leaps (clock.go).
func (g *Group) Now() int64 {
	now, _ := g.clock.read(g.opts.Engine.Clock())
	return now
}

// MaxInFlight is how many batches, over all loops, may be proposed and not done.
func (g *Group) MaxInFlight() int { return g.opts.MaxInFlight }

// WaitReady waits until CanRead.
func (g *Group) WaitReady(ctx context.Context) error {
	for {
		changed := g.servedChanged()
		if g.CanRead() {
			return nil
		}
		select {
		case <-changed:
		case <-g.closing:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("wait for shard %d to serve: %w", g.opts.Group, context.Cause(ctx))
		}
	}
}

// Close stops the group: it refuses new proposals, waits until Raft has answered those in flight (a leader without a
// quorum gives up after its lease), stops Raft and its transport, answers what is left with ErrIndeterminate and joins
// every goroutine. It takes no checkpoint. If ctx ends before Raft has answered, Close goes on without it and says so;
// then a goroutine that waits for Raft's answer may stay behind, since the stock library never answers what is in its
// queues when it stops.
func (g *Group) Close(ctx context.Context) error {
	g.closeOnce.Do(func() { g.closeErr = g.close(ctx) })
	return g.closeErr
}

func (g *Group) close(ctx context.Context) error {
	close(g.closing)
	g.inFlight.close()
	wakeUp(g.wakeReaper)
	drained := g.inFlight.waitEmpty(ctx)
	var err error
	if drained != nil {
		err = fmt.Errorf("shard %d: closed before Raft answered every proposal: %w", g.opts.Group, drained)
	}
	g.proof.close()
	stopped := g.raft.Shutdown()
	if e := g.sentry.close(); e != nil { // what Raft waits for from others ends
		err = errors.Join(err, fmt.Errorf("shard %d: close the transport: %w", g.opts.Group, e))
	}
	if e := stopped.Error(); e != nil {
		err = errors.Join(err, fmt.Errorf("shard %d: stop Raft: %w", g.opts.Group, e))
	}
	g.proof.wait()
	close(g.stop)
	g.answerAll(fmt.Errorf("%w: %w", ErrIndeterminate, ErrClosed))
	if drained == nil {
		g.goroutines.Wait()
	}
	return err
}
