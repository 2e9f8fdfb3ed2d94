package config

//lint:file-ignore ST1005 the messages are redis-server's, to the letter

import (
	"errors"
	"math"
	"strings"
)

// inertRow is a directive of Redis that is checked, kept and shown, and changes nothing.
type inertRow struct {
	name    string
	value   string // the default, as CONFIG GET shows it in redis-server 7.0 (quoted where it must be)
	flags   Flags
	kind    textKind
	aliases []string
}

// inertTable groups the rows by the reason that makes them needless.
var inertTable = []struct {
	reason string
	rows   []inertRow
}{
	{"thresholds of the data's form are fixed in Larder", []inertRow{
		{"list-max-listpack-size", "-2", Mutable, signed, []string{"list-max-ziplist-size"}},
		{"list-compress-depth", "0", Mutable, count, nil},
		{"hll-sparse-max-bytes", "3000", Mutable, byteCount, nil},
		{"stream-node-max-bytes", "4096", Mutable, byteCount, nil},
		{"stream-node-max-entries", "100", Mutable, size, nil},
	}},
	{"Larder always frees memory in the background", []inertRow{
		{"lazyfree-lazy-eviction", "no", Mutable, bools, nil},
		{"lazyfree-lazy-expire", "no", Mutable, bools, nil},
		{"lazyfree-lazy-server-del", "no", Mutable, bools, nil},
		{"lazyfree-lazy-user-del", "no", Mutable, bools, nil},
		{"lazyfree-lazy-user-flush", "no", Mutable, bools, nil},
		{"activerehashing", "yes", Mutable, bools, nil},
		{"jemalloc-bg-thread", "yes", Mutable, bools, nil},
		{"maxmemory-eviction-tenacity", "10", Mutable, upTo(100), nil},
	}},
	{"Larder's memory does not need defragmenting", []inertRow{
		{"activedefrag", "no", Mutable, bools, nil},
		{"active-defrag-cycle-max", "25", Mutable, text(number[int64]{1, 99, 1}), nil},
		{"active-defrag-cycle-min", "1", Mutable, text(number[int64]{1, 99, 1}), nil},
		{"active-defrag-ignore-bytes", "104857600", Mutable, text(memory{1, math.MaxInt64}), nil},
		{"active-defrag-max-scan-fields", "1000", Mutable, text(number[int64]{1, math.MaxInt64, 1}), nil},
		{"active-defrag-threshold-lower", "10", Mutable, upTo(1000), nil},
		{"active-defrag-threshold-upper", "100", Mutable, upTo(1000), nil},
	}},
	{"Larder has its own log and checkpoints and never forks", []inertRow{
		{"appendfilename", "appendonly.aof", 0, anyWord, nil},
		{"appenddirname", "appendonlydir", 0, anyWord, nil},
		{"aof-load-truncated", "yes", Mutable, bools, nil},
		{"aof-use-rdb-preamble", "yes", Mutable, bools, nil},
		{"aof-timestamp-enabled", "no", Mutable, bools, nil},
		{"aof-disable-auto-gc", "no", Mutable, bools, nil},
		{"aof-rewrite-incremental-fsync", "yes", Mutable, bools, nil},
		{"no-appendfsync-on-rewrite", "no", Mutable, bools, nil},
		{"auto-aof-rewrite-percentage", "100", Mutable, count, nil},
		{"auto-aof-rewrite-min-size", "67108864", Mutable, byteCount, nil},
		{"dbfilename", "dump.rdb", Mutable | Protected, text(anyText{checkFileName}), nil},
		{"rdbcompression", "yes", Mutable, bools, nil},
		{"rdbchecksum", "yes", 0, bools, nil},
		{"rdb-del-sync-files", "no", Mutable, bools, nil},
		{"rdb-save-incremental-fsync", "yes", Mutable, bools, nil},
		{"sanitize-dump-payload", "no", Mutable, text(words("no", "yes", "clients")), nil},
	}},
	{"the service manager and the system see to it", []inertRow{
		{"supervised", "no", 0, text(words("upstart", "systemd", "auto", "no")), nil},
		{"always-show-logo", "no", 0, bools, nil},
		{"set-proc-title", "yes", 0, bools, nil},
		{"proc-title-template", `"{title} {listen-addr} {server-mode}"`, Mutable, anyWord, nil},
		{"oom-score-adj", "no", Mutable, text(words("no", "yes", "relative", "absolute")), nil},
		{"oom-score-adj-values", "0 200 800", Mutable, text(textList{checkOOMScores}), nil},
		{"disable-thp", "yes", 0, bools, nil},
		{"crash-log-enabled", "yes", Mutable, bools, nil},
		{"crash-memcheck-enabled", "yes", Mutable, bools, nil},
		{"ignore-warnings", `""`, Mutable, anyWord, nil},
		{"server_cpulist", `""`, 0, anyWord, nil},
		{"bio_cpulist", `""`, 0, anyWord, nil},
		{"aof_rewrite_cpulist", `""`, 0, anyWord, nil},
		{"bgsave_cpulist", `""`, 0, anyWord, nil},
		{"socket-mark-id", "0", 0, text(number[int64]{0, math.MaxUint32, 1}), nil},
		{"bind-source-addr", `""`, Mutable, anyWord, nil},
		{"io-threads-do-reads", "no", 0, bools, nil},
	}},
	{"Larder logs to standard output or to logfile", []inertRow{
		{"syslog-enabled", "no", 0, text(only[bool]{kind: yesNo{}, value: "no",
			reason: "Larder does not write to syslog: its service manager can"}), nil},
		{"syslog-ident", "redis", 0, anyWord, nil},
		{"syslog-facility", "local0", 0, text(words("user", "local0", "local1", "local2", "local3", "local4",
			"local5", "local6", "local7")), nil},
	}},
	{"Larder bounds memory as a whole and clients by their buffers", []inertRow{
		{"maxmemory-clients", "0", Mutable, text(memoryOrPercent{}), nil},
		{"tracking-table-max-keys", "1000000", Mutable, size, nil},
	}},
	{"this version has no access control lists, only requirepass", []inertRow{
		{"aclfile", `""`, 0, text(only[string]{kind: anyText{},
			reason: "this version has no access control lists: use requirepass"}), nil},
		{"acllog-max-len", "128", Mutable, size, nil},
		{"acl-pubsub-default", "resetchannels", Mutable, text(words("allchannels", "resetchannels")), nil},
	}},
	{"histograms of commands are always kept, and INFO has no percentiles", []inertRow{
		{"latency-tracking", "yes", Mutable, bools, nil},
		{"latency-tracking-info-percentiles", "50 99 99.9", Mutable, text(textList{checkPercentiles}), nil},
	}},
	{"Larder loads no modules", []inertRow{
		{"enable-module-command", "no", 0, text(only[string]{kind: words("no", "yes", "local"), value: "no",
			reason: "Larder loads no modules: only 'no'"}), nil},
	}},
	{"Larder's TLS needs no such setting", []inertRow{
		{"tls-session-cache-size", "20480", Mutable, count, nil},
		{"tls-session-cache-timeout", "300", Mutable, count, nil},
		{"tls-dh-params-file", `""`, Mutable, anyWord, nil},
		{"tls-client-cert-file", `""`, Mutable, anyWord, nil},
		{"tls-client-key-file", `""`, Mutable, anyWord, nil},
		{"tls-client-key-file-pass", `""`, Mutable | Sensitive, anyWord, nil},
		{"tls-replication", "no", Mutable, bools, nil},
	}},
	{"Larder does not replicate as Redis does", replicationRows},
	{"Larder's cluster needs no such setting", clusterRows},
}

