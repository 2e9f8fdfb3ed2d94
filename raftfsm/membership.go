package raftfsm

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Why a change of the group's configuration is refused: nothing has been proposed then.
var (
	// ErrLastVoter says that the group would be left without a voter.
	ErrLastVoter = errors.New("it is the group's last voter")
	// ErrOwnPlace says that the leader would give up its own vote: it hands the leadership on first.
	ErrOwnPlace = errors.New("it leads the group")
	// ErrNoMember says that the configuration does not have the replica.
	ErrNoMember = errors.New("it is no replica of the group")
	// ErrConfigurationChanged says that the configuration is another one by now than the change was meant for.
	ErrConfigurationChanged = errors.New("the group's configuration has changed meanwhile")
)

// configured is a committed configuration and the index of its entry.
type configured struct {
	servers []raft.Server
	index   uint64
}

// configure notes a committed configuration.
func (f *fsm) configure(l *raft.Log) {
	c, err := decodeConfiguration(l.Data)
	if err != nil {
		f.fatal(fmt.Errorf("shard %d: entry %d: %w", f.group, l.Index, err))
		return
	}
	f.configured.Store(&configured{c.Servers, l.Index})
}

// Configuration is the latest committed configuration that has arrived here, and its index; 0 if there is none yet. The
// stock library would tell the servers of the latest one, but not its index, without which nobody can say which
// configuration a change is meant for.
func (g *Group) Configuration() (servers []raft.Server, index uint64) {
	if c := g.running.Load().fsm.configured.Load(); c != nil {
		servers, index = c.servers, c.index
	}
	_, _, encoded, stored, ok := g.opts.Engine.Durable()
	if !ok || stored <= index {
		return servers, index
	}
	c, err := decodeConfiguration(encoded)
	if err != nil {
		return servers, index // the checkpoint was checked when the group was opened
	}
	return c.Servers, stored
}

// The methods that follow change the configuration that has the given index (0: whichever is the latest), and wait until
// that is committed, or the leadership is lost: then the change may still come to be. They belong to the leader.

// AddNonvoter has a replica learn; of one that is there it changes the address.
func (g *Group) AddNonvoter(id raft.ServerID, address raft.ServerAddress, index uint64) error {
	return g.configured("add", id, g.raft().AddNonvoter(id, address, index, 0))
}

// AddVoter gives a replica the vote.
func (g *Group) AddVoter(id raft.ServerID, address raft.ServerAddress, index uint64) error {
	return g.configured("promote", id, g.raft().AddVoter(id, address, index, 0))
}

// DemoteVoter takes the vote from a replica, which goes on learning.
func (g *Group) DemoteVoter(id raft.ServerID, index uint64) error {
	index, err := g.mayLose(id, index)
	if err != nil {
		return fmt.Errorf("shard %d: demote %s: %w", g.opts.Group, id, err)
	}
	return g.configured("demote", id, g.raft().DemoteVoter(id, index, 0))
}

// RemoveServer takes a replica out of the group.
func (g *Group) RemoveServer(id raft.ServerID, index uint64) error {
	index, err := g.mayLose(id, index)
	if err != nil {
		return fmt.Errorf("shard %d: remove %s: %w", g.opts.Group, id, err)
	}
	return g.configured("remove", id, g.raft().RemoveServer(id, index, 0))
}

// mayLose says whether a replica may lose the vote, and by which configuration: the check holds for that one alone.
func (g *Group) mayLose(id raft.ServerID, index uint64) (uint64, error) {
	if _, ok := g.leads(); !ok {
		return 0, ErrNotLeader
	}
	servers, latest := g.Configuration()
	if index != 0 && index != latest {
		return 0, ErrConfigurationChanged
	}
	voters, votes, found := 0, false, false
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
		if s.ID == id {
			found, votes = true, s.Suffrage == raft.Voter
		}
	}
	switch {
	case !found:
		return 0, ErrNoMember
	case votes && voters == 1:
		return 0, ErrLastVoter
	case id == g.opts.ID:
		return 0, ErrOwnPlace
	}
	return latest, nil
}

// TransferLeadership hands the leadership on to a voter and waits until it has, or has failed.
func (g *Group) TransferLeadership(id raft.ServerID, address raft.ServerAddress) error {
	return g.configured("hand the leadership on to", id, g.raft().LeadershipTransferToServer(id, address))
}

func (g *Group) configured(what string, id raft.ServerID, f raft.Future) error {
	err := f.Error()
	if err == nil {
		return nil
	}
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		err = ErrNotLeader
	}
	return fmt.Errorf("shard %d: %s %s: %w", g.opts.Group, what, id, err)
}

// Follower is what a leader knows of another replica.
type Follower struct {
	raft.Server
	Match  uint64        // it has the log up to here, as safe as appendfsync says
	Silent time.Duration // since the newest message was sent that it answered
}

// Followers lists the other replicas; empty if this one does not lead.
func (g *Group) Followers() []Follower { return g.proof.followers() }

// Furthest is the voter that has most of the log; nil: there is none but this one, or it does not lead.
func (g *Group) Furthest() (best *Follower) {
	list := g.Followers()
	for i := range list {
		if f := &list[i]; f.Suffrage == raft.Voter && (best == nil || f.Match > best.Match) {
			best = f
		}
	}
	return best
}

// TransferToFurthest hands the leadership on to the voter that has most of the log, and waits until it has, or has failed.
func (g *Group) TransferToFurthest() error {
	best := g.Furthest()
	if best == nil {
		return fmt.Errorf("shard %d: hand the leadership on: %w", g.opts.Group, ErrNoMember)
	}
	return g.TransferLeadership(best.ID, best.Address)
}
