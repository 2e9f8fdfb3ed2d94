package raftfsm

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
)

// inFlight is the register of what was handed to Raft: by number, every proposal that has not been applied or answered,
// and every one that was answered while Raft may still hold it in its queue. It is locked three times per batch, never
// per command.
type inFlight struct {
	limit int
	empty chan struct{} // closed once the register is closed and nothing is in flight

	mu struct {
		sync.Mutex
		last     uint64 // number of the last proposal
		byNumber map[uint64]handed
		held     int // barriers under way
		refused  []refusal
		closed   bool
		paused   bool          // an install is under way
		idle     chan struct{} // closed while paused once nothing is in flight, then nil
		finished bool          // nobody answers the refused any more
	}
}

// handed is a proposal in Raft's hands.
type handed struct {
	proposal *Proposal        // nil once it was answered
	touches  engine.Footprint // as the filter has it
	future   raft.ApplyFuture // nil while raft.Apply is being called
	since    time.Duration    // when it was proposed, on the clock's real time
	asked    bool             // whether the asker has the future
}

// refusal is a proposal that never reached Raft.
type refusal struct {
	proposal *Proposal
	err      error
}

// question is a future whose answer is of interest.
type question struct {
	number uint64
	future raft.ApplyFuture
}

func newInFlight(limit int) *inFlight {
	f := &inFlight{limit: limit, empty: make(chan struct{})}
	f.mu.byNumber = make(map[uint64]handed, limit)
	return f
}

// add registers a proposal and returns its number, which is never 0.
func (f *inFlight) add(p *Proposal, touches engine.Footprint, since time.Duration) (number uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.closed {
		return 0, ErrClosed
	}
	if f.mu.paused {
		return 0, ErrNotLeader
	}
	if len(f.mu.byNumber) >= f.limit {
		return 0, ErrBusy
	}
	f.mu.last++
	f.mu.byNumber[f.mu.last] = handed{proposal: p, touches: touches, since: since}
	return f.mu.last, nil
}

// refuse leaves a proposal to the reaper, to be answered with err. It returns false if there is no reaper any more.
func (f *inFlight) refuse(p *Proposal, err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.finished {
		return false
	}
	f.mu.refused = append(f.mu.refused, refusal{p, err})
	return true
}

// finish says that the refused are taken for the last time.
func (f *inFlight) finish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.finished = true
}

// takeRefused empties the list of the refused.
func (f *inFlight) takeRefused() []refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.mu.refused
	f.mu.refused = nil
	return r
}

// handedOver notes the future of a proposal, if it has not been applied already.
func (f *inFlight) handedOver(number uint64, future raft.ApplyFuture) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h, ok := f.mu.byNumber[number]; ok {
		h.future = future
		f.mu.byNumber[number] = h
	}
}

// take removes a proposal, whose footprint the caller has to take out of the filter once the entry is applied, or will not
// be. ok is false if there is none of that number; the proposal is nil if it has been answered: whoever gets it has to
// call Done.
func (f *inFlight) take(number uint64) (_ *Proposal, touches engine.Footprint, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, ok := f.mu.byNumber[number]
	if !ok {
		return nil, touches, false
	}
	delete(f.mu.byNumber, number)
	f.noteEmptyLocked()
	return h.proposal, h.touches, true
}

// expire returns the proposals made before the given time, to be answered; they stay registered, since Raft has them.
func (f *inFlight) expire(before time.Duration) []*Proposal {
	f.mu.Lock()
	defer f.mu.Unlock()
	var expired []*Proposal
	for number, h := range f.mu.byNumber {
		if h.proposal != nil && h.since < before {
			expired = append(expired, h.proposal)
			h.proposal = nil
			f.mu.byNumber[number] = h
		}
	}
	return expired
}

// ask passes the futures of proposals made before the given time to the asker, oldest first, each once.
func (f *inFlight) ask(before time.Duration, asker chan<- question) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var stuck []question
	for number, h := range f.mu.byNumber {
		if !h.asked && h.future != nil && h.since < before {
			stuck = append(stuck, question{number, h.future})
		}
	}
	slices.SortFunc(stuck, func(a, b question) int { return cmp.Compare(a.number, b.number) })
	for _, q := range stuck {
		select {
		case asker <- q:
			h := f.mu.byNumber[q.number]
			h.asked = true
			f.mu.byNumber[q.number] = h
		default:
			return
		}
	}
}

// hold counts a barrier as in flight until release. It returns false if the register is closed or paused.
func (f *inFlight) hold() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.closed || f.mu.paused {
		return false
	}
	f.mu.held++
	return true
}

func (f *inFlight) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.held--
	f.noteEmptyLocked()
}

// close refuses what comes from now on.
func (f *inFlight) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.closed = true
	f.noteEmptyLocked()
}

// pause refuses what comes from now on as a replica that does not lead does, until resume. idle is closed once nothing is in
// flight.
func (f *inFlight) pause() (idle <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan struct{})
	f.mu.paused, f.mu.idle = true, c
	f.noteEmptyLocked()
	return c
}

func (f *inFlight) resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.paused, f.mu.idle = false, nil
}

func (f *inFlight) noteEmptyLocked() {
	if len(f.mu.byNumber) > 0 || f.mu.held > 0 {
		return
	}
	if f.mu.idle != nil {
		close(f.mu.idle)
		f.mu.idle = nil
	}
	if !f.mu.closed {
		return
	}
	select {
	case <-f.empty:
	default:
		close(f.empty)
	}
}

// waitEmpty waits, after close, until Raft has answered everything.
func (f *inFlight) waitEmpty(ctx context.Context) error {
	select {
	case <-f.empty:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d batches in flight: %w", f.len(), context.Cause(ctx))
	}
}

func (f *inFlight) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mu.byNumber)
}
