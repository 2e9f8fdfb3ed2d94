package raftfsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm/peer"
)

func endpoint(t testing.TB, id string) *peer.Endpoint {
	t.Helper()
	e, err := peer.Listen(peer.Options{Bind: []string{"127.0.0.1"}, Secret: "s3cret", NodeID: func() string { return id },
		ClusterID: func() string { return "larder" }, HandshakeTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// fleet is some nodes with some groups each, over sockets. Addresses are in no configuration: they have to be resolved.
type fleet struct {
	t         testing.TB
	endpoints map[raft.ServerID]*peer.Endpoint
	groups    [][]*node // by group and node
}

func newFleet(t testing.TB, groups, size int, times Timeouts) *fleet {
	f := &fleet{t: t, endpoints: map[raft.ServerID]*peer.Endpoint{}}
	var servers []raft.Server
	addresses := map[raft.ServerID]raft.ServerAddress{}
	for i := range size {
		id := fmt.Sprintf("node-%d", i)
		e := endpoint(t, id)
		f.endpoints[raft.ServerID(id)] = e
		servers = append(servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress("was at " + id)})
		addresses[raft.ServerID(id)] = raft.ServerAddress(e.Addr().String())
	}
	for group := range groups {
		var replicas []*node
		for i, s := range servers {
			n := newNode(t, string(s.ID))
			n.opts.Group = uint32(group)
			n.opts.Stable = n.stable.Group(uint32(group))
			n.opts.Node = uint64(1000 * (i + 1))
			n.opts.Bootstrap = servers
			n.opts.Timeouts = times
			n.opts.Uptime = func() time.Duration { return time.Since(processStart) }
			n.opts.Transport = NewNetwork(NetworkOptions{Endpoint: f.endpoints[s.ID], Group: uint32(group), Address: addresses[s.ID],
				Resolve: func(id raft.ServerID) raft.ServerAddress { return addresses[id] }})
			replicas = append(replicas, n.open())
		}
		f.groups = append(f.groups, replicas)
	}
	t.Cleanup(func() {
		var all sync.WaitGroup
		for _, replicas := range f.groups {
			for _, n := range replicas {
				all.Go(func() { n.close() })
			}
		}
		all.Wait()
	})
	return f
}

func (f *fleet) leader(group int) (leader *node) {
	f.t.Helper()
	eventually(f.t, "a leader", func() bool {
		for _, n := range f.groups[group] {
			if n.group.CanRead() {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

func TestGroupsOverSockets(t *testing.T) {
	f := newFleet(t, 3, 3, Timeouts{})
	var all sync.WaitGroup
	for group := range f.groups {
		all.Go(func() {
			committed := map[string]bool{}
			for i := 0; len(committed) < 50; i++ { // leadership may change meanwhile, on a slow machine
				leader := f.leader(group)
				command := fmt.Sprintf("%d/%d", group, i)
				if leader.propose(command).wait(t) == nil {
					committed[command] = true
				}
				v := make(verdict, 1)
				after := leader.group.Uptime()
				leader.group.Prove(after, func(err error) { v <- err })
				if err := <-v; err == nil && leader.group.CanRead() && leader.group.Proven() < after {
					t.Error("less is proven than was said")
				}
			}
			for _, n := range f.groups[group] {
				eventually(t, "every replica applies all", func() bool {
					has := 0
					for _, c := range n.engine.commands() {
						if committed[c] {
							has++
						}
					}
					return has == len(committed)
				})
			}
		})
	}
	all.Wait()
}

// All connections of a leader end at once, as with its process: the others elect another, and go on.
func TestFailoverOverSockets(t *testing.T) {
	f := newFleet(t, 1, 3, Timeouts{})
	first := f.leader(0)
	down := time.Now()
	if err := f.endpoints[first.opts.ID].Close(); err != nil {
		t.Fatal(err)
	}
	v, _ := first.claim()
	if err := <-v; err == nil {
		t.Fatal("proven without a connection")
	}
	f.groups[0] = slices.DeleteFunc(f.groups[0], func(n *node) bool { return n == first })
	f.leader(0)
	t.Logf("another leads after %v", time.Since(down))
	eventually(t, "the others go on", func() bool { // leadership may change again, on a slow machine
		second := f.leader(0)
		v, _ := second.claim()
		return second.propose("y").wait(t) == nil && <-v == nil
	})
	first.close()
}

// TestOnlyTheReplicaThatIsMeantAnswers: a node that has come to the address of a replica that is gone, as after its disk was wiped,
// neither votes for that one nor acknowledges anything, and is reached by its own name.
func TestOnlyTheReplicaThatIsMeantAnswers(t *testing.T) {
	here, there := endpoint(t, "here"), endpoint(t, "there")
	at := raft.ServerAddress(there.Addr().String())
	answering := NewNetwork(NetworkOptions{Endpoint: there, Group: 3, Address: at})
	defer answering.Close()
	stop := make(chan struct{})
	var answers sync.WaitGroup
	defer answers.Wait()
	defer close(stop)
	answers.Go(func() {
		for {
			select {
			case rpc := <-answering.Consumer():
				rpc.Respond(emptyAnswer(rpc.Command), nil)
			case <-stop:
				return
			}
		}
	})
	for _, resolve := range []func(raft.ServerID) raft.ServerAddress{
		nil,
		func(raft.ServerID) raft.ServerAddress { return "" },
		func(raft.ServerID) raft.ServerAddress { return at },
	} {
		n := NewNetwork(NetworkOptions{Endpoint: here, Group: 3, Address: raft.ServerAddress(here.Addr().String()), Resolve: resolve})
		defer n.Close()
		send := func(id raft.ServerID, at raft.ServerAddress) (errs []error) {
			errs = append(errs, n.AppendEntries(id, at, &raft.AppendEntriesRequest{}, &raft.AppendEntriesResponse{}))
			errs = append(errs, n.RequestVote(id, at, &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}))
			errs = append(errs, n.RequestPreVote(id, at, &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{}))
			errs = append(errs, n.TimeoutNow(id, at, &raft.TimeoutNowRequest{}, &raft.TimeoutNowResponse{}))
			errs = append(errs, n.InstallSnapshot(id, at, &raft.InstallSnapshotRequest{}, &raft.InstallSnapshotResponse{}, strings.NewReader("")))
			pipeline, err := n.AppendEntriesPipeline(id, at)
			if err == nil {
				err = pipeline.Close()
			}
			errs = append(errs, err)
			snapshots, err := DialSnapshots(here, 3, resolve)(t.Context(), id, at)
			if err == nil {
				err = snapshots.Close()
			}
			return append(errs, err)
		}
		snapshots := there.Serve(peer.Service{Kind: peer.Snapshot, Group: 3})
		for i, err := range send("there", PlaceAddress(at, "there")) {
			if err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		}
		for _, address := range []raft.ServerAddress{at, PlaceAddress(at, "gone"), PlaceAddress(at, "there")} {
			for i, err := range send("gone", address) {
				if !errors.Is(err, peer.ErrOtherNode) {
					t.Errorf("message %d to %s: %v", i, address, err)
				}
			}
		}
		_ = snapshots.Close()
	}
}

// The hour-long time-outs say that the start waits for none.
func TestSoleVoterStandsAtOnceOverSockets(t *testing.T) {
	f := newFleet(t, 2, 1, never)
	for group := range f.groups {
		n := f.groups[group][0].ready()
		if err := n.propose("x").wait(t); err != nil {
			t.Fatal(err)
		}
		v := make(verdict, 1)
		after := n.group.Uptime()
		n.group.Prove(after, func(err error) { v <- err })
		v.isDone(t)
		if n.group.Proven() < after {
			t.Fatal("not proven")
		}
	}
}

// isDone says that the answer was there when Prove returned.
func (v verdict) isDone(t *testing.T) {
	t.Helper()
	if len(v) == 0 {
		t.Fatal("not answered at once")
	}
	v.is(t, nil)
}

// Messages travel past a leader's own main goroutine and disk, so proofs are pipelined.
func BenchmarkProve(b *testing.B) {
	for _, size := range []int{1, 3} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := newFleet(b, 1, size, Timeouts{})
			g := f.leader(0).group
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				done := make(chan error, 1)
				for pb.Next() {
					g.Prove(g.Uptime(), func(err error) { done <- err })
					if err := <-done; err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkProven(b *testing.B) {
	for _, size := range []int{1, 3} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := newFleet(b, 1, size, Timeouts{})
			g := f.leader(0).group
			b.ReportAllocs()
			for b.Loop() {
				g.Proven()
			}
		})
	}
}

// BenchmarkProposeOverSockets shows what the sentry costs a committed entry: nothing beside the network and the codec.
func BenchmarkProposeOverSockets(b *testing.B) {
	n := newFleet(b, 1, 3, Timeouts{}).leader(0)
	b.ReportAllocs()
	for b.Loop() {
		if err := n.propose("x").wait(b); err != nil {
			b.Fatal(err)
		}
	}
}

// TestNothingIsDecodedIntoAnAddress: Raft keeps answers and has the next ones decoded into them, in place. A replica whose own
// address changed by that wrote its vote down as another's, and a group had two leaders in a term.
func TestNothingIsDecodedIntoAnAddress(t *testing.T) {
	n := NewNetwork(NetworkOptions{Endpoint: endpoint(t, "a"), Address: "10.0.0.1:7000"})
	t.Cleanup(func() { _ = n.Close() })
	encoded := n.EncodePeer("a", "10.0.0.1:7000")
	encoded[7] = '9'
	if got := string(n.EncodePeer("a", "10.0.0.1:7000")); got != "10.0.0.1:7000" {
		t.Errorf("the address has become %s", got)
	}
	p := &proof{}
	p.mu.term, p.mu.contacts = 5, map[raft.ServerID]*contact{"b": {sent: time.Hour}}
	p.now = func() time.Duration { return time.Hour }
	s := newSentry(newTap("a"), p)
	s.disk, s.beat = &disk{now: p.now}, time.Second
	q := &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ID: []byte("a"), Addr: []byte("10.0.0.1:7000")}, Term: 5}
	var a raft.AppendEntriesResponse
	if err := s.AppendEntries("b", "b", q, &a); err != nil || !a.Success {
		t.Fatal(err, a)
	}
	if len(a.ID)+len(a.Addr) > 0 {
		t.Errorf("the answer has %q and %q of the request", a.ID, a.Addr)
	}
}

// TestBusyFollowersHearHeartbeats: a replica that doubts itself needs them, however much else it answers.
func TestBusyFollowersHearHeartbeats(t *testing.T) {
	var l leftOut
	sent := 0
	for range 100 {
		if !l.another("b") {
			sent++
		}
	}
	if sent != 100/(mostLeftOut+1) {
		t.Errorf("%d of 100 were sent", sent)
	}
}
