package server

import (
	"context"
	"strconv"
	"strings"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/server/resp"
)

// Every node of a cluster of one shard stands for a Sentinel, so that clients made for Sentinel find the leader and follow
// it. What there is to find is one master, called by the directive sentinel-master-name. Nothing is decided here: the
// shard's replicas elect.

var sentinelCommands = []serverCommand{
	{
		Command: command.Command{Name: "SENTINEL", Arity: -2, Flags: command.Admin, Group: "sentinel", Since: "2.8.4", Summary: "What clients of Sentinel ask."},
		Sub: []serverCommand{
			sentinelRow("CKQUORUM", 3, "2.8.4", "Says whether a leader can be elected.", sentinelCkQuorum),
			sentinelRow("CONFIG", -3, "6.2.0", "Is not Larder's: see CONFIG.", sentinelElsewhere),
			sentinelRow("DEBUG", -2, "7.0.0", "Is not Larder's.", sentinelElsewhere),
			sentinelRow("FAILOVER", 3, "2.8.4", "Has another replica lead.", sentinelFailover),
			sentinelRow("FLUSHCONFIG", 2, "2.8.4", "Does nothing: there is no file.", sentinelFlushConfig),
			sentinelRow("GET-MASTER-ADDR-BY-NAME", 3, "2.8.4", "Returns where the leader is.", sentinelAddr),
			sentinelHelpRow,
			sentinelRow("INFO-CACHE", -3, "3.2.0", "Is not Larder's: ask the nodes for INFO.", sentinelElsewhere),
			sentinelRow("IS-MASTER-DOWN-BY-ADDR", 6, "2.8.4", "Is not Larder's: its nodes do not vote in this way.", sentinelElsewhere),
			sentinelRow("MASTER", 3, "2.8.4", "Describes the leader.", sentinelMaster),
			sentinelRow("MASTERS", 2, "2.8.4", "Describes the leader, in a list.", sentinelMasters),
			sentinelRow("MONITOR", 6, "2.8.4", "Is not Larder's.", sentinelElsewhere),
			sentinelRow("MYID", 2, "6.2.0", "Returns this node's ID.", sentinelMyID),
			sentinelRow("PENDING-SCRIPTS", 2, "2.8.4", "Returns an empty list.", sentinelPendingScripts),
			sentinelRow("REMOVE", 3, "2.8.4", "Is not Larder's.", sentinelElsewhere),
			sentinelRow("REPLICAS", 3, "5.0.0", "Describes the followers.", sentinelReplicas),
			sentinelRow("RESET", 3, "2.8.4", "Is not Larder's.", sentinelElsewhere),
			sentinelRow("SENTINELS", 3, "2.8.4", "Describes the other nodes, which stand for Sentinels.", sentinelSentinels),
			sentinelRow("SET", -5, "2.8.4", "Is not Larder's.", sentinelElsewhere),
			sentinelRow("SIMULATE-FAILURE", -3, "3.2.0", "Is not Larder's.", sentinelElsewhere),
			sentinelRow("SLAVES", 3, "2.8.0", "The old name of REPLICAS.", sentinelReplicas),
		},
	},
}

func sentinelRow(name string, arity int, since, summary string, run func(*session, [][]byte, *resp.Writer)) serverCommand {
	row := clientRow(name, arity, command.Admin, since, summary, func(s *session, args [][]byte, w *resp.Writer) {
		if s.inCluster() {
			w.Error("ERR SENTINEL is for cluster-enabled no: with several shards, use a client for Redis Cluster")
			return
		}
		run(s, args, w)
	})
	row.Group = "sentinel"
	return row
}

var sentinelHelpRow = serverCommand{
	Command: command.Command{Name: "HELP", Arity: 2, Flags: command.Loading | command.Stale, Group: "sentinel", Since: "6.2.0", Summary: "Lists the subcommands."},
	Run: func(_ *session, _ [][]byte, w *resp.Writer) {
		help(w, "SENTINEL",
			"CKQUORUM <master-name>",
			"    Says whether a leader can be elected.",
			"FAILOVER <master-name>",
			"    Has another replica lead.",
			"GET-MASTER-ADDR-BY-NAME <master-name>",
			"    Returns where the leader is.",
			"MASTER <master-name>",
			"    Describes the leader.",
			"MASTERS",
			"    Describes the leader, in a list.",
			"MYID",
			"    Returns this node's ID.",
			"REPLICAS <master-name>",
			"    Describes the followers.",
			"SENTINELS <master-name>",
			"    Describes the other nodes, which stand for Sentinels.")
	},
}

