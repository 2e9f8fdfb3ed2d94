package raftfsm

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// court is a proof without a Raft: time, leadership and answers are what the test says.
type court struct {
	*proof
	t      *testing.T
	clock  atomic.Int64
	term   atomic.Uint64 // 0: does not lead
	ready  atomic.Bool
	mu     sync.Mutex
	config raft.Configuration
	asked  chan ask
}

// ask is a heartbeat that waits for the test to answer it.
type ask struct {
	to     raft.ServerID
	q      *raft.AppendEntriesRequest
	answer chan error
}

func newCourt(t *testing.T, servers ...raft.Server) *court {
	c := &court{t: t, asked: make(chan ask, 16)}
	c.proof = &proof{
		self: "self",
		now:  func() time.Duration { return time.Duration(c.clock.Load()) },
		leads: func() (uint64, bool) {
			term := c.term.Load()
			return term, term != 0
		},
		serves: func() (uint64, bool) {
			term := c.term.Load()
			return term, term != 0 && c.ready.Load()
		},
		configuration: func() raft.Configuration {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.config.Clone()
		},
		send: func(to raft.Server, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
			w := ask{to.ID, q, make(chan error)}
			c.asked <- w
			*a = raft.AppendEntriesResponse{Term: q.Term, Success: true}
			return <-w.answer
		},
		pause: 50,
	}
	c.configure(servers...)
	c.ready.Store(true)
	c.term.Store(3)
	t.Cleanup(func() {
		c.close()
		for done := make(chan struct{}); ; {
			go func() { c.wait(); close(done) }()
			for {
				select {
				case w := <-c.asked:
					w.answer <- errNoWay
				case <-done:
					return
				}
			}
		}
	})
	return c
}

func (c *court) configure(servers ...raft.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.config.Servers = servers
}

func voter(id raft.ServerID) raft.Server    { return raft.Server{ID: id, Suffrage: raft.Voter} }
func nonvoter(id raft.ServerID) raft.Server { return raft.Server{ID: id, Suffrage: raft.Nonvoter} }

func (c *court) at(moment int64) *court {
	c.clock.Store(moment)
	return c
}

// exchange is a message of the term and its answer.
func (c *court) exchange(id raft.ServerID, sent time.Duration, term uint64) {
	q := &raft.AppendEntriesRequest{Term: term}
	c.sends(q)
	c.answered(id, sent, q, &raft.AppendEntriesResponse{Term: term, Success: true})
}

// verdict is where what Prove says arrives.
type verdict chan error

func (c *court) claim(after time.Duration) verdict {
	v := make(verdict, 2)
	c.prove(after, func(err error) { v <- err })
	return v
}

func (v verdict) is(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-v:
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Fatalf("%v, not %v", err, want)
		}
	case <-time.After(patience):
		t.Fatal("no answer")
	}
}

func (v verdict) isOpen(t *testing.T) {
	t.Helper()
	select {
	case err := <-v:
		t.Fatalf("answered with %v", err)
	default:
	}
}

func TestQuorumOfSendTimes(t *testing.T) {
	all := func(n int) (servers []raft.Server) {
		for i := range n {
			servers = append(servers, voter(raft.ServerID(fmt.Sprint(i))))
		}
		return append(servers, nonvoter("x"), nonvoter("y"), nonvoter("z"))
	}
	for _, c := range []struct {
		name    string
		servers []raft.Server
		sent    []time.Duration // of voters 0, 1, …
		want    time.Duration
	}{
		{"alone", append(all(0), voter("self")), nil, 1000},
		{"two, none answered", append(all(1), voter("self")), nil, unproven},
		{"two", append(all(1), voter("self")), []time.Duration{10}, 10},
		{"three, none answered", append(all(2), voter("self")), nil, unproven},
		{"three, one answered", append(all(2), voter("self")), []time.Duration{10}, 10},
		{"three", append(all(2), voter("self")), []time.Duration{10, 20}, 20},
		{"four, one answered", append(all(3), voter("self")), []time.Duration{10}, unproven},
		{"four", append(all(3), voter("self")), []time.Duration{10, 30, 20}, 20},
		{"five", append(all(4), voter("self")), []time.Duration{40, 10, 30, 20}, 30},
		{"three others", all(3), []time.Duration{40, 10, 30}, 30},
		{"one other", all(1), []time.Duration{40}, 40},
		{"eleven", append(all(10), voter("self")), []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 6},
		{"nobody", all(0), nil, unproven},
	} {
		p := newCourt(t, c.servers...).at(1000)
		for i, sent := range c.sent {
			p.exchange(raft.ServerID(fmt.Sprint(i)), sent, 3)
		}
		for _, learner := range []raft.ServerID{"x", "y", "z", "stranger"} {
			p.exchange(learner, 999, 3)
		}
		if got := p.proven(); got != c.want {
			t.Errorf("%s: %d, not %d", c.name, got, c.want)
		}
	}
}

