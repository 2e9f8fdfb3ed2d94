package raftfsm

import (
	"fmt"
	"hash/fnv"
	"net"
	"slices"
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
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/store/crashtest"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/race"
)

// files are a replica's real engine and real log on one disk.
type files struct {
	engine *engine.Engine
	aof    *aof.Log
}

var drawn atomic.Uint64

func openFiles(fs vfs.FS, fatal func(error)) (*files, error) {
	e, err := engine.Open(engine.Options{
		Store:   store.Options{FS: fs, Dir: "shard", TableSize: 16 << 10},
		Random:  func() uint64 { return drawn.Add(1) },
		Reserve: 8 << 30,
	})
	if err != nil {
		return nil, err
	}
	l, err := aof.Open(aof.Options{FS: fs, Dir: "log", SegmentSize: 64 << 10, Ticks: make(chan time.Time), BootID: "boot",
		Fatal: fatal, Random: func() uint64 { return drawn.Add(1) * 0x9e3779b97f4a7c15 }})
	if err != nil {
		return nil, err
	}
	return &files{e, l}, nil
}

func (f *files) close(t testing.TB) {
	t.Helper()
	if err := f.engine.Close(); err != nil {
		t.Error(err)
	}
	if err := f.aof.Close(); err != nil {
		t.Error(err)
	}
}

// use has the node work on them.
func (f *files) use(n *node) {
	n.opts.Engine, n.opts.Log, n.opts.Sync = ForEngine(f.engine, "", 7), f.aof.Shard(7), f.aof.Sync
}

// entryOf is a log entry with some commands.
func entryOf(commands ...[]string) []byte {
	b := &engine.Batch{}
	for _, c := range commands {
		var args [][]byte
		for _, a := range c {
			args = append(args, []byte(a))
		}
		b.AddWrite(command.Lookup(args[0]), 0, args)
	}
	return slices.Clone(b.Seal(engine.Header{Clock: 1000, Seed: 1}))
}

