package integration

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestKillKeepsTransactionsWhole: a transaction that was acknowledged is there after kill -9, one that was not is there whole
// or not at all, and additions that were guarded by WATCH are counted once.
func TestKillKeepsTransactionsWhole(t *testing.T) {
	for _, policy := range []string{"always", "everysec"} {
		t.Run(policy, func(t *testing.T) {
			s := startLarder(t, "--appendfsync", policy, "--checkpoint-log-bytes", "1mb")
			const pairs, counters = 4, 4
			var lowest [pairs]int64
			var added, unknown int64
			rng := rand.New(rand.NewPCG(3, 4))
			for range 4 {
				var acked [pairs]atomic.Int64
				var guarded, asked, total atomic.Int64
				failed := make(chan error, pairs+counters)
				var group sync.WaitGroup
				for i := range pairs {
					group.Go(func() {
						if err := incrementPairs(s.addr(), i, &acked[i], &total); err != nil {
							failed <- err
						}
					})
				}
				for range counters {
					group.Go(func() {
						if err := addGuarded(s.addr(), &guarded, &asked, &total); err != nil {
							failed <- err
						}
					})
				}
				enough := int64(1000 + rng.IntN(3000))
				for end := time.Now().Add(patience); total.Load() < enough && len(failed) == 0 && time.Now().Before(end); {
					time.Sleep(time.Millisecond)
				}
				s.kill()
				group.Wait()
				close(failed)
				for err := range failed {
					t.Fatalf("%v; the server said:\n%s", err, s.output.String())
				}
				s.restart()
				conn := connect(t, s)
				for i := range pairs {
					a, b := counter(t, conn, 0, fmt.Sprint("a", i)), counter(t, conn, 3, fmt.Sprint("b", i))
					if lowest[i] += acked[i].Load(); a != b || a < lowest[i] {
						t.Errorf("pair %d: %d and %d, acknowledged were %d", i, a, b, lowest[i])
					}
					lowest[i] = a
				}
				added += guarded.Load()
				unknown += asked.Load() - guarded.Load()
				if sum := counter(t, conn, 0, "sum"); sum < added || sum > added+unknown {
					t.Errorf("the sum is %d; %d additions were acknowledged, of %d the outcome is not known", sum, added, unknown)
				}
			}
			t.Logf("%d guarded additions, pairs %v", added, lowest)
		})
	}
}

// counter reads a number of a data base; 0 if it does not exist.
func counter(t *testing.T, conn *wire, db int, key string) (n int64) {
	t.Helper()
	conn.want(t, "+OK\r\n", "SELECT", fmt.Sprint(db))
	if reply := conn.do(t, "GET", key); reply != "$-1\r\n" {
		if _, err := fmt.Sscan(text(t, reply), &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// incrementPairs adds to two counters in two data bases by one transaction, several of them in flight, until the server is
// gone.
func incrementPairs(addr string, i int, acked, total *atomic.Int64) error {
	conn, err := dial(addr)
	if err != nil {
		return err
	}
	defer conn.conn.Close()
	const depth = 8
	for {
		for range depth {
			conn.put("MULTI")
			conn.put("INCR", fmt.Sprint("a", i))
			conn.put("SELECT", "3")
			conn.put("INCR", fmt.Sprint("b", i))
			conn.put("SELECT", "0")
			conn.put("EXEC")
		}
		if err := conn.send(); err != nil {
			return nil // the server is gone
		}
		for range depth {
			var reply string
			for range 6 {
				if reply, err = conn.reply(); err != nil {
					return nil
				}
			}
			if !strings.HasPrefix(reply, "*4\r\n:") {
				return fmt.Errorf("EXEC: %q", reply)
			}
			acked.Add(1)
			total.Add(1)
		}
	}
}

// addGuarded adds one to sum by WATCH, GET and EXEC until the server is gone.
func addGuarded(addr string, acked, asked, total *atomic.Int64) error {
	conn, err := dial(addr)
	if err != nil {
		return err
	}
	defer conn.conn.Close()
	for {
		conn.put("WATCH", "sum")
		conn.put("GET", "sum")
		if conn.send() != nil {
			return nil
		}
		if _, err := conn.reply(); err != nil {
			return nil
		}
		reply, err := conn.reply()
		if err != nil {
			return nil
		}
		var n int64
		if _, digits, _ := strings.Cut(reply, "\r\n"); reply != "$-1\r\n" {
			if _, err := fmt.Sscan(digits, &n); err != nil {
				return fmt.Errorf("GET: %q", reply)
			}
		}
		conn.put("MULTI")
		conn.put("SET", "sum", fmt.Sprint(n+1))
		conn.put("EXEC")
		asked.Add(1)
		if conn.send() != nil {
			return nil
		}
		for range 3 {
			if reply, err = conn.reply(); err != nil {
				return nil
			}
		}
		switch reply {
		case "*1\r\n+OK\r\n":
			acked.Add(1)
			total.Add(1)
		case "*-1\r\n":
			asked.Add(-1)
		default:
			return fmt.Errorf("EXEC: %q", reply)
		}
	}
}
