package raftfsm

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm/peer"
)

// DialSnapshots is a SnapshotDialer over an endpoint. Resolve is that of NetworkOptions.
func DialSnapshots(e *peer.Endpoint, group uint32, resolve func(raft.ServerID) raft.ServerAddress) SnapshotDialer {
	return func(ctx context.Context, id raft.ServerID, address raft.ServerAddress) (io.ReadWriteCloser, error) {
		return dialReplica(ctx, e, placeNow(resolve, id, address), peer.Service{Kind: peer.Snapshot, Group: group})
	}
}

// ServeSnapshots takes the snapshots that arrive at a listener, an endpoint's for the group's Snapshot service, until it is
// closed, and waits for those under way, which Close ends.
func (g *Group) ServeSnapshots(l net.Listener) {
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		serving.Go(func() { g.ServeSnapshot(conn) })
	}
}
