package server

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
)

// The node that leads a migration's source drives it (cluster/migrate.go). Who that is changes: each looks at the document
// and takes up what is its own.

const (
	migrationLook  = 100 * time.Millisecond // how often the node looks whether there is something to take up, besides changes
	migrationPause = 300 * time.Millisecond // after something went wrong
	mostCopying    = 4                      // migrations that one node copies at a time
	targetPatience = 5 * time.Second        // for the leader of a target
)

// migrations is what this node drives.
type migrations struct {
	member *member
	drives sync.WaitGroup

	mu struct {
		sync.Mutex
		driven  map[uint64]*cluster.Migrator
		copying int
		rests   map[uint64]rest
	}
}

// rest is when a migration is taken up again.
type rest struct {
	until  time.Time
	paused bool   // and not before somebody has it go on
	term   uint64 // of leadership, for paused: another leader may have frozen slots meanwhile
	from   uint32 // the source
	why    string // what went wrong
}

// migrate takes up migrations until ctx ends, and waits for those under way.
func (m *member) migrate(ctx context.Context) {
	g := &m.migrations
	meta := m.meta.Load()
	look := time.NewTicker(migrationLook)
	defer look.Stop()
	defer g.drives.Wait()
	for ctx.Err() == nil {
		changed := meta.Changed()
		if v := meta.View(); v != nil {
			g.takeUp(ctx, v)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-look.C:
		}
	}
}

// takeUp begins to drive what nobody here drives yet.
func (g *migrations) takeUp(ctx context.Context, v *cluster.View) {
	g.forget(v)
	for i := range v.Document.Migrations {
		one := &v.Document.Migrations[i]
		sh := g.member.node.shard(one.From)
		if sh == nil || !sh.group.CanRead() || !sh.use() {
			continue
		}
		driver := g.begin(sh, one)
		if driver == nil {
			sh.unuse()
			continue
		}
		g.drives.Go(func() {
			defer sh.unuse()
			term := sh.group.LeaderTerm()
			g.end(one, term, g.drive(ctx, sh, driver, one.ID))
		})
	}
}

// forget drops what is kept of migrations that are over.
func (g *migrations) forget(v *cluster.View) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id := range g.mu.rests {
		if v.Document.Migration(id) == nil {
			delete(g.mu.rests, id)
		}
	}
}

// begin makes the driver of a migration, or returns nil: there is one, it rests, or others are to be copied first.
func (g *migrations) begin(sh *shard, one *cluster.Migration) *cluster.Migrator {
	g.mu.Lock()
	defer g.mu.Unlock()
	copies := one.State == cluster.MigrationCopying
	r := g.mu.rests[one.ID]
	rests := time.Now().Before(r.until) || r.paused && one.Paused && r.term == sh.group.LeaderTerm()
	if g.mu.driven[one.ID] != nil || rests || copies && g.mu.copying == mostCopying {
		return nil
	}
	m := g.member
	driver := cluster.NewMigrator(cluster.MigratorOptions{
		Document: m.meta.Load(), Source: cluster.GroupLog{Group: sh.group, Loop: migrationLoop},
		Export: sh.engine.SlotExport, Seed: sh.engine.Keys().Seed, Target: m.logOf, Busy: m.node.checkpointing, Logger: m.node.log,
	})
	if g.mu.driven == nil {
		g.mu.driven, g.mu.rests = map[uint64]*cluster.Migrator{}, map[uint64]rest{}
	}
	g.mu.driven[one.ID] = driver
	if copies {
		g.mu.copying++
	}
	return driver
}

// end notes that a driver has ended.
func (g *migrations) end(begun *cluster.Migration, term uint64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.mu.driven, begun.ID)
	if begun.State == cluster.MigrationCopying {
		g.mu.copying--
	}
	if err != nil {
		r := rest{until: time.Now().Add(migrationPause), paused: errors.Is(err, cluster.ErrPaused), term: term, from: begun.From}
		if !r.paused {
			r.why = strings.ToValidUTF8(err.Error(), "")
		}
		g.mu.rests[begun.ID] = r
	}
}

