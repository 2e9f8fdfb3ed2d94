package server

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/raftfsm"
)

// ledBy has the shard of key b led by this node again, by another one, or, with "", by nobody.
func (x *twoShards) ledBy(who string) {
	r := x.routes()
	if who != "here" { // in one step: who waits is run by the first leader that it finds
		r = r.lent(x.shards[0], who)
	}
	x.node.setRouting(r)
}

const movedB = "-MOVED 3300 there:2\r\n"

// TestCommandsWaitForALeader: what is asked while nobody is known to lead is answered once somebody does.
func TestCommandsWaitForALeader(t *testing.T) {
	t.Parallel()
	x := startTwoShards(t)
	c := x.dial()
	for _, question := range []struct {
		commands   string
		here, away []string
	}{
		{"SET b 2", []string{"+OK\r\n"}, []string{movedB}},
		{"GET b", []string{bulk("2")}, []string{movedB}},
		{"SET c 1\nINCR b\nGET b\nGET a", []string{"+OK\r\n", ":3\r\n", bulk("3"), "$-1\r\n"}, []string{"-MOVED 7365 there:2\r\n", movedB, movedB, "$-1\r\n"}},
		{"MULTI\nINCR b\nEXEC", []string{"+OK\r\n", "+QUEUED\r\n", "*1\r\n:4\r\n"},
			[]string{"+OK\r\n", movedB, "-EXECABORT Transaction discarded because of previous errors.\r\n"}},
		{"WATCH b\nUNWATCH", []string{"+OK\r\n", "+OK\r\n"}, []string{movedB, "+OK\r\n"}},
	} {
		for _, leader := range []string{"here", "there:2"} {
			x.ledBy("")
			c.send(pipeline(question.commands))
			x.waits()
			x.ledBy(leader)
			wants := question.here
			if leader != "here" {
				wants = question.away
			}
			for _, want := range wants {
				if got := c.reply(); got != want {
					t.Errorf("%s, led %s: %q, not %q", question.commands, leader, got, want)
				}
			}
		}
	}
	x.ledBy("here")
	c.must("MULTI", "+OK\r\n")
	c.must("INCR b", "+QUEUED\r\n")
	x.ledBy("")
	c.send(line("EXEC"))
	x.waits()
	x.ledBy("here")
	c.want("*1\r\n:5\r\n")
}

// TestTurnedBackCommandsAreRunAgain: a command in a batch that this node could not have applied, since it does not lead any more,
// waits for the next leader.
func TestTurnedBackCommandsAreRunAgain(t *testing.T) {
	t.Parallel()
	for _, turn := range []struct {
		leader string
		wants  []string
	}{
		{"here", []string{":2\r\n", bulk("2"), "+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n:3\r\n" + bulk("3"), "+OK\r\n"}},
		{"there:2", []string{movedB, movedB, "+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", movedB, movedB}},
	} {
		x := startTwoShards(t)
		c := x.dial()
		c.must("SET b 1", "+OK\r\n")
		sh := x.shards[0]
		goOn := x.holdCommands(c, sh)
		x.ledBy("")
		goOn()
		ask(x.Server, func(l *loop) int {
			if ls := l.kept(sh); ls != nil && ls.open != nil {
				b := ls.open
				ls.open, b.err = nil, raftfsm.ErrNotLeader
				ls.flight++ // completed takes it back
				ls.completed(b)
			}
			return 0
		})
		x.waits()
		x.ledBy(turn.leader)
		for _, want := range turn.wants {
			if got := c.reply(); got != want {
				t.Errorf("led %s: %q, not %q", turn.leader, got, want)
			}
		}
	}
}

// TestLeaderlessShardIsTold: nobody waits for ever, and of many one after the other all but the first are told at once.
// Together they would wait for longer than the test has.
func TestLeaderlessShardIsTold(t *testing.T) {
	t.Parallel()
	x := startTwoShards(t)
	c := x.dial()
	x.ledBy("")
	for range 2 * int(patience/leaderPatience) {
		c.must("SET b 1", "-"+noLeader+"\r\n")
		c.must("MULTI", "+OK\r\n")
		c.must("GET b", "-"+noLeader+"\r\n")
		c.must("DISCARD", "+OK\r\n")
		c.must("WATCH b", "-"+noLeader+"\r\n")
	}
	c.must("SET a 1", "+OK\r\n")
	x.ledBy("there:2")
	c.must("SET b 1", movedB)
}

// TestLeaderMayComeMeanwhile: whoever has found no leader waits, even if there is one when it begins to.
func TestLeaderMayComeMeanwhile(t *testing.T) {
	t.Parallel()
	x := startTwoShards(t)
	c := x.dial()
	c.must("SET b 1", "+OK\r\n")
	for _, leader := range []string{"here", "there:2"} {
		x.ledBy(leader)
		waits := 0
		for _, n := range ask(x.Server, func(l *loop) (waits int) {
			for _, s := range l.sessions {
				if s.awaitLeader(3300, noLeader) {
					waits++
				}
			}
			return waits
		}) {
			waits += n
		}
		if waits == 0 {
			t.Errorf("led %s: nobody waits", leader)
		}
	}
	c.must("GET b", movedB)
}

