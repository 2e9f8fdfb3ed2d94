package raftfsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/race"
)

// shortLog keeps next to nothing of the log below a checkpoint.
func shortLog(n *node) { n.opts.KeepBytes = 1 }

// leads waits for a leader among nodes.
func leads(t *testing.T, nodes []*node) (leader *node) {
	t.Helper()
	eventually(t, "a leader", func() bool {
		i := slices.IndexFunc(nodes, func(n *node) bool { return n.group.CanRead() })
		if i >= 0 {
			leader = nodes[i]
		}
		return i >= 0
	})
	return leader
}

// commit proposes at whoever leads until it is committed there.
func commit(t *testing.T, nodes []*node, command string) {
	t.Helper()
	for {
		if err := leads(t, nodes).propose(command).wait(t); err == nil {
			return
		}
	}
}

// firstOf is a node's first entry in the log.
func firstOf(n *node) uint64 {
	first, _ := n.log.FirstIndex()
	return first
}

// The stock way wedges here: the follower's log is longer than the snapshot's index, with entries that were never committed.
func TestFollowerWithALongUncommittedTailIsInstalled(t *testing.T) {
	for {
		network, old, others := threeVoters(t, shortLog, func(n *node) {
			n.opts.Timeouts.Stuck = 5 * time.Millisecond // so that the gate lets entries go one behind the other
		})
		all := append(slices.Clone(others), old)
		commit(t, all, "first")
		if !old.group.CanRead() {
			network.heal()
			continue
		}
		network.holdEntriesOf(raft.ServerAddress(old.opts.ID), false)
		var lost []*outcome
		for range 60 {
			lost = append(lost, old.propose("lost"))
		}
		eventually(t, "a long tail", func() bool {
			last, _ := old.log.LastIndex()
			return last > 50 || !old.group.CanRead()
		})
		network.isolate(raft.ServerAddress(old.opts.ID))
		commit(t, others, "second")
		for _, n := range others {
			eventually(t, "both have it", func() bool { return slices.Contains(n.engine.commands(), "second") })
			eventually(t, "a short log", func() bool { return n.group.Checkpoint() == nil && n.disk.ok && firstOf(n) > 3 })
		}
		longer, _ := old.log.LastIndex()
		at := others[0].disk.index
		network.heal()
		eventually(t, "the old leader follows", func() bool {
			return slices.Equal(old.engine.commands(), leads(t, all).engine.commands())
		})
		commit(t, all, "third")
		for _, n := range all {
			eventually(t, "all agree", n.stateIs("first", "second", "third"))
			if err := n.fatal.Load(); err != nil {
				t.Fatal(*err)
			}
		}
		for _, o := range lost {
			if err := o.wait(t); err == nil {
				t.Fatal("a lost entry was answered with success")
			}
			o.once(t)
		}
		if longer <= at || old.engine.installed() == 0 {
			continue // leadership was lost too early for a long tail, on a slow machine
		}
		return
	}
}

// A follower that is behind the log is installed and catches up, while the leader is under load and takes one checkpoint after
// the other: the log that it needs next is kept for it.
func TestFollowerRecoversUnderLoad(t *testing.T) {
	network, leader, others := threeVoters(t, shortLog)
	all := append(slices.Clone(others), leader)
	behind := others[0]
	network.isolate(raft.ServerAddress(behind.opts.ID))
	stop := make(chan struct{})
	var load sync.WaitGroup
	var mu sync.Mutex
	done := 0
	load.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			commit(t, []*node{leader, others[1]}, fmt.Sprint("load ", i))
			mu.Lock()
			done++
			mu.Unlock()
			if i%10 == 9 {
				for _, n := range []*node{leader, others[1]} {
					if err := n.group.Checkpoint(); err != nil && !strings.Contains(err.Error(), "cannot take snapshot now") {
						t.Error(err)
					}
				}
			}
		}
	})
	progress := func() int {
		mu.Lock()
		defer mu.Unlock()
		return done
	}
	eventually(t, "the log is cut", func() bool { return progress() > 40 })
	network.heal()
	eventually(t, "an install", func() bool { return behind.engine.installed() > 0 })
	at := progress()
	eventually(t, "it follows while the load goes on", func() bool {
		return progress() > at+100 && len(behind.engine.commands()) > at+100
	})
	close(stop)
	load.Wait()
	for _, n := range all {
		eventually(t, "all agree", n.stateIs(leads(t, all).engine.commands()...))
		if err := n.fatal.Load(); err != nil {
			t.Fatal(*err)
		}
	}
	t.Logf("%d entries, %d installs", progress(), behind.engine.installed())
}

