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