func TestOnlyAnswersOfTheTermCount(t *testing.T) {
	c := newCourt(t, voter("self"), voter("a"), voter("b")).at(100)
	c.exchange("a", 50, 2) // an earlier leadership
	if got := c.proven(); got != unproven {
		t.Fatal(got)
	}
	q := &raft.AppendEntriesRequest{Term: 3}
	c.sends(q)
	c.answered("a", 60, q, &raft.AppendEntriesResponse{Term: 3})
	c.answered("a", 60, q, &raft.AppendEntriesResponse{Term: 4, Success: true})
	if got := c.proven(); got != unproven {
		t.Fatal(got)
	}
	c.exchange("a", 60, 3)
	c.exchange("a", 40, 3) // answers come in any order
	c.exchange("b", 99, 2)
	if got := c.proven(); got != 60 {
		t.Fatal(got)
	}
	c.term.Store(4)
	if got := c.proven(); got != unproven {
		t.Fatal(got)
	}
	c.exchange("b", 98, 3)
	if got := c.proven(); got != unproven {
		t.Fatal(got)
	}
	c.exchange("b", 99, 4)
	if got := c.proven(); got != 99 {
		t.Fatal(got)
	}
	c.ready.Store(false)
	if got := c.proven(); got != unproven {
		t.Fatal(got)
	}
}

// A change of the voters counts from the next answer on: before it is seen, no second change can be under way.
func TestVotersAreReadAnew(t *testing.T) {
	c := newCourt(t, voter("self")).at(100)
	if c.proven() != 100 {
		t.Fatal("alone")
	}
	c.configure(voter("self"), nonvoter("a"))
	c.exchange("a", 10, 3)
	if c.proven() != 100 {
		t.Fatal("alone with a learner")
	}
	c.configure(voter("self"), voter("a"))
	c.exchange("a", 20, 3)
	if got := c.proven(); got != 20 {
		t.Fatal(got)
	}
	c.configure(voter("self"), voter("a"), voter("b"), voter("c"))
	c.exchange("a", 30, 3)
	if got := c.proven(); got != unproven {
		t.Fatal(got)
	}
}

func TestProveAnswers(t *testing.T) {
	c := newCourt(t, voter("self"), voter("a"), voter("b")).at(100)
	c.exchange("a", 90, 3)
	c.claim(90).is(t, nil)
	late, later := c.claim(100), c.claim(105)
	c.exchange("b", 99, 3)
	late.isOpen(t)
	c.exchange("b", 100, 3)
	late.is(t, nil)
	later.isOpen(t)
	c.ready.Store(false)
	c.exchange("a", 200, 3)
	later.isOpen(t) // the Barrier is missing
	c.ready.Store(true)
	c.settle()
	later.is(t, nil)

	lost := c.claim(300)
	c.leadershipMayHaveChanged()
	lost.isOpen(t)
	c.term.Store(0)
	c.exchange("a", 300, 3)
	lost.isOpen(t)
	c.leadershipMayHaveChanged()
	lost.is(t, ErrNotLeader)
	c.claim(300).is(t, ErrNotLeader)
	if c.proven() >= 0 {
		t.Fatal("proven without leading")
	}

	c.term.Store(4)
	first := c.at(400).claim(400)
	second := c.at(401).claim(401)
	c.expire(400)
	first.is(t, ErrUnproven)
	second.isOpen(t)
	c.close()
	second.is(t, ErrClosed)
	c.claim(1).is(t, ErrClosed)
}

func TestTooManyWaiters(t *testing.T) {
	c := newCourt(t, voter("self"), voter("a"), voter("b"))
	for range maxWaiters {
		c.prove(1, func(error) {})
	}
	c.claim(1).is(t, ErrBusy)
}

