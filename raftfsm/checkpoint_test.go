package raftfsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestCheckpointStepByStep(t *testing.T) {
	n := newNode(t, "a").open().ready()
	defer n.close()
	for range 3 {
		if err := n.propose("x").wait(t); err != nil {
			t.Fatal(err)
		}
	}
	at := n.engine.AppliedIndex()
	n.engine.events.take()
	if err := n.group.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	want := []string{"begin", "sync", "commit", fmt.Sprintf("cut below %d", at)}
	if got := n.engine.events.take(); !slices.Equal(got, want) {
		t.Fatalf("steps %q, want %q", got, want)
	}
	if n.disk.index != at || n.disk.term != n.group.Stats().Term || len(n.disk.state) != 3 {
		t.Fatalf("checkpoint at %d of term %d holds %d commands", n.disk.index, n.disk.term, len(n.disk.state))
	}
	configuration, err := decodeConfiguration(n.disk.configuration)
	if err != nil || len(configuration.Servers) != 1 || n.disk.configIndex != 1 {
		t.Fatal(configuration, n.disk.configIndex, err)
	}
	first, _ := n.log.FirstIndex()
	var l raft.Log
	if err := n.log.GetLog(at, &l); err != nil || first != at || l.Term != n.disk.term {
		t.Fatalf("the log begins at %d, the entry at %d: %v", first, at, err)
	}

	// Nothing has been committed since: success, and nothing is written.
	if err := n.group.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if got := n.engine.events.take(); slices.Contains(got, "commit") || n.engine.open != 0 || n.engine.given != 1 {
		t.Fatalf("%q, %d open, %d given back", got, n.engine.open, n.engine.given)
	}
}

func TestCheckpointBeforeAnythingIsApplied(t *testing.T) {
	n := newNode(t, "a")
	n.opts.Bootstrap = nil // a replica that joins: there is no log yet
	n.open()
	defer n.close()
	if err := n.group.Checkpoint(); err != nil {
		t.Fatal(err)
	}
}

func TestFailedCheckpointGivesTheEpochBack(t *testing.T) {
	n := newNode(t, "a")
	wrong := errors.New("disk full")
	var failSync, failCommit error
	n.opts.Sync = func() error { return failSync }
	n.engine.onCommit = func(*twinCheckpoint) error { return failCommit }
	n.open().ready()
	defer n.close()
	if err := n.propose("x").wait(t); err != nil {
		t.Fatal(err)
	}
	for i, set := range []*error{&failSync, &failCommit} {
		*set = wrong
		err := n.group.Checkpoint()
		// The library drops the error's identity, but not its text.
		if err == nil || !strings.Contains(err.Error(), "disk full") || n.disk.ok || n.engine.open != 0 || n.engine.given != i+1 {
			t.Fatalf("%v: durable %v, %d open, %d given back", err, n.disk.ok, n.engine.open, n.engine.given)
		}
		*set = nil
	}
	if first, _ := n.log.FirstIndex(); first != 1 {
		t.Fatal("the log was cut")
	}
	if err := n.group.Checkpoint(); err != nil || !n.disk.ok {
		t.Fatal(err)
	}
}

func TestConcurrentCheckpointsAreOne(t *testing.T) {
	n := newNode(t, "a")
	inCommit, goOn := make(chan struct{}), make(chan struct{})
	commits := 0
	n.engine.onCommit = func(*twinCheckpoint) error {
		commits++
		close(inCommit)
		<-goOn
		return nil
	}
	n.open().ready()
	defer n.close()
	if err := n.propose("x").wait(t); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.group.Checkpoint(); err != nil {
			t.Error(err)
		}
	})
	<-inCommit
	joined := make([]*sharedCheckpoint, 3)
	for i := range joined {
		c, ours := n.group.joinCheckpoint()
		if ours {
			close(goOn)
			t.Fatal("a call that finds a checkpoint under way begins another")
		}
		joined[i] = c
	}
	// Apply goes on while the checkpoint is written, and is not part of it.
	if err := n.propose("y").wait(t); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	wg.Wait()
	for _, c := range joined {
		if <-c.done; c.err != nil {
			t.Error(c.err)
		}
	}
	if commits != 1 || !slices.Equal(n.disk.state, []string{"x"}) {
		t.Fatalf("%d commits, the checkpoint holds %q", commits, n.disk.state)
	}
}

