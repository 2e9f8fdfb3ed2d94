package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/server/config"
)

// A cluster whose meta group has lost its majority for good cannot decide anything, not even who belongs to it. Recover
// begins a new cluster out of what one survivor has: it becomes the only voter of the meta group and of each shard that it
// holds. It runs on the folder of a node that is stopped.
//
// The nodes that were lost may come back, and are still a majority of the old cluster then. So the new one has an ID of its
// own, which every connection between nodes begins with: no node of the old cluster can take part, or be taken for a
// member, before its folder was emptied.
//
//	node.json      the new cluster's ID, "recovering": no server starts on the folder
//	groups         a configuration entry each, in a higher term
//	document       the new ID, this node alone
//	node.json      "recovering" is gone
//
// Whatever the step at which it was interrupted, running it again ends it.

// RecoverOptions say what to recover, and how.
type RecoverOptions struct {
	// AcceptLoss does it; without, it is only told what would be.
	AcceptLoss bool
	// DropMissing lets shards begin empty that this node has no replica of.
	DropMissing bool
	Out         io.Writer
}

// Why nothing was recovered.
var (
	ErrNotAccepted   = errors.New("nothing has been changed: say --accept-data-loss to go on")
	ErrMissingShards = errors.New("this node has no replica of some shards: recover another node, or say --drop-missing-shards to have them begin empty")
)

// Recover makes the node whose data folder the configuration names the only one of a new cluster.
func Recover(ctx context.Context, c *config.Config, o RecoverOptions, log *slog.Logger) (err error) {
	n := newNode(c, log, func(err error) { log.Error("the recovery fails", "error", err) })
	defer func() { err = errors.Join(err, n.close(ctx, false)) }()
	id, known, err := loadIdentity(c.Load().Dir)
	if err != nil {
		return err
	}
	if !known || id.Cluster == "" {
		return fmt.Errorf("%s is not the data folder of a cluster's member", c.Load().Dir)
	}
	if err := n.openFiles(); err != nil {
		return err
	}
	n.setEviction(c.Load())
	r := &recovery{node: n, id: id, out: o.Out}
	if err := r.inspect(); err != nil {
		return err
	}
	if err := r.tell(); err != nil {
		return err
	}
	switch {
	case len(r.missing) > 0 && !o.DropMissing:
		return ErrMissingShards
	case !o.AcceptLoss:
		return ErrNotAccepted
	}
	return r.run(ctx)
}

// recovery is one run of Recover.
type recovery struct {
	node    *node
	id      nodeIdentity
	out     io.Writer
	before  cluster.Document
	remains []remains // of the meta group, then of the shards that are held
	missing []uint32  // shards that are not
}

// remains is what this node has of a group.
type remains struct {
	group uint32
	raftfsm.Remains
}

// inspect reads what the node has, and changes nothing.
func (r *recovery) inspect() error {
	err := r.look(cluster.MetaGroup, "meta", func(e *engine.Engine, sh *shard) (err error) {
		if err := r.catchUp(e, sh); err != nil {
			return err
		}
		r.before, err = cluster.Read(e)
		return err
	})
	if err != nil {
		return fmt.Errorf("the meta group: %w", err)
	}
	if r.before.Node(cluster.NodeID(r.id.Node)) == nil {
		return errors.New("this node is no member of the cluster as its own copy of the document has it: recover another node")
	}
	left, err := (&member{node: r.node}).leftShards()
	if err != nil {
		return err
	}
	for _, s := range r.before.Shards {
		err := raftfsm.ErrNothingHeld
		if slices.Contains(left, s.ID) {
			err = r.look(s.ID, shardFolder(s.ID), nil)
		}
		if errors.Is(err, raftfsm.ErrNothingHeld) {
			r.missing = append(r.missing, s.ID)
			continue
		}
		if err != nil {
			return fmt.Errorf("shard %d: %w", s.ID, err)
		}
	}
	return nil
}