var replicationRows = []inertRow{
	{"replicaof", `""`, 0, text[string](noMaster{}), []string{"slaveof"}},
	{"masterauth", `""`, Mutable | Sensitive, anyWord, nil},
	{"masteruser", `""`, Mutable | Sensitive, anyWord, nil},
	{"min-replicas-to-write", "0", Mutable, text(only[int64]{kind: number[int64]{0, maxInt, 1}, value: "0",
		reason: "Larder has no replicas of this kind to wait for: only 0"}), []string{"min-slaves-to-write"}},
	{"min-replicas-max-lag", "10", Mutable, count, []string{"min-slaves-max-lag"}},
	{"repl-backlog-size", "1048576", Mutable, text(memory{1, math.MaxInt64}), nil},
	{"repl-backlog-ttl", "3600", Mutable, size, nil},
	{"repl-disable-tcp-nodelay", "no", Mutable, bools, nil},
	{"repl-diskless-load", "disabled", Mutable, text(words("disabled", "on-empty-db", "swapdb")), nil},
	{"repl-diskless-sync", "yes", Mutable, bools, nil},
	{"repl-diskless-sync-delay", "5", Mutable, count, nil},
	{"repl-diskless-sync-max-replicas", "0", Mutable, count, nil},
	{"repl-ping-replica-period", "10", Mutable, positive, []string{"repl-ping-slave-period"}},
	{"repl-timeout", "60", Mutable, positive, nil},
	{"replica-announce-ip", `""`, Mutable, anyWord, []string{"slave-announce-ip"}},
	{"replica-announce-port", "0", Mutable, upTo(65535), []string{"slave-announce-port"}},
	{"replica-announced", "yes", Mutable, bools, nil},
	{"replica-ignore-disk-write-errors", "no", Mutable, bools, nil},
	{"replica-ignore-maxmemory", "yes", Mutable, bools, []string{"slave-ignore-maxmemory"}},
	{"replica-lazy-flush", "no", Mutable, bools, []string{"slave-lazy-flush"}},
	{"replica-priority", "100", Mutable, count, []string{"slave-priority"}},
	{"replica-read-only", "yes", Mutable, bools, []string{"slave-read-only"}},
	{"replica-serve-stale-data", "yes", Mutable, bools, []string{"slave-serve-stale-data"}},
	{"propagation-error-behavior", "ignore", Mutable, text(words("ignore", "panic", "panic-on-replicas")), nil},
}

