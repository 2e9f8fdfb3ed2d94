package server

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/larder-db/larder/cluster"
)

// oldDocument is what the node could meet while it goes through the meta group's log again: the cluster's document, changed.
func oldDocument(t *testing.T, m *member, change func(*cluster.Document)) *cluster.View {
	t.Helper()
	text, err := json.Marshal(m.view().Document)
	if err != nil {
		t.Fatal(err)
	}
	var d cluster.Document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	change(&d)
	return cluster.NewView(&d)
}

// TestOldDocumentsAreNotActedOn: a node that has been started again does not remove a replica, or begin a group, for what the
// document said once.
func TestOldDocumentsAreNotActedOn(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	c.must("SET a 1", "+OK\r\n")
	m := ts.node.member
	stranger := cluster.NodeID("00000000000000000000000000000000000000ff")
	m.closeGone(context.Background(), oldDocument(t, m, func(d *cluster.Document) {
		d.Nodes = append(d.Nodes, cluster.Node{ID: stranger, State: cluster.NodeUp})
		d.Shards[0].Replicas = []cluster.NodeID{stranger}
	}))
	c.must("GET a", "$1\r\n1\r\n")
	if err := m.openAll(context.Background(), oldDocument(t, m, func(d *cluster.Document) {
		unborn := d.Shards[0]
		unborn.ID, unborn.Born, unborn.Slots = 2, false, nil
		d.Shards = append(d.Shards, unborn)
	})); err != nil {
		t.Fatal(err)
	}
	if ts.node.shard(2) != nil {
		t.Error("a group was begun that the cluster does not want")
	}
}

// TestShardThatAnOldDocumentFounds: a start whose document is as old as the shard opens the shard that has been founded since.
// Were that left for later, a shard that cannot be opened would not fail the start.
func TestShardThatAnOldDocumentFounds(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	c.must("SET a 1", "+OK\r\n")
	m := ts.node.member
	born := func(v *cluster.View) bool { return v.Shard(1).Born }
	if _, err := m.meta.Load().Wait(shortly(t.Context(), patience), born); err != nil {
		t.Fatal(err)
	}
	m.stop()
	m.following.Wait() // it would open the shard as well
	old := oldDocument(t, m, func(d *cluster.Document) { d.Shards[0].Born = false })
	if err := ts.node.closeShard(t.Context(), ts.node.shard(1)); err != nil {
		t.Fatal(err)
	}
	if err := m.openAll(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if ts.node.shard(1) == nil {
		t.Fatal("the shard was not opened")
	}
	if _, founding := m.founding.Load(uint32(1)); founding {
		t.Error("it was founded again")
	}
}

// TestRoutingDoesNotWaitForReplicas: while a replica is opened or removed, however long that takes, commands are run by the
// document as it changes.
func TestRoutingDoesNotWaitForReplicas(t *testing.T) {
	t.Parallel()
	ts := start(t)
	m := ts.node.member
	ts.node.opening.Lock() // a shard is being closed
	defer ts.node.opening.Unlock()
	if err := os.Mkdir(m.folderOf(7), 0o700); err != nil { // this one is to be opened
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(m.folderOf(7)) }()
	for i := range 3 {
		v, err := m.meta.Load().Do(t.Context(), cluster.AddShards{Count: 1})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprint("change ", i, " is known to sessions"), func() bool {
			r := ts.node.routing.Load()
			return r.view != nil && r.view.Document.Version >= v.Document.Version
		})
	}
}
