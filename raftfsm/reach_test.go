package raftfsm

import (
	"context"
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

// deaf is a transport that reaches nobody.
type deaf struct {
	Transport
	asked chan struct{}
}

func (d deaf) AppendEntries(raft.ServerID, raft.ServerAddress, *raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error {
	d.asked <- struct{}{}
	return errNoWay
}

// Entries that do not arrive are not given back to Raft, which would pause ever longer, before the follower has answered
// something or the instance stops. Heartbeats are.
func TestEntriesWaitForTheFollower(t *testing.T) {
	n := newNode(t, "a").open().ready()
	defer n.close()
	d := deaf{n.opts.Transport, make(chan struct{}, 1)}
	i := &instance{ready: make(chan struct{})}
	i.context, i.cancel = context.WithCancel(context.Background())
	close(i.ready)
	transport := &lentTransport{sentry: newSentry(d, n.group.proof), group: n.group, instance: i}
	transport.sentry.begin(n.group)
	defer func() { _ = transport.sentry.close() }()
	send := func(q *raft.AppendEntriesRequest) <-chan error {
		done := make(chan error, 1)
		go func() { done <- transport.AppendEntries("b", "b", q, &raft.AppendEntriesResponse{}) }()
		<-d.asked
		return done
	}
	entries := &raft.AppendEntriesRequest{PrevLogEntry: 4}
	if err := <-send(&raft.AppendEntriesRequest{}); !errors.Is(err, errNoWay) {
		t.Error("a heartbeat: ", err)
	}
	done := send(entries)
	select {
	case <-done:
		t.Error("it did not wait")
	default:
	}
	n.group.reach.answers("b")
	if err := <-done; !errors.Is(err, errNoWay) {
		t.Error(err)
	}
	done = send(entries)
	i.cancel()
	if err := <-done; !errors.Is(err, errNoWay) {
		t.Error(err)
	}
}

// Raft sends a heartbeat's request again and again and has each answer decoded into the last one: what a made-up answer
// shares with the request, the next real one would overwrite, and the follower would take itself for the leader.
func TestMadeUpAnswersShareNothing(t *testing.T) {
	_, leader, others := threeVoters(t)
	all, madeUp := append(others, leader), 0
	eventually(t, "an answer is made up", func() bool { // leadership may move meanwhile, on a slow machine
		leader = leads(t, all)
		follower := all[0]
		if follower == leader {
			follower = all[1]
		}
		q := &raft.AppendEntriesRequest{Term: leader.group.Stats().Term}
		q.ID, q.Addr = []byte("leader"), []byte("leader")
		for range 20 {
			var a raft.AppendEntriesResponse
			if err := leader.group.sentry.AppendEntries(follower.opts.ID, raft.ServerAddress(follower.opts.ID), q, &a); err != nil {
				break
			}
			if len(a.ID)+len(a.Addr) == 0 { // a real one has the follower's
				madeUp++
			}
			for _, b := range [][]byte{a.ID, a.Addr} {
				if len(b) > 0 && (&b[0] == &q.ID[0] || &b[0] == &q.Addr[0]) {
					t.Fatal("the answer shares the request's bytes")
				}
			}
		}
		return madeUp > 0
	})
}
