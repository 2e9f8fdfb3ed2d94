package history

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/larder-db/larder/integration/nodes"
)

// Every test here is a way to fail that other systems of this kind were found to have. Those that are plans of faults
// rely on the checkers, which TestFlawsAreFound proves.

// whole is three nodes for one test.
func whole(t *testing.T, directives ...string) *nodes.Cluster {
	t.Helper()
	t.Parallel()
	return nodes.Start(t, nodes.Options{Program: larder, Count: 3, Directives: directives, Seed: 1})
}

// script carries out steps one after the other, with a second between them: all of them, or the test is skipped where one
// cannot be had.
func script(t *testing.T, c *nodes.Cluster, steps ...Step) {
	t.Helper()
	at := time.Second
	for i := range steps {
		s := &steps[i]
		if s.At == 0 {
			s.At = at
		}
		s.Number = uint64(i + 1)
		if s.Nodes == nil {
			for n := range c.Nodes {
				s.Nodes = append(s.Nodes, (n+i)%len(c.Nodes))
			}
		}
		at = max(at, s.At+s.Length+time.Second)
	}
	if err := lacking(c, steps, Faults(c)); errors.Is(err, errNoSuchFault) {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
	name := strings.ReplaceAll(t.Name(), "/", "-")
	check(t, &Run{Cluster: c, Seed: 1, Length: at, Faults: Faults(c), Steps: steps, Clients: 8}, keepIn(name))
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// leader waits for a node that leads.
func leader(t *testing.T, c *nodes.Cluster) *nodes.Node {
	t.Helper()
	for deadline := time.Now().Add(healPatience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, n := range c.Nodes {
			if n.Leads() {
				return n
			}
		}
	}
	t.Fatal("no node leads")
	return nil
}

// killLeader kills the node that leads and returns it.
func killLeader(t *testing.T, c *nodes.Cluster) *nodes.Node {
	t.Helper()
	n := leader(t, c)
	n.Kill()
	return n
}

// populate writes many keys. The leadership may be handed on meanwhile.
func populate(t *testing.T, c *nodes.Cluster, prefix string) {
	t.Helper()
	for deadline := time.Now().Add(healPatience); ; {
		_, err := leader(t, c).Command("DEBUG", "POPULATE", "2000", prefix, "1000")
		if err == nil {
			return
		}
		if time.Now().After(deadline) || !strings.HasPrefix(err.Error(), "CLUSTERDOWN") && !strings.HasPrefix(err.Error(), "INDETERMINATE") {
			t.Fatal(err)
		}
	}
}

// save takes a checkpoint on each of the nodes.
func save(t *testing.T, chosen []*nodes.Node) {
	t.Helper()
	for _, n := range chosen {
		_, err := n.Command("SAVE")
		must(t, err)
	}
}

// TestForwardedCommandsEnd: a command that a follower passed on is done once or not at all, and not again when leaders
// change later.
func TestForwardedCommandsEnd(t *testing.T) {
	c := whole(t)
	script(t, c, Step{Fault: "isolate-leader", Length: 2 * time.Second}, Step{Fault: "kill-leader", Length: time.Second},
		Step{Fault: "pause-leader", Length: 2 * time.Second})
	removeFleeting(t, c)
	before, err := c.AwaitSameData()
	must(t, err)
	for range 2 {
		n := killLeader(t, c)
		must(t, n.Start(), c.AwaitWhole())
	}
	after, err := c.AwaitSameData()
	must(t, err)
	if after != before {
		t.Error("the data has changed after the last client had left")
	}
}

// removeFleeting removes what time would remove, so that the data stays as it is when no client writes.
func removeFleeting(t *testing.T, c *nodes.Cluster) {
	t.Helper()
	n := leader(t, c)
	for _, key := range answer(t, n, "KEYS", "*"+string(Fleeting)+"*").Elements {
		answer(t, n, "DEL", key.Text)
	}
	for deadline := time.Now().Add(healPatience); ; time.Sleep(10 * time.Millisecond) {
		there, counted := len(answer(t, n, "KEYS", "*").Elements), answer(t, n, "DBSIZE").Text
		if strconv.Itoa(there) == counted {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("of %s keys only %d are there: those whose time has come are not removed", counted, there)
		}
	}
}

// TestFailoverKeepsState: what was acknowledged outlives one leader after the other.
func TestFailoverKeepsState(t *testing.T) {
	c := whole(t)
	killing := Step{Fault: "kill-leader", Length: 1500 * time.Millisecond}
	script(t, c, killing, killing, killing, killing)
}

// TestReadsAfterRestartAndPause: a node that comes back, or goes on, does not answer from what it knew.
func TestReadsAfterRestartAndPause(t *testing.T) {
	c := whole(t)
	script(t, c, Step{Fault: "pause-leader", Length: 3 * time.Second}, Step{Fault: "kill", Length: time.Second},
		Step{Fault: "pause-leader", Length: 2 * time.Second}, Step{Fault: "restart", Length: 500 * time.Millisecond})
}

// TestRefusedIsNotDone: a leader that loses its place while it commits answers INDETERMINATE, or the truth.
func TestRefusedIsNotDone(t *testing.T) {
	c := whole(t)
	cut := Step{Fault: "isolate-leader", Length: 800 * time.Millisecond}
	script(t, c, cut, cut, Step{Fault: "one-way-leader", Length: time.Second}, cut, Step{Fault: "one-way-leader", Length: time.Second})
}

// TestSplitBrain crosses faults: links cut one way while the leader is paused and clocks disagree.
func TestSplitBrain(t *testing.T) {
	c := whole(t)
	script(t, c,
		Step{At: 1000 * time.Millisecond, Length: 3 * time.Second, Fault: "one-way-leader"},
		Step{At: 1500 * time.Millisecond, Length: 2 * time.Second, Fault: "pause-leader"},
		Step{At: 1600 * time.Millisecond, Length: 3 * time.Second, Fault: "clock"},
		Step{At: 2500 * time.Millisecond, Length: 3 * time.Second, Fault: "bridge"},
		Step{At: 3000 * time.Millisecond, Length: 3 * time.Second, Fault: "one-way"},
		Step{At: 7000 * time.Millisecond, Length: 2 * time.Second, Fault: "isolate-leader"},
		Step{At: 7500 * time.Millisecond, Length: 2 * time.Second, Fault: "isolate-leader"},
		Step{At: 8000 * time.Millisecond, Length: 2 * time.Second, Fault: "lossy"})
}

// TestCrashesAroundCheckpoints: kills right after checkpoints have begun, on nodes that take them all the time.
func TestCrashesAroundCheckpoints(t *testing.T) {
	crash := Step{Fault: "save-kill", Length: 300 * time.Millisecond}
	for _, count := range []int{1, 3} {
		t.Run(strconv.Itoa(count)+"-nodes", func(t *testing.T) {
			t.Parallel()
			c := nodes.Start(t, nodes.Options{Program: larder, Count: count, Seed: 1, Directives: []string{"--checkpoint-log-bytes", "1mb"}})
			script(t, c, crash, crash, crash, crash)
		})
	}
}

// TestNoGapBetweenSnapshotAndLog: a node that was away until the log no longer reached back to it gets a snapshot and
// the log behind it, holds the same as the others, and still does after it was killed.
func TestNoGapBetweenSnapshotAndLog(t *testing.T) {
	c := whole(t, "--checkpoint-log-bytes", "1mb")
	away := c.Nodes[2]
	away.Kill()
	for i := range 20 {
		populate(t, c, fmt.Sprintf("p%d", i))
	}
	save(t, c.Nodes[:2])
	must(t, away.Start(), c.AwaitWhole())
	populate(t, c, "after")
	want, err := c.AwaitSameData()
	must(t, err)
	away.Kill()
	must(t, away.Start(), c.AwaitWhole())
	got, err := c.AwaitSameData()
	must(t, err, c.Fault())
	if got != want {
		t.Error("the data has changed")
	}
}

// TestMembersOutliveCheckpoints: after members have changed, checkpoints were taken, the log was cut and all nodes were
// killed, they agree on who the members are, and on the data.
func TestMembersOutliveCheckpoints(t *testing.T) {
	c := whole(t, "--checkpoint-log-bytes", "1mb")
	for _, i := range []int{1, 2} {
		populate(t, c, fmt.Sprintf("p%d", i))
		must(t, c.Nodes[i].Wipe(), c.Nodes[i].Start(), c.AwaitWhole())
		save(t, c.Nodes)
	}
	want, err := c.AwaitSameData()
	must(t, err)
	for _, n := range c.Nodes {
		n.Kill()
	}
	for _, n := range c.Nodes {
		must(t, n.Start())
	}
	must(t, c.AwaitWhole())
	got, err := c.AwaitSameData()
	must(t, err, c.Fault())
	if got != want {
		t.Error("the data has changed")
	}
}

// TestMultiEndsWithItsLeader: a transaction that a failover came into is done whole or not at all, and the connection is
// out of it afterwards.
func TestMultiEndsWithItsLeader(t *testing.T) {
	c := whole(t)
	for round := range 5 {
		first := killLeader(t, c)
		must(t, first.Start(), c.AwaitWhole())
		for _, n := range c.Nodes {
			if n.Leads() {
				continue
			}
			a, b := fmt.Sprintf("{%d}a%s", round, n.Name()), fmt.Sprintf("{%d}b%s", round, n.Name())
			conn, err := n.Dial(healPatience)
			must(t, err)
			if _, err := conn.Do(healPatience, []string{"MULTI"}, []string{"SET", a, "1"}); err != nil {
				t.Fatal(err)
			}
			dead := killLeader(t, c)
			replies, err := conn.Do(healPatience, []string{"SET", b, "1"}, []string{"EXEC"}, []string{"ECHO", "free"})
			must(t, dead.Start(), c.AwaitWhole())
			if err == nil && replies[2].Text == "QUEUED" {
				t.Errorf("after EXEC (%v) the connection is still within MULTI", words(replies[1]))
			}
			_ = conn.Close()
			values := answer(t, n, "MGET", a, b)
			if values.Elements[0].Nil != values.Elements[1].Nil {
				t.Errorf("half a transaction: %v; EXEC answered %v", words(values), replies)
			}
			break
		}
	}
}

// TestRepliesBelongToTheirCommands: long pipelines of many connections, through kills: each reply that arrives is its
// command's.
func TestRepliesBelongToTheirCommands(t *testing.T) {
	for _, count := range []int{1, 3} {
		t.Run(strconv.Itoa(count)+"-nodes", func(t *testing.T) {
			t.Parallel()
			c := nodes.Start(t, nodes.Options{Program: larder, Count: count, Seed: 1})
			stop := make(chan struct{})
			var clients sync.WaitGroup
			for i := range 6 {
				clients.Go(func() { askInPipelines(t, c.Nodes[i%count], i, stop) })
			}
			for range 3 {
				time.Sleep(500 * time.Millisecond)
				n := c.Nodes[0]
				if count > 1 {
					n = killLeader(t, c)
				}
				n.Kill()
				must(t, n.Start(), c.AwaitWhole())
			}
			close(stop)
			clients.Wait()
		})
	}
}

// askInPipelines sends pipelines whose every reply is known, and looks at those that arrive.
func askInPipelines(t *testing.T, n *nodes.Node, id int, stop <-chan struct{}) {
	for round := 0; ; round++ {
		select {
		case <-stop:
			return
		default:
		}
		conn, err := n.Dial(time.Second)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		var commands [][]string
		var want []string
		for i := range 50 {
			token := fmt.Sprintf("%d.%d.%d", id, round, i)
			key := fmt.Sprintf("reply:%d", id)
			commands = append(commands, []string{"ECHO", token}, []string{"GETSET", key, token}, []string{"GET", key})
			want = append(want, token, "", token)
		}
		replies, err := conn.Do(clientPatience, commands...)
		for i, reply := range replies {
			if reply.IsError() { // then what follows may answer otherwise
				break
			}
			if want[i] != "" && reply.Text != want[i] {
				t.Errorf("%v was answered %q, want %q", commands[i], reply.Text, want[i])
			}
		}
		_ = conn.Close()
		if err != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// TestOverlappingExecs: of transactions that have read the same watched key, one at most is carried out. They are sent
// at the same moment, to different nodes where there are some.
func TestOverlappingExecs(t *testing.T) {
	for _, count := range []int{1, 3} {
		t.Run(strconv.Itoa(count)+"-nodes", func(t *testing.T) {
			t.Parallel()
			c := nodes.Start(t, nodes.Options{Program: larder, Count: count, Seed: 1})
			const rivals = 4
			var conns [rivals]*nodes.Conn
			for i := range conns {
				conn, err := c.Nodes[i%count].Dial(healPatience)
				must(t, err)
				defer conn.Close()
				conns[i] = conn
			}
			won, unknown := 0, 0
			for round := range 300 {
				w, u := race(t, round, conns[:])
				won, unknown = won+w, unknown+u
			}
			reply := answer(t, c.Nodes[0], "GET", "contested")
			if n, _ := strconv.Atoi(reply.Text); won == 0 || n < won || n > won+unknown {
				t.Errorf("%d transactions were carried out and perhaps %d more, the counter is %s", won, unknown, reply.Text)
			}
		})
	}
}

// answer waits until a node answers a command: another may come to lead at any time, if only since the machine is busy.
func answer(t *testing.T, n *nodes.Node, args ...string) nodes.Reply {
	t.Helper()
	for deadline := time.Now().Add(healPatience); ; time.Sleep(10 * time.Millisecond) {
		reply, err := n.Command(args...)
		if err == nil {
			return reply
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// race lets every connection read the key while it watches it, and then all write at once. It returns how many did, and of
// how many nobody knows, since the leader changed. Where nobody leads there is no race.
func race(t *testing.T, round int, conns []*nodes.Conn) (won, unknown int) {
	t.Helper()
	var next string
	for _, conn := range conns {
		replies, err := conn.Do(healPatience, []string{"WATCH", "contested"}, []string{"GET", "contested"})
		must(t, err)
		if replies[0].IsError() || replies[1].IsError() {
			return 0, 0
		}
		next = strconv.FormatInt(balance(replies[1].Text)+1, 10)
	}
	var together sync.WaitGroup
	var carriedOut, indeterminate atomic.Int32
	for _, conn := range conns {
		together.Go(func() {
			replies, err := conn.Do(healPatience, []string{"MULTI"}, []string{"SET", "contested", next}, []string{"EXEC"})
			switch {
			case err == nil && strings.HasPrefix(replies[2].Text, "INDETERMINATE"):
				indeterminate.Add(1)
			case err == nil && strings.HasPrefix(replies[2].Text, "CLUSTERDOWN"): // refused
			case err != nil || replies[2].IsError():
				t.Errorf("%v, %v", err, replies)
			case !replies[2].Nil:
				carriedOut.Add(1)
			}
		})
	}
	together.Wait()
	if won = int(carriedOut.Load()); won > 1 {
		t.Fatalf("round %d: %d of %d transactions that watched the same key were carried out", round, won, len(conns))
	}
	return won, int(indeterminate.Load())
}
