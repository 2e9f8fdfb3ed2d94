package server

import (
	"errors"
	"math"
	"time"

	"github.com/larder-db/larder/raftfsm"
)

// A read is answered from the state here only where this node certainly led the shard when the read arrived, or later:
// else another leader may have acknowledged something that the state here lacks. A replica that is a quorum by itself
// knows. With other voters around, the leader asks them, once for all reads that arrive in a turn of the loop:
//
//	park     A session whose next command is such a read takes no further command; what it sent stays in the parser.
//	ask      At the end of the turn the clock is read: all that was parked had arrived by then. The group proves that
//	         moment (raftfsm/proof.go) and shares its messages among all who ask.
//	go on    What had arrived by a proven moment is answered at once, until fresh bytes arrive.
//
// Reads that ride in a batch with writes are answered where the entry is applied. A batch of reads alone is proven as a
// whole (probe), and nothing overtakes it.

// fresh is when bytes arrived that came since the clock was read last.
const fresh = time.Duration(math.MaxInt64)

// readiness says whether a session's read may be answered now.
type readiness int

const (
	ready readiness = iota
	unproven
	notHere // this node does not lead the shard
)

// readiness looks whether reads that arrived at some time may be answered.
func (ls *loopShard) readiness(arrived time.Duration) readiness {
	g := ls.shard.group
	switch {
	case arrived <= ls.proven && g.CanRead(), g.ServesAlone():
		return ready
	case ls.shard.leads():
		ls.loop.doubts = true
		return unproven
	}
	return notHere
}

// park has the session wait until what it sent is known to have arrived while this node led the shard.
func (s *session) park(ls *loopShard) bool {
	s.loop.endRead()
	s.parked = true
	ls.parked = append(ls.parked, s)
	return false
}

// askProof asks for a proof for all sessions that have been parked.
func (ls *loopShard) askProof() {
	if len(ls.parked) == 0 {
		return
	}
	now, list := ls.shard.group.Uptime(), ls.parked
	ls.parked = nil
	for _, s := range list {
		s.arrived = min(s.arrived, now)
	}
	ls.shard.group.Prove(now, func(err error) {
		ls.loop.loop.Post(func() {
			if err == nil {
				ls.proven = max(ls.proven, now)
			}
			unpark(list)
		})
	})
}

// unpark has sessions go on. Where nothing was proven, they find out what has become of the shard.
func unpark(list []*session) {
	for _, s := range list {
		s.parked = false
		s.goOn()
	}
}

// probe has a batch of reads alone proven, and then answered. Nothing is sealed meanwhile.
func (ls *loopShard) probe(b *batch) {
	now := ls.shard.group.Uptime()
	ls.probing = b
	ls.shard.group.Prove(now, func(err error) {
		ls.loop.loop.Post(func() { ls.probed(b, now, err) })
	})
}

func (ls *loopShard) probed(b *batch, now time.Duration, err error) {
	ls.probing = nil
	switch {
	case ls.shard.ctx.Err() != nil: // the loop has dropped it, and its state may be gone
		err = raftfsm.ErrNotLeader
	case err == nil:
		ls.proven = max(ls.proven, now)
		if !ls.answerReads(b) {
			ls.propose(b)
		}
		return
	case errors.Is(err, raftfsm.ErrClosed):
		err = raftfsm.ErrNotLeader
	}
	b.err = err
	ls.flight++ // completed takes it back
	ls.completed(b)
}

// waitProven waits until reads of the shard that arrived before may be answered, and says why they cannot. It must not be
// called on a loop.
func (sh *shard) waitProven() string {
	if sh.group.ServesAlone() {
		return ""
	}
	done := make(chan error, 1)
	sh.group.Prove(sh.group.Uptime(), func(err error) { done <- err })
	if <-done != nil {
		return noLeader
	}
	return ""
}
