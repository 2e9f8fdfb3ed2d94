package server

import (
	"time"

	"github.com/larder-db/larder/engine"
)

// When a shard's leadership goes from node to node there are some milliseconds, and after a leader's death some hundred, in which
// nobody knows who leads. In a cluster, commands on the shard's slots wait for that as they do for slots (slotwait.go), before
// they are run and when they come back since this node does not lead any more: by then it does, or it knows where to send
// their clients. Nobody waits for a shard that has had no leader for too long: whoever asks is told at once. Where one shard
// serves all, commands are handed on to the leader, and wait there (forward.go).

// leaderPatience is how long a shard may be without a leader before clients are told.
const leaderPatience = 2 * time.Second

// unled is how a loop has met a shard without a leader.
type unled struct {
	since time.Time
	last  time.Time
}

// awaitsLeader says whether the leader of a shard that has none now is waited for. The loop knows only of the moments at which it
// met the shard so: what was long ago is forgotten.
func (l *loop) awaitsLeader(shard uint32, now time.Time) bool {
	u := l.unled[shard]
	if now.Sub(u.last) > leaderPatience {
		u.since = now
	}
	u.last = now
	l.unled[shard] = u
	return now.Sub(u.since) < leaderPatience
}

// led notes that the shard has a leader.
func (l *loop) led(shard uint32) {
	if len(l.unled) > 0 {
		delete(l.unled, shard)
	}
}

// awaitsLeader says whether what is to be run on a slot waits, since no node was found to lead its shard: there may be one by now,
// and then it does not wait for long. why is what its client would be told.
func (s *session) awaitsLeader(slot int, why string) bool {
	if slot == noSlot || why != noLeader {
		return false
	}
	r := s.server.node.routing.Load()
	return s.loop.awaitsLeader(r.owners[r.slots[slot]].shard, time.Now())
}

// awaitLeader has the session wait with its next command, for execute to return false; or there is nothing to wait for.
func (s *session) awaitLeader(slot int, why string) bool {
	if !s.awaitsLeader(slot, why) {
		return false
	}
	s.loop.endRead()
	s.slotWait = &slotWait{slot: uint16(slot)}
	s.loop.lookAfter(s)
	return true
}

// lacksLeader says whether the leader of a slot's shard has to be waited for still.
func (s *session) lacksLeader(slot uint16, now time.Time) bool {
	r := s.server.node.routing.Load()
	shard := r.owners[r.slots[slot]].shard
	_, why := s.here(r, int(slot), false)
	switch why {
	case noLeader:
		return s.loop.awaitsLeader(shard, now)
	case "": // it is there when it has done something
	default:
		s.loop.led(shard)
	}
	return false
}

// turnedBack takes a call of the batch that certainly is not, and will not be, applied, since this node does not lead the shard
// any more. Where the next leader is waited for, it is run once more then; else false. why is what its client would be told.
func (b *batch) turnedBack(i int, why string) bool {
	n := &b.notes[i]
	if n.session.origin != nil || !n.session.awaitsLeader(n.slot, why) {
		return false
	}
	b.refused(i, engine.Refusal{Slot: uint16(n.slot)})
	return true
}
