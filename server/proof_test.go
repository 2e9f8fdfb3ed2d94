package server

import (
	"fmt"
	"strings"
	"sync"
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
		lines := append([]string{"cluster-enabled yes", fmt.Sprintf("port %d", port), fmt.Sprintf("cluster-port %d", tcpPort(t)), "admin-port -1"}, directives...)
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

// TestReadsAreProven has clients write at the leader and read there: what was acknowledged is read, pipelined or not, and
// on replicas only READONLY connections read.
func TestReadsAreProven(t *testing.T) {
	list := startThree(t, "shards 2")
	if got := follow(t, list, "SET a 0"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	var leader *testServer
	for _, ts := range list {
		if got := ts.dial().do("GET", "a"); got == bulk("0") {
			leader = ts
		} else if !strings.HasPrefix(got, "-MOVED") {
			t.Errorf("a replica answers %q", got)
		}
	}
	if leader == nil {
		t.Fatal("nobody answers reads")
	}
	var clients sync.WaitGroup
	for i := range 4 {
		c := leader.dial()
		clients.Go(func() {
			key := fmt.Sprintf("{a}%d", i)
			for n := range 100 {
				c.must(fmt.Sprintf("SET %s %d", key, n), "+OK\r\n")
				c.must("GET "+key, bulk(fmt.Sprint(n)))
				c.send(line("GET "+key) + line("GET a") + line("PING") + line("INCR "+key) + line("GET "+key))
				for _, want := range []string{bulk(fmt.Sprint(n)), bulk("0"), "+PONG\r\n", fmt.Sprintf(":%d\r\n", n+1), bulk(fmt.Sprint(n + 1))} {
					c.want(want)
				}
				c.send(line("MULTI") + line("GET "+key) + line("EXEC"))
				c.want("+OK\r\n")
				c.want("+QUEUED\r\n")
				c.want("*1\r\n" + bulk(fmt.Sprint(n+1)))
			}
		})
	}
	clients.Wait()
	for _, ts := range list {
		if ts == leader {
			continue
		}
		c := ts.dial()
		c.must("READONLY", "+OK\r\n")
		eventually(t, "the replica follows", func() bool { return c.do("GET", "{a}1") == bulk("100") })
		c.must("GET nosuch{a}", "$-1\r\n")
		if got := c.do("SET", "a", "1"); !strings.HasPrefix(got, "-MOVED") {
			t.Errorf("a replica answers a write %q", got)
		}
		c.must("READWRITE", "+OK\r\n")
		if got := c.do("GET", "a"); !strings.HasPrefix(got, "-MOVED") {
			t.Errorf("a replica answers a read %q", got)
		}
	}
	if got := follow(t, list, "DBSIZE"); !strings.HasPrefix(got, ":") {
		t.Errorf("DBSIZE: %q", got)
	}
}
