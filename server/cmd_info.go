package server

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/server/config"
	"github.com/larder-db/larder/server/resp"
)

var infoCommands = []serverCommand{
	{Command: command.Command{Name: "INFO", Arity: -1, Flags: command.Loading | command.Stale, Group: "server", Since: "1.0.0", Extra: "dangerous",
		Summary: "Returns figures about the server.", Tips: perShard}, Run: info},
}

// An infoSection is a part of INFO.
type infoSection struct {
	name  string
	extra bool // shown only when asked for, by name, by "all" or "everything"
	write func(f *figures, b *infoText)
}

// infoSections are in the order in which they are shown. Fields are named as in Redis; what has no meaning here is left
// out, and what Redis has no name for begins with "larder_".
var infoSections = []infoSection{
	{name: "Server", write: infoServer},
	{name: "Clients", write: infoClients},
	{name: "Memory", write: infoMemory},
	{name: "Persistence", write: infoPersistence},
	{name: "Stats", write: infoStats},
	{name: "Replication", write: infoReplication},
	{name: "CPU", write: infoCPU},
	{name: "Modules", write: func(*figures, *infoText) {}},
	{name: "Commandstats", extra: true, write: infoCommandStats},
	{name: "Errorstats", write: infoErrorStats},
	{name: "Cluster", write: func(f *figures, b *infoText) { b.flag("cluster_enabled", f.server.node.clustered) }},
	{name: "Larder", write: infoLarder},
	{name: "Keyspace", write: infoKeyspace},
}

// figures is what INFO is made of, taken at about one moment.
type figures struct {
	server *Server
	config *config.Values
	now    time.Time
	memory memoryFigures
	shards []shardFigures
	raft   raftfsm.Stats // all shards' together
	loops  loopTotals
}

// loopTotals is what all loops counted together.
type loopTotals struct {
	stats        []commandStat
	hits, misses uint64
	calls        uint64
	perSecond    float64
	sessions     int
}

func info(s *session, args [][]byte, _ *resp.Writer) {
	srv := s.server
	s.slowly(args, func(args [][]byte, w *resp.Writer) {
		wanted := make([]string, len(args)-1)
		for i, a := range args[1:] {
			wanted[i] = string(a)
		}
		w.Verbatim("txt", srv.info(wanted))
	})
}

// info writes INFO's sections of the wanted names. It must not be called on a loop.
func (srv *Server) info(wanted []string) string {
	list := chooseSections(wanted)
	if len(list) == 0 {
		return ""
	}
	f := &figures{server: srv, config: srv.config.Load(), now: time.Now(), memory: srv.memory(), shards: srv.node.shardFigures(), loops: srv.loopTotals()}
	f.raft = sumStats(f.shards)
	var b infoText
	for i, s := range list {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString("# " + s.name + "\r\n")
		s.write(f, &b)
	}
	return b.String()
}

func chooseSections(wanted []string) []infoSection {
	if len(wanted) == 0 {
		wanted = []string{"default"}
	}
	var list []infoSection
	for _, s := range infoSections {
		if slices.ContainsFunc(wanted, s.isMeant) {
			list = append(list, s)
		}
	}
	return list
}

func (s infoSection) isMeant(word string) bool {
	switch strings.ToLower(word) {
	case "default":
		return !s.extra
	case "all", "everything", strings.ToLower(s.name):
		return true
	}
	return false
}

func (srv *Server) loopTotals() loopTotals {
	t := loopTotals{stats: make([]commandStat, len(srv.table.names))}
	for _, l := range ask(srv, (*loop).copyFigures) {
		for i := range l.stats {
			t.stats[i].add(&l.stats[i])
			t.calls += l.stats[i].calls
		}
		t.hits += l.hits
		t.misses += l.misses
		t.perSecond += l.perSecond
		t.sessions += l.sessions
	}
	return t
}

// copyFigures is what INFO shows of a loop. It runs on the loop.
func (l *loop) copyFigures() loopTotals {
	return loopTotals{
		stats: slices.Clone(l.stats), hits: l.figures.hits, misses: l.figures.misses,
		perSecond: l.figures.rate.perSecond(), sessions: len(l.sessions),
	}
}

// infoText collects lines.
type infoText struct{ strings.Builder }