// The library hands a snapshot that another node streams to the same store, perhaps between the steps of a checkpoint.
func TestStreamedSnapshotIsRefused(t *testing.T) {
	e := openTwin(&twinDisk{})
	f := newFSM(&Options{Engine: e, Sync: func() error { return nil }}, newInFlight(1), &gate{}, 0)
	f.applied = 10
	begun, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	store := &snapshotStore{engine: e, pins: &logPins{}}
	foreign, err := store.Create(1, 5000, 9, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := foreign.Write([]byte("state")); err == nil {
		t.Fatal("a stream was taken")
	}
	ours, err := store.Create(1, 10, 2, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := begun.Persist(ours); err != nil || e.disk.index != 10 || e.disk.term != 2 {
		t.Fatalf("%v: the checkpoint stands at %d of term %d", err, e.disk.index, e.disk.term)
	}
	meta, opened, err := store.Open("2-10")
	if err != nil || meta.Index != 10 || meta.Term != 2 {
		t.Fatal(meta, err)
	}
	if _, err := opened.Read(make([]byte, 1)); err == nil {
		t.Fatal("a checkpoint was read as a stream")
	}
	if at, ok := store.pins.lowest(); !ok || at != 10 {
		t.Fatal("the log behind an open checkpoint is not kept: ", at, ok)
	}
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	if at, ok := store.pins.lowest(); ok {
		t.Fatal("the log is kept from ", at)
	}
}

func TestCheckpointIndexMustCoverWhatWasApplied(t *testing.T) {
	e := openTwin(&twinDisk{})
	f := newFSM(&Options{Engine: e, Sync: func() error { return nil }}, newInFlight(1), &gate{}, 0)
	f.applied = 10
	begun, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := begun.Persist(&checkpointSink{index: 9, term: 1}); err == nil || e.disk.ok {
		t.Fatal("entry 10 would be applied again after a restart at 9")
	}
	begun.Release()
	if e.given != 1 {
		t.Fatal("the epoch was not given back")
	}
}

func TestDeleteRangeKeepsTheEntryAtTheCheckpoint(t *testing.T) {
	for _, c := range []struct {
		durable, from, to uint64 // durable 0: none
		first, last       uint64 // what is left of 1 … 10; 0 means an error
	}{
		{5, 1, 5, 5, 10},
		{5, 1, 4, 5, 10},
		{5, 1, 3, 4, 10},
		{10, 1, 10, 10, 10},
		{5, 6, 10, 1, 5},
		{5, 8, 10, 1, 7},
		{5, 5, 10, 0, 0},
		{5, 1, 10, 0, 0},
		{0, 2, 10, 1, 1},
	} {
		log := newMemoryLog()
		for i := uint64(1); i <= 10; i++ {
			if err := log.StoreLog(&raft.Log{Index: i}); err != nil {
				t.Fatal(err)
			}
		}
		s := &logStore{Log: log, engine: openTwin(&twinDisk{ok: c.durable > 0, index: c.durable})}
		err := s.DeleteRange(c.from, c.to)
		first, _ := log.FirstIndex()
		last, _ := log.LastIndex()
		if c.first == 0 {
			if err == nil || first != 1 || last != 10 {
				t.Errorf("A %d, delete %d-%d: %v, left %d-%d", c.durable, c.from, c.to, err, first, last)
			}
		} else if err != nil || first != c.first || last != c.last {
			t.Errorf("A %d, delete %d-%d: %v, left %d-%d", c.durable, c.from, c.to, err, first, last)
		}
	}
}

func TestStoreLogsStartsTheFillsFirst(t *testing.T) {
	e := openTwin(&twinDisk{})
	log := newMemoryLog()
	log.events = e.events
	e.onPrefetch = func(entry []byte) { e.events.add("prefetch " + string(entry)) }
	s := &logStore{Log: log, engine: e, disk: &disk{now: func() time.Duration { return 0 }},
		sync: func() error { e.events.add("sync"); return nil }}
	logs := []*raft.Log{
		{Index: 1, Data: []byte("a")},
		{Index: 2, Type: raft.LogNoop},
		{Index: 3, Type: raft.LogConfiguration, Data: []byte("c")},
		{Index: 4, Data: []byte("b")},
	}
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
	if got := e.events.take(); !slices.Equal(got, []string{"prefetch a", "prefetch b", "store", "sync"}) {
		t.Fatalf("%q", got)
	}
	if !s.IsMonotonic() {
		t.Fatal("the log has gaps")
	}
	e.onPrefetch = nil
	log.onStore = func([]*raft.Log) error { return errors.New("no") }
	if n := testing.AllocsPerRun(100, func() { _ = s.StoreLogs(logs) }); n > 1 { // the error is one
		t.Fatalf("%v allocations", n)
	}
}