// follower is a replica that hears from nobody, with 3 commands applied, the last of them behind its checkpoint at 4.
func follower(t *testing.T) *node {
	n := newNode(t, "a").open().ready()
	for i := range 3 {
		if err := n.propose(fmt.Sprint("own ", i)).wait(t); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if err := n.group.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.close().fresh()
	n.disk.configuration = raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{
		{ID: "a", Address: "a"}, {ID: "b", Address: "b"}, {ID: "c", Address: "c"}}})
	n.open()
	t.Cleanup(func() { n.close() })
	return n
}

// sent is the leader's side of an install of 100 commands at an index.
func sent(t testing.TB, term, index, termAtIndex uint64) (offered offer, stream []byte) {
	source := &twinDisk{ok: true, index: index, term: termAtIndex, clock: 5,
		configuration: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}}})}
	for i := range 100 {
		source.state = append(source.state, fmt.Sprint("sent ", i))
	}
	p, err := openTwin(source).PinCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return offer{shard: 7, term: term, index: index, termAtIndex: termAtIndex}, b.Bytes()
}

// exchange speaks the sender's part with what is given, and returns all judgements.
func exchange(t testing.TB, n *node, o offer, stream []byte) (judgements []judgement) {
	t.Helper()
	here, there := net.Pipe()
	served := make(chan struct{})
	go func() { n.group.ServeSnapshot(there); close(served) }()
	defer func() { <-served }()
	defer here.Close()
	if err := o.write(here); err != nil {
		t.Fatal(err)
	}
	v, err := readJudgement(here)
	if err != nil {
		t.Fatal(err)
	}
	judgements = append(judgements, v)
	if v.kind != judgedTake {
		return judgements
	}
	if _, err := here.Write(stream); err != nil {
		return judgements
	}
	if v, err = readJudgement(here); err == nil {
		judgements = append(judgements, v)
	}
	return judgements
}

func kinds(judgements []judgement) (k []byte) {
	for _, v := range judgements {
		k = append(k, v.kind)
	}
	return k
}

// A stream that is cut anywhere leaves state, log and Raft as they were.
func TestCutStreamChangesNothing(t *testing.T) {
	n := follower(t)
	o, stream := sent(t, 9, 50, 8)
	before, first := n.engine.commands(), firstOf(n)
	last, _ := n.log.LastIndex()
	raftBefore := n.group.raft()
	for at := 0; at < len(stream); at += 1 + (race.Factor-1)*7 {
		here, there := net.Pipe()
		served := make(chan struct{})
		go func() { n.group.ServeSnapshot(there); close(served) }()
		if err := o.write(here); err != nil {
			t.Fatal(err)
		}
		if v, err := readJudgement(here); err != nil || v.kind != judgedTake {
			t.Fatal(v, err)
		}
		if _, err := here.Write(stream[:at]); err != nil {
			t.Fatal(err)
		}
		_ = here.Close()
		<-served
	}
	for _, opening := range [][]byte{nil, {offerVersion}, {offerVersion + 1}, bytes.Repeat([]byte{0xff}, offerSize)} {
		here, there := net.Pipe()
		go func() { _, _ = here.Write(opening); _ = here.Close() }()
		n.group.ServeSnapshot(there)
	}
	end, _ := n.log.LastIndex()
	if !slices.Equal(n.engine.commands(), before) || firstOf(n) != first || end != last || n.group.raft() != raftBefore {
		t.Fatal("a cut stream has changed something")
	}
	if got := kinds(exchange(t, n, o, stream)); !slices.Equal(got, []byte{judgedTake, judgedHave}) {
		t.Fatal(got)
	}
	if got := n.engine.commands(); len(got) != 100 || got[99] != "sent 99" || n.engine.AppliedIndex() != 50 {
		t.Fatal(n.engine.AppliedIndex(), got)
	}
}

