package raftfsm

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// brokenLog fails where it is told to.
type brokenLog struct {
	*memoryLog
	read, store error
}

func (l *brokenLog) GetLog(index uint64, e *raft.Log) error {
	if l.read != nil {
		return l.read
	}
	return l.memoryLog.GetLog(index, e)
}

func (l *brokenLog) StoreLogs(logs []*raft.Log) error {
	if l.store != nil {
		return l.store
	}
	return l.memoryLog.StoreLogs(logs)
}

// brokenStore is a log store with a log of 20 entries, whose engine has applied 15 and has a checkpoint at 10.
func brokenStore(t *testing.T) (s *logStore, l *brokenLog, fatal *error) {
	l, fatal = &brokenLog{memoryLog: newMemoryLog()}, new(error)
	entries(t, l.memoryLog, 1, 20, 1)
	e := openTwin(&twinDisk{ok: true, index: 10})
	e.applied = 15
	s = &logStore{Log: l, engine: e, disk: &disk{now: func() time.Duration { return 0 }}, logger: slog.New(slog.DiscardHandler),
		sync: func() error { return nil }, fatal: func(err error) { *fatal = err }}
	s.ahead.running.Store(true)
	return s, l, fatal
}

func TestUnreadableEntries(t *testing.T) {
	for _, c := range []struct {
		index uint64
		want  error
		ends  bool
	}{
		{9, raft.ErrLogNotFound, false}, // a follower is sent the checkpoint
		{10, errInjected, false},
		{15, errInjected, false},
		{16, errInjected, true}, // the library would panic
	} {
		s, l, fatal := brokenStore(t)
		l.read = errInjected
		if err := s.GetLog(c.index, &raft.Log{}); !errors.Is(err, c.want) || (*fatal != nil) != c.ends {
			t.Errorf("entry %d: %v, fatal %v", c.index, err, *fatal)
		}
		l.read = raft.ErrLogNotFound
		*fatal = nil
		if err := s.GetLog(c.index, &raft.Log{}); !errors.Is(err, raft.ErrLogNotFound) || *fatal != nil {
			t.Errorf("entry %d, which is not there: %v, fatal %v", c.index, err, *fatal)
		}
	}
}

// Behind a cut suffix Raft takes the log to be longer than it is, until something is stored.
func TestAFailureBehindACutSuffixEndsTheProcess(t *testing.T) {
	s, l, fatal := brokenStore(t)
	next := []*raft.Log{{Index: 18, Term: 2}}
	l.store = errInjected
	if err := s.StoreLogs(next); !errors.Is(err, errInjected) || *fatal != nil {
		t.Fatal("a full disk alone ends nothing: ", err, *fatal)
	}
	if err := s.DeleteRange(18, 20); err != nil {
		t.Fatal(err)
	}
	if err := s.StoreLogs(next); !errors.Is(err, errInjected) || !errors.Is(*fatal, errInjected) {
		t.Fatal(err, *fatal)
	}
	*fatal, l.store = nil, nil
	if err := s.StoreLogs(next); err != nil {
		t.Fatal(err)
	}
	l.store = errInjected
	if err := s.StoreLogs([]*raft.Log{{Index: 19, Term: 2}}); !errors.Is(err, errInjected) || *fatal != nil {
		t.Fatal(err, *fatal)
	}
}

func TestALeaderThatLacksWhatWasAppliedIsLoud(t *testing.T) {
	s, l, fatal := brokenStore(t)
	if err := s.DeleteRange(15, 20); err == nil || *fatal == nil {
		t.Fatal("what was applied is taken back")
	}
	if last, _ := l.LastIndex(); last != 20 {
		t.Fatal(last)
	}
	*fatal = nil
	if err := s.DeleteRange(16, 20); err != nil || *fatal != nil {
		t.Fatal(err, *fatal)
	}
}

// What is not written down must not be acted upon, and the library would panic.
func TestAStableStoreThatFailsEndsTheProcess(t *testing.T) {
	var fatal error
	left := 0
	s := loudStable{failing{NewMemoryStable().Group(7), &left}, func(err error) { fatal = err }}
	if err := s.SetUint64(keyCurrentTerm, 1); !errors.Is(err, errCrash) || !errors.Is(fatal, errCrash) {
		t.Fatal(err, fatal)
	}
}

// What was stored last is not read from the log again, is not the caller's memory, and goes when the log's end is cut.
func TestRecentEntriesAreKept(t *testing.T) {
	s, l, _ := brokenStore(t)
	l.read = errInjected
	var got raft.Log
	store := func(index, term uint64, data string) []byte {
		t.Helper()
		b := []byte(data)
		if err := s.StoreLogs([]*raft.Log{{Index: index, Term: term, Type: raft.LogBarrier, Data: b}}); err != nil {
			t.Fatal(err)
		}
		return b
	}
	store(21, 1, "nobody asks yet")
	if s.recent.get(21, &got) {
		t.Fatal("kept before somebody has asked")
	}
	b := store(22, 1, "first")
	copy(b, "other")
	if err := s.GetLog(22, &got); err != nil || got.Index != 22 || string(got.Data) != "first" {
		t.Fatalf("%v %+v", err, got)
	}
	store(23, 1, strings.Repeat("x", recentBytes+1))
	if s.recent.get(23, &got) {
		t.Fatal("a long entry is kept")
	}
	for i := range uint64(recentEntries) {
		store(24+i, 1, "more")
	}
	if s.recent.get(22, &got) || !s.recent.get(24, &got) || s.recent.get(24+recentEntries, &got) {
		t.Fatal("not the newest are kept")
	}
	if err := s.DeleteRange(30, 23+recentEntries); err != nil {
		t.Fatal(err)
	}
	if s.recent.get(29, &got) || s.recent.get(30, &got) {
		t.Fatal("kept beyond a cut")
	}
	store(30, 2, "anew")
	if err := s.GetLog(30, &got); err != nil || got.Term != 2 {
		t.Fatal(err, got)
	}
}
