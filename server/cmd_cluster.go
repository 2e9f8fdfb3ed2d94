package server

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/server/resp"
)

// Flags of the subcommands of CLUSTER.
const (
	clusterAdmin  = command.Admin | command.Stale
	clusterChange = clusterAdmin | command.NoAsyncLoading
)

const varies = "nondeterministic_output"

var clusterCommands = []serverCommand{
	{
		Command: command.Command{Name: "CLUSTER", Arity: -2, Group: "cluster", Since: "3.0.0", Summary: "Commands about the cluster."},
		Sub: []serverCommand{
			clusterRow("ADDSLOTS", -3, clusterChange, "3.0.0", "Is larder cluster's business.", clusterElsewhere("migrate-slots")),
			clusterRow("ADDSLOTSRANGE", -4, clusterChange, "7.0.0", "Is larder cluster's business.", clusterElsewhere("migrate-slots")),
			clusterRow("BUMPEPOCH", 2, clusterChange, "3.0.0", "Is larder cluster's business.", clusterElsewhere("status"), varies),
			clusterRow("COUNT-FAILURE-REPORTS", 3, clusterAdmin, "3.0.0", "Returns how many nodes miss a node, as far as this one knows.", clusterFailureReports, varies),
			clusterRow("COUNTKEYSINSLOT", 3, command.Stale, "3.0.0", "Returns how many keys this node has in a slot.", clusterCountKeys),
			clusterRow("DELSLOTS", -3, clusterChange, "3.0.0", "Is larder cluster's business.", clusterElsewhere("migrate-slots")),
			clusterRow("DELSLOTSRANGE", -4, clusterChange, "7.0.0", "Is larder cluster's business.", clusterElsewhere("migrate-slots")),
			clusterRow("FAILOVER", -2, clusterChange, "3.0.0", "Makes this node lead the shard that it follows.", clusterFailover),
			clusterRow("FLUSHSLOTS", 2, clusterChange, "3.0.0", "Is larder cluster's business.", clusterElsewhere("migrate-slots")),
			clusterRow("FORGET", 3, clusterChange, "3.0.0", "Is larder cluster's business.", clusterElsewhere("remove")),
			clusterRow("GETKEYSINSLOT", 4, command.Stale, "3.0.0", "Returns keys that this node has in a slot.", clusterGetKeys, varies),
			clusterRow("HELP", 2, command.Loading|command.Stale, "5.0.0", "Lists the subcommands.", clusterHelp),
			clusterRow("INFO", 2, command.Stale, "3.0.0", "Returns how the cluster is.", clusterInfo, varies),
			clusterRow("KEYSLOT", 3, command.Stale, "3.0.0", "Returns a key's slot.", clusterKeySlot),
			clusterRow("LINKS", 2, command.Stale, "7.0.0", "Returns the connections to the other nodes.", clusterLinks, varies),
			clusterRow("MEET", -4, clusterChange, "3.0.0", "Is larder cluster's business.", clusterElsewhere("add")),
			clusterRow("MYID", 2, command.Stale, "3.0.0", "Returns this node's ID.", clusterMyID),
			clusterRow("MYSHARDID", 2, command.Stale, "7.2.0", "Returns the ID of the shard that this node leads or follows.", clusterMyShardID, varies),
			clusterRow("NODES", 2, command.Stale, "3.0.0", "Describes the nodes.", clusterNodes, varies),
			clusterRow("REPLICAS", 3, clusterAdmin, "5.0.0", "Describes the nodes that follow a node.", clusterReplicas, varies),
			clusterRow("REPLICATE", 3, clusterChange, "3.0.0", "Is larder cluster's business.", clusterElsewhere("move-shard")),
			clusterRow("RESET", -2, clusterAdmin|command.NoScript, "3.0.0", "Is larder cluster's business.", clusterElsewhere("remove")),
			clusterRow("SAVECONFIG", 2, clusterChange, "3.0.0", "Does nothing: the map is in a log.", clusterSaveConfig),
			clusterRow("SET-CONFIG-EPOCH", 3, clusterChange, "3.0.0", "Is larder cluster's business.", clusterElsewhere("status")),
			clusterRow("SETSLOT", -4, clusterChange, "3.0.0", "Is larder cluster's business.", clusterElsewhere("migrate-slots")),
			clusterRow("SHARDS", 2, command.Stale, "7.0.0", "Describes the shards.", clusterShards, varies),
			clusterRow("SLAVES", 3, clusterAdmin, "3.0.0", "The old name of REPLICAS.", clusterReplicas, varies),
			clusterRow("SLOTS", 2, command.Stale, "3.0.0", "Returns which nodes have which slots.", clusterSlots, varies),
		},
	},
}