// look inspects one group.
func (r *recovery) look(id uint32, folder string, more func(*engine.Engine, *shard) error) (err error) {
	n := r.node
	e, err := engine.Open(engine.Options{
		Store:  store.Options{Dir: filepath.Join(n.config.Load().Dir, folder), Cache: n.cache, Logger: n.log, Fatal: n.fatal, HoldCompactions: true},
		Random: n.random, Budget: leastFront, Reserve: reserve(shardOptions{system: true}), Logger: n.log,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	sh := &shard{part: n.aof.Shard(uint64(id))}
	found, err := raftfsm.Inspect(raftfsm.ForEngine(e, r.id.Cluster, id), sh.part, n.stable.Group(id))
	if err != nil {
		return err
	}
	r.remains = append(r.remains, remains{id, found})
	if more != nil {
		return more(e, sh)
	}
	return nil
}

// catchUp applies what the log has behind the store's checkpoint: entries too that may not have been committed, since they
// will be.
func (r *recovery) catchUp(e *engine.Engine, sh *shard) error {
	last, err := sh.part.LastIndex()
	if err != nil || last <= e.AppliedIndex() {
		return err
	}
	return sh.replay(e.AppliedIndex(), last, func(index, term uint64, entry []byte) error {
		return e.Apply(index, term, entry, nil)
	})
}

// tell says what is about to be done, and what may be lost by it.
func (r *recovery) tell() error {
	t := tabwriter.NewWriter(r.out, 0, 8, 2, ' ', 0)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(t, format, args...) } // Flush tells
	self := r.before.Node(cluster.NodeID(r.id.Node))
	p("node %.8s (%s) of cluster %s\n\nNODE\tCLIENTS\tSTATE\n", r.id.Node, self.Client, r.before.ClusterID)
	for _, o := range r.before.Nodes {
		what := string(o.State)
		if o.ID == self.ID {
			what = "this one, the only node of the new cluster"
		}
		p("%.8s\t%s\t%s\n", o.ID, o.Client, what)
	}
	p("\nSHARD\tTHIS NODE\tENDS AT ENTRY\tOF TERM\tVOTERS\n")
	for _, g := range r.remains {
		name, role := fmt.Sprint(g.group), "is no member"
		if g.group == cluster.MetaGroup {
			name = "meta"
		}
		var voters []string
		for _, s := range g.Servers {
			votes := s.Suffrage == raft.Voter
			if votes {
				voters = append(voters, fmt.Sprintf("%.8s", s.ID))
			}
			if string(s.ID) == r.id.Node {
				if role = "learns"; votes {
					role = "votes"
				}
			}
		}
		p("%s\t%s\t%d\t%d\t%s\n", name, role, g.LastIndex, g.LastTerm, strings.Join(voters, " "))
	}
	for _, id := range r.missing {
		p("%d\thas nothing\t-\t-\t-\n", id)
	}
	p("\nTHIS MAY LOSE ACKNOWLEDGED WRITES: all that the other voters of a shard have acknowledged behind the entry at which it ends here.\n")
	p("If another node survives, look there as well, and recover the one whose shards end at the higher term, then at the higher entry.\n")
	p("The nodes of the old cluster cannot take part in the new one: empty their folders before they are started again.\n")
	return t.Flush()
}

// run does it.
func (r *recovery) run(ctx context.Context) error {
	n, dir := r.node, r.node.config.Load().Dir
	if !r.id.Recovering {
		r.id = nodeIdentity{Node: r.id.Node, Cluster: randomHex(), Seed: r.id.Seed, Recovering: true}
		if err := r.id.save(dir); err != nil {
			return err
		}
	}
	m := &member{node: n, id: r.id}
	n.member = m
	address := raft.ServerAddress(r.before.Node(cluster.NodeID(r.id.Node)).Peer)
	open := func(id uint32, folder string) (*shard, error) {
		sh, err := n.openShard(shardOptions{
			id: id, folder: folder, system: id == cluster.MetaGroup, self: raft.ServerID(r.id.Node), takeOver: true,
			transport: raftfsm.NewLoopback(address), seed: m.seed, shards: len(r.before.Shards),
		})
		if err != nil {
			return nil, err
		}
		if id == cluster.MetaGroup {
			m.system.Store(sh)
		}
		return sh, sh.waitReady(ctx)
	}
	var held []uint32
	for _, g := range r.remains {
		if g.group == cluster.MetaGroup {
			continue
		}
		sh, err := open(g.group, "")
		if err != nil {
			return fmt.Errorf("shard %d: %w", g.group, err)
		}
		if err := n.closeShard(ctx, sh); err != nil {
			return fmt.Errorf("shard %d: %w", g.group, err)
		}
		held = append(held, g.group)
	}
	sh, err := open(cluster.MetaGroup, "meta")
	if err != nil {
		return fmt.Errorf("the meta group: %w", err)
	}
	self := cluster.NodeID(r.id.Node)
	m.client = cluster.NewClient(nil) // nobody is called
	meta, err := cluster.OpenMeta(cluster.MetaOptions{Self: self, Group: sh.group, Engine: sh.engine, Client: m.client, Loop: metaLoop, Logger: n.log})
	if err != nil {
		return err
	}
	m.meta.Store(meta)
	if _, err := meta.Update(ctx, cluster.Recover{ClusterID: r.id.Cluster, Self: self, Held: held}.Apply); err != nil {
		return fmt.Errorf("the cluster's document: %w", err)
	}
	r.id.Recovering = false
	if err := r.id.save(dir); err != nil {
		return err
	}
	_, err = fmt.Fprintf(r.out, "\nThis node is now the only one of cluster %s, which goes on in the place of %s.\nStart it, and join nodes with empty folders to it.\n", r.id.Cluster, r.before.ClusterID)
	return err
}
