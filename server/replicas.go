package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/raftfsm"
)

// Which shards are open on this node follows the document: a shard is opened that lists this node, or that has a folder
// here, and one that does not list it any more is closed and removed once its group has let this node go. A group that
// has not may still count on what this node has.

// replicaLook is how often the node looks whether what it has to give up has been let go.
const replicaLook = time.Second

// settleFirst opens what this node knows that it has. A shard whose only voter it is, is waited for, since nobody else can
// serve it; who leads the others is learned in the background. The document does not say which those are: at a start it may
// be as old as the shard.
func (m *member) settleFirst(ctx context.Context) error {
	v := m.view()
	defer m.reroute()
	if v == nil { // a member that has not learned the document yet
		if err := m.openLeft(nil); err != nil {
			return err
		}
	} else if err := m.openAll(ctx, v); err != nil {
		return err
	}
	for _, sh := range m.node.local() {
		if !sh.group.IsSoleVoter() {
			sh.engine.Store().AllowCompactions()
			continue
		}
		if err := sh.waitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// openAll opens what the document asks for and what has a folder here.
func (m *member) openAll(ctx context.Context, v *cluster.View) error {
	for i := range v.Document.Shards {
		s := &v.Document.Shards[i]
		if !m.lists(s) || m.node.shard(s.ID) != nil {
			continue
		}
		now := v
		if m.founds(v.Shard(s.ID)) {
			if now = m.sure(ctx); now == nil || !m.lists(now.Shard(s.ID)) {
				continue // it is looked at again
			}
		}
		if err := m.openReplica(now, s.ID); err != nil {
			return err
		}
	}
	return m.openLeft(v)
}

// foundingPatience is how long a node waits to be told that a shard really is to be founded.
const foundingPatience = 500 * time.Millisecond

// sure is the document as it is now, whatever this node has met of it on its way; nil if that cannot be learned soon. A node
// that is the meta group's only voter knows, once its log is applied, and waits for it.
func (m *member) sure(ctx context.Context) *cluster.View {
	for {
		sole, asking := m.system.Load().group.IsSoleVoter(), ctx
		if !sole {
			asking = shortly(ctx, foundingPatience)
		}
		latest, err := m.meta.Load().Latest(asking)
		switch {
		case err == nil:
			return latest
		case !sole || ctx.Err() != nil || errors.Is(err, raftfsm.ErrClosed):
			return nil
		}
		select {
		case <-time.After(surePause):
		case <-ctx.Done():
		}
	}
}

// surePause is how long a node waits before it asks itself again.
const surePause = 50 * time.Millisecond

// lists says whether a shard has a replica here.
func (m *member) lists(s *cluster.Shard) bool {
	return s != nil && slices.Contains(s.Replicas, cluster.NodeID(m.id.Node))
}

// founds says whether it is for this node to begin a shard's group.
func (m *member) founds(s *cluster.Shard) bool {
	return s != nil && !s.Born && s.Founder == cluster.NodeID(m.id.Node)
}

// openLeft opens the shards that have a folder here. Of one that is to be founded there is nothing yet.
func (m *member) openLeft(v *cluster.View) error {
	ids, err := m.leftShards()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if m.node.shard(id) != nil || v != nil && m.founds(v.Shard(id)) {
			continue
		}
		if err := m.openReplica(v, id); err != nil {
			return err
		}
	}
	return nil
}

// openReplica opens a shard. The founder of one that is not born yet begins its group; v may be nil.
func (m *member) openReplica(v *cluster.View, id uint32) error {
	o := shardOptions{id: id, self: raft.ServerID(m.id.Node), seed: m.seed}
	m.connect(&o)
	if v != nil {
		o.shards = len(v.Document.Shards)
		if m.founds(v.Shard(id)) {
			o.bootstrap = []raft.Server{{ID: o.self, Address: raft.ServerAddress(m.self().Peer)}}
			m.founding.Store(id, true)
		}
	}
	sh, err := m.node.openShard(o)
	if err != nil {
		o.disconnect()
		return fmt.Errorf("shard %d cannot be opened: %w", id, err)
	}
	if m.agent != nil { // at a start, settleFirst sees to it
		sh.engine.Store().AllowCompactions()
	}
	return nil
}

// reroute has commands run by the newest document, and by what is open here.
func (m *member) reroute() { m.node.reroute(m.view, cluster.NodeID(m.id.Node)) }

// route has commands run by the document as it changes. Clients wait for that, so it does not wait for shards to open or to be
// removed.
func (m *member) route(ctx context.Context) {
	meta := m.meta.Load()
	for ctx.Err() == nil {
		changed := meta.Changed()
		m.reroute()
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// follow opens and closes shards as the document changes, and tells the cluster what has come of it.
func (m *member) follow(ctx context.Context) {
	meta := m.meta.Load()
	look := time.NewTicker(replicaLook)
	defer look.Stop()
	told := ""
	for ctx.Err() == nil {
		changed := meta.Changed()
		if v := meta.View(); v != nil {
			// What cannot be opened is no reason to give up what is: the others of the shard go on, and it is tried again.
			if err := m.openAll(ctx, v); err != nil && err.Error() != told {
				told = err.Error()
				m.node.log.Error("a replica cannot be opened; it is tried again and again", "error", err)
			}
			m.reroute()
			m.noteReplicas(v)
			m.tellBorn(ctx, v)
			m.closeGone(ctx, v)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-look.C:
		}
	}
}

// noteReplicas has the node know whether its shards have other replicas, and whether one of those, or slots, are on their way.
func (m *member) noteReplicas(v *cluster.View) {
	moving := slices.ContainsFunc(v.Document.Migrations, func(m cluster.Migration) bool { return !m.Paused })
	replicated := false
	for _, sh := range m.node.local() {
		wanted, _ := v.Document.Desired(sh.id)
		servers, _ := sh.group.Configuration()
		moving = moving || catchesUp(wanted, servers)
		replicated = replicated || len(servers) > 1
	}
	m.node.moving.Store(moving)
	m.node.replicated.Store(replicated)
}

// catchesUp says whether one who is to vote in a group is a member without a vote: it is sent everything. So is a replica that
// does not know any member yet. Of others, one who is not a member may never come.
func catchesUp(wanted []cluster.NodeID, servers []raft.Server) bool {
	return len(servers) == 0 && len(wanted) > 0 || slices.ContainsFunc(servers, func(s raft.Server) bool {
		return s.Suffrage != raft.Voter && slices.Contains(wanted, cluster.NodeID(s.ID))
	})
}

// tellBorn has the document say which shards this node has founded.
func (m *member) tellBorn(ctx context.Context, v *cluster.View) {
	m.founding.Range(func(key, _ any) bool {
		id, _ := key.(uint32)
		sh := m.node.shard(id)
		s := v.Shard(id)
		if s == nil || s.Born || sh == nil {
			m.founding.Delete(key)
			return true
		}
		if sh.group.CanRead() && m.endow(shortly(ctx, 5*time.Second), sh, s) == nil {
			if _, err := m.meta.Load().Do(shortly(ctx, 5*time.Second), cluster.SetBorn{Shard: id, Node: cluster.NodeID(m.id.Node)}); err == nil {
				m.founding.Delete(key)
			}
		}
		return ctx.Err() == nil
	})
}

// closeGone removes the replicas that the cluster does not count on any more. That a document at hand says so is not enough:
// after a start, a node meets all that it has been through again.
func (m *member) closeGone(ctx context.Context, v *cluster.View) {
	for _, sh := range m.node.local() {
		if !m.mayDrop(v, sh.id) || !m.mayDropNow(ctx, sh.id) {
			continue
		}
		m.node.log.Info("this node is no replica of the shard any more: its copy is removed", "shard", sh.id)
		if err := m.remove(ctx, sh); err != nil && ctx.Err() == nil {
			m.node.fatal(err)
			return
		}
	}
}

func (m *member) mayDrop(v *cluster.View, id uint32) bool {
	return v.Document.MayDrop(id, cluster.NodeID(m.id.Node))
}

// mayDropNow asks the cluster. If it does not answer, the copy stays.
func (m *member) mayDropNow(ctx context.Context, id uint32) bool {
	latest, err := m.meta.Load().Latest(shortly(ctx, 5*time.Second))
	return err == nil && m.mayDrop(latest, id)
}

// remove closes a shard and deletes what it has on disk, unless the cluster has changed its mind before it was closed: then
// it is opened again, with all that it may have promised meanwhile. The log goes first: a store without a log is one that was
// stopped, a log without a store would be damage. Terms and votes stay, since they were promised.
func (m *member) remove(ctx context.Context, sh *shard) error {
	closing, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := m.node.closeShard(closing, sh)
	if err == nil && !m.mayDropNow(ctx, sh.id) {
		return nil
	}
	first, e := sh.part.FirstIndex()
	err = errors.Join(err, e)
	last, e := sh.part.LastIndex()
	if err = errors.Join(err, e); err == nil && first > 0 {
		if err = sh.part.DeleteRange(first, last); err == nil {
			err = m.node.aof.Sync()
		}
	}
	if err == nil {
		err = os.RemoveAll(m.folderOf(sh.id))
	}
	if err != nil {
		return fmt.Errorf("shard %d cannot be removed: %w", sh.id, err)
	}
	return nil
}