// clusterRow is a row of a subcommand of CLUSTER: all but the errors of arity need a server in cluster mode.
func clusterRow(name string, arity int, flags command.Flags, since, summary string, run func(*session, [][]byte, *resp.Writer), tips ...string) serverCommand {
	row := clientRow(name, arity, flags, since, summary, func(s *session, args [][]byte, w *resp.Writer) {
		if !s.inCluster() {
			w.Error(noCluster)
			return
		}
		run(s, args, w)
	}, tips...)
	row.Group = "cluster"
	return row
}

// clusterElsewhere refuses what clients of Redis Cluster do to the map by hand.
func clusterElsewhere(tool string) func(*session, [][]byte, *resp.Writer) {
	return func(_ *session, args [][]byte, w *resp.Writer) {
		w.Error("ERR CLUSTER " + strings.ToUpper(string(shortened(args[1], shownBytes))) +
			" does not change a Larder cluster, whose map is kept by its meta group: see larder cluster " + tool)
	}
}

func clusterHelp(_ *session, _ [][]byte, w *resp.Writer) {
	help(w, "CLUSTER",
		"COUNT-FAILURE-REPORTS <node-id>",
		"    Returns how many nodes miss a node, as far as this one knows.",
		"COUNTKEYSINSLOT <slot>",
		"    Returns how many keys this node has in a slot.",
		"FAILOVER [FORCE|TAKEOVER]",
		"    Makes this node lead the shard that it follows.",
		"GETKEYSINSLOT <slot> <count>",
		"    Returns keys that this node has in a slot.",
		"INFO",
		"    Returns how the cluster is.",
		"KEYSLOT <key>",
		"    Returns a key's slot.",
		"LINKS",
		"    Returns the connections to the other nodes.",
		"MYID",
		"    Returns this node's ID.",
		"MYSHARDID",
		"    Returns the ID of the shard that this node leads or follows.",
		"NODES",
		"    Describes the nodes, one to a line:",
		"    <id> <ip:port@peer-port> <flags> <leader> <pings> <pongs> <epoch> <link> <slot> ...",
		"REPLICAS <node-id>",
		"    Describes the nodes that follow a node.",
		"SHARDS",
		"    Describes the shards: their slots and nodes.",
		"SLOTS",
		"    Returns which nodes have which slots: first, last, leader, followers.")
}

func clusterKeySlot(_ *session, args [][]byte, w *resp.Writer) { w.Int(int64(keyspace.Slot(args[2]))) }

func clusterMyID(s *session, _ [][]byte, w *resp.Writer) { w.BulkString(s.server.topology.Map().Self) }

func clusterMyShardID(s *session, _ [][]byte, w *resp.Writer) {
	m := s.server.topology.Map()
	own, _ := m.own()
	if own == nil { // a node without a shard; Redis has no word for it
		w.BulkString(m.Self)
		return
	}
	w.BulkString(m.identity(own))
}

func clusterSaveConfig(_ *session, _ [][]byte, w *resp.Writer) { w.Simple(reply.OK) }

func clusterFailureReports(s *session, args [][]byte, w *resp.Writer) {
	n := s.server.topology.Map().node(string(args[2]))
	switch {
	case n == nil:
		w.Error(unknownNode(args[2]))
	case n.Down:
		w.Int(1)
	default:
		w.Int(0)
	}
}

func unknownNode(id []byte) string { return "ERR Unknown node " + string(shortened(id, shownBytes)) }

