package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/server/config"
	"github.com/larder-db/larder/server/resp"
)

var replicationCommands = []serverCommand{
	{Command: command.Command{Name: "ROLE", Arity: 1, Flags: command.NoScript | command.Loading | command.Stale | command.Fast, Group: "server", Since: "2.8.12", Extra: "admin dangerous",
		Summary: "Returns whether this node leads or follows, and whom."}, Run: role, Anytime: true},
	{Command: command.Command{Name: "REPLICAOF", Arity: 3, Flags: adminRow | command.Stale | command.NoAsyncLoading, Group: "server", Since: "5.0.0",
		Summary: "Is larder cluster's business; NO ONE is fine where this node leads."}, Run: replicaOf},
	{Command: command.Command{Name: "SLAVEOF", Arity: 3, Flags: adminRow | command.Stale | command.NoAsyncLoading, Group: "server", Since: "1.0.0",
		Summary: "The old name of REPLICAOF."}, Run: replicaOf},
	{Command: command.Command{Name: "FAILOVER", Arity: -1, Flags: adminRow | command.Stale, Group: "server", Since: "6.2.0",
		Summary: "Has another replica lead."}, Run: failover},
	{Command: command.Command{Name: "WAIT", Arity: 3, Flags: command.NoScript, Group: "generic", Since: "3.0.0", Extra: "connection",
		Summary: "Waits until so many followers have this connection's writes, and returns how many do.", Tips: []string{"request_policy:all_shards", "response_policy:agg_min"}},
		Run: wait, AtLeader: true},
	{Command: command.Command{Name: "WAITAOF", Arity: 4, Flags: command.NoScript, Group: "generic", Since: "7.2.0", Extra: "connection",
		Summary: "Waits until this node and so many followers have this connection's writes on disk, and returns how many do.", Tips: []string{"request_policy:all_shards", "response_policy:agg_min"}},
		Run: waitAOF, AtLeader: true},
}

// role answers as Redis does for a server that has one role: that of the shard by which this node is shown.
func role(s *session, _ [][]byte, w *resp.Writer) {
	m := s.server.topology.Map()
	own, leads := m.own()
	if own == nil {
		w.Array(3)
		w.BulkString("master")
		w.Int(0)
		w.Array(0)
		return
	}
	p := s.server.topology.Progress(own.ID)
	if !leads {
		state := "connected"
		if !own.Led {
			state = "connect"
		}
		host, port := m.leaderAddr(own, s.conn.Secure())
		w.Array(5)
		w.BulkString("slave")
		w.BulkString(host)
		w.Int(int64(port))
		w.BulkString(state)
		w.Int(p.offset())
		return
	}
	list := p.online(m)
	w.Array(3)
	w.BulkString("master")
	w.Int(p.offset())
	w.Array(len(list))
	for _, r := range list {
		n := m.node(r.Node)
		w.Array(3)
		w.BulkString(n.Host)
		w.BulkString(fmt.Sprint(n.port(s.conn.Secure())))
		w.BulkString(fmt.Sprint(r.Held))
	}
}

// leaderAddr is where the leader was last known to be; "?" and 0 if nobody is known to lead.
func (m *clusterMap) leaderAddr(s *clusterShard, secure bool) (host string, port int) {
	if n := m.node(m.leaderOf(s)); n != nil {
		return n.Host, n.port(secure)
	}
	return "?", 0
}

// online are the replicas that are reached now and whose nodes are known.
func (p *shardProgress) online(m *clusterMap) (list []replicaProgress) {
	for _, r := range p.Replicas {
		if r.Online && m.node(r.Node) != nil {
			list = append(list, r)
		}
	}
	return list
}

