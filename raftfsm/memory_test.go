package raftfsm

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// remembering is a replica's memory whose log and commit index the test sets.
type remembering struct {
	memory
	fence               termFence
	lastIndex, commited uint64
	notes               []bool
}

func newRemembering(term, last uint64) *remembering {
	r := &remembering{lastIndex: last}
	r.fence.term.Store(term)
	r.memory = memory{
		fence:     &r.fence,
		committed: func() uint64 { return r.commited },
		last:      func() (uint64, bool) { return r.lastIndex, true },
		note:      func(doubt bool) error { r.notes = append(r.notes, doubt); return nil },
		tell:      func(string, ...any) {},
	}
	return r
}

func (r *remembering) heartbeat(from string, term, last, acknowledged uint64) *raft.AppendEntriesRequest {
	m := &raft.AppendEntriesRequest{Term: term,
		RPCHeader: raft.RPCHeader{ID: []byte(from), Addr: progress{last, acknowledged}.before([]byte("address"))}}
	r.hear(m)
	return m
}

func TestDoubtEndsBehindTheLeadersLog(t *testing.T) {
	r := newRemembering(5, 10)
	r.begin("a test")
	r.commited = 100
	step := func(want bool, what string) {
		t.Helper()
		if r.doubt.Load() != want {
			t.Fatal(what)
		}
	}
	if m := r.heartbeat("a", 5, 20, 0); string(m.Addr) != "address" {
		t.Fatalf("Raft sees %q", m.Addr)
	}
	step(true, "the first heartbeat may be from before the start")
	r.heartbeat("b", 6, 20, 0)
	step(true, "each leader begins anew")
	r.heartbeat("b", 4, 20, 0)
	r.heartbeat("b", 4, 20, 0)
	step(true, "a leader of the past says nothing")
	r.commited = 29
	r.heartbeat("b", 6, 30, 0)
	r.heartbeat("b", 6, 10, 0)
	step(true, "the figure of the second heartbeat counts")
	r.hear(&raft.AppendEntriesRequest{Term: 6, RPCHeader: raft.RPCHeader{Addr: []byte("address")}})
	step(true, "not everything is there")
	r.commited = 30
	r.hear(&raft.AppendEntriesRequest{Term: 6, RPCHeader: raft.RPCHeader{Addr: []byte("address")}})
	step(false, "everything is there")
	if !slices.Equal(r.notes, []bool{true, false}) {
		t.Fatal(r.notes)
	}
}

func TestWhatWasAcknowledgedAndIsGoneIsNoticed(t *testing.T) {
	r := newRemembering(5, 10)
	r.heartbeat("a", 5, 20, 10)
	if r.doubt.Load() {
		t.Fatal("all that was acknowledged is there")
	}
	r.heartbeat("a", 4, 20, 11)
	if r.doubt.Load() {
		t.Fatal("that was another term")
	}
	r.heartbeat("a", 5, 20, 11)
	if !r.doubt.Load() {
		t.Fatal("an entry is gone")
	}
	r.commited = 20
	r.heartbeat("a", 5, 20, 11)
	if r.doubt.Load() {
		t.Fatal("it has caught up")
	}
}

// lossy is a group of three whose logs can be cut back while their owners are stopped.
type lossy struct {
	t   *testing.T
	net *network
	all []*node
}

func newLossy(t *testing.T) *lossy {
	net, leader, others := threeVoters(t, func(n *node) { n.opts.Timeouts.Stuck = 20 * time.Millisecond })
	return &lossy{t, net, append(others, leader)}
}

// restart opens a stopped node anew, without the last entries of its log. It says that it has lost power, if it has.
func (l *lossy) restart(n *node, lose int, power bool) {
	l.t.Helper()
	last, _ := n.log.LastIndex()
	if lose > 0 {
		if err := n.log.InmemStore.DeleteRange(last-uint64(lose)+1, last); err != nil {
			l.t.Fatal(err)
		}
	}
	old, _ := n.opts.Transport.(*wire)
	n.fresh()
	_, inner := raft.NewInmemTransportWithTimeout(old.LocalAddr(), time.Second)
	mine := &wire{inner, l.net}
	for _, other := range l.all {
		w, _ := other.opts.Transport.(*wire)
		if other == n {
			w = mine
		}
		mine.Connect(w.LocalAddr(), w.InmemTransport)
		w.Connect(mine.LocalAddr(), inner)
	}
	n.opts.Transport, n.opts.Forgot = mine, power
	n.open()
}

func (l *lossy) stop(nodes ...*node) {
	for _, n := range nodes {
		n.close()
	}
}

func (l *lossy) commit(what string) {
	l.t.Helper()
	eventually(l.t, "a write", func() bool { return leads(l.t, l.all).propose(what).wait(l.t) == nil })
	for _, n := range l.all {
		eventually(l.t, "all have it", func() bool { return slices.Contains(n.engine.commands(), what) })
	}
}

// behind is how many entries of a node's log follow the one with the command.
func (l *lossy) behind(n *node, what string) (behind int) {
	l.t.Helper()
	last, _ := n.log.LastIndex()
	for i := last; i > 0; i-- {
		var e raft.Log
		if n.log.GetLog(i, &e) == nil && e.Type == raft.LogCommand && strings.HasSuffix(string(e.Data), what) {
			return int(last - i)
		}
	}
	l.t.Fatal(what, "is not there")
	return 0
}