// clusterState sums the map up.
func (m *clusterMap) sum() (assigned, failed, leaders int) {
	leading := map[string]bool{}
	for i := range m.Shards {
		s := &m.Shards[i]
		n := countSlots(s.Slots)
		assigned += n
		if leader := m.node(s.Leader); !s.Led || leader == nil || leader.Down {
			failed += n
		}
		if n > 0 && s.Leader != "" {
			leading[s.Leader] = true
		}
	}
	return assigned, failed, len(leading)
}

func clusterInfo(s *session, _ [][]byte, w *resp.Writer) {
	m := s.server.topology.Map()
	assigned, failed, leaders := m.sum()
	var b infoText
	state := "ok"
	if assigned < front.Slots || failed > 0 {
		state = "fail"
	}
	b.text("cluster_state", state)
	b.int("cluster_slots_assigned", int64(assigned))
	b.int("cluster_slots_ok", int64(assigned-failed))
	b.int("cluster_slots_pfail", 0)
	b.int("cluster_slots_fail", int64(failed))
	b.int("cluster_known_nodes", int64(len(m.Nodes)))
	b.int("cluster_size", int64(leaders))
	b.int("cluster_current_epoch", int64(m.Epoch))
	b.int("cluster_my_epoch", int64(m.Epoch))
	b.int("cluster_stats_messages_sent", 0)
	b.int("cluster_stats_messages_received", 0)
	b.int("total_cluster_links_buffer_limit_exceeded", 0)
	w.Verbatim("txt", b.String())
}

func clusterNodes(s *session, _ [][]byte, w *resp.Writer) {
	m := s.server.topology.Map()
	var text strings.Builder
	for i := range m.Nodes {
		m.describe(&text, &m.Nodes[i], s.conn.Secure())
		text.WriteByte('\n')
	}
	w.Verbatim("txt", text.String())
}

// describe writes a node's line of CLUSTER NODES.
func (m *clusterMap) describe(text *strings.Builder, n *clusterNode, secure bool) {
	own := m.shardOf(n.ID)
	var flags []string
	if n.ID == m.Self {
		flags = append(flags, "myself")
	}
	leader, epoch := "-", m.Epoch
	switch {
	case own == nil || own.Leader == "" || m.leaderOf(own) == n.ID:
		flags = append(flags, "master")
	default:
		flags = append(flags, "slave")
		leader = cmp.Or(m.leaderOf(own), leader)
	}
	link := "connected"
	if n.Down {
		flags = append(flags, "fail")
		link = "disconnected"
	}
	fmt.Fprintf(text, "%s %s:%d@%d", n.ID, n.Host, n.port(secure), n.PeerPort)
	if n.Hostname != "" {
		text.WriteString("," + n.Hostname)
	}
	fmt.Fprintf(text, " %s %s 0 0 %d %s", strings.Join(flags, ","), leader, epoch, link)
	for i := range m.Shards {
		if m.leaderOf(&m.Shards[i]) != n.ID {
			continue
		}
		for _, r := range m.Shards[i].Slots {
			if r.From == r.To {
				fmt.Fprintf(text, " %d", r.From)
			} else {
				fmt.Fprintf(text, " %d-%d", r.From, r.To)
			}
		}
	}
	if n.ID == m.Self {
		m.describeMoves(text, n)
	}
}

// describeMoves writes which slots leave or come to a node, as Redis shows them of itself.
func (m *clusterMap) describeMoves(text *strings.Builder, n *clusterNode) {
	leader := func(shard uint32) string {
		for i := range m.Shards {
			if m.Shards[i].ID == shard {
				return m.Shards[i].Leader
			}
		}
		return ""
	}
	for _, move := range m.Moves {
		from, to := leader(move.From), leader(move.To)
		for _, r := range move.Slots {
			for slot := int(r.From); slot <= int(r.To); slot++ {
				switch n.ID {
				case from:
					fmt.Fprintf(text, " [%d->-%s]", slot, to)
				case to:
					fmt.Fprintf(text, " [%d-<-%s]", slot, from)
				}
			}
		}
	}
}