func sentinelElsewhere(_ *session, args [][]byte, w *resp.Writer) {
	w.Error("ERR SENTINEL " + strings.ToUpper(string(shortened(args[1], shownBytes))) + " has no meaning here: Larder's nodes elect by themselves; see larder cluster status")
}

func sentinelFlushConfig(_ *session, _ [][]byte, w *resp.Writer) { w.Simple(reply.OK) }

func sentinelPendingScripts(_ *session, _ [][]byte, w *resp.Writer) { w.Array(0) }

func sentinelMyID(s *session, _ [][]byte, w *resp.Writer) { w.BulkString(s.server.topology.Map().Self) }

const noSuchMaster = "ERR No such master with that name"

// isMaster says whether a name is the shard's.
func (srv *Server) isMaster(name []byte) bool {
	return string(name) == srv.config.Load().Cluster.SentinelMasterName
}

// sentinelView is what this node, as a Sentinel, sees: the cluster, its one shard, and the shard's leader. ok is false where
// nobody has been heard of yet.
func (s *session) sentinelView() (m *clusterMap, shard *clusterShard, leader *clusterNode, ok bool) {
	m = s.server.topology.Map()
	if len(m.Shards) == 0 {
		return m, nil, nil, false
	}
	shard = &m.Shards[0]
	leader = m.node(shard.Leader)
	return m, shard, leader, leader != nil
}

func sentinelAddr(s *session, args [][]byte, w *resp.Writer) {
	_, _, leader, ok := s.sentinelView()
	if !ok || !s.server.isMaster(args[2]) {
		w.NullArray()
		return
	}
	w.Array(2)
	w.BulkString(leader.Host)
	w.BulkString(strconv.Itoa(leader.port(s.conn.Secure())))
}

func sentinelMaster(s *session, args [][]byte, w *resp.Writer) {
	m, shard, leader, ok := s.sentinelView()
	if !ok || !s.server.isMaster(args[2]) {
		w.Error(noSuchMaster)
		return
	}
	s.describeMaster(w, m, shard, leader)
}

func sentinelMasters(s *session, _ [][]byte, w *resp.Writer) {
	m, shard, leader, ok := s.sentinelView()
	if !ok {
		w.Array(0)
		return
	}
	w.Array(1)
	s.describeMaster(w, m, shard, leader)
}

// traits are names and values, all strings, as Sentinel describes servers.
type traits []string

func (t *traits) add(name, value string) { *t = append(*t, name, value) }

func (t traits) write(w *resp.Writer) {
	w.Map(len(t) / 2)
	for _, s := range t {
		w.BulkString(s)
	}
}

// common is what Sentinel tells of a server, whatever it is.
func (s *session) common(n *clusterNode, name, kind string, reached bool) (t traits) {
	flags, down := kind, "0"
	if !reached {
		flags, down = "s_down,"+kind, "1000"
	}
	t.add("name", name)
	t.add("ip", n.Host)
	t.add("port", strconv.Itoa(n.port(s.conn.Secure())))
	t.add("runid", n.ID)
	t.add("flags", flags)
	t.add("link-pending-commands", "0")
	t.add("link-refcount", "1")
	t.add("last-ping-sent", "0")
	t.add("last-ok-ping-reply", down)
	t.add("last-ping-reply", down)
	if !reached {
		t.add("s-down-time", down)
	}
	t.add("down-after-milliseconds", "1000")
	return t
}