// drive runs a driver as long as this node leads the source.
func (g *migrations) drive(ctx context.Context, sh *shard, driver *cluster.Migrator, id uint64) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(sh.ctx, stop)()
	go func() { // ends with ctx, which ends with drive
		look := time.NewTicker(migrationLook)
		defer look.Stop()
		for sh.group.CanRead() {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
		}
		stop()
	}()
	log := g.member.node.log
	err := driver.Run(ctx, id)
	switch {
	case err == nil:
		log.Info("a migration has come to its end", "migration", id, "sent_bytes", driver.Sent())
	case errors.Is(err, cluster.ErrPaused), ctx.Err() != nil:
	default:
		log.Warn("a migration goes on in a moment", "error", err)
	}
	return err
}

// drives is what this node does for migrations away from the shards that it leads.
func (m *member) drives() map[uint64]cluster.Drive {
	g := &m.migrations
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make(map[uint64]cluster.Drive, len(g.mu.driven))
	for id, r := range g.mu.rests {
		if sh := m.node.shard(r.from); sh != nil && sh.group.CanRead() && r.why != "" {
			list[id] = cluster.Drive{Trouble: r.why}
		}
	}
	for id, driver := range g.mu.driven {
		list[id] = cluster.Drive{Driven: true, Sent: driver.Sent(), Trouble: cmp.Or(driver.Waits(), list[id].Trouble)}
	}
	return list
}

// logOf is the log of a shard, wherever its leader is.
func (m *member) logOf(id uint32) cluster.ShardLog {
	return cluster.RemoteLog{Shard: id, Client: m.client, View: m.view, Local: m.localLog, Patience: targetPatience,
		Leader: func(id uint32) cluster.NodeID {
			if sh := m.node.shard(id); sh != nil {
				_, leader := sh.group.Leader()
				return cluster.NodeID(leader)
			}
			return ""
		}}
}

// localLog is the log of a shard that this node leads, else nil.
func (m *member) localLog(id uint32) cluster.ShardLog {
	if sh := m.node.shard(id); sh != nil && sh.group.State() == raft.Leader {
		return cluster.GroupLog{Group: sh.group, Loop: migrationLoop, Brake: func(commands [][][]byte) error { return m.brake(sh, commands) }}
	}
	return nil
}

// brake says why a shard cannot take commands of a migration now: what holds and refuses clients' writes does so to records,
// and slots are for a shard that has its replicas.
func (m *member) brake(sh *shard, commands [][][]byte) error {
	for _, args := range commands {
		if command.Imports(args) {
			if sh.holdWrites() {
				return cluster.Busy("shard %d is short of memory", sh.id)
			}
			if why := sh.refuse(command.Lookup(args[0])); why != "" {
				return cluster.Busy("shard %d answers: %.80s", sh.id, why)
			}
		}
		if id, begins := command.BeginsImport(args); begins {
			v := m.view()
			if v == nil {
				return cluster.Busy("the cluster's document is not known yet")
			}
			servers, _ := sh.group.Configuration()
			voters := 0
			for _, s := range servers {
				if s.Suffrage == raft.Voter {
					voters++
				}
			}
			if err := v.Document.Receives(id, sh.id, voters); err != nil {
				return err
			}
		}
	}
	return nil
}

// endow makes a shard that this node has founded own what the document says, and nothing else. It is done before anybody
// knows that the shard is born, and may be done twice.
func (m *member) endow(ctx context.Context, sh *shard, s *cluster.Shard) error {
	var foreign []keyspace.SlotRange
	next := 0
	for _, r := range append(s.Slots[:len(s.Slots):len(s.Slots)], cluster.Range{From: cluster.Slots}) {
		if int(r.From) > next {
			foreign = append(foreign, keyspace.SlotRange{From: uint16(next), To: r.From - 1})
		}
		next = int(r.To) + 1
	}
	if len(foreign) == 0 {
		return nil
	}
	replies, err := cluster.GroupLog{Group: sh.group, Loop: migrationLoop}.Propose(ctx, [][][]byte{command.SlotsArgs(command.SlotsDisown, 0, 0, foreign)})
	if err != nil {
		return err
	}
	return replies[0].Err()
}