func clusterReplicas(s *session, args [][]byte, w *resp.Writer) {
	m := s.server.topology.Map()
	n := m.node(string(args[2]))
	if n == nil {
		w.Error(unknownNode(args[2]))
		return
	}
	own := m.shardOf(n.ID)
	if own == nil || own.Leader != n.ID {
		w.Error("ERR The specified node is not a master")
		return
	}
	var lines []string
	for i := range m.Nodes {
		of := m.shardOf(m.Nodes[i].ID)
		if m.Nodes[i].ID == n.ID || of == nil || of.Leader != n.ID {
			continue
		}
		var text strings.Builder
		m.describe(&text, &m.Nodes[i], s.conn.Secure())
		lines = append(lines, text.String())
	}
	w.Array(len(lines))
	for _, l := range lines {
		w.BulkString(l)
	}
}

// clusterSlots leaves out followers that do not answer: clients read from whom it lists.
func clusterSlots(s *session, _ [][]byte, w *resp.Writer) {
	m, secure := s.server.topology.Map(), s.conn.Secure()
	ranges := 0
	for i := range m.Shards {
		if len(m.present(&m.Shards[i])) > 0 {
			ranges += len(m.Shards[i].Slots)
		}
	}
	w.Array(ranges)
	for i := range m.Shards {
		members := m.present(&m.Shards[i])
		if len(members) == 0 {
			continue
		}
		for _, r := range m.Shards[i].Slots {
			w.Array(2 + len(members))
			w.Int(int64(r.From))
			w.Int(int64(r.To))
			for _, n := range members {
				w.Array(4)
				w.BulkString(n.Host)
				w.Int(int64(n.port(secure)))
				w.BulkString(n.ID)
				if n.Hostname == "" {
					w.Array(0)
					continue
				}
				w.Array(2)
				w.BulkString("hostname")
				w.BulkString(n.Hostname)
			}
		}
	}
}

func clusterShards(s *session, _ [][]byte, w *resp.Writer) {
	m := s.server.topology.Map()
	w.Array(len(m.Shards))
	for i := range m.Shards {
		shard := &m.Shards[i]
		members := m.members(shard)
		w.Map(2)
		w.BulkString("slots")
		w.Array(2 * len(shard.Slots))
		for _, r := range shard.Slots {
			w.Int(int64(r.From))
			w.Int(int64(r.To))
		}
		w.BulkString("nodes")
		w.Array(len(members))
		progress := s.server.topology.Progress(shard.ID)
		for _, n := range members {
			role, health := "replica", "online"
			if n.ID == m.leaderOf(shard) {
				role = "master"
			}
			if n.Down {
				health = "fail"
			}
			m.writeShardNode(w, n, role, health, progress.of(n.ID, m.Self))
		}
	}
}

// of is how far a node's replica is, as far as this node, self, knows.
func (p *shardProgress) of(node, self string) uint64 {
	if node == self {
		return uint64(p.offset())
	}
	for i := range p.Replicas {
		if p.Replicas[i].Node == node {
			return p.Replicas[i].Held
		}
	}
	return 0
}

// writeShardNode writes a node as CLUSTER SHARDS shows it.
func (m *clusterMap) writeShardNode(w *resp.Writer, n *clusterNode, role, health string, offset uint64) {
	fields := 6
	for _, there := range []bool{n.Port != 0, n.TLSPort != 0, n.Hostname != ""} {
		if there {
			fields++
		}
	}
	w.Map(fields)
	w.BulkString("id")
	w.BulkString(n.ID)
	if n.Port != 0 {
		w.BulkString("port")
		w.Int(int64(n.Port))
	}
	if n.TLSPort != 0 {
		w.BulkString("tls-port")
		w.Int(int64(n.TLSPort))
	}
	w.BulkString("ip")
	w.BulkString(n.Host)
	w.BulkString("endpoint")
	w.BulkString(n.Host)
	if n.Hostname != "" {
		w.BulkString("hostname")
		w.BulkString(n.Hostname)
	}
	w.BulkString("role")
	w.BulkString(role)
	w.BulkString("replication-offset")
	w.Int(int64(offset))
	w.BulkString("health")
	w.BulkString(health)
}