func TestInstallJudgesTermAndLog(t *testing.T) {
	n := follower(t)
	o, stream := sent(t, 9, 50, 8)
	term, _ := stableUint64(n.opts.Stable, keyCurrentTerm)
	last, _ := n.log.LastIndex()
	var l raft.Log
	if err := n.log.GetLog(last, &l); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		offer offer
		want  judgement
	}{
		{offer{7, term - 1, 50, 1}, judgement{kind: judgedRefuse, term: term}},
		{offer{7, 9, 2, 8}, judgement{kind: judgedHave, term: 9, index: n.disk.index}},
		{offer{7, 9, last, l.Term}, judgement{kind: judgedHave, term: 9, index: last}},
		{offer{8, 9, 50, 8}, judgement{kind: judgedFailed}},
	} {
		got := exchange(t, n, c.offer, nil)
		if got[0].reason = ""; len(got) != 1 || got[0] != c.want {
			t.Errorf("%+v: %+v, want %+v", c.offer, got, c.want)
		}
	}
	// What was offered and what comes must be the same.
	if got := kinds(exchange(t, n, offer{7, 9, 49, 8}, stream)); !slices.Equal(got, []byte{judgedTake}) {
		t.Fatal(got)
	}
	if n.engine.installed() > 0 {
		t.Fatal("installed")
	}
	if got := kinds(exchange(t, n, o, stream)); !slices.Equal(got, []byte{judgedTake, judgedHave}) {
		t.Fatal(got)
	}
	// The leader's term is written down, the log is the stand-in alone, and Raft goes on from it.
	if now, _ := stableUint64(n.opts.Stable, keyCurrentTerm); now != 9 {
		t.Fatalf("term %d", now)
	}
	last, _ = n.log.LastIndex()
	if err := n.log.GetLog(50, &l); err != nil || l.Term != 8 || last != 50 || firstOf(n) != 50 {
		t.Fatal(l, last, err)
	}
	s := n.group.Stats()
	if s.State != "Follower" || s.Term != 9 || s.LastIndex != 50 || s.Durable != 50 || len(s.Servers) != 2 {
		t.Fatalf("%+v", s)
	}
	if got := exchange(t, n, o, nil); got[0].kind != judgedHave || got[0].index != 50 {
		t.Fatalf("%+v", got)
	}
}

// A checkpoint under way is interrupted, and whoever waits for it is told of the next.
func TestInstallInterruptsACheckpoint(t *testing.T) {
	network, leader, others := threeVoters(t, shortLog)
	all := append(slices.Clone(others), leader)
	commit(t, all, "x")
	n := others[0]
	eventually(t, "it is there", func() bool { return slices.Contains(n.engine.commands(), "x") })
	network.isolate(raft.ServerAddress(n.opts.ID))
	inCommit := make(chan struct{})
	var once sync.Once
	n.engine.onCommit = func(c *twinCheckpoint) error {
		once.Do(func() { close(inCommit) })
		<-c.interrupted
		return errors.New("interrupted")
	}
	took := make(chan error, 1)
	go func() { took <- n.group.Checkpoint() }()
	select {
	case <-inCommit:
	case err := <-took:
		t.Fatal("the checkpoint did not begin: ", err)
	}
	for i := range 5 {
		commit(t, []*node{leader, others[1]}, fmt.Sprint("y", i))
	}
	for _, n := range []*node{leader, others[1]} {
		eventually(t, "a checkpoint", func() bool { return n.group.Checkpoint() == nil && firstOf(n) > 5 })
	}
	network.heal()
	eventually(t, "an install", func() bool { return n.engine.installed() > 0 })
	if err := <-took; err != nil {
		t.Fatal(err)
	}
	eventually(t, "it follows", n.stateIs(leader.engine.commands()...))
	n.engine.mu.Lock()
	defer n.engine.mu.Unlock()
	if n.engine.open != 0 || n.engine.given == 0 {
		t.Fatalf("%d epochs open, %d given back", n.engine.open, n.engine.given)
	}
}