// infoReplication shows the shard by which this node is shown.
func infoReplication(f *figures, b *infoText) {
	srv := f.server
	m := srv.topology.Map()
	own, leads := m.own()
	if own == nil {
		own, leads = &clusterShard{}, true
	}
	p := srv.topology.Progress(own.ID)
	var followers []replicaProgress
	if leads {
		b.text("role", "master")
		followers = p.online(m)
	} else {
		b.text("role", "slave")
		host, port := m.leaderAddr(own, false)
		b.text("master_host", host)
		b.int("master_port", int64(port))
		link := "up"
		if !own.Led {
			link = "down"
		}
		b.text("master_link_status", link)
		b.int("master_last_io_seconds_ago", 0)
		b.int("master_sync_in_progress", 0)
		b.int("slave_read_repl_offset", p.offset())
		b.int("slave_repl_offset", p.offset())
		if !own.Led {
			b.int("master_link_down_since_seconds", -1)
		}
		b.int("slave_priority", 100)
		b.int("slave_read_only", 1)
		b.int("replica_announced", 1)
	}
	b.int("connected_slaves", int64(len(followers)))
	for i, r := range followers {
		n := m.node(r.Node)
		fmt.Fprintf(b, "slave%d:ip=%s,port=%d,state=online,offset=%d,lag=%d\r\n", i, n.Host, n.port(false), r.Held, seconds(r.Behind))
	}
	state := "no-failover"
	if srv.failover.running.Load() {
		state = "failover-in-progress"
	}
	b.text("master_failover_state", state)
	b.text("master_replid", m.identity(own))
	b.text("master_replid2", strings.Repeat("0", 40))
	b.int("master_repl_offset", p.offset())
	b.int("second_repl_offset", -1)
	b.int("repl_backlog_active", 0)
	b.int("repl_backlog_size", 0)
	b.int("repl_backlog_first_byte_offset", 0)
	b.int("repl_backlog_histlen", 0)
}

func replicaOf(s *session, args [][]byte, w *resp.Writer) {
	if s.inCluster() {
		w.Error("ERR REPLICAOF not allowed in cluster mode.")
		return
	}
	if isWord(args[1], "NO") && isWord(args[2], "ONE") {
		if _, leads := s.server.topology.Map().own(); !leads {
			w.Error("ERR this node follows its shard's leader and stays in step with it: FAILOVER there has another lead, larder cluster remove takes a node out")
			return
		}
		w.Simple(reply.OK)
		return
	}
	if port, ok := value.ParseInt(args[2]); !ok || port < 0 || port > 65535 {
		w.Error("ERR Invalid master port")
		return
	}
	w.Error("ERR Larder does not replicate as Redis does: import the data of a Redis server, and add nodes with larder cluster add")
}

// failovers is what FAILOVER is about to do.
type failovers struct {
	running atomic.Bool
	cancel  atomic.Pointer[context.CancelFunc]
}

// failoverOptions are FAILOVER's.
type failoverOptions struct {
	host    string
	port    int64
	to      bool
	force   bool
	timeout time.Duration
}

func (o *failoverOptions) parse(args [][]byte, w *resp.Writer) bool {
	for i := 0; i < len(args); i++ {
		switch left := len(args) - i - 1; {
		case isWord(args[i], "TIMEOUT") && left >= 1 && o.timeout == 0:
			n, ok := value.ParseInt(args[i+1])
			switch {
			case !ok:
				w.Error(reply.NotInteger)
				return false
			case n <= 0:
				w.Error("ERR FAILOVER timeout must be greater than 0")
				return false
			}
			o.timeout = time.Duration(min(n, maxPause)) * time.Millisecond
			i++
		case isWord(args[i], "TO") && left >= 2 && !o.to:
			port, ok := value.ParseInt(args[i+2])
			if !ok {
				w.Error(reply.NotInteger)
				return false
			}
			o.to, o.host, o.port = true, string(args[i+1]), port
			i += 2
		case isWord(args[i], "FORCE") && !o.force:
			o.force = true
		default:
			w.Error(reply.Syntax)
			return false
		}
	}
	return true
}

// failover has another replica lead, of its own choice or the client's. As in Redis it says OK at once; INFO and ROLE show
// what becomes of it. FORCE changes nothing: a replica that lacks acknowledged writes is never made to lead.
func failover(s *session, args [][]byte, w *resp.Writer) {
	srv := s.server
	if srv.node.clustered {
		w.Error("ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.")
		return
	}
	if len(args) == 2 && isWord(args[1], "ABORT") {
		cancel := srv.failover.cancel.Load()
		if !srv.failover.running.Load() || cancel == nil {
			w.Error("ERR No failover in progress.")
			return
		}
		(*cancel)()
		w.Simple(reply.OK)
		return
	}
	var o failoverOptions
	if !o.parse(args[1:], w) {
		return
	}
	m := srv.topology.Map()
	own, leads := m.own()
	p := shardProgress{}
	if own != nil {
		p = srv.topology.Progress(own.ID)
	}
	target, there := "", false
	for _, r := range p.online(m) {
		if n := m.node(r.Node); o.to && n.Host == o.host && (o.port == int64(n.Port) || o.port == int64(n.TLSPort)) {
			target, there = n.ID, true
		}
	}
	switch {
	case srv.failover.running.Load():
		w.Error("ERR FAILOVER already in progress.")
	case !leads:
		w.Error("ERR FAILOVER is not valid when server is a replica.")
	case len(p.online(m)) == 0:
		w.Error("ERR FAILOVER requires connected replicas.")
	case o.force && (o.timeout == 0 || !o.to):
		w.Error("ERR FAILOVER with force option requires both a timeout and target HOST and IP.")
	case o.to && !there:
		w.Error("ERR FAILOVER target HOST and PORT is not a replica.")
	default:
		srv.failOver(own.ID, target, o.timeout)
		w.Simple(reply.OK)
	}
}