// clusterLinks shows one connection to and one from each other node: that is how they look from outside, however many
// the groups have.
func clusterLinks(s *session, _ [][]byte, w *resp.Writer) {
	m := s.server.topology.Map()
	var up []*clusterNode
	for i := range m.Nodes {
		if n := &m.Nodes[i]; n.ID != m.Self && !n.Down {
			up = append(up, n)
		}
	}
	w.Array(2 * len(up))
	for _, n := range up {
		for _, direction := range []string{"to", "from"} {
			w.Map(6)
			w.BulkString("direction")
			w.BulkString(direction)
			w.BulkString("node")
			w.BulkString(n.ID)
			w.BulkString("create-time")
			w.Int(s.server.started.UnixMilli())
			w.BulkString("events")
			w.BulkString("r")
			w.BulkString("send-buffer-allocated")
			w.Int(0)
			w.BulkString("send-buffer-used")
			w.Int(0)
		}
	}
}

// slotArg reads a slot's number.
func slotArg(arg []byte, w *resp.Writer, wrong string) (slot uint16, ok bool) {
	n, ok := value.ParseInt(arg)
	switch {
	case !ok:
		w.Error(reply.NotInteger)
		return 0, false
	case n < 0 || n >= front.Slots:
		w.Error(wrong)
		return 0, false
	}
	return uint16(n), true
}

func clusterCountKeys(s *session, args [][]byte, w *resp.Writer) {
	if _, ok := slotArg(args[2], w, "ERR Invalid slot"); ok {
		s.readSlot(command.CountKeysInSlot, args)
	}
}

func clusterGetKeys(s *session, args [][]byte, w *resp.Writer) {
	slot, ok := value.ParseInt(args[2])
	count, countOK := value.ParseInt(args[3])
	switch {
	case !ok || !countOK:
		w.Error(reply.NotInteger)
	case slot < 0 || slot >= front.Slots || count < 0:
		w.Error("ERR Invalid slot or number of keys")
	default:
		s.readSlot(command.GetKeysInSlot, args)
	}
}

// readSlot has a worker answer what this node has in a slot.
func (s *session) readSlot(row *command.Command, args [][]byte) {
	n := s.server.node
	slot, _ := value.ParseInt(args[2]) // it has been checked
	s.slowly(args, func(args [][]byte, w *resp.Writer) {
		r := n.routing.Load()
		sh := r.sole
		if sh == nil {
			sh = r.owners[r.slots[slot]].local
		}
		if sh == nil || !sh.use() { // this node has none of them
			if row == command.CountKeysInSlot {
				w.Int(0)
			} else {
				w.Array(0)
			}
			return
		}
		defer sh.unuse()
		if _, err := sh.engine.Detached(row, 0, args, sh.group.Now(), n.random(), w); err != nil {
			s.server.log.Error("a read met data that cannot be read", "command", row.Name, "error", err)
			w.Error(unreadable)
		}
	})
}

// transferPatience bounds how long a change of leader is waited for.
const transferPatience = 10 * time.Second

// clusterFailover has this node lead the shard that it follows. FORCE and TAKEOVER are for leaders that are gone: those
// are replaced without being asked, and nothing is ever taken over without a majority.
func clusterFailover(s *session, args [][]byte, w *resp.Writer) {
	if len(args) > 3 {
		w.Error("ERR unknown subcommand or wrong number of arguments for '" + string(shortened(args[1], shownBytes)) + "'. Try CLUSTER HELP.")
		return
	}
	if len(args) == 3 && !isWord(args[2], "FORCE") && !isWord(args[2], "TAKEOVER") {
		w.Error(reply.Syntax)
		return
	}
	m := s.server.topology.Map()
	own := m.shardOf(m.Self)
	switch {
	case own == nil || own.leads(m.Self):
		w.Error("ERR You should send CLUSTER FAILOVER to a replica")
		return
	case !own.Led:
		w.Error("ERR Master is down or failed: the shard's replicas are electing another by themselves")
		return
	}
	var err error
	s.workReply(func() {
		ctx, cancel := context.WithTimeout(context.Background(), transferPatience)
		defer cancel()
		err = s.server.topology.Transfer(ctx, own.ID, m.Self)
	}, func(w *resp.Writer) {
		if err != nil {
			w.Error("ERR the leadership could not be transferred: " + err.Error())
			return
		}
		w.Simple(reply.OK)
	})
}