// Those who wait share the heartbeats: one to each voter is under way, and one more follows it.
func TestRoundsAreShared(t *testing.T) {
	c := newCourt(t, voter("self"), voter("a"), voter("b"), nonvoter("x")).at(10)
	sent := &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ID: []byte("self"), Addr: []byte("here")}, Term: 3,
		PrevLogEntry: 7, PrevLogTerm: 2, LeaderCommitIndex: 6, Entries: []*raft.Log{{}}}
	c.sends(sent)
	one := c.claim(10)
	first := <-c.asked // one answer makes a quorum, so one voter is asked
	if first.to != "a" {
		t.Fatal(first)
	}
	q := first.q
	if string(q.ID) != "self" || q.Term != 3 || string(q.Addr) != "here" || q.PrevLogEntry != 0 || q.PrevLogTerm != 0 ||
		q.LeaderCommitIndex != 0 || len(q.Entries) != 0 {
		t.Fatalf("no heartbeat of Raft's: %+v", q)
	}
	var more []verdict
	for i := range 100 {
		more = append(more, c.at(int64(20+i)).claim(time.Duration(20+i)))
	}
	if len(c.asked) != 0 {
		t.Fatal("a voter is asked twice at once")
	}
	first.answer <- nil
	one.is(t, nil)
	next := <-c.asked // the one that follows is for all that came meanwhile
	for _, v := range more {
		v.isOpen(t)
	}
	next.answer <- nil
	for _, v := range more {
		v.is(t, nil)
	}
	c.close()
	c.wait()
	if len(c.asked) != 0 {
		t.Fatal("asked for nobody")
	}
}

// TestVotersThatHangAreNotWaitedFor: if who was asked fails, or takes its time, the others are asked.
func TestVotersThatHangAreNotWaitedFor(t *testing.T) {
	c := newCourt(t, voter("self"), voter("a"), voter("b")).at(10)
	c.sends(&raft.AppendEntriesRequest{Term: 3})
	one := c.claim(10)
	a := <-c.asked
	c.nudge()
	if len(c.asked) != 0 {
		t.Fatal("everybody is asked at once")
	}
	c.at(10 + int64(impatient))
	c.nudge()
	b := <-c.asked
	if a.to != "a" || b.to != "b" {
		t.Fatal(a.to, b.to)
	}
	b.answer <- nil
	one.is(t, nil)
	two := c.at(10 + 2*int64(impatient)).claim(10 + 2*impatient) // a has not answered yet: b is asked
	if b = <-c.asked; b.to != "b" {
		t.Fatal(b.to)
	}
	b.answer <- nil
	two.is(t, nil)
	a.answer <- nil
	c.close()
	c.wait()
}

// A voter that does not answer is left alone for a while, and Raft's own messages to it count.
func TestVotersThatFailAreLeftAlone(t *testing.T) {
	c := newCourt(t, voter("self"), voter("a")).at(10)
	c.sends(&raft.AppendEntriesRequest{Term: 3})
	one := c.claim(10)
	(<-c.asked).answer <- errNoWay
	c.wait()
	two := c.at(59).claim(20)
	c.wait()
	if len(c.asked) != 0 {
		t.Fatal("asked at once again")
	}
	c.exchange("a", 15, 3)
	one.is(t, nil)
	two.isOpen(t)
	three := c.at(60).claim(60)
	(<-c.asked).answer <- nil
	two.is(t, nil)
	three.is(t, nil)
}

// rail is a pipeline whose answers the test gives.
type rail struct {
	answers chan raft.AppendFuture
	closed  atomic.Bool
}

type railFuture struct {
	q   *raft.AppendEntriesRequest
	a   *raft.AppendEntriesResponse
	err error
}

func (f railFuture) Error() error                          { return f.err }
func (f railFuture) Start() time.Time                      { return time.Time{} }
func (f railFuture) Request() *raft.AppendEntriesRequest   { return f.q }
func (f railFuture) Response() *raft.AppendEntriesResponse { return f.a }

func (r *rail) AppendEntries(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	return railFuture{q, a, nil}, nil
}
func (r *rail) Consumer() <-chan raft.AppendFuture { return r.answers }
func (r *rail) Close() error                       { r.closed.Store(true); return nil }

func TestPipelinedAnswersCountFromTheirSending(t *testing.T) {
	c := newCourt(t, voter("self"), voter("a"))
	inner := &rail{answers: make(chan raft.AppendFuture)}
	p := newNotedPipeline(inner, c.proof, &disk{}, "a")
	var futures []raft.AppendFuture
	for i := range 4 {
		f, err := p.at(c, int64(10*i)).AppendEntries(&raft.AppendEntriesRequest{Term: 3}, &raft.AppendEntriesResponse{Term: 3, Success: i != 2})
		if err != nil {
			t.Fatal(err)
		}
		futures = append(futures, f)
	}
	c.at(1000)
	failed := futures[3].(railFuture)
	failed.err = errNoWay
	futures[3] = failed
	for i, want := range []time.Duration{0, 10, 10, 10} {
		inner.answers <- futures[i]
		if got := <-p.Consumer(); got != futures[i] {
			t.Fatal("the answers come in another order")
		}
		if got := c.proven(); got != want {
			t.Fatalf("after answer %d: %v", i, got)
		}
	}
	if err := p.Close(); err != nil || !inner.closed.Load() {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func (n *notedPipeline) at(c *court, moment int64) *notedPipeline {
	c.at(moment)
	return n
}
