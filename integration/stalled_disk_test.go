package integration

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/larder-db/larder/integration/nodes"
)

// TestLeaderWhoseDiskStalls: the log's disk stops answering under a leader whose process and network are well. It gives way,
// another node writes, and clients of the one that is stuck are told what is so: what it had taken may or may not be done,
// and everything else is the next leader's.
func TestLeaderWhoseDiskStalls(t *testing.T) {
	t.Run("forwarding", func(t *testing.T) {
		t.Parallel()
		old, next, conn := stallLeader(t)
		for _, key := range []string{"there", "here"} {
			reply := command(t, next, "SET", key, "certain")
			if key == "here" {
				reply = command(t, old, "SET", key, "certain")
			}
			if reply.Text != "OK" {
				t.Errorf("SET %s: %+v", key, reply)
			}
		}
		replies, err := conn.Do(time.Minute, []string{"MGET", "there", "here"})
		if err != nil || len(replies[0].Elements) != 2 || replies[0].Elements[0].Text != "certain" || replies[0].Elements[1].Text != "certain" {
			t.Errorf("the connection that was answered INDETERMINATE goes on with %+v, %v", replies, err)
		}
	})
	t.Run("redirecting", func(t *testing.T) {
		t.Parallel()
		_, next, conn := stallLeader(t, "--cluster-enabled", "yes")
		if reply := command(t, next, "SET", "there", "certain"); reply.Text != "OK" {
			t.Errorf("%+v", reply)
		}
		for _, asked := range [][]string{{"SET", "k", "v"}, {"GET", "there"}} {
			eventually(t, "it redirects", func() bool {
				replies, err := conn.Do(time.Minute, asked)
				if err != nil || !replies[0].IsError() {
					t.Fatalf("%v: a node that is stuck answers %+v, %v", asked, replies, err)
				}
				if !strings.HasPrefix(replies[0].Text, "MOVED ") && !strings.HasPrefix(replies[0].Text, "CLUSTERDOWN ") {
					t.Fatalf("%v: %s", asked, replies[0].Text)
				}
				return strings.HasPrefix(replies[0].Text, "MOVED ")
			})
		}
	})
}

// stallLeader starts three nodes and has the disk of the one that leads answer nothing, in the middle of a write over the
// connection. It returns that node and the next that leads. When the test ends, the disk answers again, and all is well.
func stallLeader(t *testing.T, directives ...string) (old, next *nodes.Node, conn *nodes.Conn) {
	t.Helper()
	c := nodes.Start(t, nodes.Options{Program: larderProgram, Count: 3, Directives: directives})
	for {
		old = leadingNode(t, c, nil)
		var err error
		if conn, err = old.Dial(time.Minute); err != nil {
			t.Fatal(err)
		}
		replies, err := conn.Do(time.Minute, []string{"DEBUG", "LARDER-DISK", "60000"}, []string{"SET", "doubtful", "x"})
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(replies[1].Text, "INDETERMINATE ") {
			break
		}
		if was, err := old.Command("DEBUG", "LARDER-DISK", "0"); err != nil {
			t.Fatal(was, err)
		}
		_ = conn.Close()
		if replies[1].Text != "OK" && !strings.HasPrefix(replies[1].Text, "MOVED ") && !strings.HasPrefix(replies[1].Text, "CLUSTERDOWN ") {
			t.Fatalf("a leader whose disk does not answer: %+v", replies)
		}
		t.Log("it did not lead any more: ", replies[1].Text)
	}
	next = leadingNode(t, c, old)
	if said, err := os.ReadFile(old.Said); err != nil || !strings.Contains(string(said), "the disk does not answer") {
		t.Errorf("it does not tell of its disk: %v:\n%s", err, said)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		if _, err := old.Command("DEBUG", "LARDER-DISK", "0"); err != nil {
			t.Error(err)
		}
		if _, err := c.AwaitSameData(); err != nil {
			t.Error(c.Describe(err))
		}
		if err := c.Fault(); err != nil {
			t.Error(c.Describe(err))
		}
	})
	return old, next, conn
}