var clusterRows = []inertRow{
	{"cluster-allow-pubsubshard-when-down", "yes", Mutable, bools, nil},
	{"cluster-allow-reads-when-down", "no", Mutable, bools, nil},
	{"cluster-allow-replica-migration", "yes", Mutable, bools, nil},
	{"cluster-announce-hostname", `""`, Mutable, anyWord, nil},
	{"cluster-announce-tls-port", "0", Mutable, upTo(65535), nil},
	{"cluster-config-file", "nodes.conf", 0, anyWord, nil},
	{"cluster-link-sendbuf-limit", "0", Mutable, byteCount, nil},
	{"cluster-migration-barrier", "1", Mutable, count, nil},
	{"cluster-node-timeout", "15000", Mutable, size, nil},
	{"cluster-preferred-endpoint-type", "ip", Mutable, text(words("ip", "hostname", "unknown-endpoint")), nil},
	{"cluster-replica-no-failover", "no", Mutable, bools, []string{"cluster-slave-no-failover"}},
	{"cluster-replica-validity-factor", "10", Mutable, count, []string{"cluster-slave-validity-factor"}},
	{"cluster-require-full-coverage", "yes", Mutable, bools, nil},
}

// The kinds that most inert rows share, with Redis's ranges.
var (
	bools     = text(yesNo{})
	count     = text(number[int64]{0, maxInt, 1})
	positive  = text(number[int64]{1, maxInt, 1})
	signed    = text(number[int64]{math.MinInt32, maxInt, 1})
	size      = text(number[int64]{0, math.MaxInt64, 1})
	byteCount = text(memory{0, math.MaxInt64})
	anyWord   = text(anyText{})
)

func upTo(high int64) textKind { return text(number[int64]{0, high, 1}) }

// refused are directives that a file may not contain at all, with the reason.
var refused = map[string]string{
	"loadmodule": "Larder loads no modules",
	"user":       "this version has no access control lists: use requirepass",
	"sentinel":   "Larder is not a Sentinel",
}

// noMaster is replicaof: only "no one" can be asked for.
type noMaster struct{}

func (noMaster) list() {}

func (noMaster) parse(_ string, in input) (string, error) {
	asked := strings.ToLower(strings.Join(in.args, " "))
	switch {
	case asked == "" || asked == "no one":
		return "", nil
	case len(in.args) != 2:
		return "", errArgCount
	}
	return "", errors.New("Larder cannot be a replica of a Redis server")
}

func (noMaster) show(string) string { return "" }

func checkFileName(s string) error {
	if strings.ContainsRune(s, '/') {
		return errors.New("dbfilename can't be a path, just a filename")
	}
	return nil
}
