package server

import (
	"context"
	"sync"
	"time"

	"github.com/larder-db/larder/cluster"
)

// The leader of the meta group, whose members all nodes are, knows which of them do not answer. The others ask it. Where
// nobody leads, each looks for itself.

// followerSilence is how long a follower may not answer and still counts as online.
const followerSilence = 2 * time.Second

// hearPause is how often a node asks who is silent.
const hearPause = time.Second

// silent says which nodes do not answer, as far as this node knows.
func (m *member) silent() func(cluster.NodeID) bool {
	list, leads := m.unheard()
	if !leads {
		if told := m.told.Load(); told != nil {
			list = *told
		}
	}
	set := map[cluster.NodeID]bool{}
	for _, id := range list {
		set[id] = true
	}
	return func(id cluster.NodeID) bool { return set[id] }
}

// unheard lists the nodes that do not answer this one, if it leads the meta group.
func (m *member) unheard() (list []cluster.NodeID, leads bool) {
	system := m.system.Load()
	if system == nil || !system.group.CanRead() {
		return nil, false
	}
	for _, f := range system.group.Followers() {
		if f.Silent >= followerSilence {
			list = append(list, cluster.NodeID(f.ID))
		}
	}
	return list, true
}

// hear asks again and again who is silent.
func (m *member) hear(ctx context.Context) {
	pause := time.NewTicker(hearPause)
	defer pause.Stop()
	for {
		list := m.ask(ctx)
		m.told.Store(&list)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// ask finds out who is silent, unless this node leads the meta group and so knows.
func (m *member) ask(ctx context.Context) []cluster.NodeID {
	v := m.view()
	if _, leads := m.unheard(); leads || v == nil {
		return nil
	}
	_, id := m.system.Load().group.Leader()
	if leader := cluster.NodeID(id); leader != "" && string(leader) != m.id.Node {
		if p, ok := m.answers(ctx, v, leader); ok && p.Leads {
			return p.Silent
		}
	}
	return m.askAll(ctx, v)
}

// answers says whether a node is there and answers in time, and what.
func (m *member) answers(ctx context.Context, v *cluster.View, id cluster.NodeID) (cluster.Pong, bool) {
	ctx, cancel := context.WithTimeout(ctx, followerSilence)
	defer cancel()
	p, err := m.client.Ping(ctx, v.Address(id))
	return p, err == nil && p.Node == id
}

// askAll asks every node whether it is there.
func (m *member) askAll(ctx context.Context, v *cluster.View) (silent []cluster.NodeID) {
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, n := range v.Document.Nodes {
		if string(n.ID) == m.id.Node {
			continue
		}
		calls.Go(func() {
			if _, ok := m.answers(ctx, v, n.ID); !ok {
				mu.Lock()
				defer mu.Unlock()
				silent = append(silent, n.ID)
			}
		})
	}
	calls.Wait()
	return silent
}
