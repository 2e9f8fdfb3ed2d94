package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/aof"
	"github.com/larder-db/larder/engine"
)

// once checks that a proposal was answered a single time and that no reply came behind the answer.
func (o *outcome) once(t *testing.T) {
	t.Helper()
	if n := o.times.Load(); n != 1 {
		t.Errorf("answered %d times", n)
	}
	if o.replies.late > 0 {
		t.Error("replies went to a batch that was given back")
	}
}

// blockStore lets the node's StoreLogs of commands wait. It returns what tells of each wait, and what ends them all.
func (n *node) blockStore() (entered <-chan struct{}, release func()) {
	in, out := make(chan struct{}, 1000), make(chan struct{})
	n.log.onStore = func(logs []*raft.Log) error {
		if logs[0].Type == raft.LogCommand {
			in <- struct{}{}
			<-out
		}
		return nil
	}
	return in, func() { close(out) }
}

func TestFollowerRefusesProposals(t *testing.T) {
	n := newNode(t, "a")
	n.opts.Bootstrap = nil
	n.open()
	defer n.close()
	o := n.propose("x")
	if err := o.wait(t); !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	o.once(t)
}

func TestFailedStoreIsIndeterminate(t *testing.T) {
	n := newNode(t, "a")
	n.opts.Timeouts = timesOut
	fail := false
	n.log.onStore = func(logs []*raft.Log) error {
		if fail && logs[0].Type == raft.LogCommand {
			return errors.New("disk full")
		}
		return nil
	}
	n.open().ready()
	defer n.close()
	fail = true
	o := n.propose("x")
	if err := o.wait(t); !errors.Is(err, ErrIndeterminate) {
		t.Fatal(err)
	}
	o.once(t)
}

func TestLateEntryIsAppliedWithoutItsBatch(t *testing.T) {
	n := newNode(t, "a")
	n.opts.Timeouts.Proposal = 30 * time.Millisecond
	entered, release := n.blockStore()
	n.open().ready()
	defer n.close()
	o := n.propose("x")
	<-entered
	if err := o.wait(t); !errors.Is(err, ErrIndeterminate) {
		t.Fatal(err)
	}
	if in := n.group.Stats().InFlight; in != 1 {
		t.Fatalf("Raft still has the batch, but %d are in flight", in)
	}
	release()
	eventually(t, "the entry is applied", func() bool { return slices.Equal(n.engine.commands(), []string{"x"}) })
	for _, c := range n.engine.appliedCalls() {
		if c.withBatch {
			t.Fatal("applied with the batch that was given back")
		}
	}
	eventually(t, "nothing is in flight", func() bool { return n.group.Stats().InFlight == 0 })
	o.once(t)
	if err := n.propose("y").wait(t); err != nil {
		t.Fatal(err)
	}
}

// A batch that the FSM is applying when its time is up belongs to the FSM.
func TestReaperLeavesWhatIsBeingApplied(t *testing.T) {
	n := newNode(t, "a")
	n.opts.Timeouts.Proposal = time.Millisecond
	entered, release := make(chan struct{}, 1), make(chan struct{})
	n.engine.onApply = func(uint64, *engine.Batch) error {
		entered <- struct{}{}
		<-release
		return nil
	}
	n.open().ready()
	defer n.close()
	var o *outcome
	for { // until one is applied before its time is up
		o = n.propose("x")
		<-entered
		n.group.reapOnce(false)
		time.Sleep(2 * time.Millisecond)
		n.group.reapOnce(false)
		if o.times.Load() == 0 {
			break
		}
		release <- struct{}{}
	}
	release <- struct{}{}
	if err := o.wait(t); err != nil || len(o.replies.ints) != 1 {
		t.Fatal(err, o.replies.ints)
	}
	o.once(t)
}

func TestProposeNeverWaits(t *testing.T) {
	n := newNode(t, "a")
	n.opts.MaxInFlight = 5
	entered, release := n.blockStore()
	n.open().ready()
	defer n.close()
	var outcomes []*outcome
	for range n.group.MaxInFlight() {
		outcomes = append(outcomes, n.propose("x"))
	}
	<-entered
	more := n.propose("y")
	if err := more.wait(t); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	release()
	for _, o := range append(outcomes[:0:0], outcomes...) {
		if err := o.wait(t); err != nil {
			t.Fatal(err)
		}
		o.once(t)
	}
	more.once(t)
	if err := n.propose("z").wait(t); err != nil {
		t.Fatal(err)
	}
}

