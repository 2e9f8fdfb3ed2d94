package config

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// startRedis runs a real redis-server for the test; without one the test is skipped.
func startRedis(t *testing.T) *redis.Client {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	server := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	t.Cleanup(func() {
		client.Close()
		server.Process.Kill()
		server.Wait()
	})
	deadline := time.Now().Add(time.Minute)
	for client.Ping(context.Background()).Err() != nil {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if info := client.Info(context.Background(), "server").Val(); !strings.Contains(info, "redis_version:7.0.") {
		t.Skip("redis-server is not 7.0")
	}
	return client
}

// larderDiffers are the shared directives whose value differs on purpose, or by the way redis-server was started.
var larderDiffers = []string{"appendfsync", "appendonly", "bind", "dir", "io-threads", "maxmemory", "port", "save", "unixsocket"}

var larderOnly = []string{"admin-bind", "admin-port", "admin-token", "checkpoint-interval", "checkpoint-log-bytes", "cluster-join",
	"cluster-secret", "cluster-zone", "log-format", "log-segment-size", "maxdisk", "overflow", "replace-after", "replicas", "sentinel-master-name", "shards"}

func TestGetMatchesRedis(t *testing.T) {
	client := startRedis(t)
	theirs, err := client.ConfigGet(context.Background(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	ours := make(map[string]string)
	for _, p := range load(t).Get("*") {
		ours[p.Name] = p.Value
	}
	for name, want := range theirs {
		got, ok := ours[name]
		if !ok {
			t.Errorf("%s is missing", name)
		} else if got != want && !slices.Contains(larderDiffers, name) {
			t.Errorf("%s is %q, redis-server has %q", name, got, want)
		}
		delete(ours, name)
	}
	for name := range ours {
		if !slices.Contains(larderOnly, name) {
			t.Errorf("%s is no directive of redis-server 7.0", name)
		}
	}
}

func TestPatternsMatchRedis(t *testing.T) {
	client := startRedis(t)
	c := load(t)
	for _, patterns := range [][]string{
		{"maxm*"}, {"MAXM*", "maxmemory"}, {"*memory*", "max*"}, {"slave*"}, {"h?"}, {"[hx]z"}, {"[^a-y]set*"}, {`h\z`},
		{"[a-c]ind"}, {"[z-h]z"}, {"*-*-*-*"}, {"nothing"}, {""}, {"h[z"}, {"hz*"}, {"[h"}, {`hz\`}, {"MaxClients"}, {"HZ", "h*"}, {`*\z`}, {"**z**"}, {"[]hz"}, {"h[^"},
	} {
		args := []any{"config", "get"}
		for _, p := range patterns {
			args = append(args, p)
		}
		flat, err := client.Do(context.Background(), args...).StringSlice()
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for pair := range slices.Chunk(flat, 2) {
			want = append(want, pair[0])
		}
		for _, p := range c.Get(patterns...) {
			if !slices.Contains(larderOnly, p.Name) {
				got = append(got, p.Name)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, redis-server %q", patterns, got, want)
		}
	}
}

func TestSetMatchesRedis(t *testing.T) {
	client := startRedis(t)
	c := load(t)
	if err := c.Set([]Pair{{"save", ""}}, true); err != nil {
		t.Fatal(err)
	}
	for _, line := range setCases {
		words, err := SplitArgs(line)
		if err != nil {
			t.Fatal(line, err)
		}
		args := []any{"config", "set"}
		var pairs []Pair
		for pair := range slices.Chunk(words, 2) {
			args = append(args, pair[0], pair[1])
			pairs = append(pairs, Pair{pair[0], pair[1]})
		}
		want, got := "OK", "OK"
		if err := client.Do(context.Background(), args...).Err(); err != nil {
			want = err.Error()
		}
		if err := c.Set(pairs, true); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("CONFIG SET %s\n  larder       %s\n  redis-server %s", line, got, want)
			continue
		}
		for _, p := range pairs {
			wantValue := client.ConfigGet(context.Background(), p.Name).Val()[p.Name]
			gotPairs := c.Get(p.Name)
			if len(gotPairs) == 0 || slices.Contains(larderDiffers, gotPairs[0].Name) && want != "OK" {
				continue
			}
			if gotPairs[0].Value != wantValue {
				t.Errorf("CONFIG SET %s: then %s is %q, redis-server has %q", line, p.Name, gotPairs[0].Value, wantValue)
			}
		}
	}
}

// setCases are CONFIG SET commands that mean the same in both.
var setCases = strings.Split(strings.TrimSpace(`
x y
maxmemory 1gb foo 2
maxmemory abc
maxmemory -1
maxmemory 1.5gb
maxmemory 1Gb
maxmemory 1t
maxmemory 1b
maxmemory 1K
maxmemory 007
maxmemory +7
maxmemory " 1gb"
maxmemory "1kb "
maxmemory ""
maxmemory 0
MaxMemory 1
maxmemory 1 maxmemory 2
maxmemory 1 MAXMEMORY 2
maxmemory 1 hz a timeout b
maxclients 100 timeout x
hz 0
hz 600
hz abc
hz -1
appendfsync foo
appendfsync EVERYSEC
maxmemory-policy foo
maxmemory-policy ALLKEYS-LRU
maxmemory-policy noeviction
protected-mode maybe
protected-mode NO
maxclients 0
maxclients 10.5
maxclients 200
timeout -1
timeout 1.0
timeout " 1"
timeout 01
timeout ""
timeout 2147483648
timeout 2147483647
timeout 0
tcp-keepalive -1
databases 3
daemonize yes foo 1
daemonize no
logfile x
unixsocket x
unixsocketperm 777
io-threads 4
tcp-backlog 3
enable-debug-command yes
cluster-enabled yes
slaveof "a 1"
dbfilename x
pidfile x
rename-command "a b"
include x
user x
loadmodule x
save "a b"
save 10
save "10 -1"
save "0 1"
save "900 1 "
save "900  1"
save "3600 1 300 100"
save ""
client-output-buffer-limit "foo 1 2 3"
client-output-buffer-limit "normal 1 2"
client-output-buffer-limit "normal a 2 3"
client-output-buffer-limit "normal 1 2 3 pubsub 1mb 2 3"
client-output-buffer-limit "Replica 1kb 2 3"
client-output-buffer-limit "master 1kb 2 3"
client-output-buffer-limit ""
notify-keyspace-events KEAx
notify-keyspace-events "AKEg$lshzxetdmn"
notify-keyspace-events Kxm
notify-keyspace-events gl$shzxetd
notify-keyspace-events A%
notify-keyspace-events gn
notify-keyspace-events ""
loglevel x
loglevel DEBUG
loglevel notice
oom-score-adj foo
oom-score-adj-values "1 2"
oom-score-adj-values "a 2 2000"
oom-score-adj-values "1 2 3"
proto-max-bulk-len 1
proto-max-bulk-len 1mb
client-query-buffer-limit 1
client-query-buffer-limit 2mb
active-expire-effort 11
active-expire-effort 10
appendonly xx
slowlog-log-slower-than -5
slowlog-log-slower-than -1
slowlog-log-slower-than 99999999999999999999
slowlog-max-len -1
slowlog-max-len 9223372036854775807
latency-monitor-threshold -1
busy-reply-threshold -1
lua-time-limit 7
lfu-log-factor -1
lfu-decay-time -1
maxmemory-samples 0
maxmemory-samples 1000
maxmemory-clients 10%
maxmemory-clients 200%
maxmemory-clients abc
maxmemory-clients ""
shutdown-timeout -1
shutdown-timeout 5
shutdown-on-sigterm "now save"
shutdown-on-sigterm "nosave save"
shutdown-on-sigterm x
shutdown-on-sigterm ""
shutdown-on-sigterm "force  now"
shutdown-on-sigint default
set-max-intset-entries -1
list-max-listpack-size x
list-max-listpack-size -6
hash-max-listpack-entries -1
hash-max-ziplist-entries 7
hash-max-ziplist-entries -7
stream-node-max-bytes -1
stream-node-max-bytes 1kb
auto-aof-rewrite-percentage -1
auto-aof-rewrite-min-size abc
repl-backlog-size 0
repl-diskless-load foo
repl-timeout 0
slave-priority 3
latency-tracking-info-percentiles "50 101"
latency-tracking-info-percentiles ""
latency-tracking-info-percentiles "50 99.9999"
acl-pubsub-default x
sanitize-dump-payload x
propagation-error-behavior x
tls-auth-clients x
tls-auth-clients optional
tls-protocols "TLSv1.2 TLSv1.3"
tls-session-cache-size x
maxmemory-eviction-tenacity 101
active-defrag-threshold-lower 1001
dynamic-hz no
lazyfree-lazy-expire yes
stop-writes-on-bgsave-error no
`), "\n")

// TestFaultsMatchRedis starts a real server on each faulty file and compares what it says.
func TestFaultsMatchRedis(t *testing.T) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	for _, text := range []string{
		"port 1\n\nfoo bar\n", "port abc\n", "port\n", "port 1 2\n", "maxmemory abc\n", "save 1\n", "requirepass2 \"abc\n",
		"rename-command GET\n", "client-output-buffer-limit normal 1 2\n", "client-output-buffer-limit normal a 2 3\n",
		"include\n", "appendonly maybe\n", "maxmemory-policy x\n", "notify-keyspace-events x y\n", "loglevel\n",
		"oom-score-adj-values 1\n", "unixsocketperm 999\n", "logfile \"\" x\n", "# x\n\t\n port  x \r\n",
		"port 'a\\'b'\n", "port \"\\x41\"\n", "port \"1\"2\n", "PORT a\n", "slaveof a\n",
	} {
		file := filepath.Join(t.TempDir(), "redis.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		out, _ := exec.CommandContext(ctx, path, file).CombinedOutput()
		cancel()
		_, want, found := strings.Cut(string(out), "*** FATAL CONFIG FILE ERROR (Redis ")
		if !found {
			t.Fatalf("%q: redis-server says %s", text, out)
		}
		version, want, _ := strings.Cut(want, ")")
		want = "*** FATAL CONFIG FILE ERROR (Larder " + version + ")" + want
		_, _, err := Load(Options{Version: version, Args: []string{file}, Memory: testMemory})
		var fault *LoadError
		if !errors.As(err, &fault) || err.Error() != want {
			t.Errorf("%q:\n%v\nredis-server:\n%s", text, err, want)
		}
	}
}
