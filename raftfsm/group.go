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
	running  atomic.Pointer[instance] // never nil
	changes  chan bool                // of leadership, from Raft
	pins     logPins
	kept     atomic.Int64 // bytes of the log below the last checkpoint
	inFlight *inFlight
	gate     gate
	clock    *slewedClock
	filter   filter
	order    sync.Mutex // held while a batch is registered and passes the gate
	sentry   *sentry
	stable   raft.StableStore // as Raft sees it
	proof    *proof
	memory   *memory
	disk     disk

	// provenTerm is the term whose Barrier has been applied here; 0 before the first.
	provenTerm atomic.Uint64
	stuck      chan question // from the reaper to the asker
	wakeReaper chan struct{}
	closing    chan struct{} // closed first: nothing is proposed any more
	stop       chan struct{} // closed once Raft has stopped
	goroutines sync.WaitGroup
	context    context.Context // ends with closing
	cancel     context.CancelFunc
	receiving  receiving
	reach      reach
	swap       sync.Mutex     // held while the running instance is replaced, and by Close
	visitors   sync.WaitGroup // those who serve snapshots
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
	g := &Group{
		opts:       o,
		changes:    make(chan bool, 16),
		inFlight:   newInFlight(o.MaxInFlight),
		clock:      newSlewedClock(o.Clock),
		stuck:      make(chan question, o.MaxInFlight),
		wakeReaper: make(chan struct{}, 1),
		closing:    make(chan struct{}),
		stop:       make(chan struct{}),
	}
	g.clock.shift = o.WallShift
	g.served.changed = make(chan struct{})
	g.gate.hand = g.toRaft
	g.context, g.cancel = context.WithCancel(context.Background())
	g.proof = newProof(g)
	g.disk.now, g.disk.bound = o.Uptime, o.Timeouts.Disk
	g.sentry = newSentry(o.Transport, g.proof)
	g.stable = fencedStable{loudStable{watchedStable{o.Stable, &g.disk}, o.Fatal}, &g.sentry.fence}
	g.memory = newMemory(g, &g.sentry.fence)
	g.sentry.begin(g)
	err := error(nil)
	if o.TakeOver {
		err = takeOver(&g.opts)
	}
	if err == nil {
		err = g.start(false, nil)
	}
	if err != nil {
		_ = g.sentry.close()
		return nil, fmt.Errorf("shard %d: %w", o.Group, err)
	}
	g.goroutines.Go(func() { g.watchLeadership(g.changes) })
	g.goroutines.Go(g.reap)
	g.goroutines.Go(g.askFutures)
	if g.IsSoleVoter() {
		g.memory.end("it is the only voter")
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
	g.cancel()
	defer g.visitors.Wait()
	g.swap.Lock() // an install under way has given up, or is through
	defer g.swap.Unlock()
	g.inFlight.close()
	wakeUp(g.wakeReaper)
	drained := g.inFlight.waitEmpty(ctx)
	var err error
	if drained != nil {
		err = fmt.Errorf("shard %d: closed before Raft answered every proposal: %w", g.opts.Group, drained)
	}
	i := g.running.Load()
	g.proof.close()
	stopped := i.stop()
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