func TestCloseWaitsForWhatIsInFlight(t *testing.T) {
	n := newNode(t, "a")
	entered, release := n.blockStore()
	n.open().ready()
	o := n.propose("x")
	<-entered
	closed := make(chan error)
	go func() { closed <- n.group.Close(context.Background()) }()
	<-n.group.closing
	late := n.propose("y")
	if err := late.wait(t); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	release()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := o.wait(t); err != nil || len(o.replies.ints) != 1 {
		t.Fatal(err)
	}
	o.once(t)
	late.once(t)
	after := n.propose("z")
	if err := after.wait(t); !errors.Is(err, ErrClosed) && !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	if err := n.group.WaitReady(context.Background()); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

func TestCloseInAHurryAnswersEverything(t *testing.T) {
	n := newNode(t, "a")
	entered, release := n.blockStore()
	n.open().ready()
	o := n.propose("x")
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	closed := make(chan error)
	go func() { closed <- n.group.Close(ctx) }()
	<-n.group.closing
	release()
	if err := <-closed; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := o.wait(t); err != nil && !errors.Is(err, ErrIndeterminate) {
		t.Fatal(err)
	}
	o.once(t)
}

// Numbers begin anew with each start of the process and in each group: an entry from elsewhere, or of an earlier start,
// must not find the batch that now bears its number.
func TestEntryOfAnotherOriginFindsNoBatch(t *testing.T) {
	e := openTwin(&twinDisk{})
	register := newInFlight(1)
	f := newFSM(&Options{Engine: e, Node: 5, Group: 7, Fatal: func(err error) { t.Fatal(err) }}, register, &gate{}, 0)
	var answers []error
	p := &Proposal{Batch: &engine.Batch{}, Done: func(_ *Proposal, err error) { answers = append(answers, err) }}
	number, err := register.add(p, engine.Footprint{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range []engine.Origin{
		{Node: 4, Group: 7, Batch: number},
		{Node: 5, Group: 8, Batch: number},
		{Node: 5, Group: 7, Batch: number + 1},
		{Node: 5, Group: 7, Batch: number},
		{Node: 5, Group: 7, Batch: number},
	} {
		f.Apply(&raft.Log{Index: uint64(i + 1), Data: (&engine.Batch{}).Seal(engine.Header{Origin: o})})
		if c := e.calls[i]; c.withBatch != (i == 3) {
			t.Fatalf("%+v: with batch: %v", o, c.withBatch)
		}
	}
	if len(answers) != 1 || answers[0] != nil {
		t.Fatal(answers)
	}
}

func TestFutureErrorsAreMapped(t *testing.T) {
	for _, c := range []struct{ is, want error }{
		{raft.ErrNotLeader, ErrNotLeader},
		{raft.ErrLeadershipTransferInProgress, ErrNotLeader},
		{raft.ErrEnqueueTimeout, ErrNotLeader},
		{fmt.Errorf("entry 5: %w", aof.ErrTooLarge), ErrTooLarge},
		{fmt.Errorf("entry 5: %w", aof.ErrNoRoom), ErrNoRoom},
		{raft.ErrLeadershipLost, ErrIndeterminate},
		{raft.ErrRaftShutdown, ErrIndeterminate},
		{errors.New("disk full"), ErrIndeterminate},
		{nil, ErrIndeterminate},
	} {
		if got := proposalError(c.is); !errors.Is(got, c.want) || errors.Is(got, ErrIndeterminate) != (c.want == ErrIndeterminate) {
			t.Errorf("%v: %v", c.is, got)
		}
	}
}

// TestATooLargeBatchDeposesNobody: the log would refuse it, and Raft would give up its leadership and call it indeterminate.
func TestATooLargeBatchDeposesNobody(t *testing.T) {
	n := newNode(t, "a")
	n.opts.MaxEntry = 1000
	n.open().ready()
	defer n.close()
	term := n.group.LeaderTerm()
	if err := n.propose(strings.Repeat("x", 1000)).wait(t); !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrIndeterminate) {
		t.Fatal(err)
	}
	if err := n.propose("x").wait(t); err != nil || n.group.LeaderTerm() != term {
		t.Fatal(err, n.group.LeaderTerm())
	}
}
