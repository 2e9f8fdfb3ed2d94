package server

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// watchPolicies: with everysec several batches of a loop are in flight at a time.
var watchPolicies = []string{"appendfsync always", "appendfsync everysec"}

// number reads a bulk string's number; 0 for none.
func number(t testing.TB, reply string) int {
	t.Helper()
	if reply == "$-1\r\n" {
		return 0
	}
	_, text, _ := strings.Cut(reply, "\r\n")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Errorf("no number: %q", reply)
	}
	return n
}

// TestWatchedCountersAreExact: many clients add to few counters by WATCH, GET, MULTI, SET, EXEC, while others write the same
// keys in ways that do not change them or touch other keys. No addition may be lost.
func TestWatchedCountersAreExact(t *testing.T) {
	for _, policy := range watchPolicies {
		t.Run(policy, func(t *testing.T) {
			ts := start(t, policy, "io-threads 4")
			const clients, additions, counters = 12, 120, 3
			var stop atomic.Bool
			var others, group sync.WaitGroup
			for i := range 4 {
				c := ts.dial()
				others.Go(func() {
					for n := 0; !stop.Load(); n++ {
						// It keeps the counters' cells busy without touching them: they exist throughout.
						c.send(pipeline(fmt.Sprintf("SETNX counter%d x\nSET other%d %d\nGETEX counter%d\nMULTI\nSETNX counter%d y\nEXEC", n%counters, i, n, i%counters, n%counters)))
						for range 6 {
							c.reply()
						}
					}
				})
			}
			setup := ts.dial()
			for i := range counters {
				setup.must(fmt.Sprintf("SET counter%d 0", i), "+OK\r\n")
			}
			var passed, failed atomic.Int64
			for i := range clients {
				c := ts.dial()
				group.Go(func() {
					for n := 0; n < additions && !t.Failed(); {
						key := fmt.Sprint("counter", (i+n)%counters)
						c.send(pipeline("WATCH " + key + "\nGET " + key))
						c.want("+OK\r\n")
						value := number(t, c.reply()) + 1
						c.send(pipeline(fmt.Sprintf("MULTI\nSET %s %d\nEXEC", key, value)))
						c.want("+OK\r\n")
						c.want("+QUEUED\r\n")
						switch reply := c.reply(); reply {
						case "*1\r\n+OK\r\n":
							passed.Add(1)
							n++
						case "*-1\r\n":
							failed.Add(1)
						default:
							t.Errorf("EXEC: %q", reply)
						}
					}
				})
			}
			group.Wait()
			stop.Store(true)
			others.Wait()
			sum := 0
			for i := range counters {
				sum += number(t, setup.do("GET", fmt.Sprint("counter", i)))
			}
			if sum != clients*additions {
				t.Errorf("%d were added, the counters say %d", clients*additions, sum)
			}
			t.Logf("%d transactions went through, %d did not", passed.Load(), failed.Load())
			if clients, keys := ts.node.sole().watches.figures(); clients != 0 || keys != 0 {
				t.Errorf("%d clients still watch %d keys", clients, keys)
			}
			if n := ts.node.sole().watches.holding.Load(); n != 0 {
				t.Errorf("%d transactions hold everybody else up", n)
			}
		})
	}
}

