package raftfsm

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
)

// Timeouts are the same for all groups of a node. They cannot be changed while a group runs.
type Timeouts struct {
	// Heartbeat is how long a follower waits for its leader before it stands.
	Heartbeat time.Duration
	// Beat is for how long no heartbeat follows a message that the follower has answered; negative: each is sent.
	Beat time.Duration
	// Election is how long a candidate waits for votes before it stands again.
	Election time.Duration
	// Lease is how long a leader without contact to a quorum goes on.
	Lease time.Duration
	// Commit is after what time without entries followers are told of the commit index, once or twice that.
	Commit time.Duration
	// Stuck is from what age on the reaper asks Raft what became of a proposal.
	Stuck time.Duration
	// Proposal is from what age on a proposal is answered with ErrIndeterminate, whatever becomes of it.
	Proposal time.Duration
	// Drain is how long an install waits for what is under way: proposals, then long reads.
	Drain time.Duration
	// Stall is after what time without progress a snapshot is not sent on. It is longer than Drain.
	Stall time.Duration
	// Proof is how long Prove waits for a quorum. A leader that has none gives up after its lease.
	Proof time.Duration
	// Disk is how long Raft may wait for the log or the stable store until this replica counts as stalled: disk.go.
	Disk time.Duration
}

// Options are what a group is opened with.
type Options struct {
	// ID names this replica in the group's configuration.
	ID raft.ServerID
	// Group is the shard's number.
	Group uint32
	// Node is drawn at random at each start of the process, the same for all its groups.
	Node uint64
	// Bootstrap is the first configuration of a new group; nil if the group exists and this replica joins it. It is
	// ignored once there is a log or a checkpoint.
	Bootstrap []raft.Server
	// TakeOver makes this replica the group's only voter, whoever else there was (recover.go).
	TakeOver bool

	Engine    Engine
	Log       Log
	Stable    raft.StableStore
	Transport Transport
	// Forgot says that the log may lack entries which this replica has promised to have: memory.go.
	Forgot bool
	// Sync returns once everything that was appended to the log is on stable storage.
	Sync func() error

	// Clock is the wall clock, with a monotonic reading if it has one.
	Clock func() time.Time
	// Uptime is monotonic time since some moment, the same for all groups of a node. If left out, it is the time since
	// the group was opened, by Clock.
	Uptime func() time.Duration
	// WallShift, if set, is how far the wall clock is ahead of Clock at a moment: it moves the wall clock without moving
	// real time, which no time.Time can express.
	WallShift func(time.Time) time.Duration
	// Random draws the entries' seeds. It is called by several goroutines.
	Random func() uint64
	// Fatal ends the process: this replica can no longer follow. If it returns, nothing more is applied.
	Fatal func(error)
	// OnLeadership, if set, is told of each change of CanRead, one call after the other. It must not wait for the group.
	OnLeadership func(leader bool)

	// OnLanded, if set, is told while SetWatched is on that a batch has been applied, or will not be. It must not wait.
	OnLanded func()

	Timeouts Timeouts
	// MaxInFlight bounds the batches in flight over all loops, 1 … 1000.
	MaxInFlight int
	// KeepBytes is how much of the log stays below a checkpoint if the group has other members, for followers that lag a
	// little. Default 256 MiB.
	KeepBytes int64
	// PinBytes is how much of it stays for a follower that catches up behind a snapshot. Default 4 GiB.
	PinBytes int64
	// DialSnapshot connects to the replica that is to be sent a snapshot; nil: this node sends none.
	DialSnapshot SnapshotDialer
	// ReadAhead bounds the bytes of entries that a replay at start reads ahead of what is applied.
	ReadAhead int64
	// MaxEntry bounds a batch's entry, bytes. Default and most is what the log takes.
	MaxEntry int
	Logger   *slog.Logger
}

// barrierSlots is the room in Raft's queue beside the batches in flight: for one barrier, and the barrier of an earlier
// leadership that has not left the queue yet.
const barrierSlots = 8

// defaultHeartbeat, by which the other time-outs go, is what most of a failover takes: a follower waits once to twice as
// long until it stands. Heartbeats go past the disk every tenth to fifth of it, but for a fifth of it after another message
// was answered (sentry.go). So a follower hears something every 160 ms at least, and a busy machine may hold it up for
// another 240 ms before a leader that is well is deposed. The library's second makes clients wait for seconds.
//
// The lease is as long as it may be, the heartbeat's time-out. Reads do not go by it, they are proven; it only makes a
// leader without a quorum give up. Were it shorter, a leader would give up for pauses that its followers do not notice.
const defaultHeartbeat = 400 * time.Millisecond

// defaultCommit is how far the last write of many may be behind on replicas: the next entry tells followers of it at once,
// and only where none follows they are told by a message of its own, which idle shards send for ever.
const defaultCommit = 200 * time.Millisecond

