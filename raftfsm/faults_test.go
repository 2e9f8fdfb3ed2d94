package raftfsm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/aof"
	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/race"
)

var errInjected = errors.New("injected")

// chance is a source of faults that all of a test's goroutines share.
type chance struct {
	mu     sync.Mutex
	random *rand.Rand
	off    atomic.Bool
}

// oneIn is true once in so many calls.
func (c *chance) oneIn(n int) bool {
	if c.off.Load() {
		return false
	}
	return c.below(n) == 0
}

func (c *chance) below(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(n)
}

// faultyLog is a real log that fails and takes its time.
type faultyLog struct {
	*aof.ShardLog
	chance  *chance
	applied func() uint64
	open    atomic.Bool // it must not fail while the group is being opened: that is refused
}

func (l *faultyLog) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

func (l *faultyLog) StoreLogs(logs []*raft.Log) error {
	switch {
	case l.chance.oneIn(60):
		return errInjected
	case l.chance.oneIn(20):
		time.Sleep(time.Duration(l.chance.below(10)) * time.Millisecond)
	case l.chance.oneIn(150):
		time.Sleep(timesOut.Heartbeat * 5) // the disk counts as stalled
	}
	return l.ShardLog.StoreLogs(logs)
}

func (l *faultyLog) GetLog(index uint64, e *raft.Log) error {
	if l.open.Load() && index <= l.applied() && l.chance.oneIn(100) {
		return errInjected
	}
	return l.ShardLog.GetLog(index, e)
}

func (l *faultyLog) DeleteRange(from, to uint64) error {
	if l.chance.oneIn(5) {
		return errInjected
	}
	return l.ShardLog.DeleteRange(from, to)
}

// unlucky is a replica with a real log and a real engine on a disk of its own.
type unlucky struct {
	*node
	fs    *vfs.MemFS
	files *files
	log   *faultyLog
	net   *network
	dead  atomic.Bool // it wants to end
}

func (u *unlucky) load(c *chance) {
	f, err := openFiles(u.fs, func(err error) { u.t.Error(err) })
	if err != nil {
		u.t.Fatal(err)
	}
	u.files = f
	f.use(u.node)
	u.log = &faultyLog{ShardLog: f.aof.Shard(7), chance: c, applied: f.engine.AppliedIndex}
	u.opts.Log = u.log
	u.opts.Fatal = func(error) {
		u.net.isolate(raft.ServerAddress(u.opts.ID))
		u.dead.Store(true)
	}
}

// restart is a new process on the same disk.
func (u *unlucky) restart(c *chance) {
	u.close()
	u.files.close(u.t)
	old, _ := u.opts.Transport.(*wire)
	_, inner := raft.NewInmemTransportWithTimeout(old.LocalAddr(), time.Second)
	mine := &wire{inner, u.net}
	u.net.mu.Lock()
	for _, other := range u.net.nodes {
		w, _ := other.opts.Transport.(*wire)
		if other == u.node {
			w = mine
		}
		mine.Connect(w.LocalAddr(), w.InmemTransport)
		w.Connect(mine.LocalAddr(), inner)
	}
	delete(u.net.cut, old.LocalAddr())
	u.net.mu.Unlock()
	u.opts.Transport, u.opts.Stable = mine, u.stable.Group(7)
	u.opts.Node += 10
	u.load(c)
	u.dead.Store(false)
	u.node.open()
	u.log.open.Store(true)
}

// Messages and answers are lost, disks are slow, stall, refuse to store, to read and to delete, replicas end and come back.
// At the end all replicas have the same, and all that was acknowledged.
func TestRandomFaultsLoseNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := &chance{random: rand.New(rand.NewPCG(seed, 0))}
	c.off.Store(true)
	list := map[*node]*unlucky{}
	net, leader, others := threeVoters(t, shortLog, func(n *node) {
		n.opts.Timeouts.Stuck = 10 * time.Millisecond
		n.opts.Timeouts.Proposal = 2 * time.Second
		u := &unlucky{node: n, fs: vfs.NewMem()}
		u.net = &network{cut: map[raft.ServerAddress]bool{}} // until there is one
		u.load(c)
		list[n] = u
	})
	all := append(others, leader)
	net.mu.Lock()
	net.weather = func() (lost, answerLost bool) { return c.oneIn(40), c.oneIn(40) }
	net.mu.Unlock()
	for _, u := range list {
		u.net = net
	}
	for _, u := range list {
		u.log.open.Store(true)
	}
	c.off.Store(false)
	var acknowledged []int
	steps := 600
	if race.Enabled {
		steps = 200
	}
	for i := range steps {
		var leaders []*node
		for _, n := range all {
			u := list[n]
			if u.dead.Load() || c.oneIn(150) {
				u.restart(c)
			}
			if n.group.CanRead() {
				leaders = append(leaders, n)
			}
		}
		if c.oneIn(50) {
			_ = all[c.below(3)].group.Checkpoint() // it may fail like everything else
		}
		for _, n := range leaders {
			if write(n, i) == nil {
				acknowledged = append(acknowledged, i)
			}
		}
		if len(leaders) == 0 {
			time.Sleep(2 * time.Millisecond)
		}
	}
	c.off.Store(true)
	for _, u := range list {
		if u.dead.Load() {
			u.restart(c)
		}
	}
	eventually(t, "a write at the end", func() bool { return write(leads(t, all), steps) == nil })
	at := leads(t, all).opts.Engine.AppliedIndex()
	for _, n := range all {
		eventually(t, "all are there", func() bool { return n.opts.Engine.AppliedIndex() >= at })
	}
	eventually(t, "all agree", func() bool {
		a, b, c := all[0].opts.Engine.AppliedIndex(), all[1].opts.Engine.AppliedIndex(), all[2].opts.Engine.AppliedIndex()
		return a == b && b == c
	})
	for _, n := range all {
		f := list[n].files
		if digest(t, f.engine) != digest(t, list[all[0]].files.engine) {
			t.Fatal("E8: digests differ")
		}
		have := members(t, f.engine)
		for _, i := range acknowledged {
			if !slices.Contains(have, strconv.Itoa(i)) {
				t.Errorf("%s lacks %d, which was acknowledged", n.opts.ID, i)
			}
		}
	}
	t.Logf("%d of %d writes acknowledged, %d members", len(acknowledged), steps, len(members(t, list[all[0]].files.engine)))
	if len(acknowledged) < steps/10 {
		t.Errorf("only %d writes were acknowledged", len(acknowledged))
	}
	for _, n := range all {
		n.close()
		list[n].files.close(t)
	}
}

// write adds a member to a set, and sets a key, by way of one replica.
func write(n *node, i int) error {
	b := &engine.Batch{Replies: discardReplies{}}
	b.AddWrite(command.Lookup([]byte("SET")), 0, [][]byte{[]byte("SET"), fmt.Append(nil, "key", i%50), fmt.Append(nil, i)})
	b.AddWrite(command.Lookup([]byte("SADD")), 0, [][]byte{[]byte("SADD"), []byte("set"), strconv.AppendInt(nil, int64(i), 10)})
	result := make(chan error, 1)
	n.group.Propose(&Proposal{Batch: b, Done: func(_ *Proposal, err error) { result <- err }})
	return <-result
}

// members lists the set's.
func members(t *testing.T, e *engine.Engine) (list []string) {
	t.Helper()
	err := e.Keys().Each(func(tx *keyspace.Tx, db int, key []byte, x keyspace.Entry) error {
		if x.Kind != value.String {
			for m := range tx.Set(db, key).All() {
				list = append(list, string(m))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