func TestFailedInstallGoesOnAsBefore(t *testing.T) {
	n := follower(t)
	n.engine.onInstall = func() error { return errors.New("full disk") }
	before := n.engine.commands()
	o, stream := sent(t, 9, 50, 8)
	got := exchange(t, n, o, stream)
	if len(got) != 2 || got[1].kind != judgedFailed || !strings.Contains(got[1].reason, "full disk") {
		t.Fatalf("%+v", got)
	}
	last, _ := n.log.LastIndex()
	if !slices.Equal(n.engine.commands(), before) || last >= 50 || n.group.State() != raft.Follower || n.fatal.Load() != nil {
		t.Fatal("a failed install has changed something")
	}
	n.engine.onInstall = nil
	if got := kinds(exchange(t, n, o, stream)); !slices.Equal(got, []byte{judgedTake, judgedHave}) {
		t.Fatal(got)
	}
}

// One snapshot at a time, but a leader of a higher term need not wait for one before it.
func TestHigherTermEndsAnInstall(t *testing.T) {
	n := follower(t)
	o, stream := sent(t, 9, 50, 8)
	here, there := net.Pipe()
	served := make(chan struct{})
	go func() { n.group.ServeSnapshot(there); close(served) }()
	if err := o.write(here); err != nil {
		t.Fatal(err)
	}
	if _, err := readJudgement(here); err != nil {
		t.Fatal(err)
	}
	if got := exchange(t, n, o, stream); got[0].kind != judgedFailed || got[0].reason != errBusy.Error() {
		t.Fatalf("%+v", got)
	}
	o.term++
	if got := kinds(exchange(t, n, o, stream)); !slices.Equal(got, []byte{judgedTake, judgedHave}) {
		t.Fatal(got)
	}
	<-served
	if _, err := here.Read(make([]byte, 1)); err == nil {
		t.Fatal("the earlier one goes on")
	}
}

