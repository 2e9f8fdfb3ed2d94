// Package storetest checks that a raft.LogStore behaves as Raft and this project rely on. The log, Raft's own
// in-memory store and raft-boltdb all pass.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// Entry returns the entry that the suite stores at index: its contents follow from index and term.
func Entry(index, term uint64) *raft.Log {
	log := &raft.Log{
		Index:      index,
		Term:       term,
		Type:       raft.LogCommand,
		Data:       fmt.Appendf(nil, "entry %d of term %d", index, term),
		AppendedAt: time.Unix(1_700_000_000, int64(index)),
	}
	switch index % 5 {
	case 1:
		log.Extensions = fmt.Appendf(nil, "extension %d", index)
	case 2:
		log.Type, log.Data = raft.LogNoop, nil
	case 3:
		log.Data = bytes.Repeat(log.Data, 500)
	case 4:
		log.Type = raft.LogConfiguration
	}
	return log
}

// Entries returns the entries from first to last.
func Entries(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for index := first; index <= last; index++ {
		logs = append(logs, Entry(index, term))
	}
	return logs
}

// Same returns an error if the two entries differ in anything that a log has to keep.
func Same(got, want *raft.Log) error {
	switch {
	case got.Index != want.Index || got.Term != want.Term || got.Type != want.Type:
		return fmt.Errorf("got index %d term %d type %s, want index %d term %d type %s",
			got.Index, got.Term, got.Type, want.Index, want.Term, want.Type)
	case !bytes.Equal(got.Data, want.Data):
		return fmt.Errorf("entry %d: got %d bytes of data, want %d", got.Index, len(got.Data), len(want.Data))
	case !bytes.Equal(got.Extensions, want.Extensions):
		return fmt.Errorf("entry %d: extensions %q, want %q", got.Index, got.Extensions, want.Extensions)
	case !got.AppendedAt.Equal(want.AppendedAt):
		return fmt.Errorf("entry %d: appended at %s, want %s", got.Index, got.AppendedAt, want.AppendedAt)
	}
	return nil
}

// Run runs the suite. open returns a new, empty store each time.
func Run(t *testing.T, open func(t *testing.T) raft.LogStore) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s raft.LogStore)
	}{
		{"Empty", testEmpty},
		{"StoreAndGet", testStoreAndGet},
		{"CallerKeepsItsBytes", testCallerKeepsItsBytes},
		{"DeletePrefix", testDeletePrefix},
		{"DeleteSuffix", testDeleteSuffix},
		{"DeleteAll", testDeleteAll},
		{"StartsAnywhere", testStartsAnywhere},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// Want checks that the store has exactly the entries first to last of the term; 0, 0 stands for none.
func Want(t *testing.T, s raft.LogStore, first, last, term uint64) {
	t.Helper()
	gotFirst, err := s.FirstIndex()
	must(t, err)
	gotLast, err := s.LastIndex()
	must(t, err)
	if gotFirst != first || gotLast != last {
		t.Fatalf("the store has entries %d to %d, want %d to %d", gotFirst, gotLast, first, last)
	}
	for index := first; first > 0 && index <= last; index++ {
		WantEntry(t, s, index, term)
	}
	wantNone(t, s, last+1)
	if first > 1 {
		wantNone(t, s, first-1)
	}
}

// WantEntry checks one entry.
func WantEntry(t *testing.T, s raft.LogStore, index, term uint64) {
	t.Helper()
	var log raft.Log
	must(t, s.GetLog(index, &log))
	if err := Same(&log, Entry(index, term)); err != nil {
		t.Fatal(err)
	}
}

func wantNone(t *testing.T, s raft.LogStore, index uint64) {
	t.Helper()
	if err := s.GetLog(index, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
		t.Fatalf("entry %d: got %v, want ErrLogNotFound", index, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testEmpty(t *testing.T, s raft.LogStore) {
	Want(t, s, 0, 0, 0)
	must(t, s.StoreLogs(nil))
	must(t, s.DeleteRange(1, 10))
	Want(t, s, 0, 0, 0)
}

func testStoreAndGet(t *testing.T, s raft.LogStore) {
	must(t, s.StoreLog(Entry(1, 1)))
	must(t, s.StoreLogs(Entries(2, 40, 1)))
	must(t, s.StoreLogs(Entries(41, 41, 1)))
	Want(t, s, 1, 41, 1)
	for index := uint64(42); index <= 1500; index += 2 {
		must(t, s.StoreLogs(Entries(index, index+1, 1)))
	}
	Want(t, s, 1, 1501, 1)
}

func testCallerKeepsItsBytes(t *testing.T, s raft.LogStore) {
	must(t, s.StoreLogs(Entries(1, 5, 3)))
	var log raft.Log
	must(t, s.GetLog(3, &log))
	kept := log
	for index := uint64(1); index <= 5; index++ {
		var other raft.Log
		must(t, s.GetLog(index, &other))
	}
	must(t, s.StoreLogs(Entries(6, 20, 3)))
	if err := Same(&kept, Entry(3, 3)); err != nil {
		t.Fatalf("an entry that was read earlier has changed: %v", err)
	}
}

func testDeletePrefix(t *testing.T, s raft.LogStore) {
	must(t, s.StoreLogs(Entries(1, 100, 1)))
	must(t, s.DeleteRange(1, 60))
	Want(t, s, 61, 100, 1)
	must(t, s.DeleteRange(61, 99))
	Want(t, s, 100, 100, 1)
	must(t, s.StoreLogs(Entries(101, 120, 1)))
	Want(t, s, 100, 120, 1)
}

func testDeleteSuffix(t *testing.T, s raft.LogStore) {
	must(t, s.StoreLogs(Entries(1, 100, 1)))
	must(t, s.DeleteRange(51, 100))
	Want(t, s, 1, 50, 1)
	must(t, s.StoreLogs(Entries(51, 70, 2)))
	WantEntry(t, s, 50, 1)
	WantEntry(t, s, 51, 2)
	WantEntry(t, s, 70, 2)
	wantNone(t, s, 71)
}

func testDeleteAll(t *testing.T, s raft.LogStore) {
	must(t, s.StoreLogs(Entries(1, 30, 1)))
	must(t, s.DeleteRange(1, 30))
	Want(t, s, 0, 0, 0)
	must(t, s.StoreLogs(Entries(31, 35, 2)))
	Want(t, s, 31, 35, 2)
}

func testStartsAnywhere(t *testing.T, s raft.LogStore) {
	must(t, s.StoreLogs(Entries(1<<40, 1<<40+10, 7)))
	Want(t, s, 1<<40, 1<<40+10, 7)
}
