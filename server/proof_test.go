package server

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// startThree starts three servers that are one cluster, each shard with three voters.
func startThree(t *testing.T, directives ...string) []*testServer {
	t.Helper()
	var list []*testServer
	first := ""
	for range 3 {
		port := tcpPort(t)
		lines := append([]string{"cluster-enabled yes", "cluster-secret only-for-tests", fmt.Sprintf("port %d", port), fmt.Sprintf("cluster-port %d", tcpPort(t)), "admin-port -1"}, directives...)
		if first == "" {
			first = fmt.Sprintf("127.0.0.1:%d", port)
		} else {
			lines = append(lines, "cluster-join "+first)
		}
		list = append(list, start(t, lines...))
	}
	c := list[0].dial()
	for _, ts := range list {
		eventually(t, "every shard has three voters here", func() bool {
			c.do("SET", "a", "0") // who joins has something to catch up with
			c.do("SET", "c", "0")
			v := ts.node.member.view()
			if v == nil || len(v.Document.Nodes) != 3 {
				return false
			}
			for i := range v.Document.Shards {
				sh := ts.node.shard(v.Document.Shards[i].ID)
				if sh == nil || voters(sh) != 3 {
					return false
				}
			}
			return true
		})
	}
	return list
}

func voters(sh *shard) (n int) {
	for _, s := range sh.group.Stats().Servers {
		if s.Suffrage == raft.Voter {
			n++
		}
	}
	return n
}

// follow sends a command to where MOVED leads, as long as it is sent on or the shard has no leader.
func follow(t *testing.T, list []*testServer, command string) string {
	t.Helper()
	at := list[0].dial()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		at.send(line(command))
		got := at.reply()
		if strings.HasPrefix(got, "-CLUSTERDOWN") {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if !strings.HasPrefix(got, "-MOVED ") {
			return got
		}
		to := strings.Fields(got)[2]
		for _, ts := range list {
			if ts.node.member.at.client == to {
				at = ts.dial()
			}
		}
	}
	t.Fatalf("%s is sent around", command)
	return ""
}

// leaderOf is the server that answers a read of a key, which all know.
func leaderOf(t *testing.T, list []*testServer, key, value string) (leader *testServer) {
	t.Helper()
	eventually(t, "somebody leads", func() bool {
		for _, ts := range list {
			switch got := ts.dial().do("GET", key); {
			case got == bulk(value):
				leader = ts
			case !strings.HasPrefix(got, "-MOVED") && !strings.HasPrefix(got, "-CLUSTERDOWN"):
				t.Errorf("a replica answers %q", got)
			}
		}
		return leader != nil
	})
	return leader
}

// leads says that a reply is not one of a server that has lost the lead, as on a busy machine one may.
func leads(reply string) bool {
	for _, code := range []string{"-MOVED", "-CLUSTERDOWN", "-INDETERMINATE", "-EXECABORT"} {
		if strings.HasPrefix(reply, code) {
			return false
		}
	}
	return true
}

// readBack has clients write at the leader and read there; false: it lost the lead meanwhile.
func readBack(leader *testServer, clients, round int) bool {
	var all sync.WaitGroup
	var lost atomic.Bool
	for i := range clients {
		c := leader.dial()
		all.Go(func() {
			key := fmt.Sprintf("{a}%d:%d", round, i)
			answers := func(command string, wants ...string) bool {
				c.send(command)
				for _, want := range wants {
					switch got := c.reply(); {
					case !leads(got):
						lost.Store(true)
						return false
					case got != want:
						c.t.Errorf("got %.300q, want %.300q", got, want)
						return false
					}
				}
				return true
			}
			for n := range 100 {
				now, next := bulk(fmt.Sprint(n)), bulk(fmt.Sprint(n+1))
				if !answers(line(fmt.Sprintf("SET %s %d", key, n)), "+OK\r\n") || !answers(line("GET "+key), now) ||
					!answers(line("GET "+key)+line("GET a")+line("PING")+line("INCR "+key)+line("GET "+key),
						now, bulk("0"), "+PONG\r\n", fmt.Sprintf(":%d\r\n", n+1), next) ||
					!answers(line("MULTI")+line("GET "+key)+line("EXEC"), "+OK\r\n", "+QUEUED\r\n", "*1\r\n"+next) {
					return
				}
			}
		})
	}
	all.Wait()
	return !lost.Load()
}

// askReplica returns what a replica answers and should not.
func askReplica(ts *testServer, key, value string) (wrong string) {
	c := ts.dial()
	is := func(right func(reply string) bool, args ...string) {
		if got := c.do(args...); !right(got) {
			wrong += fmt.Sprintf("%q with %q; ", args, got)
		}
	}
	exactly := func(want string) func(string) bool { return func(got string) bool { return got == want } }
	moved := func(got string) bool { return strings.HasPrefix(got, "-MOVED") }
	is(exactly("+OK\r\n"), "READONLY")
	eventually(ts.t, "the replica follows", func() bool { return c.do("GET", key) == value })
	is(exactly("$-1\r\n"), "GET", "nosuch{a}")
	is(moved, "SET", "a", "1")
	is(exactly("+OK\r\n"), "READWRITE")
	is(moved, "GET", "a")
	return wrong
}

// TestReadsAreProven has clients write at the leader and read there: what was acknowledged is read, pipelined or not, and
// on replicas only READONLY connections read.
func TestReadsAreProven(t *testing.T) {
	list := startThree(t, "shards 2")
	if got := follow(t, list, "SET a 0"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	round := 0
	eventually(t, "a leader stays for a round", func() bool {
		round++
		return readBack(leaderOf(t, list, "a", "0"), 4, round) || t.Failed()
	})
	last := fmt.Sprintf("{a}%d:1", round)
	eventually(t, "a leader stays while the replicas are asked", func() bool {
		leader := leaderOf(t, list, "a", "0")
		wrong := ""
		for _, ts := range list {
			if ts != leader {
				wrong += askReplica(ts, last, bulk("100"))
			}
		}
		if wrong == "" {
			return true
		}
		if !strings.Contains(wrong, "CLUSTERDOWN") && leaderOf(t, list, "a", "0") == leader {
			t.Fatal("a replica answers ", wrong)
		}
		follow(t, list, "SET a 0") // one that has come to lead may have taken what was meant for a replica
		return false
	})
	if got := follow(t, list, "DBSIZE"); !strings.HasPrefix(got, ":") {
		t.Errorf("DBSIZE: %q", got)
	}
}
