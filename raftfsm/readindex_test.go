package raftfsm

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// tapped is a group in memory of voters a, b, c and of a learner n. a leads, and nothing happens by itself: the time-outs
// are hours, so messages go because a test wants them to.
type tapped struct {
	t     *testing.T
	nodes map[string]*node
	taps  map[string]*tap
}

func newTapped(t *testing.T, times Timeouts) *tapped {
	g := &tapped{t: t, nodes: map[string]*node{}, taps: map[string]*tap{}}
	servers := []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}, {ID: "c", Address: "c"},
		{ID: "n", Address: "n", Suffrage: raft.Nonvoter}}
	for _, s := range servers {
		g.taps[string(s.ID)] = newTap(string(s.ID))
	}
	for i, s := range servers {
		for _, other := range g.taps {
			g.taps[string(s.ID)].Connect(other.LocalAddr(), other.InmemTransport)
		}
		n := newNode(t, string(s.ID))
		n.opts.Node = uint64(1000 * (i + 1))
		n.opts.Bootstrap = servers
		n.opts.Timeouts = times
		n.opts.Transport = g.taps[string(s.ID)]
		n.opts.Uptime = func() time.Duration { return time.Since(processStart) }
		g.nodes[string(s.ID)] = n.open()
	}
	t.Cleanup(func() {
		var answering sync.WaitGroup
		closed := make(chan struct{})
		for id, n := range g.nodes {
			n.close()
			answering.Go(func() { g.taps[id].refuse(closed) }) // the others do not wait for its answers
		}
		close(closed)
		answering.Wait()
	})
	return g
}

// refuse answers what comes in with an error.
func (p *tap) refuse(until chan struct{}) {
	for {
		select {
		case rpc := <-p.Consumer():
			rpc.Respond(nil, errNoWay)
		case <-until:
			return
		}
	}
}

var processStart = time.Now()

// lead has a stand and win.
func (g *tapped) lead() *node {
	g.t.Helper()
	a := g.nodes["a"]
	if err := a.group.sentry.stand("a"); err != nil {
		g.t.Fatal(err)
	}
	return a.ready()
}

// caughtUp waits until a replica has all that a has.
func (g *tapped) caughtUp(id string) {
	g.t.Helper()
	eventually(g.t, "it has everything", func() bool {
		return g.nodes[id].group.raft().LastIndex() == g.nodes["a"].group.raft().LastIndex()
	})
}

// quiet is for tests that want no message that they did not ask for.
var quiet = Timeouts{Heartbeat: time.Hour, Lease: time.Hour, Commit: time.Hour, Stuck: 10 * time.Millisecond,
	Proposal: time.Hour, Proof: time.Hour, Beat: -1}

func (n *node) claim() (verdict, time.Duration) {
	v := make(verdict, 1)
	after := n.group.Uptime()
	n.group.Prove(after, func(err error) { v <- err })
	return v, after
}

func TestALeaderProvesItself(t *testing.T) {
	g := newTapped(t, quiet)
	a := g.lead()
	for range 10 {
		v, after := a.claim()
		v.is(t, nil)
		if a.group.Proven() < after {
			t.Fatal("less is proven than was said")
		}
	}
	for _, id := range []string{"b", "n"} {
		v, _ := g.nodes[id].claim()
		v.is(t, ErrNotLeader)
		if g.nodes[id].group.Proven() >= 0 {
			t.Fatal("a follower proves something")
		}
	}
}

// Raft asks everybody, and the answer of a replica without a vote satisfies it: a new leader may long have been elected by
// the voters, whom this one cannot reach.
func TestAnswersOfLearnersProveNothing(t *testing.T) {
	g := newTapped(t, quiet)
	a := g.lead()
	g.taps["a"].set(func() {
		g.taps["a"].appendEntry = func(to raft.ServerID, _ *raft.AppendEntriesRequest, send func() error) error {
			if to != "n" {
				return errNoWay
			}
			return send()
		}
	})
	v, after := a.claim()
	if err := a.group.raft().VerifyLeader().Error(); err != nil {
		t.Fatal("the library has become careful: ", err)
	}
	v.isOpen(t)
	if a.group.Proven() >= after {
		t.Fatal("proven by a learner")
	}
}

