package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
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

// able are those of them that may come to lead.
func (p *shardProgress) able(m *clusterMap) []replicaProgress {
	return slices.DeleteFunc(p.online(m), func(r replicaProgress) bool { return r.Learner })
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
	able := p.able(m)
	for _, r := range able {
		if n := m.node(r.Node); o.to && n.Host == o.host && (o.port == int64(n.Port) || o.port == int64(n.TLSPort)) {
			target, there = n.ID, true
		}
	}
	switch {
	case srv.failover.running.Load():
		w.Error("ERR FAILOVER already in progress.")
	case !leads:
		w.Error("ERR FAILOVER is not valid when server is a replica.")
	case len(able) == 0:
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
