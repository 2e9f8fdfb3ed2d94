package raftfsm

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// ErrUnproven says that a leader could not prove within the time that is set for it that it still leads.
var ErrUnproven = errors.New("the shard's leader does not reach a quorum")

// proof knows how far a leader's leadership is proven. A voter that answers a message of term T with success is in term T
// when it does, so at the time when the message was sent no later leader had been elected with its vote. If that is so for
// a quorum of the voters with messages that were sent at t or later, everything that was acknowledged before t is the work
// of this leader or of its predecessors: a read that arrived by t may be answered from this replica's state (read index).
//
// The stock library's VerifyLeader goes by answers alone: it counts those of replicas without a vote, and those to what
// was sent before it was asked.
//
// Which replicas vote is read anew after every answer, before Raft sees the answer. So what is remembered is at most one
// change behind: the next change needs that one to be committed, which takes an answer, unless this replica is a quorum by
// itself. And the quorums of neighbouring configurations overlap.
type proof struct {
	self raft.ServerID
	now  func() time.Duration
	// leads returns the term in which this replica leads; false if it does not.
	leads func() (term uint64, ok bool)
	// serves is leads, and a Barrier of the term has been applied.
	serves func() (term uint64, ok bool)
	// configuration is the latest, committed or not.
	configuration func() raft.Configuration
	// send sends one heartbeat and waits for the answer.
	send func(to raft.Server, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error
	// pause is how long a voter that did not answer is left alone.
	pause time.Duration

	term  atomic.Uint64 // mu.term, for those who only want to see that nothing has changed
	alone atomic.Uint64 // the term in which this replica is known to be a quorum by itself; 0: it is not
	mu    struct {
		sync.Mutex
		term      uint64                     // what follows belongs to it
		heartbeat *raft.AppendEntriesRequest // as Raft sends it; nil until it has sent something
		contacts  map[raft.ServerID]*contact
		voters    []raft.Server // without this replica
		votes     bool          // this replica is a voter
		current   bool          // voters and votes need not be read anew
		waiters   []waiter
		closed    bool
	}
	goroutines sync.WaitGroup
}

func newProof(g *Group) *proof {
	return &proof{
		self:   g.opts.ID,
		now:    g.opts.Uptime,
		leads:  g.leads,
		serves: g.serves,
		pause:  restOfTheDeaf,
		configuration: func() raft.Configuration {
			return g.raft().GetConfiguration().Configuration() // a copy that is at hand: the future is answered already
		},
		send: func(to raft.Server, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
			return g.opts.Transport.AppendEntries(to.ID, to.Address, q, a)
		},
	}
}

// contact is what a tenure has with one replica.
type contact struct {
	sent  time.Duration // when the newest message went off that was answered with success; never before the first
	busy  bool          // a heartbeat of ours is under way,
	again bool          // and another one has to follow it
	asked time.Duration // when it was sent
	rest  time.Duration // none is sent before
	match uint64        // entries up to here are as safe there as appendfsync says
}

// waiter wants a quorum's send times to be at or after a moment.
type waiter struct {
	after time.Duration
	since time.Duration
	done  func(error)
}

const (
	unproven = time.Duration(math.MinInt64)
	// maxWaiters bounds those who wait; each loop of a node is a few of them at most.
	maxWaiters = 10_000
	// restOfTheDeaf keeps a voter that is down from being dialled for every read. Raft's heartbeats go on meanwhile.
	restOfTheDeaf = 50 * time.Millisecond
)

// sends notes that Raft is about to send q, so that it leads in q's term.
func (p *proof) sends(q *raft.AppendEntriesRequest) {
	if p.term.Load() == q.Term {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.Term < p.mu.term {
		return
	}
	p.beginLocked(q.Term)
	p.mu.heartbeat = &raft.AppendEntriesRequest{RPCHeader: q.RPCHeader, Term: q.Term}
	p.term.Store(q.Term)
}

// beginLocked forgets what was proven in an earlier term.
func (p *proof) beginLocked(term uint64) {
	if p.mu.term == term {
		return
	}
	p.mu.term = term
	p.mu.heartbeat = nil
	p.mu.contacts = make(map[raft.ServerID]*contact)
	p.doubtLocked()
}

func (p *proof) contactLocked(id raft.ServerID) *contact {
	c := p.mu.contacts[id]
	if c == nil {
		c = &contact{sent: unproven}
		p.mu.contacts[id] = c
	}
	return c
}

// answered notes an answer to what was sent at the given time.
func (p *proof) answered(id raft.ServerID, sent time.Duration, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) {
	if !a.Success || a.Term != q.Term {
		return
	}
	p.mu.Lock()
	if q.Term != p.mu.term {
		p.mu.Unlock()
		return
	}
	c := p.contactLocked(id)
	c.sent = max(c.sent, sent)
	c.match = max(c.match, q.PrevLogEntry+uint64(len(q.Entries)))
	p.doubtLocked()
	ready := p.settledLocked()
	p.mu.Unlock()
	answer(ready, nil)
}

// acknowledged is up to where a replica has acknowledged the log in a term.
func (p *proof) acknowledged(id raft.ServerID, term uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.mu.contacts[id]; c != nil && p.mu.term == term {
		return c.match
	}
	return 0
}

// isAwaited says whether somebody waits for a proof.
func (p *proof) isAwaited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.waiters) > 0
}