func (b *infoText) text(name, value string) { b.WriteString(name + ":" + value + "\r\n") }

func (b *infoText) int(name string, n int64) { fmt.Fprintf(b, "%s:%d\r\n", name, n) }

func (b *infoText) float(name string, f float64) { fmt.Fprintf(b, "%s:%.2f\r\n", name, f) }

func (b *infoText) flag(name string, on bool) {
	if on {
		b.int(name, 1)
		return
	}
	b.int(name, 0)
}

// size writes a number of bytes twice, for machines and for people.
func (b *infoText) size(name string, n int64) {
	b.int(name, n)
	b.text(name+"_human", human(n))
}

// status writes how the last attempt at something ended.
func (b *infoText) status(name string, ok bool) {
	if ok {
		b.text(name, "ok")
		return
	}
	b.text(name, "err")
}

// seconds rounds a duration as INFO shows it.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func infoServer(f *figures, b *infoText) {
	up := f.now.Sub(f.server.started)
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	b.text("redis_version", RedisVersion)
	b.text("redis_git_sha1", "00000000")
	b.int("redis_git_dirty", 0)
	b.text("redis_build_id", "0")
	b.text("redis_mode", f.server.mode())
	b.text("larder_version", Version)
	b.text("go_version", runtime.Version())
	b.text("os", systemName())
	b.int("arch_bits", 64)
	b.text("multiplexing_api", multiplexing())
	b.int("process_id", int64(os.Getpid()))
	b.text("process_supervised", "no")
	b.text("run_id", f.server.runID)
	b.int("tcp_port", int64(f.config.Port))
	b.int("server_time_usec", f.now.UnixMicro())
	b.int("uptime_in_seconds", seconds(up))
	b.int("uptime_in_days", seconds(up)/(24*3600))
	b.int("hz", int64(f.config.HZ))
	b.int("configured_hz", int64(f.config.HZ))
	b.int("lru_clock", f.now.Unix()&(1<<24-1))
	b.text("executable", path)
	b.text("config_file", f.server.config.File())
	b.flag("io_threads_active", len(f.server.loops) > 1)
	b.int("larder_event_loops", int64(len(f.server.loops)))
}

// mode is what kind of server Redis's clients meet here.
func (srv *Server) mode() string {
	if srv.node.clustered {
		return "cluster"
	}
	return "standalone"
}

// multiplexing is how plain connections are waited for.
func multiplexing() string {
	if runtime.GOOS == "linux" {
		return "epoll"
	}
	return "goroutines"
}

func infoClients(f *figures, b *infoText) {
	b.int("connected_clients", int64(f.loops.sessions))
	b.int("cluster_connections", 0)
	b.int("maxclients", f.config.MaxClients)
	b.int("blocked_clients", 0)
	b.int("tracking_clients", 0)
	clients, keys := 0, 0
	for _, sh := range f.server.node.local() {
		c, k := sh.watches.figures()
		clients, keys = clients+c, keys+k
	}
	b.int("larder_watching_clients", int64(clients))
	b.int("clients_in_timeout_table", 0)
	b.int("larder_watched_keys", int64(keys))
}