// failOver begins to hand a shard's leadership over.
func (srv *Server) failOver(shard uint32, to string, timeout time.Duration) {
	if !srv.failover.running.CompareAndSwap(false, true) {
		return // another loop was quicker, and the client's wish is being met
	}
	if timeout == 0 {
		timeout = transferPatience
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	srv.failover.cancel.Store(&cancel)
	srv.workers.run(func() {
		defer srv.failover.running.Store(false)
		defer cancel()
		if err := srv.topology.Transfer(ctx, shard, to); err != nil {
			srv.log.Warn("FAILOVER has come to nothing", "shard", shard, "to", to, "error", err)
			return
		}
		srv.log.Info("FAILOVER is done", "shard", shard, "to", to)
	})
}

// waiting is a WAIT or WAITAOF until it is answered.
type waiting struct {
	session  *session
	shard    uint32
	index    uint64    // what must have been acknowledged
	replicas int64     // that many
	synced   bool      // on stable storage
	local    bool      // here too
	until    time.Time // zero: for ever
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
)

// wait counts the followers. The leader has the writes anyhow, and a majority had them when they were answered.
func wait(s *session, args [][]byte, w *resp.Writer) {
	own, leads := s.server.topology.Map().own()
	if !leads {
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
	s.await(w, &waiting{shard: own.ID, replicas: replicas, until: until,
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
	own, leads := s.server.topology.Map().own()
	if !leads {
		w.Error(waitAOFAtReplica)
		return
	}
	s.await(w, &waiting{shard: own.ID, replicas: replicas, synced: true, local: local == 1, until: until,
		answer: func(w *resp.Writer, local, replicas int64) {
			w.Array(2)
			w.Int(local)
			w.Int(replicas)
		}})
}

// await answers x at once if it can, and else has the session wait. Inside EXEC nothing waits.
func (s *session) await(w *resp.Writer, x *waiting) {
	x.session, x.entry = s, s.client.lastCommand
	p := s.server.topology.Progress(x.shard)
	x.index = p.Applied // all of the connection's writes are applied
	local, replicas, enough := x.count(&p)
	if enough || s.playing != nil {
		x.answer(w, local, replicas)
		return
	}
	s.busy = true
	s.awaiting = x
	s.loop.awaiting = append(s.loop.awaiting, x)
	s.loop.watchAcks()
}

// count is how many have what x waits for.
func (x *waiting) count(p *shardProgress) (local, replicas int64, enough bool) {
	if x.session.server.synced() {
		local = 1
	}
	for _, r := range p.Replicas {
		if !x.synced && r.Held >= x.index || x.synced && r.Synced >= x.index {
			replicas++
		}
	}
	return local, replicas, replicas >= x.replicas && (!x.local || local > 0)
}

// synced says whether everything that was written to this node's log is on stable storage.
func (srv *Server) synced() bool {
	return srv.config.Load().AppendFsync == config.FsyncAlways || srv.node.aof.Stats().Unsynced == 0
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
			l.lookAtAcks()
			l.watchAcks()
		})
	})
}

// lookAtAcks answers who has waited long enough. Thousands may wait: what they go by is asked for once.
func (l *loop) lookAtAcks() {
	now := time.Now()
	own, leads := l.server.topology.Map().own()
	progress := map[uint32]*shardProgress{}
	count := func(x *waiting) (local, replicas int64, enough bool) {
		p := progress[x.shard]
		if p == nil {
			at := l.server.topology.Progress(x.shard)
			p = &at
			progress[x.shard] = p
		}
		return x.count(p)
	}
	left := l.awaiting[:0]
	var done []*waiting
	for _, x := range l.awaiting {
		if x.session.awaiting != x {
			continue // its client is gone
		}
		_, _, enough := count(x)
		if enough || !leads || own.ID != x.shard || !x.until.IsZero() && !now.Before(x.until) {
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
		local, replicas, enough := count(x)
		s.resume(func() {
			s.replyLate(x.entry, func(w *resp.Writer) {
				if !enough && !leads {
					w.Error(errLeadershipLost.Error())
					return
				}
				x.answer(w, local, replicas)
			})
		})
	}
}

// errLeadershipLost ends a WAIT: Redis unblocks with this word when its role changes.
var errLeadershipLost = errors.New("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)")
