package raftfsm

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestDoubtfulVotesCountOnlyTogether(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	type vote struct{ granted, doubtful bool }
	yes, no, perhaps := vote{true, false}, vote{false, false}, vote{true, true}
	for name, c := range map[string]struct {
		votes []vote
		count int // of votes that Raft counts
		loud  bool
	}{
		"an ordinary majority":                  {[]vote{yes, yes, no, no}, 2, false},
		"all, and some may have forgotten":      {[]vote{perhaps, yes, perhaps, yes}, 4, true},
		"one refuses":                           {[]vote{perhaps, perhaps, perhaps, no}, 0, false},
		"one refuses, some know what they have": {[]vote{yes, perhaps, yes, no}, 2, false},
	} {
		won := 0
		b := &ballots{others: func() int { return len(c.votes) }, wait: time.Hour, stop: stop, won: func() { won++ }}
		counted := make(chan bool)
		for i, v := range c.votes {
			r := b.join(&b.mu.votes, 5, [...]raft.ServerID{"a", "b", "c", "d"}[i])
			go func() { counted <- b.settle(r, v.granted, v.doubtful) }()
		}
		count := 0
		for range c.votes {
			if <-counted {
				count++
			}
		}
		if count != c.count || (won == 1) != c.loud {
			t.Errorf("%s: %d votes, told %d times", name, count, won)
		}
	}
}

func TestANewRoundEndsTheOneBefore(t *testing.T) {
	stop := make(chan struct{})
	b := &ballots{others: func() int { return 2 }, wait: time.Hour, stop: stop, won: func() {}}
	first := b.join(&b.mu.votes, 5, "a")
	counted := make(chan bool, 1)
	go func() { counted <- b.settle(first, true, true) }()
	second := b.join(&b.mu.votes, 5, "a") // it is asked again
	if <-counted || second == first {
		t.Fatal("a vote of an earlier round counts")
	}
	if b.join(&b.mu.votes, 5, "b") != second || b.join(&b.mu.votes, 6, "b") == second {
		t.Fatal("rounds are mixed up")
	}
	third := b.mu.votes
	go func() { counted <- b.settle(third, true, true) }()
	close(stop)
	if <-counted {
		t.Fatal("a vote counts that waits for another")
	}
}
