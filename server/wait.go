package server

import (
	"slices"
	"time"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/server/config"
	"github.com/larder-db/larder/server/resp"
)

// WAIT and WAITAOF are about the shards that the connection has written to: how many followers have its writes is the least
// that is so of any of them. A connection that has written nothing hears of all shards that this node leads, as they are now.

var waitCommands = []serverCommand{
	{Command: command.Command{Name: "WAIT", Arity: 3, Flags: command.NoScript, Group: "generic", Since: "3.0.0", Extra: "connection",
		Summary: "Waits until so many followers have this connection's writes, and returns how many do.", Tips: []string{"request_policy:all_shards", "response_policy:agg_min"}},
		Run: wait, AtLeader: true},
	{Command: command.Command{Name: "WAITAOF", Arity: 4, Flags: command.NoScript, Group: "generic", Since: "7.2.0", Extra: "connection",
		Summary: "Waits until this node and so many followers have this connection's writes on disk, and returns how many do.", Tips: []string{"request_policy:all_shards", "response_policy:agg_min"}},
		Run: waitAOF, AtLeader: true},
}

// position is a place in a shard's log.
type position struct {
	shard uint32
	index uint64
}

// writings are the places of a session's last writes, one for each shard that it wrote to.
type writings struct {
	last position   // of all; its index is 0 if there is none
	rest []position // of other shards
}

// note notes a write. A session writes to one shard many times and then perhaps to another.
func (x *writings) note(at position) {
	if x.last.shard != at.shard {
		i := slices.IndexFunc(x.rest, func(p position) bool { return p.shard == at.shard })
		if i < 0 {
			i = len(x.rest)
			x.rest = append(x.rest, position{})
		}
		x.rest[i] = x.last
		if x.last.index == 0 {
			x.rest = slices.Delete(x.rest, i, i+1)
		}
	}
	x.last = at
}

// all lists them.
func (x *writings) all() []position {
	if x.last.index == 0 {
		return nil
	}
	return append([]position{x.last}, x.rest...)
}

// waiting is a WAIT or WAITAOF until it is answered.
type waiting struct {
	session  *session
	places   []position // what must have been acknowledged
	replicas int64      // by that many
	synced   bool       // on stable storage
	local    bool       // here too
	logged   int64      // up to where this node's log was written
	until    time.Time  // zero: for ever
	answer   func(w *resp.Writer, local, replicas int64)
	entry    *entry
}

// waitTimeout reads WAIT's last argument.
func waitTimeout(arg []byte, w *resp.Writer) (until time.Time, ok bool) {
	n, ok := value.ParseInt(arg)
	switch {
	case !ok:
		w.Error("ERR timeout is not an integer or out of range")
	case n < 0:
		w.Error("ERR timeout is negative")
		ok = false
	case n > maxPause:
		w.Error("ERR timeout is out of range")
		ok = false
	case n > 0:
		until = time.Now().Add(time.Duration(n) * time.Millisecond)
	}
	return until, ok
}

const (
	waitAtReplica    = "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated."
	waitAOFAtReplica = "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated."
	// unblocked ends a WAIT: Redis says so when its role changes.
	unblocked = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
)

// wait counts the followers. The leader has the writes anyhow, and a majority had them when they were answered.
func wait(s *session, args [][]byte, w *resp.Writer) {
	a := s.server.newAcks()
	places, ok := s.written(a)
	if !ok {
		w.Error(waitAtReplica)
		return
	}
	replicas, ok := value.ParseInt(args[1])
	if !ok {
		w.Error(reply.NotInteger)
		return
	}
	until, ok := waitTimeout(args[2], w)
	if !ok {
		return
	}
	s.await(w, a, &waiting{places: places, replicas: replicas, until: until,
		answer: func(w *resp.Writer, _, replicas int64) { w.Int(replicas) }})
}

func waitAOF(s *session, args [][]byte, w *resp.Writer) {
	local, ok := value.ParseInt(args[1])
	replicas, replicasOK := value.ParseInt(args[2])
	switch {
	case !ok:
		w.Error(reply.NotInteger)
		return
	case local < 0 || local > 1:
		w.Error("ERR value is out of range, value must between 0 and 1")
		return
	case !replicasOK:
		w.Error(reply.NotInteger)
		return
	case replicas < 0:
		w.Error("ERR value is out of range, must be positive")
		return
	}
	until, ok := waitTimeout(args[3], w)
	if !ok {
		return
	}
	a := s.server.newAcks()
	places, ok := s.written(a)
	if !ok {
		w.Error(waitAOFAtReplica)
		return
	}
	s.await(w, a, &waiting{places: places, replicas: replicas, synced: true, local: local == 1, until: until,
		answer: func(w *resp.Writer, local, replicas int64) {
			w.Array(2)
			w.Int(local)
			w.Int(replicas)
		}})
}

