package server

import (
	"time"

	"github.com/larder-db/larder/server/resp"
	"github.com/larder-db/larder/server/transport"
)

// loop is what the server keeps for each event loop. All of it belongs to the loop's goroutine.
type loop struct {
	server *Server
	loop   *transport.Loop
	id     int

	shards     []*loopShard // by shard.place; nil: none yet
	doubts     bool         // a shard here has more voters than one: what arrives has to be proven
	reading    *loopShard   // whose shared lock is held, for a run of reads of one session; nil: none
	free       []*batch
	positions  []int            // room for the places of a command's keys
	run        []taken          // room for the commands that a session takes together
	paused     []*session       // sessions that wait for the end of a pause
	slotWaits  []*session       // sessions that wait for slots on the move, or for leaders
	looksLater bool             // they are about to be looked after
	unled      map[uint32]unled // by shard
	out        resp.Writer      // replies of reads and of the server's own commands

	stats    []commandStat // by entry.id
	lapped   time.Duration // when the clock was read last for a read's duration
	figures  loopFigures
	sessions map[uint64]*session
	nobody   *session // whose replies nobody waits for

	listening   map[*session]struct{} // who is subscribed
	away        map[*session]struct{} // whose commands the leader runs
	awaiting    []*waiting            // who waits for replicas
	acksWatched bool                  // they are about to be looked at
}

// of is what the loop keeps for a shard that is open.
func (l *loop) of(sh *shard) *loopShard {
	if ls := l.kept(sh); ls != nil {
		return ls
	}
	return l.keep(sh)
}

// kept is what the loop keeps for a shard already, or nil.
func (l *loop) kept(sh *shard) *loopShard {
	if sh.place < len(l.shards) {
		if ls := l.shards[sh.place]; ls != nil && ls.shard == sh {
			return ls
		}
	}
	return nil
}

// keep begins to keep something for a shard.
func (l *loop) keep(sh *shard) *loopShard {
	for len(l.shards) <= sh.place {
		l.shards = append(l.shards, nil)
	}
	ls := &loopShard{loop: l, shard: sh, reader: sh.engine.NewReader()}
	l.shards[sh.place] = ls
	return ls
}

// drop forgets a shard that is about to close. What has not gone to the group is turned away; what has, the group answers.
func (l *loop) drop(sh *shard) {
	if ls := l.kept(sh); ls != nil {
		l.shards[sh.place] = nil
		ls.dropped()
	}
}

// turnEnd is called when every ready connection was read.
func (l *loop) turnEnd() {
	for _, ls := range l.shards {
		if ls != nil {
			ls.askProof()
			ls.sealLane()
			ls.seal()
		}
	}
}

// sealAll proposes what was held back.
func (l *loop) sealAll() {
	for _, ls := range l.shards {
		if ls != nil {
			ls.seal()
		}
	}
}

func (l *loop) beginRead(ls *loopShard) {
	if l.reading == ls {
		return
	}
	l.endRead()
	l.reading = ls
	ls.reader.Begin(ls.shard.group.Now(), l.server.node.random())
	l.lapped = reading()
}

func (l *loop) endRead() {
	if l.reading != nil {
		l.reading.reader.End()
		l.reading = nil
	}
}

// spareBatch is an empty batch for a shard.
func (l *loop) spareBatch(ls *loopShard) (b *batch) {
	if n := len(l.free); n > 0 {
		b, l.free = l.free[n-1], l.free[:n-1]
	} else {
		b = newBatch(l)
	}
	b.of = ls
	return b
}
