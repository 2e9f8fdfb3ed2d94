package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
)

func TestProposalsAreAppliedAndAnswered(t *testing.T) {
	n := newNode(t, "a").open().ready()
	defer n.close()
	const loops, rounds = 4, 50
	var wg sync.WaitGroup
	seen := make(map[int64]string)
	var mu sync.Mutex
	for l := range loops {
		wg.Go(func() {
			for r := range rounds {
				commands := []string{fmt.Sprintf("%d/%d/x", l, r), fmt.Sprintf("%d/%d/y", l, r)}
				o := n.propose(commands...)
				if err := o.wait(t); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for i, place := range o.replies.ints {
					seen[place] = commands[i]
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	state := n.engine.commands()
	if len(state) != 2*loops*rounds || len(seen) != len(state) {
		t.Fatalf("%d commands ran, %d replies came", len(state), len(seen))
	}
	for i, c := range state {
		if seen[int64(i+1)] != c {
			t.Fatalf("command %d is %q, but its reply went to %q", i+1, c, seen[int64(i+1)])
		}
	}
}

// The hour-long time-outs say that the start waits for none.
func TestSoleVoterStandsAtOnceAndReplaysTheLog(t *testing.T) {
	n := newNode(t, "a").open().ready()
	for i := range 300 {
		if err := n.propose(fmt.Sprint(i)).wait(t); err != nil {
			t.Fatal(err)
		}
		if i == 100 {
			if err := n.group.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, clock := n.engine.commands(), n.engine.Clock()
	n.close()
	at := n.disk.index

	n.fresh()
	var prefetched []uint64
	n.engine.onPrefetch = func([]byte) { prefetched = append(prefetched, n.engine.applied) }
	n.open().ready()
	defer n.close()
	if !slices.Equal(n.engine.commands(), before) || n.engine.Clock() != clock {
		t.Fatal("the state after the restart is another")
	}
	for _, c := range n.engine.appliedCalls() {
		if c.index <= at || c.withBatch {
			t.Fatalf("%+v was applied at a replay from %d", c, at)
		}
	}
	// 199 entries are replayed in batches of 128 at most: the fills of a whole batch start before it is applied.
	if len(prefetched) != 199 || prefetched[0] != prefetched[50] {
		t.Fatalf("the replay looked ahead %d times, first at %v", len(prefetched), prefetched[:min(60, len(prefetched))])
	}
}

func TestEntriesBelowTheCheckpointAreSkipped(t *testing.T) {
	e := openTwin(&twinDisk{ok: true, index: 5})
	f := newFSM(&Options{Engine: e, Fatal: func(err error) { t.Fatal(err) }}, newInFlight(1), &gate{}, 9)
	entry := (&engine.Batch{}).Seal(engine.Header{})
	var logs []*raft.Log
	for i := uint64(3); i <= 8; i++ {
		logs = append(logs, &raft.Log{Index: i, Data: entry})
	}
	logs[4].Type = raft.LogConfiguration
	logs[4].Data = raft.EncodeConfiguration(raft.Configuration{})
	if r := f.ApplyBatch(logs); len(r) != len(logs) {
		t.Fatalf("%d responses", len(r))
	}
	if got := fmt.Sprint(e.calls); got != "[{6 false} {8 false}]" {
		t.Fatal("applied ", got)
	}
}

func TestServesOnlyAfterItsBarrier(t *testing.T) {
	n := newNode(t, "a").open().ready()
	if err := n.propose("x").wait(t); err != nil {
		t.Fatal(err)
	}
	n.close()
	n.fresh()
	hold, held := make(chan struct{}), make(chan struct{})
	n.engine.onApply = func(uint64, *engine.Batch) error {
		close(held)
		<-hold
		return nil
	}
	var told []bool
	n.opts.OnLeadership = func(leader bool) { told = append(told, leader) }
	n.open()
	<-held
	if n.group.State() != raft.Leader || n.group.CanRead() {
		t.Fatalf("%v, reads: %v, with an old entry not applied yet", n.group.State(), n.group.CanRead())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.group.WaitReady(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(hold)
	n.ready().close()
	if !slices.Equal(told, []bool{true, false}) {
		t.Fatal("leadership as told: ", told)
	}
	if n.group.CanRead() {
		t.Fatal("reads after Close")
	}
}

func TestProofOfAnEarlierTermDoesNotCount(t *testing.T) {
	n := newNode(t, "a").open().ready()
	defer n.close()
	n.group.provenTerm.Add(^uint64(0))
	if n.group.CanRead() {
		t.Fatal("an earlier term's Barrier is taken for this one's")
	}
}

func TestFeatureLevelEndsTheProcess(t *testing.T) {
	n := newNode(t, "a").open().ready()
	n.close()
	entry := (&engine.Batch{}).Seal(engine.Header{})
	entry[0] = engine.FeatureLevel + 1
	last, _ := n.log.LastIndex()
	if err := n.log.StoreLog(&raft.Log{Index: last + 1, Term: 2, Data: entry}); err != nil {
		t.Fatal(err)
	}
	n.fresh()
	n.open()
	defer n.close()
	eventually(t, "Fatal", func() bool { return n.fatal.Load() != nil })
	err := *n.fatal.Load()
	if !errors.Is(err, engine.ErrFeatureLevel) || !strings.Contains(err.Error(), "install that release") {
		t.Fatal(err)
	}
}

func TestNothingIsAppliedAfterAFailedApply(t *testing.T) {
	n := newNode(t, "a").open().ready()
	defer n.close()
	wrong := errors.New("wrong")
	n.engine.onApply = func(uint64, *engine.Batch) error { return wrong }
	if err := n.propose("x").wait(t); !errors.Is(err, ErrIndeterminate) {
		t.Fatal(err)
	}
	if err := *n.fatal.Load(); !errors.Is(err, wrong) {
		t.Fatal(err)
	}
	n.engine.onApply = nil
	if err := n.propose("y").wait(t); !errors.Is(err, ErrIndeterminate) || len(n.engine.commands()) > 0 {
		t.Fatal(err, n.engine.commands())
	}
	if err := n.group.Checkpoint(); err == nil {
		t.Fatal("a checkpoint of a state that has stopped")
	}
}

func TestOptionsReportEveryFault(t *testing.T) {
	_, err := Open(Options{})
	for _, want := range []string{"ID", "Engine", "Log", "Stable", "Transport", "Sync", "Clock", "Random", "Fatal"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v does not name %s", err, want)
		}
	}
	o := Options{ID: "a", Timeouts: Timeouts{Heartbeat: time.Second, Lease: 2 * time.Second}}
	o.EnsureDefaults()
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "LeaderLeaseTimeout") {
		t.Fatal(err)
	}
}

func TestEntryIsStamped(t *testing.T) {
	n := newNode(t, "a").open().ready()
	defer n.close()
	var headers []engine.Header
	n.log.onStore = func(logs []*raft.Log) error {
		h, _, err := engine.DecodeHeader(logs[0].Data)
		headers = append(headers, h)
		return err
	}
	before := n.group.Now()
	for range 2 {
		if err := n.propose("x").wait(t); err != nil {
			t.Fatal(err)
		}
	}
	first, second := headers[0], headers[1]
	if first.Seed != 4 || first.Clock < before || first.Clock > n.group.Now() {
		t.Fatalf("%+v", first)
	}
	if o := first.Origin; o.Node != n.opts.Node || o.Group != 7 || o.Batch == 0 || o.Batch == second.Origin.Batch {
		t.Fatalf("%+v, then %+v", first, second)
	}
	if s := n.group.Stats(); s.State != "Leader" || s.Applied != n.engine.AppliedIndex() || len(s.Servers) != 1 ||
		s.LeaderID != "a" || s.InFlight != 0 {
		t.Fatalf("%+v", s)
	}
}