// written lists what a WAIT of this session is about; false: this node does not lead all of it. Who has been told so once is
// not told again for ever, since the session may go on to write to other shards.
func (s *session) written(a *acks) (places []position, ok bool) {
	if places = s.wrote.all(); places == nil {
		for i := range a.shards.Shards {
			if sh := &a.shards.Shards[i]; sh.leads(a.shards.Self) {
				places = append(places, position{sh.ID, a.of(sh.ID).Applied})
			}
		}
		return places, len(places) > 0
	}
	if ok = a.leads(places); ok {
		return places, true
	}
	s.wrote = writings{}
	for _, p := range places {
		if a.leads([]position{p}) {
			s.wrote.note(p)
		}
	}
	return nil, false
}

// await answers x at once if it can, and else has the session wait. Inside EXEC nothing waits.
func (s *session) await(w *resp.Writer, a *acks, x *waiting) {
	x.session, x.entry, x.logged = s, s.client.lastCommand, a.logged
	local, replicas, enough := a.count(x)
	if enough || s.playing != nil {
		x.answer(w, local, replicas)
		return
	}
	s.busy = true
	s.awaiting = x
	s.loop.awaiting = append(s.loop.awaiting, x)
	s.loop.watchAcks()
}

// acks is who has what, as of one moment. What thousands wait for is asked for once.
type acks struct {
	server   *Server
	shards   *clusterMap
	progress map[uint32]*shardProgress
	logged   int64 // up to where this node's log is written
	synced   int64 // and on stable storage
}

func (srv *Server) newAcks() *acks {
	a := &acks{server: srv, shards: srv.topology.Map(), progress: map[uint32]*shardProgress{}}
	st := srv.node.aof.Stats()
	a.logged, a.synced = st.Written, st.Written-st.Unsynced
	if srv.config.Load().AppendFsync == config.FsyncAlways { // what was answered is synced, whatever has come behind it
		a.synced = a.logged
	}
	return a
}

// of is how far a shard's replicas are.
func (a *acks) of(shard uint32) *shardProgress {
	p := a.progress[shard]
	if p == nil {
		at := a.server.topology.Progress(shard)
		p = &at
		a.progress[shard] = p
	}
	return p
}

// leads says whether this node leads all those shards.
func (a *acks) leads(places []position) bool {
	return !slices.ContainsFunc(places, func(p position) bool {
		i := slices.IndexFunc(a.shards.Shards, func(s clusterShard) bool { return s.ID == p.shard })
		return i < 0 || !a.shards.Shards[i].leads(a.shards.Self)
	})
}

// count is how many have what x waits for.
func (a *acks) count(x *waiting) (local, replicas int64, enough bool) {
	if a.synced >= x.logged {
		local = 1
	}
	for i, place := range x.places {
		n := int64(0)
		for _, r := range a.of(place.shard).Replicas {
			if !x.synced && r.Held >= place.index || x.synced && r.Synced >= place.index {
				n++
			}
		}
		if i == 0 || n < replicas {
			replicas = n
		}
	}
	return local, replicas, replicas >= x.replicas && (!x.local || local > 0)
}

// ackInterval is how often is looked whether those who WAIT can be answered.
const ackInterval = 2 * time.Millisecond

// watchAcks has the loop look at its waiting sessions soon, until there are none.
func (l *loop) watchAcks() {
	if l.acksWatched || len(l.awaiting) == 0 {
		return
	}
	l.acksWatched = true
	time.AfterFunc(ackInterval, func() {
		l.loop.Post(func() {
			l.acksWatched = false
			l.lookAtAcks(l.server.newAcks())
			l.watchAcks()
		})
	})
}

// lookAtAcks answers who has waited long enough.
func (l *loop) lookAtAcks(a *acks) {
	now := time.Now()
	left := l.awaiting[:0]
	var done []*waiting
	for _, x := range l.awaiting {
		if x.session.awaiting != x {
			continue // its client is gone
		}
		_, _, enough := a.count(x)
		if enough || !a.leads(x.places) || !x.until.IsZero() && !now.Before(x.until) {
			done = append(done, x)
			continue
		}
		left = append(left, x)
	}
	clear(l.awaiting[len(left):])
	l.awaiting = left
	for _, x := range done {
		s := x.session
		s.awaiting = nil
		local, replicas, enough := a.count(x)
		s.resume(func() {
			s.replyLate(x.entry, func(w *resp.Writer) {
				if !enough && !a.leads(x.places) {
					w.Error(unblocked)
					return
				}
				x.answer(w, local, replicas)
			})
		})
	}
}