func TestCloseEndsAnInstall(t *testing.T) {
	n := follower(t)
	o, _ := sent(t, 9, 50, 8)
	here, there := net.Pipe()
	go n.group.ServeSnapshot(there)
	if err := o.write(here); err != nil {
		t.Fatal(err)
	}
	if _, err := readJudgement(here); err != nil {
		t.Fatal(err)
	}
	n.close()
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	here, there = net.Pipe()
	go n.group.ServeSnapshot(there)
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

// A sender that falls silent does not keep the next one out.
func TestSilentSenderIsGivenUp(t *testing.T) {
	n := follower(t)
	n.group.opts.Timeouts.Stall = 20 * time.Millisecond
	o, _ := sent(t, 9, 50, 8)
	here, there := net.Pipe()
	defer here.Close()
	served := make(chan struct{})
	go func() { n.group.ServeSnapshot(there); close(served) }()
	if err := o.write(here); err != nil {
		t.Fatal(err)
	}
	if _, err := readJudgement(here); err != nil {
		t.Fatal(err)
	}
	<-served
}

func TestLogIsKeptForFollowers(t *testing.T) {
	var p logPins
	p.follow("b", 10)
	p.follow("c", 20)
	if at, ok := p.lowest(); !ok || at != 10 || !p.holds("b") || p.holds("d") {
		t.Fatal(at, ok)
	}
	p.advance("b", 500, 500+caughtUp+1)
	p.advance("d", 1, 1)
	if at, _ := p.lowest(); at != 20 {
		t.Fatal(at)
	}
	p.advance("c", 900, 900+caughtUp)
	if at, ok := p.lowest(); !ok || at != 500 || p.holds("c") {
		t.Fatal(at, ok)
	}
	x := &openCheckpoint{}
	err := p.open(x, func() (uint64, error) {
		if at, ok := p.lowest(); !ok || at != 0 {
			t.Fatal("cut while a checkpoint is being pinned: ", at)
		}
		return 300, nil
	})
	if at, _ := p.lowest(); err != nil || at != 300 {
		t.Fatal(at, err)
	}
	p.close(x)
	p.forget()
	if at, ok := p.lowest(); ok || p.holds("b") {
		t.Fatal(at)
	}
	if err := p.open(x, func() (uint64, error) { return 0, errNoWay }); err == nil {
		t.Fatal("opened")
	}
	if at, ok := p.lowest(); ok {
		t.Fatal(at)
	}
}

func TestMembersKeepSomeLog(t *testing.T) {
	_, leader, others := threeVoters(t, func(n *node) { n.opts.KeepBytes, n.opts.PinBytes = 1000, 3000 })
	all := append(slices.Clone(others), leader)
	for i := range 50 {
		commit(t, all, fmt.Sprintf("%0100d", i))
	}
	// Entries are of some 130 bytes.
	kept := func(n *node) uint64 {
		t.Helper()
		eventually(t, "a checkpoint", func() bool { return n.group.Checkpoint() == nil && n.disk.index > 40 })
		if since := n.group.LogSinceCheckpoint(); since < 0 || since > n.log.Bytes()-n.log.BytesBelow(n.disk.index) {
			t.Fatalf("%d bytes since the checkpoint", since)
		}
		return n.disk.index - firstOf(n)
	}
	for _, n := range all {
		eventually(t, "all is applied", func() bool { return len(n.engine.commands()) == 50 })
		if got := kept(n); got < 6 || got > 12 || n.group.LogKept() != 1000 {
			t.Fatalf("%d entries are kept", got)
		}
	}
	leader = leads(t, all)
	leader.group.pins.follow("nobody", 1)
	for i := range 50 {
		commit(t, []*node{leader}, fmt.Sprintf("%0100d", i))
	}
	before := leader.disk.index
	eventually(t, "a checkpoint", func() bool { return leader.group.Checkpoint() == nil && leader.disk.index > before })
	if got := leader.disk.index - firstOf(leader); got < 18 || got > 30 || leader.group.LogKept() != 3000 {
		t.Fatalf("%d entries are kept for one who catches up", got)
	}
	leader.group.pins.forget()
	if err := leader.group.CutLog(); err != nil {
		t.Fatal(err)
	}
	if got := leader.disk.index - firstOf(leader); got < 6 || got > 12 {
		t.Fatalf("%d entries are kept", got)
	}
}

// A replica that is alone keeps the entry at its checkpoint and nothing below.
func TestLoneReplicaKeepsNoLog(t *testing.T) {
	n := newNode(t, "a").open().ready()
	defer n.close()
	for i := range 50 {
		if err := n.propose(fmt.Sprint(i)).wait(t); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.group.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if first := firstOf(n); first != n.disk.index || n.group.LogKept() != 0 {
		t.Fatalf("the log is kept from %d, the checkpoint is at %d", first, n.disk.index)
	}
}

// A replica that joins with nothing is sent a snapshot, and learns the configuration from it.
func TestNewReplicaBeginsWithASnapshot(t *testing.T) {
	network, leader, others := threeVoters(t, shortLog)
	all := append(slices.Clone(others), leader)
	for i := range 10 {
		commit(t, all, fmt.Sprint(i))
	}
	for _, n := range all {
		eventually(t, "a checkpoint", func() bool { return n.group.Checkpoint() == nil && firstOf(n) > 5 })
	}
	_, inner := raft.NewInmemTransportWithTimeout("d", time.Second)
	n := newNode(t, "d")
	shortLog(n)
	n.opts.Bootstrap, n.opts.Timeouts, n.opts.Transport = nil, timesOut, &wire{inner, network}
	n.open()
	t.Cleanup(func() { n.close() })
	for _, m := range all {
		other := m.opts.Transport.(*wire)
		inner.Connect(other.LocalAddr(), other.InmemTransport)
		other.Connect("d", inner)
	}
	network.mu.Lock()
	network.nodes["d"] = n
	network.mu.Unlock()
	eventually(t, "it is a member", func() bool {
		return leads(t, all).group.raft().AddNonvoter("d", "d", 0, 0).Error() == nil
	})
	commit(t, all, "last")
	eventually(t, "it follows", func() bool { return slices.Equal(n.engine.commands(), leads(t, all).engine.commands()) })
	if n.engine.installed() == 0 || len(n.engine.commands()) != 11 {
		t.Fatalf("%d installs, %q", n.engine.installed(), n.engine.commands())
	}
	eventually(t, "it knows the others", func() bool { return len(n.group.Stats().Servers) == 4 })
}