// A and C have an entry, B does not. A ends, C loses power and the entry. B and C are a majority that lacks what was
// acknowledged: they elect nobody until A is back, and then nothing is lost.
func TestWhoForgotDoesNotHelpWhoNeverKnew(t *testing.T) {
	l := newLossy(t)
	l.commit("first")
	a := leads(t, l.all)
	rest := slices.DeleteFunc(slices.Clone(l.all), func(n *node) bool { return n == a })
	b, c := rest[0], rest[1]
	l.net.isolate(raft.ServerAddress(b.opts.ID))
	var kept *outcome
	eventually(t, "a write without B", func() bool {
		kept = leads(t, []*node{a, c}).propose("kept")
		return kept.wait(t) == nil
	})
	eventually(t, "C has it", func() bool {
		return slices.Contains(c.engine.commands(), "kept") && slices.Contains(a.engine.commands(), "kept")
	})
	l.stop(a, c)
	l.net.heal()
	l.restart(c, l.behind(c, "kept")+1, true)
	before := c.group.raft().CurrentTerm()
	asked := b.group.raft().CurrentTerm()
	for range 3 { // B and C stand again and again
		eventually(t, "somebody stands", func() bool {
			return b.group.raft().State() == raft.Candidate || c.group.raft().State() == raft.Candidate
		})
		if b.group.CanRead() || c.group.CanRead() {
			t.Fatal("a majority without the entry has elected a leader")
		}
	}
	if !c.group.MayHaveForgotten() || c.group.raft().CurrentTerm() != before || b.group.raft().CurrentTerm() != asked {
		t.Fatal("they voted")
	}
	l.restart(a, 0, false)
	for _, n := range l.all {
		eventually(t, "nothing is lost", func() bool { return slices.Contains(n.engine.commands(), "kept") })
		eventually(t, "all vote again", func() bool { return !n.group.MayHaveForgotten() })
	}
	l.commit("afterwards")
}

// All lose power, each as much as it may. Who has most is elected once all are there, and not before.
func TestTheLongestLogWins(t *testing.T) {
	l := newLossy(t)
	l.commit("one")
	l.commit("two")
	l.commit("three")
	l.stop(l.all...)
	a, b, c := l.all[0], l.all[1], l.all[2]
	l.restart(a, l.behind(a, "two")+1, true)
	l.restart(b, l.behind(b, "three")+1, true)
	for range 3 {
		eventually(t, "somebody stands", func() bool {
			return a.group.raft().State() == raft.Candidate || b.group.raft().State() == raft.Candidate
		})
		if a.group.CanRead() || b.group.CanRead() {
			t.Fatal("two of three that may have forgotten something have elected a leader")
		}
	}
	l.restart(c, l.behind(c, "one"), true)
	eventually(t, "the longest log wins", func() bool { return b.group.CanRead() })
	for _, n := range l.all {
		eventually(t, "all agree", n.stateIs("one", "two"))
		eventually(t, "all vote again", func() bool { return !n.group.MayHaveForgotten() })
	}
	l.commit("afterwards")
}

func TestDoubtOutlivesARestart(t *testing.T) {
	l := newLossy(t)
	l.commit("first")
	a := l.all[0]
	l.net.isolate(raft.ServerAddress(a.opts.ID))
	l.stop(a)
	l.restart(a, 0, true)
	if !a.group.MayHaveForgotten() {
		t.Fatal("it remembers")
	}
	l.stop(a)
	l.restart(a, 0, false)
	if !a.group.MayHaveForgotten() {
		t.Fatal("it has forgotten that it may have forgotten")
	}
	if err := a.group.sentry.admit(&raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{Addr: encodeTerm(a.group.raft().CurrentTerm())}}); !errors.Is(err, errForgetful) {
		t.Fatal(err)
	}
	l.net.heal()
	eventually(t, "it catches up", func() bool { return !a.group.MayHaveForgotten() })
	l.commit("afterwards")
}

func TestLogThatEndsBeforeItsCheckpointIsDoubted(t *testing.T) {
	n := newNode(t, "a")
	n.opts.Bootstrap = nil
	n.disk.ok, n.disk.index, n.disk.term, n.disk.configuration, n.disk.configIndex = true, 10, 1, threeServers, 1
	if err := n.opts.Stable.SetUint64(keyCurrentTerm, 1); err != nil {
		t.Fatal(err)
	}
	n.engine = openTwin(n.disk)
	n.opts.Engine = n.engine
	entries(t, n.log, 1, 5, 1)
	n.open()
	defer n.close()
	if !n.group.MayHaveForgotten() {
		t.Fatal("five entries are gone and nobody asks")
	}
}

func TestASoleVoterNeedNotCatchUp(t *testing.T) {
	n := newNode(t, "a")
	n.opts.Forgot = true
	n.open().ready()
	defer n.close()
	if n.group.MayHaveForgotten() {
		t.Fatal("with whom should it catch up?")
	}
}