// TestLeaderlessTimesAreApart: two times without a leader are not one, if there was a leader in between.
func TestLeaderlessTimesAreApart(t *testing.T) {
	t.Parallel()
	x := startTwoShards(t)
	c := x.dial()
	c.must("SET b 1", "+OK\r\n")
	for _, between := range []struct{ leader, command, want string }{
		{"here", "GET b", bulk("1")},
		{"here", "SET b 1", "+OK\r\n"},
		{"there:2", "GET b", movedB},
		{"there:2", "SET b 1", movedB},
	} {
		ask(x.Server, func(l *loop) int {
			now := time.Now()
			l.unled[x.shards[0].id] = unled{since: now.Add(-leaderPatience), last: now}
			return 0
		})
		x.ledBy(between.leader)
		c.must(between.command, between.want)
		x.ledBy("")
		c.send(line("GET b"))
		x.waits()
		x.ledBy("here")
		c.want(bulk("1"))
	}
}

// TestLostMajorityIsTold: whoever is left says that nobody leads, and sends nobody to a leader that was.
func TestLostMajorityIsTold(t *testing.T) {
	list := startThree(t)
	if got := follow(t, list, "SET a 1"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	for _, ts := range list[:2] {
		ts.end(false)
	}
	c := list[2].dial()
	eventually(t, "the survivor says so", func() bool { return c.do("GET", "a") == "-"+noLeader+"\r\n" })
	c.must("SET a 2", "-"+noLeader+"\r\n")
	c.must("GET c", "-"+noLeader+"\r\n")
}

// elected is a cluster in which a node has been elected, and leads no further than that: it cannot apply anything until goOn.
type elected struct {
	t      *testing.T
	list   []*testServer
	at     int
	shards []*shard // of key a
	before int      // who led before
	goOn   func()
}

func startElected(t *testing.T) *elected {
	t.Helper()
	x := &elected{t: t, list: startThree(t)}
	if got := follow(t, x.list, "SET a 1"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	for i, ts := range x.list {
		r := ts.node.routing.Load()
		x.shards = append(x.shards, ts.node.shard(r.owners[r.slots[keyspace.Slot([]byte("a"))]].shard))
		if x.shards[i].leads() {
			x.before = i
		}
	}
	x.at = (x.before + 1) % len(x.list)
	holds, goOn := make(chan struct{}), make(chan struct{})
	var held sync.WaitGroup
	held.Go(func() {
		if _, err := x.shards[x.at].engine.Keys().States(nil, false, func([]keyspace.KeyState) { close(holds); <-goOn }); err != nil {
			t.Error(err)
		}
	})
	x.goOn = sync.OnceFunc(func() { close(goOn); held.Wait() })
	t.Cleanup(x.goOn)
	<-holds
	if got := follow(t, x.list, "SET a 2"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	x.transfer(x.before, x.at)
	return x
}

// transfer hands the leadership on.
func (x *elected) transfer(from, to int) {
	x.t.Helper()
	id, group := raft.ServerID(x.list[to].node.member.id.Node), x.shards[from].group
	servers := group.Stats().Servers
	i := slices.IndexFunc(servers, func(s raft.Server) bool { return s.ID == id })
	if err := group.TransferLeadership(id, servers[i].Address); err != nil {
		x.t.Fatal(err)
	}
	eventually(x.t, "it leads", x.shards[to].leads)
}

// TestWatchWaitsForANewLeader: who has been elected a moment ago may not know yet what is acknowledged, and WATCH waits as reads do.
func TestWatchWaitsForANewLeader(t *testing.T) {
	x := startElected(t)
	waiting, watching := x.list[x.at].dial(), x.list[x.at].dial()
	waiting.send(line("GET a"))
	watching.send(pipeline("WATCH a\nGET a\nMULTI\nSET a 3\nEXEC"))
	eventually(t, "both wait", func() bool {
		waits := 0
		for _, n := range ask(x.list[x.at].Server, func(l *loop) (waits int) {
			for _, s := range l.sessions {
				if s.parked {
					waits++
				}
			}
			return waits
		}) {
			waits += n
		}
		return waits == 2
	})
	x.goOn()
	waiting.want(bulk("2"))
	for _, want := range []string{"+OK\r\n", bulk("2"), "+OK\r\n", "+QUEUED\r\n", "*1\r\n+OK\r\n"} {
		watching.want(want)
	}
}

// TestFanOutsLeaveOutWhatIsLost: commands on all that a node leads leave out the shard whose leadership it loses while they wait for it.
func TestFanOutsLeaveOutWhatIsLost(t *testing.T) {
	for _, question := range []struct{ command, want string }{
		{"DBSIZE", ":0\r\n"},
		{"KEYS *", "*0\r\n"},
		{"SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n"},
	} {
		x := startElected(t)
		c := x.list[x.at].dial()
		c.send(line(question.command))
		eventually(t, "a worker has it", func() bool {
			return slices.Contains(ask(x.list[x.at].Server, func(l *loop) (busy int) {
				for _, s := range l.sessions {
					if s.busy {
						busy++
					}
				}
				return busy
			}), 1)
		})
		x.transfer(x.at, x.before)
		c.want(question.want)
		x.goOn()
	}
}