// heardOf says whether a replica has answered something that was sent in this term at the moment or later.
func (p *proof) heardOf(id raft.ServerID, term uint64, since time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.mu.contacts[id]
	return c != nil && p.mu.term == term && c.sent >= since
}

// settle answers who need not wait any longer.
func (p *proof) settle() {
	p.mu.Lock()
	ready := p.settledLocked()
	p.mu.Unlock()
	answer(ready, nil)
}

func (p *proof) settledLocked() []waiter {
	if len(p.mu.waiters) == 0 {
		return nil
	}
	term, ok := p.serves()
	if !ok {
		return nil
	}
	proven := p.provenLocked(term)
	return p.takeLocked(func(w waiter) bool { return w.after <= proven })
}

// takeLocked removes and returns the waiters that are meant.
func (p *proof) takeLocked(meant func(waiter) bool) (taken []waiter) {
	p.mu.waiters = slices.DeleteFunc(p.mu.waiters, func(w waiter) bool {
		if !meant(w) {
			return false
		}
		taken = append(taken, w)
		return true
	})
	return taken
}

func answer(waiters []waiter, err error) {
	for _, w := range waiters {
		w.done(err)
	}
}

// provenLocked returns up to which moment leadership in the term is proven.
func (p *proof) provenLocked(term uint64) time.Duration {
	if term < p.mu.term {
		return unproven
	}
	p.beginLocked(term)
	p.readVotersLocked()
	if p.mu.votes && len(p.mu.voters) == 0 {
		return p.now()
	}
	var room [9]time.Duration
	sent := room[:0]
	if p.mu.votes {
		sent = append(sent, math.MaxInt64)
	}
	for _, v := range p.mu.voters {
		at := unproven
		if c := p.mu.contacts[v.ID]; c != nil {
			at = c.sent
		}
		sent = append(sent, at)
	}
	if len(sent) == 0 {
		return unproven
	}
	slices.Sort(sent)
	return sent[(len(sent)-1)/2]
}

