package raftfsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// memory knows whether this replica may lack entries that it has told a leader it has. With its vote a candidate could win
// that lacks them too, and what was acknowledged would be gone. It may be so
//
//	after a loss of power while the log was not synced before entries were acknowledged (Options.Forgot)
//	if the log ends before the store's checkpoint, up to which it was synced
//	if log and store are empty and the group is not new: a new replica has no vote yet
//	if a leader says that more was acknowledged to it than there is
//
// Such a replica follows, but gives its vote and stands only where all voters agree (ballot.go), and is not told to stand. It
// is over once everything is committed here that was in a leader's log when that leader said so: nothing that this replica
// had promised can be behind it. Heartbeats carry the figure. It is taken from the second one that the leader sent: that was
// begun after the first one was answered, and so after this replica's start. The stable store remembers the state, since a
// restart need not show any more what gave rise to it.
type memory struct {
	fence     *termFence
	committed func() uint64
	last      func() (index uint64, ok bool) // of this replica's log; false while it is not known
	note      func(doubt bool) error         // on stable storage
	tell      func(what string, args ...any)

	doubt atomic.Bool
	quiet atomic.Bool // nobody was told
	mu    struct {
		sync.Mutex
		leader string // whose heartbeats were heard
		term   uint64
		heard  int    // in its term
		target uint64 // committed up to here, this replica has all that it promised; 0: not known yet
	}
}

var keyForgot = []byte("MayHaveForgotten")

// progress is what a leader's heartbeat tells beside the library's own: the end of its log, and up to where this follower
// has acknowledged it in this term.
type progress struct{ last, acknowledged uint64 }

// progressMark tells an address behind it from one without.
var progressMark = []byte{0, 'p'}

// before is the figures, with the sender's address behind them.
func (p progress) before(address []byte) []byte {
	b := binary.BigEndian.AppendUint64(bytes.Clone(progressMark), p.last)
	b = binary.BigEndian.AppendUint64(b, p.acknowledged)
	return append(b, address...)
}

func decodeProgress(b []byte) (p progress, address []byte, ok bool) {
	b, ok = bytes.CutPrefix(b, progressMark)
	if !ok || len(b) < 16 {
		return p, nil, false
	}
	return progress{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, b[16:], true
}

// isHeartbeat tells the library's heartbeats from its other messages.
func isHeartbeat(q *raft.AppendEntriesRequest) bool {
	return len(q.Entries) == 0 && q.PrevLogEntry == 0 && q.LeaderCommitIndex == 0
}

// hear takes a leader's figures out of a message.
func (r *memory) hear(m *raft.AppendEntriesRequest) {
	p, address, ok := decodeProgress(m.Addr)
	if !ok {
		r.lookAgain()
		return
	}
	m.Addr = address
	if m.Term < r.fence.term.Load() {
		return
	}
	if own, ok := r.last(); ok && own < p.acknowledged && !r.doubt.Load() {
		r.begin(fmt.Sprintf("it has acknowledged entries up to %d to its leader, and its log ends at %d: the end of the log was lost or removed", p.acknowledged, own))
	}
	if !r.doubt.Load() {
		return
	}
	r.mu.Lock()
	if r.mu.term != m.Term || r.mu.leader != string(m.ID) {
		r.mu.term, r.mu.leader, r.mu.heard = m.Term, string(m.ID), 0
	}
	if r.mu.heard++; r.mu.heard == 2 {
		r.mu.target = max(p.last, p.acknowledged)
	}
	r.mu.Unlock()
	r.lookAgain()
}

// begin has the replica doubt itself.
func (r *memory) begin(why string) {
	r.mu.Lock()
	r.mu.heard, r.mu.target = 0, 0
	r.mu.Unlock()
	r.doubt.Store(true)
	if r.quiet.Store(why == nothingYet); why != nothingYet {
		r.tell("this replica may have forgotten entries that it had promised to keep: it neither votes nor stands until it has caught up", "because", why)
	}
	_ = r.note(true) // a stable store that fails has ended the process
}

// lookAgain ends the doubt if it can.
func (r *memory) lookAgain() {
	if !r.doubt.Load() {
		return
	}
	r.mu.Lock()
	target := r.mu.target
	r.mu.Unlock()
	if target != 0 && r.committed() >= target {
		r.end("it has caught up with a leader")
	}
}

// end ends the doubt.
func (r *memory) end(why string) {
	if !r.doubt.CompareAndSwap(true, false) {
		return
	}
	_ = r.note(false)
	if !r.quiet.Load() {
		r.tell("this replica votes and stands again", "because", why)
	}
}

// MayHaveForgotten says that this replica may lack entries which it has promised to have, and has no vote until it has
// caught up with a leader.
func (g *Group) MayHaveForgotten() bool { return g.memory.doubt.Load() }

func newMemory(g *Group, fence *termFence) *memory {
	return &memory{
		fence: fence,
		committed: func() uint64 {
			if i := g.running.Load(); i != nil {
				return i.raft.CommitIndex()
			}
			return 0
		},
		last: func() (uint64, bool) {
			if i := g.running.Load(); i != nil {
				return i.raft.LastIndex(), true
			}
			return 0, false
		},
		note: func(doubt bool) error {
			v := uint64(0)
			if doubt {
				v = 1
			}
			return g.stable.SetUint64(keyForgot, v)
		},
		tell: func(what string, args ...any) {
			g.opts.Logger.Warn(what, append([]any{"shard", g.opts.Group}, args...)...)
		},
	}
}

// nothingYet is why a replica that is empty doubts itself: no reason to alarm anybody.
const nothingYet = "it has neither a log nor a checkpoint"

// recall says when the group is opened whether this replica may have forgotten something. lost is what reconcile found.
func (g *Group) recall(lost string) error {
	if g.running.Load() != nil { // behind an install the log ends before the checkpoint as it should
		return nil
	}
	before, err := stableUint64(g.stable, keyForgot)
	if err != nil {
		return err
	}
	switch {
	case lost != "":
	case g.opts.Forgot:
		lost = "the machine was started anew after a stop that was not in order, and entries were acknowledged before they were synced"
	case before != 0:
		lost = "it was so before its last stop"
	default:
		return nil
	}
	g.memory.begin(lost)
	return nil
}

// settleMemory ends the doubt of a replica that leads: it was elected by all, or is the only voter.
func (g *Group) settleMemory() {
	if !g.memory.doubt.Load() {
		return
	}
	if g.CanRead() {
		g.memory.end("it leads")
		return
	}
	g.memory.lookAgain()
}