// TestTransfersKeepTheTotal: transactions move amounts between accounts, with and without WATCH, in two data bases; whoever
// looks sees the same total.
func TestTransfersKeepTheTotal(t *testing.T) {
	ts := start(t, "io-threads 4", "appendfsync everysec")
	const accounts, start, moves = 8, 1000, 400
	setup := ts.dial()
	for i := range accounts {
		setup.must(fmt.Sprintf("SELECT %d", i%2), "+OK\r\n")
		setup.must(fmt.Sprintf("SET account%d %d", i, start), "+OK\r\n")
	}
	look := "MULTI\n"
	for i := range accounts {
		look += fmt.Sprintf("SELECT %d\nGET account%d\n", i%2, i)
	}
	look += "EXEC"
	total := func(c *testClient) (sum int) {
		c.send(pipeline(look))
		for range 2*accounts + 1 {
			c.reply()
		}
		for i, part := range strings.SplitAfter(c.reply(), "+OK\r\n")[1:] {
			if part = strings.TrimSuffix(part, "+OK\r\n"); part == "" {
				t.Errorf("no account %d", i)
			}
			sum += number(t, part)
		}
		return sum
	}
	var stop atomic.Bool
	var lookers, movers sync.WaitGroup
	for range 3 {
		c := ts.dial()
		lookers.Go(func() {
			for !stop.Load() && !t.Failed() {
				if sum := total(c); sum != accounts*start {
					t.Errorf("the total is %d, want %d", sum, accounts*start)
				}
			}
		})
	}
	for m := range 8 {
		c := ts.dial()
		r := rand.New(rand.NewPCG(uint64(m), 3))
		movers.Go(func() {
			for range moves {
				from, to, n := r.IntN(accounts), r.IntN(accounts), r.IntN(20)
				if m%2 == 0 { // whatever the balances are
					c.send(pipeline(fmt.Sprintf("MULTI\nSELECT %d\nDECRBY account%d %d\nSELECT %d\nINCRBY account%d %d\nEXEC", from%2, from, n, to%2, to, n)))
					for range 5 {
						c.reply()
					}
					if reply := c.reply(); reply[0] != '*' || strings.Contains(reply, "-") && strings.Contains(reply, "ERR") {
						t.Errorf("EXEC: %q", reply)
					}
					continue
				}
				if from == to {
					continue
				}
				c.send(pipeline(fmt.Sprintf("SELECT %d\nWATCH account%d\nGET account%d\nSELECT %d\nWATCH account%d\nGET account%d", from%2, from, from, to%2, to, to)))
				var got [6]string
				for i := range got {
					got[i] = c.reply()
				}
				a, b := number(t, got[2]), number(t, got[5])
				c.send(pipeline(fmt.Sprintf("MULTI\nSELECT %d\nSET account%d %d\nSELECT %d\nSET account%d %d\nEXEC", from%2, from, a-n, to%2, to, b+n)))
				for range 5 {
					c.reply()
				}
				if reply := c.reply(); reply != "*-1\r\n" && reply != "*4\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n" {
					t.Errorf("EXEC: %q", reply)
				}
			}
		})
	}
	movers.Wait()
	stop.Store(true)
	lookers.Wait()
	if sum := total(setup); sum != accounts*start {
		t.Errorf("the total is %d, want %d", sum, accounts*start)
	}
}

// TestOverlappingTransactions: of two transactions that watch each other's keys and are sent at once, at most one goes through.
func TestOverlappingTransactions(t *testing.T) {
	for _, policy := range watchPolicies {
		ts := start(t, policy, "io-threads 2")
		a, b := ts.dial(), ts.dial()
		var both, one, none int
		for range 300 {
			a.send(pipeline("DEL x y\nWATCH x y\nMULTI\nSET x 1"))
			b.send(pipeline("PING\nWATCH y x\nMULTI\nSET y 1"))
			for range 4 {
				a.reply()
				b.reply()
			}
			a.send(line("EXEC"))
			b.send(line("EXEC"))
			passed := 0
			for _, reply := range []string{a.reply(), b.reply()} {
				if reply == "*1\r\n+OK\r\n" {
					passed++
				} else if reply != "*-1\r\n" {
					t.Fatalf("EXEC: %q", reply)
				}
			}
			switch passed {
			case 0:
				none++
			case 1:
				one++
			default:
				both++
			}
		}
		if both > 0 || one == 0 {
			t.Errorf("%s: both went through %d times, one %d, none %d", policy, both, one, none)
		}
	}
}