func infoMemory(f *figures, b *infoText) {
	m := &f.memory
	fromSystem := m.front + m.cache + m.runtime
	b.size("used_memory", m.used)
	b.size("used_memory_rss", m.rss)
	b.size("used_memory_peak", m.peak)
	b.text("used_memory_peak_perc", fmt.Sprintf("%.2f%%", 100*ratio(m.used, m.peak)))
	b.int("used_memory_overhead", m.used-m.dataset)
	b.int("used_memory_startup", 0)
	b.int("used_memory_dataset", m.dataset)
	b.text("used_memory_dataset_perc", fmt.Sprintf("%.2f%%", 100*ratio(m.dataset, m.used)))
	b.int("allocator_allocated", m.used)
	b.int("allocator_active", fromSystem)
	b.int("allocator_resident", m.rss)
	if total, err := config.MachineMemory(os.DirFS("/")); err == nil {
		b.size("total_system_memory", total)
	}
	b.size("maxmemory", f.config.MaxMemory.Bytes)
	b.text("maxmemory_policy", f.config.MaxMemoryPolicy.String())
	b.float("allocator_frag_ratio", ratio(fromSystem, m.used))
	b.int("allocator_frag_bytes", fromSystem-m.used)
	b.float("allocator_rss_ratio", ratio(m.rss, fromSystem))
	b.int("allocator_rss_bytes", m.rss-fromSystem)
	b.float("mem_fragmentation_ratio", ratio(m.rss, m.used))
	b.int("mem_fragmentation_bytes", m.rss-m.used)
	b.int("mem_not_counted_for_evict", 0)
	b.int("mem_replication_backlog", 0)
	b.int("mem_clients_slaves", 0)
	b.int("mem_cluster_links", 0)
	b.text("mem_allocator", "larder-front")
	b.int("active_defrag_running", 0)
	b.int("lazyfree_pending_objects", m.keys.Doomed)
	b.int("larder_front_budget", m.keys.Budget)
	b.int("larder_front_data", m.data)
	b.int("larder_front_resident", m.front)
	b.int("larder_front_live", m.keys.Live)
	b.int("larder_front_dirty", m.keys.DirtyBytes)
	b.int("larder_cache", m.cache)
	b.int("larder_go_heap", m.heap)
	b.int("larder_go_runtime", m.runtime)
}

func infoPersistence(f *figures, b *infoText) {
	n := f.server.node
	c := n.checkpointFigures()
	current, lastTook := int64(-1), int64(-1)
	if c.running {
		current = seconds(f.now.Sub(c.begun))
	}
	if c.took > 0 {
		lastTook = seconds(c.took)
	}
	held := false
	for _, sh := range n.local() {
		held = held || sh.holdWrites()
	}
	logs := n.aof.Stats()
	b.int("loading", 0)
	b.int("async_loading", 0)
	b.int("rdb_changes_since_last_save", f.memory.keys.DirtyKeys)
	b.flag("rdb_bgsave_in_progress", c.running)
	b.int("rdb_last_save_time", c.last.Unix())
	b.status("rdb_last_bgsave_status", !c.failed)
	b.int("rdb_last_bgsave_time_sec", lastTook)
	b.int("rdb_current_bgsave_time_sec", current)
	b.int("rdb_saves", c.count)
	b.int("aof_enabled", 1)
	b.int("aof_rewrite_in_progress", 0) // what shortens the log is the checkpoint, shown above
	b.flag("aof_rewrite_scheduled", n.scheduled.Load())
	b.int("aof_last_rewrite_time_sec", lastTook)
	b.int("aof_current_rewrite_time_sec", -1)
	b.status("aof_last_bgrewrite_status", !c.failed)
	b.int("aof_rewrites", c.count)
	b.status("aof_last_write_status", logs.PrepareErr == nil)
	b.int("aof_current_size", f.raft.LogBytes)
	b.int("aof_base_size", 0)
	b.int("aof_pending_rewrite", 0)
	b.int("aof_buffer_length", logs.Unsynced)
	b.int("aof_pending_bio_fsync", 0)
	b.int("aof_delayed_fsync", 0)
	b.int("larder_checkpoint_index", int64(f.raft.Durable))
	b.int("larder_checkpoint_last_msec", c.took.Milliseconds())
	b.flag("larder_writes_held", held)
	b.flag("larder_disk_full", n.diskFull.Load())
}

func infoStats(f *figures, b *infoText) {
	srv := f.server
	srv.errors.mu.Lock()
	failures := srv.errors.mu.total
	srv.errors.mu.Unlock()
	b.int("total_connections_received", srv.accepted.Load())
	b.int("total_commands_processed", int64(f.loops.calls))
	b.int("instantaneous_ops_per_sec", int64(f.loops.perSecond+0.5))
	b.int("rejected_connections", srv.refused.Load())
	b.int("sync_full", 0)
	b.int("sync_partial_ok", 0)
	b.int("sync_partial_err", 0)
	b.int("expired_keys", srv.node.expired.Load())
	b.int("evicted_keys", srv.node.evicted.Load())
	b.int("evicted_clients", 0)
	total, current := srv.node.exceededTime()
	b.int("total_eviction_exceeded_time", total.Milliseconds())
	b.int("current_eviction_exceeded_time", current.Milliseconds())
	b.int("keyspace_hits", int64(f.loops.hits))
	b.int("keyspace_misses", int64(f.loops.misses))
	b.int("pubsub_channels", 0)
	b.int("pubsub_patterns", 0)
	b.int("pubsubshard_channels", 0)
	b.int("latest_fork_usec", 0) // there is no fork
	b.int("total_forks", 0)
	b.int("tracking_total_keys", 0)
	b.int("tracking_total_items", 0)
	b.int("tracking_total_prefixes", 0)
	b.int("unexpected_error_replies", 0)
	b.int("total_error_replies", int64(failures))
}

