package raftfsm

import (
	"slices"
	"sync"
)

// gate lets batches go to Raft in rounds: while the entries of one round are being stored and have not reached the FSM,
// those that come wait, and they go together as soon as it has. Otherwise Raft's main goroutine, which picks at random
// between a commit that is ready and a batch that has come, stores (and syncs) the new batch first half of the time, and
// what is committed already waits out a sync that it does not need.
//
// Batches are handed on in the order in which they passed, under the lock.
type gate struct {
	hand func(sealed) // it must not wait, nor call the gate

	mu struct {
		sync.Mutex
		out     int // entries of the round under way that have not reached the FSM
		waiting []sealed
		stuck   bool // nothing has moved since the reaper looked last
	}
}

// sealed is a batch that is ready for Raft.
type sealed struct {
	number uint64
	entry  []byte
}

// pass hands a batch on, or keeps it for the next round.
func (g *gate) pass(s sealed) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.out > 0 {
		g.mu.waiting = append(g.mu.waiting, s)
		return
	}
	g.mu.out++
	g.mu.stuck = false
	g.hand(s)
}

// recall takes a batch back that waits for the next round; false if it has gone already.
func (g *gate) recall(number uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := len(g.mu.waiting) - 1; i >= 0; i-- {
		if g.mu.waiting[i].number == number {
			g.mu.waiting = slices.Delete(g.mu.waiting, i, i+1)
			return true
		}
	}
	return false
}

// arrived notes that n entries have reached the FSM. With the last one of a round the next round goes.
func (g *gate) arrived(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.out -= n
	g.mu.stuck = false
	if g.mu.out <= 0 {
		g.nextLocked()
	}
}

// open lets everything go: Raft may never bring the round under way to the FSM.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nextLocked()
}

// openIfStuck is open if nothing has moved since it was called last.
func (g *gate) openIfStuck() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.mu.waiting) == 0 || !g.mu.stuck {
		g.mu.stuck = true
		return
	}
	g.nextLocked()
}

// nextLocked starts the next round.
func (g *gate) nextLocked() {
	round := g.mu.waiting
	g.mu.out = len(round)
	g.mu.stuck = false
	for _, s := range round {
		g.hand(s)
	}
	clear(round)
	g.mu.waiting = round[:0]
}
