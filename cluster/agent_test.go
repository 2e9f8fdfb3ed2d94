package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm"
)

// placed is a replica of which the configuration alone is asked.
type placed struct {
	Replica
	servers []raft.Server
}

func (p placed) Configuration() ([]raft.Server, uint64) { return p.servers, 1 }

// TestPlacesHaveDistinctAddresses: Raft refuses a configuration in which two places have the same.
func TestPlacesHaveDistinctAddresses(t *testing.T) {
	d := must(t, founded(t, 1, 3), Join{Node: aNode(2, "")})
	fresh := aNode(3, "")
	fresh.Peer, fresh.Client = aNode(2, "").Peer, aNode(2, "").Client
	d = must(t, d, Join{Node: fresh, Superseded: []NodeID{id(2)}})
	v := NewView(&d)
	at := raft.ServerAddress(fresh.Peer)
	r := placed{servers: []raft.Server{{ID: raft.ServerID(id(2)), Address: at}}}
	if got := placeAddress(v, id(3), r); got == at || got == "" {
		t.Errorf("two places have the address %q", got)
	}
	r.servers = append(r.servers, raft.Server{ID: raft.ServerID(id(3)), Address: "old:1"})
	if got := placeAddress(v, id(3), r); got != "old:1" {
		t.Errorf("a place that is there changed its address to %q", got)
	}
	if got := placeAddress(v, id(3), placed{}); got != at {
		t.Errorf("with nobody in the way the address is %q", got)
	}
}

// TestSilence: the silence of who has not been heard of begins when he is first looked for, however long the leadership
// lasts already; and who was gone stays so until he is heard.
func TestSilence(t *testing.T) {
	var l liveness
	l.mu.last = map[NodeID]time.Time{}
	start := time.Unix(1000, 0)
	d := must(t, founded(t, 1, 3), Join{Node: aNode(2, "")}, Join{Node: aNode(3, "")}, Join{Node: aNode(4, "")})
	d.Node(id(4)).State = NodeGone
	l.silence(&d, id(1), start)
	if !l.begin(id(2), start, time.Second) || l.begin(id(2), start, time.Second) {
		t.Error("two pings at once, or none")
	}
	l.end(id(2), true, start.Add(time.Second))
	if l.begin(id(2), start.Add(time.Second/2), time.Second) {
		t.Error("a ping right after the last one")
	}
	s := l.silence(&d, id(1), start.Add(3*time.Second))
	if _, known := s[id(4)]; known || s[id(1)] != 0 || s[id(2)] != 2*time.Second || s[id(3)] != 3*time.Second {
		t.Errorf("%v", s)
	}
	d = must(t, d, Join{Node: aNode(5, "")})
	if s := l.silence(&d, id(1), start.Add(time.Hour)); s[id(5)] != 0 || s[id(3)] != time.Hour {
		t.Errorf("of one who has just joined: %v", s)
	}
	l.reset()
	if s := l.silence(&d, id(1), start.Add(2*time.Hour)); s[id(2)] != 0 {
		t.Errorf("after a new leadership: %v", s)
	}
}

// restless is a replica whose configuration is another one each time that it is asked for: each has a learner of its own that
// should not be there.
type restless struct {
	Replica
	asked   uint64
	removed raft.ServerID
	meant   uint64
}

func (r *restless) Configuration() ([]raft.Server, uint64) {
	r.asked++
	return []raft.Server{{ID: raft.ServerID(id(1))}, {Suffrage: raft.Nonvoter, ID: raft.ServerID(id(int(r.asked) + 100))}}, r.asked
}

func (r *restless) RemoveServer(id raft.ServerID, index uint64) error {
	r.removed, r.meant = id, index
	return raftfsm.ErrConfigurationChanged
}

// TestChangesAreMeantForTheConfigurationThatWasLookedAt: the group refuses a change that was meant for another one.
func TestChangesAreMeantForTheConfigurationThatWasLookedAt(t *testing.T) {
	w := newWorld(t)
	n := w.start(aNode(1, ""))
	n.found(1, 1)
	w.eventually("the shard is founded", func() bool { return w.settled(n) })
	o := AgentOptions{Self: n.self.ID, Meta: n.meta.Load(), Client: n.client, Replicas: n.list, Clock: time.Now}
	o.EnsureDefaults()
	a := &Agent{opts: o}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	defer a.cancel()
	r := &restless{Replica: n.list()[1]}
	a.lookAfter(1, r)
	if want := raft.ServerID(id(int(r.meant) + 100)); r.meant == 0 || r.removed != want {
		t.Errorf("%s was to be removed from the configuration at %d, which has %s", r.removed, r.meant, want)
	}
}