func infoCPU(_ *figures, b *infoText) {
	for _, u := range cpuUse() {
		fmt.Fprintf(b, "%s:%.6f\r\n", u.name, u.seconds)
	}
}

// cpuTime is processor time under INFO's name for it.
type cpuTime struct {
	name    string
	seconds float64
}

// infoCommandStats shows what was called and how long it took; see timing.go.
func infoCommandStats(f *figures, b *infoText) {
	for id, c := range f.loops.stats {
		if c == (commandStat{}) {
			continue
		}
		fmt.Fprintf(b, "cmdstat_%s:calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d\r\n",
			f.server.table.names[id], c.calls, c.spent.Microseconds(), perCall(&c), c.rejected, c.failed)
	}
}

// perCall is what a call took on average, microseconds.
func perCall(c *commandStat) float64 {
	if c.calls == 0 {
		return 0
	}
	return float64(c.spent) / 1000 / float64(c.calls)
}

func infoErrorStats(f *figures, b *infoText) {
	e := &f.server.errors
	e.mu.Lock()
	counts := maps.Clone(e.mu.byCode)
	e.mu.Unlock()
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(b, "errorstat_%s:count=%d\r\n", code, counts[code])
	}
}

func infoLarder(f *figures, b *infoText) {
	logs := f.server.node.aof.Stats()
	store, restart := sumStores(f.shards)
	b.text("raft_state", strings.ToLower(f.raft.State))
	b.int("raft_term", int64(f.raft.Term))
	b.int("raft_last_index", int64(f.raft.LastIndex))
	b.int("raft_committed_index", int64(f.raft.Committed))
	b.int("raft_applied_index", int64(f.raft.Applied))
	b.int("raft_checkpoint_index", int64(f.raft.Durable))
	b.int("raft_batches_in_flight", int64(f.raft.InFlight))
	b.int("log_segments", int64(logs.Segments))
	b.int("log_spares", int64(logs.Spares))
	b.int("log_bytes_on_disk", logs.Bytes)
	b.int("log_writes", int64(logs.Writes))
	b.int("log_written_bytes", logs.Written)
	b.int("log_unsynced_bytes", logs.Unsynced)
	b.int("log_syncs", int64(logs.Syncs))
	b.int("log_last_sync_usec", logs.LastSync.Microseconds())
	b.int("log_slowest_sync_usec", logs.SlowestSync.Microseconds())
	b.int("store_bytes_on_disk", store.DiskBytes)
	b.int("store_tables", int64(store.Tables))
	b.int("store_sublevels", int64(store.Sublevels))
	b.int("store_compaction_debt", store.CompactionDebt)
	b.int("store_compactions", store.Compactions)
	b.flag("store_compacting", store.Compacting)
	b.int("front_entries", f.memory.keys.Entries)
	b.int("front_segments", f.memory.keys.Segments)
	b.int("front_dirty_keys", f.memory.keys.DirtyKeys)
	b.int("front_dropped_bytes", f.memory.keys.Evicted)
	b.flag("front_has_cold_keys", f.memory.keys.Cold)
	b.int("restart_commands_msec", restart.commands.Milliseconds())
	b.int("restart_msec", restart.all.Milliseconds())
	b.int("shards", int64(len(f.shards)))
	for i := range f.shards {
		f.shards[i].write(b)
	}
}

func infoKeyspace(f *figures, b *infoText) {
	for db, keys := range f.memory.keys.Keys {
		if keys > 0 {
			fmt.Fprintf(b, "db%d:keys=%d,expires=%d,avg_ttl=0\r\n", db, keys, f.memory.keys.Timed[db])
		}
	}
}