// An answer that was on its way before Raft was asked satisfies it too: what it says has been overtaken, perhaps, by an
// election.
func TestAnswersFromBeforeTheQuestionProveNothing(t *testing.T) {
	g := newTapped(t, quiet)
	a := g.lead()
	g.caughtUp("b")
	onItsWay, release, asking := make(chan struct{}), make(chan struct{}), make(chan struct{}, 16)
	g.taps["a"].set(func() {
		g.taps["a"].appendEntry = func(to raft.ServerID, q *raft.AppendEntriesRequest, send func() error) error {
			if to == "b" && len(q.Entries) == 0 {
				asking <- struct{}{}
			}
			if to != "b" || len(q.Entries) == 0 {
				return errNoWay
			}
			err := send()
			close(onItsWay)
			<-release
			return err
		}
	})
	o := a.propose("x")
	<-onItsWay // b has it, and has answered
	v, after := a.claim()
	<-asking
	asked := a.group.raft().VerifyLeader()
	<-asking
	close(release)
	if err := asked.Error(); err != nil {
		t.Fatal("the library has become careful: ", err)
	}
	if err := o.wait(t); err != nil {
		t.Fatal(err)
	}
	v.isOpen(t)
	if a.group.Proven() >= after {
		t.Fatal("proven by an old answer")
	}
	g.taps["a"].set(func() { g.taps["a"].appendEntry = nil })
	eventually(t, "what later claims ask for serves the first", func() bool {
		a.claim()
		return len(v) > 0
	})
	v.is(t, nil)
}

// A leader that is cut off answers those who wait when it gives up.
func TestLossOfLeadershipAnswersThoseWhoWait(t *testing.T) {
	times := timesOut
	times.Proof = time.Hour
	g := newTapped(t, times)
	var leader string
	eventually(t, "a leader", func() bool {
		for id, n := range g.nodes {
			if n.group.CanRead() {
				leader = id
			}
		}
		return leader != ""
	})
	g.taps[leader].set(func() { g.taps[leader].cut = true })
	v, _ := g.nodes[leader].claim()
	v.is(t, ErrNotLeader)
}

func TestProofTimesOut(t *testing.T) {
	times := quiet
	times.Proof = time.Millisecond
	g := newTapped(t, times)
	a := g.lead()
	g.taps["a"].set(func() { g.taps["a"].cut = true })
	v, _ := a.claim()
	v.is(t, ErrUnproven)
}

// A voter that was cut off asks for pre-votes in vain: its term stays, so that it deposes nobody when it is back.
func TestAVoterThatComesBackDeposesNobody(t *testing.T) {
	times := timesOut
	times.Stuck = time.Hour
	g := newTapped(t, times)
	eventually(t, "a leader", func() bool {
		return g.nodes["a"].group.CanRead() || g.nodes["b"].group.CanRead() || g.nodes["c"].group.CanRead()
	})
	lost := "a"
	if g.nodes["a"].group.CanRead() {
		lost = "b"
	}
	for _, p := range g.taps { // nobody reaches it either
		p.set(func() { p.cutFrom = raft.ServerID(lost) })
	}
	p := g.taps[lost]
	p.set(func() { p.cut, p.preVotes = true, 0 })
	r := g.nodes[lost].group.raft()
	stands := func(times int) func() bool {
		return func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.preVotes > 2*times && r.State() == raft.Candidate
		}
	}
	eventually(t, "it stands", stands(3)) // so that no vote from before is under way
	term := r.CurrentTerm()
	eventually(t, "it has stood several times", stands(8))
	if got := r.CurrentTerm(); got != term {
		t.Fatalf("its term grew from %d to %d", term, got)
	}
	for _, p := range g.taps {
		p.set(func() { p.cutFrom, p.cut = "", false })
	}
	eventually(t, "it follows", func() bool {
		_, id := r.LeaderWithID()
		return id != "" && r.State() == raft.Follower
	})
}

// A transfer of leadership bears the term, and works.
func TestLeadershipIsHandedOver(t *testing.T) {
	g := newTapped(t, quiet)
	a := g.lead()
	g.caughtUp("b")
	transferred := a.group.raft().LeadershipTransferToServer("b", "b")
	g.nodes["b"].ready()
	if err := transferred.Error(); err != nil {
		t.Fatal(err)
	}
}
