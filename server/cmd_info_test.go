package server

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// infoFields are INFO's lines by name.
func infoFields(reply string) map[string]string {
	fields := map[string]string{}
	for l := range strings.Lines(reply) {
		if name, value, ok := strings.Cut(strings.TrimSpace(l), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// infoHeads are INFO's sections, in order.
func infoHeads(reply string) (heads []string) {
	for l := range strings.Lines(reply) {
		if head, ok := strings.CutPrefix(strings.TrimSpace(l), "# "); ok {
			heads = append(heads, head)
		}
	}
	return heads
}

// withoutMeaning are Redis's fields that Larder leaves out: of its C library and allocator, of its children (there is no
// fork), of scripts and modules, of defragmentation, of buffers that are not here, and of what is not counted: bytes and
// calls of the network, which sockets' own figures show.
var withoutMeaning = strings.Fields(`
	monotonic_clock atomicvar_api gcc_version
	client_recent_max_input_buffer client_recent_max_output_buffer
	used_memory_lua used_memory_lua_human used_memory_vm_eval used_memory_vm_functions used_memory_vm_total
	used_memory_vm_total_human used_memory_scripts_eval used_memory_functions used_memory_scripts
	used_memory_scripts_human number_of_cached_scripts number_of_functions number_of_libraries
	rss_overhead_ratio rss_overhead_bytes mem_total_replication_buffers mem_clients_normal mem_aof_buffer lazyfreed_objects
	current_cow_peak current_cow_size current_cow_size_age current_fork_perc current_save_keys_processed
	current_save_keys_total rdb_last_cow_size rdb_last_load_keys_expired rdb_last_load_keys_loaded
	aof_rewrites_consecutive_failures aof_last_cow_size module_fork_in_progress module_fork_last_cow_size
	total_net_input_bytes total_net_output_bytes total_net_repl_input_bytes total_net_repl_output_bytes
	instantaneous_input_kbps instantaneous_output_kbps instantaneous_input_repl_kbps instantaneous_output_repl_kbps
	expired_stale_perc expired_time_cap_reached_count expire_cycle_cpu_milliseconds
	migrate_cached_sockets slave_expires_tracked_keys
	active_defrag_hits active_defrag_misses active_defrag_key_hits active_defrag_key_misses total_active_defrag_time
	current_active_defrag_time dump_payload_sanitizations total_reads_processed total_writes_processed
	io_threaded_reads_processed io_threaded_writes_processed reply_buffer_shrinks reply_buffer_expands
	used_cpu_sys_main_thread used_cpu_user_main_thread`)

// ofOurOwn are fields without Redis's or our prefix.
var ofOurOwn = strings.Fields("go_version")

// TestInfoIsRedis compares the names of fields, section by section.
func TestInfoIsRedis(t *testing.T) {
	t.Parallel()
	a, b := startRedis(t, "--appendonly", "yes").dial(), start(t).dial()
	for _, c := range []*testClient{a, b} {
		c.must("SET a 1", "+OK\r\n")
		c.do("NOSUCH")
	}
	for _, section := range []string{"", "default", "all", "everything", "server", "CLIENTS", "modules", "keyspace", "commandstats cpu"} {
		ask := append([]string{"INFO"}, strings.Fields(section)...)
		theirs, ours := infoHeads(a.do(ask...)), infoHeads(b.do(ask...))
		ours = slices.DeleteFunc(ours, func(head string) bool { return head == "Larder" })
		theirs = slices.DeleteFunc(theirs, func(head string) bool { return head == "Latencystats" })
		if !slices.Equal(theirs, ours) {
			t.Errorf("INFO %s has the sections\n ours   %v\n theirs %v", section, ours, theirs)
		}
		for _, head := range ours {
			missing, extra := difference(infoFields(a.do("INFO", head)), infoFields(b.do("INFO", head)))
			for _, name := range missing {
				if !slices.Contains(withoutMeaning, name) && !strings.HasPrefix(name, "cmdstat_") {
					t.Errorf("%s: %s is missing", head, name)
				}
			}
			for _, name := range extra {
				if !strings.HasPrefix(name, "larder_") && !strings.HasPrefix(name, "cmdstat_") && !slices.Contains(ofOurOwn, name) {
					t.Errorf("%s: Redis has no %s", head, name)
				}
			}
		}
	}
}

// difference lists the names that only theirs has, and that only ours has.
func difference(theirs, ours map[string]string) (missing, extra []string) {
	for name := range theirs {
		if _, ok := ours[name]; !ok {
			missing = append(missing, name)
		}
	}
	for name := range ours {
		if _, ok := theirs[name]; !ok {
			extra = append(extra, name)
		}
	}
	return missing, extra
}

func TestInfoCounts(t *testing.T) {
	t.Parallel()
	ts := start(t, "enable-debug-command yes", "io-threads 2")
	c, other := ts.dial(), ts.dial() // on different loops
	c.must("SET a 1", "+OK\r\n")
	c.must("SET b 1 PX 100000", "+OK\r\n")
	other.must("GET a", bulk("1"))
	c.must("GET a", bulk("1"))
	c.must("GET none", "$-1\r\n")
	c.send(line("SET c 1") + line("GET none") + line("GET c")) // reads that ride behind a write
	c.want("+OK\r\n")
	c.want("$-1\r\n")
	c.want(bulk("1"))
	other.do("GET")
	other.do("INCR", "none", "x")
	c.must("SELECT 3", "+OK\r\n")
	c.must("SET a 1", "+OK\r\n")
	c.must("HELLO 3", c.do("HELLO", "3"))
	reply := c.do("INFO", "everything")
	if !strings.HasPrefix(reply, "=") {
		t.Errorf("in RESP3 INFO begins with %.10q", reply)
	}
	f := infoFields(reply)
	for name, want := range map[string]string{
		"keyspace_hits": "3", "keyspace_misses": "2", "connected_clients": "2", "total_connections_received": "2",
		"total_error_replies": "2", "errorstat_ERR": "count=2",
		"db0": "keys=3,expires=1,avg_ttl=0", "db3": "keys=1,expires=0,avg_ttl=0", "role": "master",
		"maxmemory": "268435456", "raft_state": "leader", "redis_version": RedisVersion, "larder_version": Version,
	} {
		if f[name] != want {
			t.Errorf("%s is %q, want %q", name, f[name], want)
		}
	}
	for name, want := range map[string]string{
		"cmdstat_get": "calls=5,rejected_calls=1,failed_calls=0", "cmdstat_set": "calls=4,rejected_calls=0,failed_calls=0",
	} {
		calls, durations := splitStat(f[name])
		if calls != want || slices.Contains(durations, "usec_per_call=0.00") {
			t.Errorf("%s is %q, want %q, and a duration", name, f[name], want)
		}
	}
	if f["db1"] != "" {
		t.Errorf("an empty data base is shown: %q", f["db1"])
	}
}

// splitStat divides a line of commandstats into how many calls there were and how long they took.
func splitStat(line string) (calls string, durations []string) {
	var counts []string
	for field := range strings.SplitSeq(line, ",") {
		if strings.HasPrefix(field, "usec") {
			durations = append(durations, field)
			continue
		}
		counts = append(counts, field)
	}
	return strings.Join(counts, ","), durations
}

// TestExpiredKeysAreCounted has keys go actively, and by a read.
func TestExpiredKeysAreCounted(t *testing.T) {
	t.Parallel()
	c := start(t, "enable-debug-command yes").dial()
	expired := func() string { return infoFields(c.do("INFO", "stats"))["expired_keys"] }
	c.must("SET a 1 PX 1", "+OK\r\n")
	eventually(t, "the key is expired", func() bool { return expired() == "1" })
	c.must("DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n")
	c.must("SET a 1 PX 1", "+OK\r\n")
	eventually(t, "the key is gone", func() bool { return c.do("GET", "a") == "$-1\r\n" })
	eventually(t, "it is counted", func() bool { return expired() == "2" })
}

func TestRate(t *testing.T) {
	var r rate
	if r.perSecond() != 0 {
		t.Error("a rate out of nothing")
	}
	at := time.Unix(1000, 0)
	for i := range 40 {
		r.sample(at.Add(time.Duration(i)*100*time.Millisecond), uint64(i*50))
		if got := r.perSecond(); i > 0 && math.Abs(got-500) > 1e-6 {
			t.Fatalf("after %d samples: %v", i+1, got)
		}
	}
	r.sample(at.Add(4*time.Second), 0)
	if got := r.perSecond(); got != 0 {
		t.Errorf("after a reset: %v", got)
	}
}

func TestHumanSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1536: "1.50K", 3 << 20: "3.00M", 5 << 29: "2.50G", 1 << 41: "2.00T"} {
		if got := human(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
