package raftfsm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// stableUnderTest is a stable store that can be closed and opened again.
type stableUnderTest struct {
	group func(id uint32) raft.StableStore
	again func()
}

func eachStable(t *testing.T, test func(t *testing.T, s *stableUnderTest)) {
	t.Run("memory", func(t *testing.T) {
		m := NewMemoryStable()
		test(t, &stableUnderTest{group: m.Group, again: func() {}})
	})
	t.Run("file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "stable")
		open := func() *StableFile {
			f, err := OpenStable(path)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		f := open()
		s := &stableUnderTest{group: f.Group}
		s.again = func() {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f = open()
			s.group = f.Group
		}
		defer func() { _ = f.Close() }()
		test(t, s)
	})
}

func TestStableStoreConforms(t *testing.T) {
	eachStable(t, func(t *testing.T, s *stableUnderTest) {
		one, two := s.group(1), s.group(2)
		for _, key := range [][]byte{keyCurrentTerm, keyVoteTerm} {
			if _, err := one.GetUint64(key); err == nil || err.Error() != "not found" {
				t.Fatalf("%s: %v", key, err)
			}
		}
		for _, key := range [][]byte{keyCandidate, []byte("other")} {
			if _, err := one.Get(key); err == nil || err.Error() != "not found" {
				t.Fatalf("%s: %v", key, err)
			}
		}
		must(t, one.SetUint64(keyCurrentTerm, 3))
		must(t, one.SetUint64(keyCurrentTerm, 4))
		must(t, two.SetUint64(keyCurrentTerm, 8))
		must(t, one.SetUint64(keyVoteTerm, 4))
		must(t, one.Set(keyCandidate, []byte("x")))
		must(t, one.Set([]byte("other"), []byte("value")))
		must(t, one.Set([]byte("empty"), nil))
		for range 2 {
			if v, err := one.GetUint64(keyCurrentTerm); v != 4 || err != nil {
				t.Fatal(v, err)
			}
			if v, err := two.GetUint64(keyCurrentTerm); v != 8 || err != nil {
				t.Fatal(v, err)
			}
			if v, err := one.GetUint64(keyVoteTerm); v != 4 || err != nil {
				t.Fatal(v, err)
			}
			if v, err := one.Get(keyCandidate); string(v) != "x" || err != nil {
				t.Fatal(v, err)
			}
			if v, err := one.Get([]byte("other")); string(v) != "value" || err != nil {
				t.Fatal(v, err)
			}
			if v, err := one.Get([]byte("empty")); len(v) != 0 || err != nil {
				t.Fatal(v, err)
			}
			if _, err := two.Get(keyCandidate); err == nil {
				t.Fatal("one group's vote is another's")
			}
			s.again()
			one, two = s.group(1), s.group(2)
		}
	})
}

// A crash after the term of a vote and before its candidate must leave the earlier vote whole: else the candidate of
// term 4 would be granted the vote of term 5.
func TestVoteIsOneWrite(t *testing.T) {
	eachStable(t, func(t *testing.T, s *stableUnderTest) {
		g := s.group(1)
		must(t, g.SetUint64(keyVoteTerm, 4))
		must(t, g.Set(keyCandidate, []byte("early")))
		must(t, g.SetUint64(keyVoteTerm, 5))
		for range 2 {
			term, err := g.GetUint64(keyVoteTerm)
			candidate, err2 := g.Get(keyCandidate)
			if term != 4 || string(candidate) != "early" || err != nil || err2 != nil {
				t.Fatalf("vote of term %d for %s: %v, %v", term, candidate, err, err2)
			}
			s.again()
			g = s.group(1)
		}
		if err := g.Set(keyCandidate, []byte("late")); err == nil {
			t.Fatal("a candidate without a term was taken")
		}
	})
}

func TestStableFileRefusesASecondProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stable")
	f, err := OpenStable(path)
	must(t, err)
	defer func() { must(t, f.Close()) }()
	if _, err := OpenStable(path); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Fatal(err)
	}
}

// Whatever byte of the file is wrong, and wherever it is cut: the values are as written, or there is an error, never
// another value and never a panic.
func TestStableFileReportsDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stable")
	f, err := OpenStable(path)
	must(t, err)
	for i := range uint32(3) {
		g := f.Group(i)
		must(t, g.SetUint64(keyCurrentTerm, 0x1122334455667700+uint64(i)))
		must(t, g.SetUint64(keyVoteTerm, 9))
		must(t, g.Set(keyCandidate, []byte("candidate")))
	}
	must(t, f.Close())
	good, err := os.ReadFile(path)
	must(t, err)

	check := func(what string, at int, contents []byte) (intact bool) {
		// bbolt keeps the lock of a file at which it panicked: each file is a new one.
		bad := filepath.Join(dir, fmt.Sprintf("%s-%d", what, at))
		must(t, os.WriteFile(bad, contents, 0o600))
		f, err := OpenStable(bad)
		if err != nil {
			return false
		}
		defer func() {
			_ = guard(f.Close)
			must(t, os.Remove(bad))
		}()
		g := f.Group(1)
		term, err := g.GetUint64(keyCurrentTerm)
		candidate, err2 := g.Get(keyCandidate)
		if err == nil && term != 0x1122334455667701 || err2 == nil && string(candidate) != "candidate" {
			t.Fatalf("%s at %d: term %x, candidate %q", what, at, term, candidate)
		}
		return err == nil && err2 == nil
	}
	if !check("nothing", 0, good) {
		t.Fatal("the undamaged file cannot be read")
	}
	step := len(good)/300 + 1
	for at := 0; at < len(good); at += step {
		flipped := bytes.Clone(good)
		flipped[at] ^= 0x40
		check("flipped", at, flipped)
		check("cut", at, good[:at])
	}
	at := bytes.Index(good, []byte("candidate"))
	for ; at >= 0; at = nextIndex(good, at, "candidate") {
		flipped := bytes.Clone(good)
		flipped[at] ^= 1
		check("flipped value", at, flipped)
	}
	g := newGroupStable(NewMemoryStable(), 1)
	must(t, g.records.put(g.key(keyCurrentTerm), []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}))
	if _, err := g.GetUint64(keyCurrentTerm); !errors.Is(err, ErrStable) {
		t.Fatal(err)
	}
}

func nextIndex(b []byte, after int, s string) int {
	i := bytes.Index(b[after+1:], []byte(s))
	if i < 0 {
		return -1
	}
	return after + 1 + i
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
