package raftfsm

import (
	"bytes"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A voter that may have forgotten something (memory.go) still says how it would vote, and says that it may have. Such a vote
// counts only if every voter gives one, and so do all votes for a candidate that may itself have forgotten something: then
// there is no voter whose log is longer than the candidate's, and what any of them still has is not lost. So after a loss of
// power that hit a whole group, the longest log wins, once all voters are there. An ordinary majority does not wait for
// the others.

// doubtMark in the header of an answer says that the voter may have forgotten something.
var doubtMark = []byte{0, 'd'}

func isDoubtful(h raft.RPCHeader) bool { return bytes.Equal(h.Addr, doubtMark) }

// markDoubtful marks the answer to a vote's request.
func markDoubtful(answer any) any {
	switch a := answer.(type) {
	case *raft.RequestVoteResponse:
		m := *a
		m.Addr = doubtMark
		return &m
	case *raft.RequestPreVoteResponse:
		m := *a
		m.Addr = doubtMark
		return &m
	}
	return answer
}

// ballots are a candidate's present round of pre-votes and its present round of votes.
type ballots struct {
	others func() int // voters beside this replica
	// wait bounds how long a vote that is given waits for the others.
	wait time.Duration
	stop <-chan struct{}
	// won is told when votes count because everybody has given one.
	won func()

	mu struct {
		sync.Mutex
		votes, preVotes *ballot
	}
}

// ballot is one round.
type ballot struct {
	term    uint64
	asked   map[raft.ServerID]bool
	missing int           // votes that have not been given
	decided chan struct{} // closed when they all have, or one was refused
	all     bool          // they all have
	told    bool
}

// join has a voter be asked in the present round, or in a new one.
func (b *ballots) join(round **ballot, term uint64, id raft.ServerID) *ballot {
	others := b.others()
	b.mu.Lock()
	defer b.mu.Unlock()
	r := *round
	if r == nil || r.term != term || r.asked[id] {
		if r != nil {
			r.decideLocked(false)
		}
		r = &ballot{term: term, asked: make(map[raft.ServerID]bool), missing: others, decided: make(chan struct{})}
		*round = r
	}
	r.asked[id] = true
	return r
}

func (r *ballot) decideLocked(all bool) {
	select {
	case <-r.decided:
	default:
		r.all = all
		close(r.decided)
	}
}

// settle says whether a vote counts. One that does only if all are given waits for them.
func (b *ballots) settle(r *ballot, granted, doubtful bool) bool {
	b.mu.Lock()
	if !granted {
		r.decideLocked(false)
	} else if r.missing--; r.missing == 0 {
		r.decideLocked(true)
	}
	b.mu.Unlock()
	if !granted || !doubtful {
		return granted
	}
	late := time.NewTimer(b.wait)
	defer late.Stop()
	select {
	case <-r.decided:
	case <-late.C:
		return false
	case <-b.stop:
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.all && r == b.mu.votes && !r.told {
		r.told = true
		b.won()
	}
	return r.all
}
