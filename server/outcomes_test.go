package server

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/larder-db/larder/raftfsm"
)

// TestOutcomesInWords has only those errors invite to try again after which nothing was done.
func TestOutcomesInWords(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{raftfsm.ErrBusy, "-TRYAGAIN too many batches in flight\r\n"},
		{raftfsm.ErrNotLeader, "-" + noLeader + "\r\n"},
		{raftfsm.ErrClosed, "-ERR the server is shutting down\r\n"},
		{fmt.Errorf("%w: %w", raftfsm.ErrIndeterminate, raftfsm.ErrClosed), string(indeterminateReply)},
		{fmt.Errorf("%w: %w", raftfsm.ErrIndeterminate, errors.New("the disk does not answer")), string(indeterminateReply)},
	} {
		if got := string(errorReply(c.err)); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

// TestDisconnectedClient has clients end while their commands are on the way through the log. What was proposed is applied,
// and nobody who comes after them, on the same loop and often with the same file number, is given their replies.
func TestDisconnectedClient(t *testing.T) {
	t.Parallel()
	ts := start(t, "io-threads 1")
	sh := ts.node.sole()
	many := strings.Repeat(line("INCR gone"), 100)
	before := int64(0)
	for i := range 20 {
		gone := ts.dial()
		eventually(t, "commands are on their way", func() bool {
			gone.send(many)
			return sh.group.Stats().InFlight > 0
		})
		_ = gone.Close()
		next := ts.dial()
		next.send(line("ECHO mine") + line("INCR next") + line("GET next"))
		next.want(bulk("mine"))
		next.want(fmt.Sprintf(":%d\r\n", i+1))
		next.want(bulk(fmt.Sprint(i + 1)))
		now := integerReply([]byte(next.do("INCRBY", "gone", "0")))
		if now <= before {
			t.Errorf("nothing was applied: %d, before %d", now, before)
		}
		before = now
	}
}

// TestSlowClientOfReplicatedShard has a client read nothing of a lot that it asked for, and another one that goes on.
func TestSlowClientOfReplicatedShard(t *testing.T) {
	list := startThree(t, "client-output-buffer-limit normal 1mb 0 0")
	for _, command := range []string{"SET a " + strings.Repeat("x", 4<<20), "SET leads 1"} {
		if got := follow(t, list, command); got != "+OK\r\n" {
			t.Fatal(got)
		}
	}
	tries := 0
	eventually(t, "a leader stays meanwhile", func() bool {
		tries++
		counter := fmt.Sprint("n", tries)
		leader := leaderOf(t, list, "leads", "1")
		slow, other := leader.dial(), leader.dial()
		slow.send(strings.Repeat(line("INCR "+counter)+line("GET a"), 4))
		for i := range 50 {
			for _, step := range [][2]string{{fmt.Sprintf("SET k %d", i), "+OK\r\n"}, {"GET k", bulk(fmt.Sprint(i))}} {
				other.send(line(step[0]))
				switch got := other.reply(); {
				case !leads(got):
					return false
				case got != step[1]:
					t.Fatalf("%s: %q", step[0], got)
				}
			}
		}
		if n, err := io.Copy(io.Discard, slow.in); err == nil && n > 16<<20 {
			t.Errorf("%d bytes came, everything", n)
		}
		for {
			switch got := other.do("GET", counter); {
			case strings.HasPrefix(got, "$1\r\n"): // what the slow client asked for is done
				return true
			case !leads(got):
				return false
			}
		}
	})
}
