package raftfsm

import (
	"context"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm/peer"
)

func TestSnapshotsTravelBetweenEndpoints(t *testing.T) {
	from, to := endpoint(t, "leader"), endpoint(t, "follower")
	n := follower(t)
	l := to.Serve(peer.Service{Kind: peer.Snapshot, Group: 7})
	served := make(chan struct{})
	go func() { n.group.ServeSnapshots(l); close(served) }()
	dial := DialSnapshots(from, 7, func(id raft.ServerID) raft.ServerAddress {
		if id == "follower" {
			return raft.ServerAddress(to.Addr().String())
		}
		return ""
	})
	if _, err := dial(context.Background(), "another", "nowhere"); err == nil {
		t.Fatal("reached nowhere")
	}
	conn, err := dial(context.Background(), "follower", "was elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	o, stream := sent(t, 9, 50, 8)
	if err := o.write(conn); err != nil {
		t.Fatal(err)
	}
	if v, err := readJudgement(conn); err != nil || v.kind != judgedTake {
		t.Fatal(v, err)
	}
	if _, err := conn.Write(stream); err != nil {
		t.Fatal(err)
	}
	if v, err := readJudgement(conn); err != nil || v.kind != judgedHave || v.index != 50 {
		t.Fatal(v, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	<-served
}
