package raftfsm

import (
	"sync/atomic"
	"time"
)

// What a follower needs to catch up is long work beside clients, on machines whose every core may be wanted: reading, packing
// and sending a snapshot on its leader, unpacking and writing it on the follower, and then, on a follower that has installed
// one, bringing nearly all of the store into memory as the entries behind it touch it. Nobody is in a hurry for it, up to a
// point, so it is done in steps of about a millisecond, a frame of the snapshot, or less, a slot that an entry's key is in, with a
// rest after each, several times as long as the step took: what needs the core meanwhile has it, and the disk sees no bursts. The
// receiver of a snapshot is paced by its sender.
//
// Rests end where the group would pay for them. A snapshot never comes at less than leastRate for them, and comes as fast as
// it can once the log that is kept for the follower has used up a quarter of what may be kept: under a load that fills the
// log faster than rests allow for, the follower has the other three quarters to recover in. A follower rests for
// longestRests after an install, and not at all once it leads or is to stop.
const (
	restTimes    = 4                     // times what a step took
	shortestRest = time.Millisecond      // shorter ones are put together
	longestRest  = 20 * time.Millisecond // after one step
	leastRate    = 12 << 20              // bytes of a snapshot a second
	hurryPart    = 4                     // of what may be kept of the log
	hurryLook    = 1 << 20               // bytes of a snapshot between looks at the log
	longestRests = 30 * time.Second      // after an install
)

// pacer rests after steps of work.
type pacer struct {
	now   func() time.Duration
	sleep func(time.Duration)
	begun time.Duration // the step under way
	owed  time.Duration // rest that is due; below 0: it overslept
}

// begin begins the first step.
func (p *pacer) begin() { p.begun = p.now() }

// rest ends a step, of which only the first part was work, rests for no longer than most, and begins the next one.
func (p *pacer) rest(work, most time.Duration) {
	p.owed += max(0, min(restTimes*work, most))
	p.begun = p.now()
	if p.owed < shortestRest {
		return
	}
	p.sleep(p.owed)
	woken := p.now()
	p.owed = max(p.owed-(woken-p.begun), -longestRest)
	p.begun = woken
}

// sendPacer rests after the frames of a snapshot.
type sendPacer struct {
	pacer
	hurry   func() bool // the log grows too long for the follower
	hurries bool
	looked  int // bytes since hurry was asked
}

// frame writes a frame whose making was the step under way. What the writing takes is no work: the follower takes its time.
func (p *sendPacer) frame(b []byte, write func([]byte) (int, error)) (int, error) {
	work := p.now() - p.begun
	n, err := write(b)
	if p.looked += n; p.looked >= hurryLook {
		p.looked, p.hurries = 0, p.hurry()
	}
	if err != nil || p.hurries {
		p.begin()
		return n, err
	}
	took := p.now() - p.begun
	p.rest(work, min(time.Duration(n)*time.Second/leastRate-took, longestRest))
	return n, nil
}

// applyPacer rests after each step of applying entries, on a follower, behind a snapshot that it has installed.
type applyPacer struct {
	pacer
	leads   func() bool
	stopped func() bool // what applies is to stop
	until   time.Duration
	over    atomic.Bool
}

// paced says whether entries are applied with rests. Then nothing is fetched ahead for them: those fetches would run side by
// side, and as fast as entries arrive.
func (p *applyPacer) paced() bool { return p != nil && !p.over.Load() }

// apply applies one entry, in steps.
func (p *applyPacer) apply(do func()) {
	p.begin()
	do()
	p.step()
}

// step ends a step.
func (p *applyPacer) step() {
	now := p.now()
	if !p.paced() || now >= p.until || p.leads() || p.stopped() {
		p.over.Store(true)
		return
	}
	p.rest(now-p.begun, longestRest)
}

// newPacer returns a pacer by the node's clock.
func (g *Group) newPacer() pacer { return pacer{now: g.opts.Uptime, sleep: time.Sleep} }

// paceSending returns the pacer of a snapshot at an index.
func (g *Group) paceSending(index uint64) *sendPacer {
	p := &sendPacer{pacer: g.newPacer(), hurry: func() bool { return g.mustHurry(index) }}
	p.begin()
	return p
}

// mustHurry says whether so much of the log is kept for a follower that has everything up to index that it may soon be too much.
func (g *Group) mustHurry(index uint64) bool {
	last, err := g.opts.Log.LastIndex()
	return err != nil || g.opts.Log.Behind(last, g.opts.PinBytes/hurryPart) > index
}

// paceApplying returns the pacer of what is applied behind an install.
func (g *Group) paceApplying() *applyPacer {
	p := &applyPacer{pacer: g.newPacer(), leads: func() bool { _, leads := g.leads(); return leads }}
	p.until = p.now() + longestRests
	return p
}
