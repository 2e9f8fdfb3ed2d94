package server

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// redis is a real redis-server 7.0 that lives as long as the test. It listens on a Unix socket.
type redis struct {
	t    testing.TB
	path string
}

func startRedis(t testing.TB, options ...string) *redis {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no redis-server in PATH: the differential tests need version 7.0")
		}
		t.Skip("no redis-server in PATH: the differential tests need version 7.0")
	}
	folder, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	r := &redis{t, filepath.Join(folder, "s")}
	options = append([]string{"--port", "0", "--unixsocket", r.path, "--save", "", "--dir", folder}, options...)
	server := exec.Command(program, options...)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill() // and Wait says whether there was anything to kill
		_ = server.Wait()
		_ = os.RemoveAll(folder) // left over at worst
	})
	eventually(t, "redis-server listens", func() bool {
		conn, err := net.DialTimeout("unix", r.path, time.Second)
		if err == nil {
			_ = conn.Close() // it was only to see
		}
		return err == nil
	})
	return r
}

func (r *redis) dial() *testClient {
	r.t.Helper()
	conn, err := net.Dial("unix", r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	return newTestClient(r.t, conn)
}

// TestErrorsAndRepliesAreRedis sends the same lines to both servers, in both protocols. Quotes as in redis-cli are not
// needed: words are split at spaces, and "" is the empty word.
func TestErrorsAndRepliesAreRedis(t *testing.T) {
	t.Parallel()
	theirs, ours := startRedis(t), start(t)
	for _, proto := range []string{"2", "3"} {
		a, b := theirs.dial(), ours.dial()
		a.do("HELLO", proto)
		b.do("HELLO", proto)
		for _, l := range sameLines {
			words := strings.Fields(l)
			for i, word := range words {
				words[i] = strings.NewReplacer(`""`, "", `\n`, "\n", `\x00`, "\x00", `\s`, " ").Replace(word)
			}
			want, got := a.do(words...), b.do(words...)
			if got != want {
				t.Errorf("RESP%s, %s:\n ours   %.600q\n theirs %.600q", proto, l, got, want)
			}
		}
	}
}

var sameLines = strings.Split(strings.TrimSpace(`
NOSUCH
NOSUCH a b\nc d\x00e f
nosuch `+strings.Repeat("w", 300)+` `+strings.Repeat("v", 300)+`
nosuch `+strings.Repeat("äö", 100)+` `+strings.Repeat("ü", 200)+`
nosuch `+strings.Repeat("words ", 60)+`
"" a
GET
GET a b
SET a 1
CLIENT
CLIENT NOSUCH
CLIENT NO\nSUCH
CLIENT NOSUCH a b c
CLIENT KıLL a
CLIENT ID x
CLIENT INFO x
CLIENT GETNAME
CLIENT SETNAME bo\sb
CLIENT SETNAME bo\nb
CLIENT SETNAME bob
CLIENT GETNAME
CLIENT SETNAME ""
CLIENT GETNAME
CLIENT SETNAME
CLIENT SETNAME a b
CLIENT GETREDIR
CLIENT TRACKINGINFO
CLIENT CACHING
CLIENT CACHING yes
CLIENT CACHING maybe
CLIENT TRACKING
CLIENT TRACKING off
CLIENT TRACKING maybe
CLIENT TRACKING off maybe
CLIENT UNBLOCK
CLIENT UNBLOCK x
CLIENT UNBLOCK x maybe
CLIENT UNBLOCK 99999
CLIENT UNBLOCK 99999 timeout
CLIENT UNBLOCK 99999 ERROR
CLIENT UNBLOCK 99999 error x
CLIENT PAUSE
CLIENT PAUSE x
CLIENT PAUSE x maybe
CLIENT PAUSE -1
CLIENT PAUSE 1 maybe
CLIENT PAUSE 1 write x
CLIENT PAUSE 99999999999999999999
CLIENT PAUSE 0
CLIENT PAUSE 1
CLIENT PAUSE 20 all
CLIENT UNPAUSE
CLIENT PAUSE 100000 WRITE
CLIENT PAUSE 1 write
GET a
CLIENT UNPAUSE
CLIENT UNPAUSE x
SET a 1
CLIENT NO-EVICT on
CLIENT NO-EVICT OFF
CLIENT NO-EVICT maybe
CLIENT NO-EVICT
CLIENT REPLY on
CLIENT REPLY maybe
CLIENT REPLY
CLIENT LIST TYPE nosuch
CLIENT LIST TYPE master
CLIENT LIST TYPE REPLICA
CLIENT LIST TYPE slave
CLIENT LIST TYPE pubsub
CLIENT LIST TYPE
CLIENT LIST TYPE normal extra
CLIENT LIST ID
CLIENT LIST ID x
CLIENT LIST ID 0
CLIENT LIST ID -1 99999
CLIENT LIST ID 1 x
CLIENT LIST x
CLIENT KILL
CLIENT KILL 1.2.3.4:5
CLIENT KILL ""
CLIENT KILL ID
CLIENT KILL ID 0
CLIENT KILL ID -1
CLIENT KILL ID x
CLIENT KILL ID 99999999999999999999
CLIENT KILL ID 99999
CLIENT KILL ID 99999 x
CLIENT KILL ADDR 1.2.3.4:5
CLIENT KILL ADDR ""
CLIENT KILL LADDR 1.2.3.4:5
CLIENT KILL LADDR 1.2.3.4:5 SKIPME no
CLIENT KILL LADDR 1.2.3.4:5 SKIPME maybe
CLIENT KILL USER nobody
CLIENT KILL USER default ID 99999
CLIENT KILL TYPE nosuch
CLIENT KILL TYPE master
CLIENT KILL TYPE pubsub SKIPME yes
CLIENT KILL TYPE normal ID 99999
CLIENT KILL x y
CONFIG
CONFIG NOSUCH
CONFIG GET
CONFIG GET nosuch
CONFIG GET maxclients
CONFIG GET MaxClients
CONFIG GET maxclients maxclients maxc*
CONFIG GET timeou[a-z] TIMEOUT
CONFIG GET requirepass
CONFIG SET timeout
CONFIG SET timeout 1 hz
CONFIG SET nosuch 1
CONFIG SET timeout x
CONFIG SET timeout -1
CONFIG SET timeout 5 timeout 6
CONFIG SET timeout 5 nosuch 6
CONFIG GET timeout
CONFIG SET timeout 5 tcp-keepalive 77
CONFIG GET tcp-keepal?ve
CONFIG SET timeout 0 tcp-keepalive 300
CONFIG SET databases 1
CONFIG SET maxmemory-policy nosuch
CONFIG SET appendfsync nosuch
CONFIG SET loglevel nosuch
CONFIG SET loglevel warning
CONFIG GET loglevel
CONFIG REWRITE x
CONFIG RESETSTAT
CONFIG RESETSTAT x
COMMAND NOSUCH
COMMAND COUNT x
COMMAND INFO nosuch
COMMAND INFO nosuch get
COMMAND INFO get set mget del bitop getex
COMMAND INFO client|id CLIENT|SETNAME client|nosuch nosuch|id
COMMAND INFO config|set config|get
COMMAND INFO lpush lmove lmpop sort sort_ro
COMMAND INFO ping echo select quit reset auth hello
COMMAND DOCS nosuch
COMMAND LIST x
COMMAND LIST FILTERBY
COMMAND LIST FILTERBY MODULE
COMMAND LIST FILTERBY MODULE x
COMMAND LIST FILTERBY ACLCAT nosuch
COMMAND LIST FILTERBY ACLCAT bitmap extra
COMMAND LIST FILTERBY PATTERN nosuch*
COMMAND LIST FILTERBY NOSUCH x
COMMAND LIST FILTERBY PATTERN GETE[X]
COMMAND LIST FILTERBY PATTERN client|id
COMMAND GETKEYS
COMMAND GETKEYS get
COMMAND GETKEYS get a
COMMAND GETKEYS get a b
COMMAND GETKEYS nosuch x
COMMAND GETKEYS ping x
COMMAND GETKEYS echo x
COMMAND GETKEYS client id
COMMAND GETKEYS client nosuch
COMMAND GETKEYS object encoding a
COMMAND GETKEYS object nosuch a
COMMAND GETKEYS object help
COMMAND GETKEYS mset a 1 b 2
COMMAND GETKEYS mset a 1 b
COMMAND GETKEYS mget a b c
COMMAND GETKEYS bitop and d a b
COMMAND GETKEYS copy a b
COMMAND GETKEYS rename a b
COMMAND GETKEYS lcs a b
COMMAND GETKEYS lmove a b left right
COMMAND GETKEYS lmpop 2 a b left
COMMAND GETKEYS lmpop 3 a b left
COMMAND GETKEYS lmpop 5 a b left
COMMAND GETKEYS lmpop x a left
COMMAND GETKEYS sort a
COMMAND GETKEYS sort a by store get store limit store store desc store b store c
COMMAND GETKEYS sort a by b_* get c_* store
COMMAND GETKEYS sort_ro a store b
COMMAND GETKEYSANDFLAGS
COMMAND GETKEYSANDFLAGS get a
COMMAND GETKEYSANDFLAGS set a b
COMMAND GETKEYSANDFLAGS set a b get
COMMAND GETKEYSANDFLAGS set a b ex 1 GET
COMMAND GETKEYSANDFLAGS bitfield a get u8 0
COMMAND GETKEYSANDFLAGS bitfield a get u8 0 set u8 0 1
COMMAND GETKEYSANDFLAGS bitfield a incrby u8 0 1
COMMAND GETKEYSANDFLAGS bitop and d a b
COMMAND GETKEYSANDFLAGS rpoplpush a b
COMMAND GETKEYSANDFLAGS sort a STORE b
COMMAND GETKEYSANDFLAGS copy a b
COMMAND GETKEYSANDFLAGS rename a b
COMMAND GETKEYSANDFLAGS mset a 1 b 2
COMMAND GETKEYSANDFLAGS del a b
COMMAND GETKEYSANDFLAGS touch a
COMMAND GETKEYSANDFLAGS ping x
PING a
PING a b
ECHO
ECHO a
SELECT x
SELECT 16
SELECT -1
SELECT 1
SELECT 0
HELLO x
HELLO 1
HELLO 4
HELLO 2 x
HELLO 3 AUTH a
HELLO 3 AUTH default x SETNAME
HELLO 3 AUTH nobody x
HELLO 3 SETNAME a\sb
AUTH x
AUTH nobody x
AUTH default x
AUTH default x y
RESET x
QUIT x
`), "\n")

// metadata is COMMAND INFO's element of a command with its subcommands' ones taken out, and those.
func metadata(v any, into map[string]any) {
	f := v.([]any)
	for _, sub := range f[9].([]any) {
		metadata(sub, into)
	}
	into[f[0].(string)] = f[1:9]
}

// elsewhere are Redis's commands that Larder does not have. What is here and exists must go.
var elsewhere = strings.Fields(`
	acl blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin eval eval_ro evalsha
	evalsha_ro fcall fcall_ro function geoadd geodist geohash geopos georadius georadius_ro
	georadiusbymember georadiusbymember_ro geosearch geosearchstore migrate module monitor pfadd pfcount pfdebug
	pfmerge pfselftest psync publish pubsub replconf restore-asking script
	spublish ssubscribe sunsubscribe sync xack xadd xautoclaim xclaim xdel xgroup
	xinfo xlen xpending xrange xread xreadgroup xrevrange xsetid xtrim`)

// ahead are commands of later versions of Redis.
var ahead = strings.Fields("client|no-touch client|setinfo cluster|myshardid waitaof")

// TestCommandTableIsRedis compares the whole table with what redis-server says of itself, both ways.
func TestCommandTableIsRedis(t *testing.T) {
	t.Parallel()
	theirs, ours := map[string]any{}, map[string]any{}
	for _, v := range parse(t, startRedis(t).dial().do("COMMAND")).([]any) {
		metadata(v, theirs)
	}
	c := start(t).dial()
	all := parse(t, c.do("COMMAND")).([]any)
	for _, v := range all {
		metadata(v, ours)
	}
	c.must("COMMAND COUNT", fmt.Sprintf(":%d\r\n", len(all)))
	for name, a := range ours {
		b, ok := theirs[name]
		switch {
		case strings.HasPrefix(name, "larder"):
			t.Errorf("%s is shown", name)
		case name == "sentinel" || strings.HasPrefix(name, "sentinel|"): // Sentinels are other processes there
		case !ok && !slices.Contains(ahead, name):
			t.Errorf("Redis has no %s", name)
		case ok && fmt.Sprint(a) != fmt.Sprint(b):
			t.Errorf("%s:\n ours   %v\n theirs %v", name, a, b)
		case slices.Contains(elsewhere, name):
			t.Errorf("%s is not missing", name)
		}
	}
	for name := range theirs {
		container, _, _ := strings.Cut(name, "|")
		if ours[name] == nil && !slices.Contains(elsewhere, name) && !slices.Contains(elsewhere, container) {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestCommandDocs(t *testing.T) {
	t.Parallel()
	theirs, ours := startRedis(t).dial(), start(t).dial()
	names := parse(t, ours.do("COMMAND", "LIST")).([]any)
	for _, name := range names {
		a, b := docs(t, ours, name.(string)), docs(t, theirs, name.(string))
		if a["summary"] == "" {
			t.Errorf("%s has no summary", name)
		}
		if b != nil && (a["since"] != b["since"] || a["group"] != b["group"]) {
			t.Errorf("%s: since %v group %v, theirs %v and %v", name, a["since"], a["group"], b["since"], b["group"])
		}
	}
	whole := dictionary(parse(t, ours.do("COMMAND", "DOCS")))
	if sub := dictionary(dictionary(dictionary(whole["client"])["subcommands"])["client|id"]); sub["since"] != "5.0.0" {
		t.Errorf("client|id: %v", sub)
	}
}

func docs(t *testing.T, c *testClient, name string) map[string]any {
	t.Helper()
	return dictionary(dictionary(parse(t, c.do("COMMAND", "DOCS", name)))[name])
}

func dictionary(v any) map[string]any {
	list, ok := v.([]any)
	if !ok {
		return nil
	}
	m := map[string]any{}
	for i := 0; i+1 < len(list); i += 2 {
		m[list[i].(string)] = list[i+1]
	}
	return m
}

// parse turns a RESP2 reply into strings, nil and lists of them.
func parse(t *testing.T, reply string) any {
	t.Helper()
	v, rest := parseFront(reply)
	if rest != "" {
		t.Fatalf("%d bytes behind the reply", len(rest))
	}
	return v
}

func parseFront(s string) (v any, rest string) {
	head, rest, _ := strings.Cut(s, "\r\n")
	n := 0
	_, _ = fmt.Sscan(head[1:], &n) // 0 where it is no number, and then not used
	switch head[0] {
	case '$':
		if n < 0 {
			return nil, rest
		}
		return rest[:n], rest[n+2:]
	case '*':
		list := []any{}
		for range n {
			var e any
			e, rest = parseFront(rest)
			list = append(list, e)
		}
		return list, rest
	}
	return head[1:], rest
}