func (s *session) describeMaster(w *resp.Writer, m *clusterMap, shard *clusterShard, leader *clusterNode) {
	t := s.common(leader, s.server.config.Load().Cluster.SentinelMasterName, "master", shard.Led)
	t.add("info-refresh", "0")
	t.add("role-reported", "master")
	t.add("role-reported-time", "0")
	t.add("config-epoch", strconv.FormatUint(shard.Term, 10))
	t.add("num-slaves", strconv.Itoa(len(m.members(shard))-1))
	t.add("num-other-sentinels", strconv.Itoa(len(m.others())))
	t.add("quorum", strconv.Itoa(shard.Voters/2+1))
	t.add("failover-timeout", "180000")
	t.add("parallel-syncs", "1")
	t.write(w)
}

func sentinelReplicas(s *session, args [][]byte, w *resp.Writer) {
	m, shard, leader, ok := s.sentinelView()
	if !ok || !s.server.isMaster(args[2]) {
		w.Error(noSuchMaster)
		return
	}
	followers := m.members(shard)[1:]
	p := s.server.topology.Progress(shard.ID)
	w.Array(len(followers))
	for _, n := range followers {
		port := n.port(s.conn.Secure())
		t := s.common(n, hostPort(n.Host, port), "slave", !n.Down)
		link := "ok"
		if n.Down || !shard.Led {
			link = "err"
		}
		t.add("info-refresh", "0")
		t.add("role-reported", "slave")
		t.add("role-reported-time", "0")
		t.add("master-link-down-time", "0")
		t.add("master-link-status", link)
		t.add("master-host", leader.Host)
		t.add("master-port", strconv.Itoa(leader.port(s.conn.Secure())))
		t.add("slave-priority", "100")
		t.add("slave-repl-offset", strconv.FormatUint(p.of(n.ID, m.Self), 10))
		t.add("replica-announced", "1")
		t.write(w)
	}
}

// others are all nodes but this one.
func (m *clusterMap) others() (list []*clusterNode) {
	for i := range m.Nodes {
		if m.Nodes[i].ID != m.Self {
			list = append(list, &m.Nodes[i])
		}
	}
	return list
}

func sentinelSentinels(s *session, args [][]byte, w *resp.Writer) {
	m, _, _, ok := s.sentinelView()
	if !ok || !s.server.isMaster(args[2]) {
		w.Error(noSuchMaster)
		return
	}
	others := m.others()
	w.Array(len(others))
	for _, n := range others {
		t := s.common(n, n.ID, "sentinel", !n.Down)
		t.add("last-hello-message", "0")
		t.add("voted-leader", "?")
		t.add("voted-leader-epoch", "0")
		t.write(w)
	}
}

// sentinelCkQuorum counts those who vote.
func sentinelCkQuorum(s *session, args [][]byte, w *resp.Writer) {
	m, shard, _, ok := s.sentinelView()
	if !ok || !s.server.isMaster(args[2]) {
		w.Error(noSuchMaster)
		return
	}
	usable := 0
	for _, id := range shard.Replicas[:shard.Voters] {
		if n := m.node(id); n != nil && !n.Down {
			usable++
		}
	}
	if usable < shard.Voters/2+1 {
		w.Error("NOQUORUM " + strconv.Itoa(usable) + " usable Sentinels. Not enough available Sentinels to reach the specified quorum for this master. Not enough available Sentinels to reach the majority and authorize a failover")
		return
	}
	w.Simple("OK " + strconv.Itoa(usable) + " usable Sentinels. Quorum and failover authorization can be reached")
}

func sentinelFailover(s *session, args [][]byte, w *resp.Writer) {
	srv := s.server
	_, shard, _, ok := s.sentinelView()
	switch {
	case !ok || !srv.isMaster(args[2]):
		w.Error(noSuchMaster)
		return
	case cluster.VotersOf(len(shard.Replicas)) < 2: // nobody else has a vote
		w.Error("NOGOODSLAVE No suitable replica to promote")
		return
	}
	var err error
	s.workReply(func() {
		ctx, cancel := context.WithTimeout(context.Background(), transferPatience)
		defer cancel()
		err = srv.topology.Transfer(ctx, shard.ID, "")
	}, func(w *resp.Writer) {
		if err != nil {
			w.Error("ERR the leadership could not be transferred: " + err.Error())
			return
		}
		w.Simple(reply.OK)
	})
}