// defaultDisk is after how many heartbeat time-outs a disk counts as stalled. Disks that work pause for some hundred
// milliseconds at times: a leader is deposed once its disk has not answered for this long and its followers have then heard
// nothing for once to twice the heartbeat time-out, 1.2 to 1.6 s by default.
const defaultDisk = 2

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	orDefault(&o.Timeouts.Heartbeat, defaultHeartbeat)
	orDefault(&o.Timeouts.Beat, o.Timeouts.Heartbeat/5)
	orDefault(&o.Timeouts.Election, o.Timeouts.Heartbeat)
	orDefault(&o.Timeouts.Lease, o.Timeouts.Heartbeat)
	orDefault(&o.Timeouts.Commit, defaultCommit)
	orDefault(&o.Timeouts.Stuck, 100*time.Millisecond)
	orDefault(&o.Timeouts.Proposal, 10*time.Second)
	orDefault(&o.Timeouts.Drain, 20*time.Second)
	orDefault(&o.Timeouts.Stall, 2*o.Timeouts.Drain)
	orDefault(&o.Timeouts.Proof, 5*o.Timeouts.Heartbeat)
	orDefault(&o.Timeouts.Disk, defaultDisk*o.Timeouts.Heartbeat)
	orDefault(&o.MaxInFlight, 120)
	orDefault(&o.MaxEntry, MaxEntry)
	orDefault(&o.ReadAhead, 32<<20)
	orDefault(&o.KeepBytes, 256<<20)
	orDefault(&o.PinBytes, 4<<30)
	if o.Uptime == nil && o.Clock != nil {
		clock, start := o.Clock, o.Clock()
		o.Uptime = func() time.Duration { return clock().Sub(start) }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnLeadership == nil {
		o.OnLeadership = func(bool) {}
	}
	if o.OnLanded == nil {
		o.OnLanded = func() {}
	}
}

func orDefault[T time.Duration | int | int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Validate reports every fault at once.
func (o *Options) Validate() error {
	var faults []error
	need := func(ok bool, what string) {
		if !ok {
			faults = append(faults, fmt.Errorf("raftfsm options: %s", what))
		}
	}
	need(o.ID != "", "ID is empty")
	need(o.Engine != nil, "no Engine")
	need(o.Log != nil, "no Log")
	need(o.Stable != nil, "no Stable store")
	need(o.Transport != nil, "no Transport")
	need(o.Sync != nil, "no Sync")
	need(o.Clock != nil, "no Clock")
	need(o.Random != nil, "no Random")
	need(o.Fatal != nil, "no Fatal")
	need(o.MaxInFlight > 0 && o.MaxInFlight <= 1000, "MaxInFlight is not within 1 … 1000")
	need(o.MaxEntry > 0 && o.MaxEntry <= MaxEntry, "MaxEntry is not within 1 … what the log takes")
	need(o.Timeouts.Stuck > 0 && o.Timeouts.Proposal > 0 && o.Timeouts.Proof > 0 && o.Timeouts.Disk > 0,
		"a time-out is negative")
	if o.ID != "" {
		if err := raft.ValidateConfig(o.raftConfig()); err != nil {
			faults = append(faults, fmt.Errorf("raftfsm options: %w", err))
		}
	}
	return errors.Join(faults...)
}

// outOfReach keeps Raft from taking snapshots on its own: all checkpoints are asked for.
const outOfReach = 1 << 62

// raftConfig is the stock library's configuration.
//
// BatchApplyCh is true: the queue between the event loops and Raft's main goroutine is buffered. Unbuffered, a loop that
// proposes would wait while the main goroutine syncs an earlier batch, some 0.15 ms each time; buffered, it goes on, and
// the batches that gathered meanwhile are stored and synced as one. What the library warns of, that a proposal's
// time-out no longer covers the time in the queue, does not matter here: none is set.
//
// MaxAppendEntries is also the queue's size and what Raft allocates for each commit (8 bytes each), so it is no larger
// than what may be in flight requires.
func (o *Options) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = o.ID
	c.HeartbeatTimeout = o.Timeouts.Heartbeat
	c.ElectionTimeout = o.Timeouts.Election
	c.LeaderLeaseTimeout = o.Timeouts.Lease
	c.CommitTimeout = o.Timeouts.Commit
	c.BatchApplyCh = true
	c.MaxAppendEntries = o.MaxInFlight + barrierSlots
	c.ShutdownOnRemove = false
	c.TrailingLogs = 0 // what is kept below a checkpoint is ours to say: retain.go
	c.SnapshotInterval = outOfReach
	c.SnapshotThreshold = outOfReach
	c.NoSnapshotRestoreOnStart = true
	c.NoLegacyTelemetry = true
	c.Logger = newRaftLogger(o.Logger.With("shard", o.Group))
	return c
}
