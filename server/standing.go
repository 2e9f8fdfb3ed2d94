package server

import (
	"context"
	"errors"
	"time"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/raftfsm/peer"
)

// standingLook is how often a node that hears of no leader asks whether it still is a member.
const standingLook = 2 * time.Second

// askStanding has a node learn that it was removed. Who was away meanwhile hears nothing of it: the others send it nothing,
// and do not answer its requests for votes. So while the meta group has no leader here, or the document does not list this
// node, it asks those that it knows of. An older document, as a new member replays it, does not list it either: only what is
// answered counts. By the way it tells them where it is now.
func (m *member) askStanding(ctx context.Context) {
	look := time.NewTicker(standingLook)
	defer look.Stop()
	var strangers peer.Quiet
	for first := m.view() == nil; ; first = false { // then it has waited for the document in vain already
		if !first {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
		}
		v := m.meta.Load().View()
		if _, leader := m.system.Load().group.Leader(); leader != "" && (v == nil || v.Node(cluster.NodeID(m.id.Node)) != nil) {
			continue
		}
		for _, address := range m.known(v) {
			asking, cancel := context.WithTimeout(ctx, standingLook)
			_, err := m.client.Join(asking, address, m.id.Cluster, m.self())
			cancel()
			if err == nil {
				break
			}
			if errors.Is(err, cluster.ErrRemoved) {
				m.node.fatal(errors.Unwrap(err)) // what the member says
				return
			}
			if (errors.Is(err, peer.ErrOtherCluster) || errors.Is(err, cluster.ErrRefused)) && strangers.May(address) {
				m.node.log.Error("a node that was a member does not count this one as one; if the cluster was recovered from the loss of its majority there, "+
					"what this node holds is not part of it: empty its data folder, and have it join anew", "addr", address, "error", err)
			}
		}
	}
}

// known are the peer addresses of the others, by the document or else, as long as there is none, by the meta group's
// configuration and by what the cluster said when it took this node in.
func (m *member) known(v *cluster.View) (list []string) {
	if v != nil {
		for _, n := range v.Document.Nodes {
			if n.ID != cluster.NodeID(m.id.Node) {
				list = append(list, n.Peer)
			}
		}
		return list
	}
	for _, s := range m.system.Load().group.Stats().Servers {
		if string(s.ID) != m.id.Node {
			list = append(list, raftfsm.DialAddress(s.Address))
		}
	}
	return append(list, m.id.Members...)
}