// digest tells states apart, whatever the seed is that keys are ordered by.
func digest(t testing.TB, e *engine.Engine) (sum uint64) {
	t.Helper()
	err := e.Keys().Each(func(tx *keyspace.Tx, db int, key []byte, x keyspace.Entry) error {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %q %d %d", db, key, x.Kind, x.Expire)
		if x.Kind == value.String {
			fmt.Fprintf(h, "%q", tx.Whole(db, key, x))
		} else {
			members := uint64(0) // in any order: a large set goes by the seed
			for m := range tx.Set(db, key).All() {
				one := fnv.New64a()
				_, _ = one.Write(m)
				members += one.Sum64()
			}
			fmt.Fprint(h, members)
		}
		sum += h.Sum64()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

var threeServers = raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{
	{ID: "a", Address: "a"}, {ID: "b", Address: "b"}, {ID: "c", Address: "c"}}})

// apply applies an entry and makes the checkpoint at it.
func (f *files) apply(t testing.TB, index, term uint64, entry []byte) {
	t.Helper()
	if err := f.engine.Apply(index, term, entry, nil); err != nil {
		t.Fatal(err)
	}
	c, err := f.engine.BeginCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(index, term, threeServers, 1); err != nil {
		t.Fatal(err)
	}
}

// manyOf are commands that fill some tables and a large set.
func manyOf(prefix string) (commands [][]string) {
	set := []string{"SADD", "set"}
	for i := range 1000 {
		commands = append(commands, []string{"SET", fmt.Sprint("key", i), fmt.Sprint(prefix, i)})
		set = append(set, fmt.Sprint(prefix, i))
	}
	return append(commands, set)
}

// E4, E5: a crash before any operation on files while a snapshot is being installed leaves the old state with the old log, or
// the new one with a log that goes on behind it; once the leader has heard of it, the new one.
func TestCrashAtEveryStepOfAnInstall(t *testing.T) {
	source, err := openFiles(vfs.NewMem(), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer source.close(t)
	source.apply(t, 50, 8, entryOf(manyOf("new")...))
	wanted := digest(t, source.engine)
	pinned, err := ForEngine(source.engine, "", 7).PinCheckpoint()
	if err != nil {
		t.Fatal(err)
	}

	disk := vfs.NewCrashableMem()
	var phase atomic.Int32 // before the install, in it, acknowledged
	fs, crashes := crashtest.Watch(disk, phase.Load)
	f, err := openFiles(fs, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	entry := entryOf([]string{"SET", "key1", "old"}, []string{"SET", "old", "x"})
	for i := uint64(1); i <= 80; i++ { // its log is longer than what it is sent
		if err := f.aof.Shard(7).StoreLog(&raft.Log{Index: i, Term: 1, Data: entry}); err != nil {
			t.Fatal(err)
		}
	}
	f.apply(t, 10, 1, entry)
	before := digest(t, f.engine)
	n := newNode(t, "a")
	f.use(n)
	if err := n.opts.Stable.SetUint64(keyCurrentTerm, 1); err != nil {
		t.Fatal(err)
	}
	n.open()
	phase.Store(1)
	here, there := net.Pipe()
	go n.group.ServeSnapshot(there)
	o := offer{shard: 7, term: 9, index: 50, termAtIndex: 8}
	if err := o.write(here); err != nil {
		t.Fatal(err)
	}
	if v, err := readJudgement(here); err != nil || v.kind != judgedTake {
		t.Fatal(v, err)
	}
	if err := pinned.Write(here); err != nil {
		t.Fatal(err)
	}
	if v, err := readJudgement(here); err != nil || v.kind != judgedHave {
		t.Fatal(v, err)
	}
	phase.Store(2)
	if got := digest(t, f.engine); got != wanted {
		t.Fatal("E8: another state than the leader's")
	}
	if err := n.opts.Log.StoreLog(&raft.Log{Index: 51, Term: 9, Data: entry}); err != nil {
		t.Fatal(err)
	}
	n.close()
	f.close(t)
	if err := pinned.Close(); err != nil {
		t.Fatal(err)
	}
	all := slices.DeleteFunc(crashes.All(), func(c crashtest.Crash[int32]) bool { return c.Before == 0 })
	if len(all) < 100 {
		t.Fatalf("only %d crashes", len(all))
	}
	seen := map[uint64]int{}
	for i := 0; i < len(all); i += race.Factor {
		seen[afterCrash(t, all[i], before, wanted)]++
	}
	t.Logf("%d crashes leave the old state, %d the new one", seen[10], seen[50])
	if seen[10] == 0 || seen[50] == 0 {
		t.Fatal("the crashes miss the swap")
	}
}

// afterCrash opens what a crash in an install left, and returns the checkpoint's index.
func afterCrash(t *testing.T, c crashtest.Crash[int32], before, wanted uint64) uint64 {
	t.Helper()
	f, err := openFiles(c.FS, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatalf("%s: %v", c.What, err)
	}
	defer f.close(t)
	n := newNode(t, "a")
	f.use(n)
	if err := n.opts.Stable.SetUint64(keyCurrentTerm, 9); err != nil {
		t.Fatal(err)
	}
	if err := n.tryOpen(); err != nil {
		t.Fatalf("%s: %v", c.What, err)
	}
	defer n.close()
	index, term, _, _, _ := f.engine.Durable()
	last, _ := n.opts.Log.LastIndex()
	var at raft.Log
	err = n.opts.Log.GetLog(index, &at)
	sum := digest(t, f.engine)
	switch {
	case err != nil || at.Term != term || last < index:
		t.Fatalf("E5: %s: the log ends at %d, its entry at the checkpoint %d is of term %d: %v", c.What, last, index, at.Term, err)
	case index == 10 && sum == before && last >= 80 && c.Before < 2:
	case index == 50 && sum == wanted && last <= 51:
	default:
		t.Fatalf("E4: %s: at %d, log to %d, phase %d: neither the old nor the new state", c.What, index, last, c.Before)
	}
	return index
}

// E8: real engines and logs. One replica is cut off again and again until it is behind the log; all have the same digest then.
func TestReplicasAgreeAfterInstalls(t *testing.T) {
	var mu sync.Mutex
	real := map[*node]*files{}
	network, leader, others := threeVoters(t, shortLog, func(n *node) {
		f, err := openFiles(vfs.NewMem(), func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		f.use(n)
		mu.Lock()
		defer mu.Unlock()
		real[n] = f
	})
	all := append(slices.Clone(others), leader)
	commands := 0
	write := func(nodes []*node, count int) {
		for range count {
			for done := false; !done; {
				b := &engine.Batch{Replies: discardReplies{}}
				result := make(chan error, 1)
				b.AddWrite(command.Lookup([]byte("SET")), 0, [][]byte{[]byte("SET"), fmt.Append(nil, "key", commands%700), fmt.Append(nil, commands)})
				b.AddWrite(command.Lookup([]byte("SADD")), 0, [][]byte{[]byte("SADD"), []byte("set"), fmt.Append(nil, "member", commands)})
				leads(t, nodes).group.Propose(&Proposal{Batch: b, Done: func(_ *Proposal, err error) { result <- err }})
				done = <-result == nil
			}
			commands++
		}
	}
	rounds := 3
	for round := range rounds {
		behind := all[round%len(all)]
		network.isolate(raft.ServerAddress(behind.opts.ID))
		rest := slices.DeleteFunc(slices.Clone(all), func(n *node) bool { return n == behind })
		write(rest, 150)
		for _, n := range rest {
			eventually(t, "a checkpoint", func() bool {
				first, _ := n.opts.Log.FirstIndex()
				at, _, _, _, _ := real[n].engine.Durable()
				return n.group.Checkpoint() == nil && at > 100*uint64(round+1) && first > real[behind].engine.AppliedIndex()
			})
		}
		network.heal()
		write(all, 20)
		at := leads(t, all).opts.Engine.AppliedIndex()
		for _, n := range all {
			eventually(t, "all are there", func() bool { return real[n].engine.AppliedIndex() >= at })
		}
	}
	eventually(t, "all agree", func() bool {
		return real[all[0]].engine.AppliedIndex() == real[all[1]].engine.AppliedIndex() &&
			real[all[1]].engine.AppliedIndex() == real[all[2]].engine.AppliedIndex()
	})
	eventually(t, "E8: digests agree", func() bool { // what was proposed twice may still arrive
		want := digest(t, real[all[0]].engine)
		return digest(t, real[all[1]].engine) == want && digest(t, real[all[2]].engine) == want
	})
	for _, n := range all {
		if err := n.fatal.Load(); err != nil {
			t.Fatal(*err)
		}
		n.close()
		real[n].close(t)
	}
}