// followers tells of every other replica of the configuration, if this one leads.
func (p *proof) followers() (list []Follower) {
	term, ok := p.leads()
	if !ok {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.configuration().Servers {
		if s.ID == p.self {
			continue
		}
		f := Follower{Server: s, Silent: math.MaxInt64}
		if c := p.mu.contacts[s.ID]; c != nil && p.mu.term == term {
			f.Match = c.match
			if c.sent != unproven {
				f.Silent = p.now() - c.sent
			}
		}
		list = append(list, f)
	}
	return list
}

func (p *proof) readVotersLocked() {
	if p.mu.current {
		return
	}
	p.mu.votes, p.mu.voters = false, p.mu.voters[:0]
	for _, s := range p.configuration().Servers {
		switch {
		case s.Suffrage != raft.Voter:
		case s.ID == p.self:
			p.mu.votes = true
		default:
			p.mu.voters = append(p.mu.voters, s)
		}
	}
	p.mu.current = true
	if p.mu.votes && len(p.mu.voters) == 0 {
		p.alone.Store(p.mu.term)
	}
}

// doubtLocked has the voters be read anew.
func (p *proof) doubtLocked() {
	p.mu.current = false
	p.alone.Store(0)
}

// proven is provenLocked for who does not hold the lock; unproven if this replica does not serve.
func (p *proof) proven() time.Duration {
	term, ok := p.serves()
	if !ok {
		return unproven
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.provenLocked(term)
}

// prove calls done once: see Group.Prove.
func (p *proof) prove(after time.Duration, done func(error)) {
	p.mu.Lock()
	err, settled := p.proveLocked(after, done)
	p.mu.Unlock()
	if settled {
		done(err)
	}
}

func (p *proof) proveLocked(after time.Duration, done func(error)) (err error, settled bool) {
	if p.mu.closed {
		return ErrClosed, true
	}
	// Asked under the lock, so that who asks after leadershipLost has swept is not missed by it.
	term, ok := p.leads()
	if !ok {
		return ErrNotLeader, true
	}
	if t, ok := p.serves(); ok && p.provenLocked(t) >= after {
		return nil, true
	}
	if len(p.mu.waiters) >= maxWaiters {
		return ErrBusy, true
	}
	p.mu.waiters = append(p.mu.waiters, waiter{after: after, since: p.now(), done: done})
	p.askLocked(term, false)
	return nil, false
}

// askLocked sends Raft's heartbeat to as many voters as are needed, those that answered last, at once or behind the one
// that is under way. With all set it asks everybody.
func (p *proof) askLocked(term uint64, all bool) {
	if p.mu.heartbeat == nil || p.mu.term != term {
		return // Raft will begin by itself
	}
	p.readVotersLocked()
	need := len(p.mu.voters)
	if !all {
		if need = (len(p.mu.voters) + 2) / 2; p.mu.votes {
			need = (len(p.mu.voters) + 1) / 2
		}
	}
	now := p.now()
	slices.SortStableFunc(p.mu.voters, func(a, b raft.Server) int {
		return cmp.Compare(p.contactLocked(a.ID).rest, p.contactLocked(b.ID).rest)
	})
	for _, v := range p.mu.voters {
		if need == 0 {
			return
		}
		c := p.contactLocked(v.ID)
		switch {
		case c.busy:
			if c.again = true; c.asked > now-impatient { // else it may be that it never answers
				need--
			}
		case now >= c.rest:
			c.busy, c.asked = true, now
			need--
			q := p.mu.heartbeat
			p.goroutines.Go(func() { p.ask(v, c, q) })
		}
	}
}

// impatient is how long those who wait do so before everybody is asked.
const impatient = 20 * time.Millisecond

// nudge asks everybody if some have waited for long: one of those who were asked does not answer.
func (p *proof) nudge() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mu.waiters) == 0 || p.mu.waiters[0].since > p.now()-impatient {
		return
	}
	if term, ok := p.leads(); ok {
		p.askLocked(term, true)
	}
}

// ask sends heartbeats to one voter as long as somebody wants another.
func (p *proof) ask(to raft.Server, c *contact, q *raft.AppendEntriesRequest) {
	for {
		sent := p.now()
		var a raft.AppendEntriesResponse
		err := p.send(to, q, &a)
		if err == nil {
			p.answered(to.ID, sent, q, &a)
		}
		if !p.askAgain(c, q.Term, err) {
			return
		}
	}
}

func (p *proof) askAgain(c *contact, term uint64, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		c.rest = p.now() + p.pause
		p.askLocked(term, true)
	}
	again := c.again && err == nil && p.mu.term == term && !p.mu.closed && len(p.mu.waiters) > 0
	c.again = false
	if c.busy = again; again {
		c.asked = p.now()
	}
	return again
}

// leadershipMayHaveChanged answers everybody if this replica does not lead.
func (p *proof) leadershipMayHaveChanged() {
	p.mu.Lock()
	var all []waiter
	if _, ok := p.leads(); !ok {
		all, p.mu.waiters = p.mu.waiters, nil
	}
	p.mu.Unlock()
	answer(all, ErrNotLeader)
}

// expire answers who has waited since the given moment or longer.
func (p *proof) expire(since time.Duration) {
	p.mu.Lock()
	late := p.takeLocked(func(w waiter) bool { return w.since <= since })
	p.mu.Unlock()
	answer(late, ErrUnproven)
}

// close answers everybody. The transport has to be closed before wait is called.
func (p *proof) close() {
	p.mu.Lock()
	p.mu.closed = true
	all := p.mu.waiters
	p.mu.waiters = nil
	p.mu.Unlock()
	answer(all, ErrClosed)
}

func (p *proof) wait() { p.goroutines.Wait() }
