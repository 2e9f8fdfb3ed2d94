package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// patience is how long a client of a cluster waits for a reply before it turns to another node.
const patience = time.Second

// origin is what the moments of events count from. As durations they hold no pointers: with a million of them, a collector
// that had to look through them would stop the load, and take processors from the nodes, for tens of milliseconds each time.
var origin = time.Now()

// event is one request.
type event struct {
	due    time.Duration // when it should have been sent
	sent   time.Duration
	done   time.Duration // when the reply, or the failure, was there
	failed bool
}

// paced sends one request after the other, each when it is due, until it is stopped, whatever happens to the nodes.
type paced struct {
	period time.Duration
	// skip leaves out what fell due during a request. Otherwise it is sent as soon as possible, and its time counts from
	// when it was due, so that nobody who stalls can hide it by being asked less.
	skip bool
	send func(n int) error
	mu   struct {
		sync.Mutex
		chunks [][]event // all but the last one full
		fault  error     // the first
	}
}

// chunkEvents is how many events of a client lie together. One slice for all would be copied by every client at the same
// moment whenever it has doubled.
const chunkEvents = 1 << 10

func (p *paced) run(ctx context.Context, begin time.Time) {
	wake := time.NewTimer(0)
	defer wake.Stop()
	for due, n := begin.Sub(origin), 0; ; n++ {
		wake.Reset(due - time.Since(origin))
		select {
		case <-ctx.Done():
			return
		case <-wake.C:
		}
		e := event{due: due, sent: time.Since(origin)}
		err := p.send(n)
		if ctx.Err() != nil {
			return // the end, not an outcome
		}
		e.done, e.failed = time.Since(origin), err != nil
		p.note(e, err)
		if due += p.period; p.skip {
			due = max(due, e.done)
		}
	}
}

func (p *paced) note(e event, fault error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := len(p.mu.chunks) - 1; last < 0 || len(p.mu.chunks[last]) == chunkEvents {
		p.mu.chunks = append(p.mu.chunks, make([]event, 0, chunkEvents))
	}
	last := &p.mu.chunks[len(p.mu.chunks)-1]
	*last = append(*last, e)
	if p.mu.fault == nil {
		p.mu.fault = fault
	}
}

func (p *paced) events() []event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Concat(p.mu.chunks...)
}

func (p *paced) fault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.fault
}

// running is several paced clients.
type running struct {
	clients []*paced
	cancel  context.CancelFunc
	group   sync.WaitGroup
}

// startPaced starts the clients, evenly apart within the first one's period.
func startPaced(ctx context.Context, clients []*paced) *running {
	r := &running{clients: clients}
	ctx, r.cancel = context.WithCancel(ctx)
	begin := time.Now()
	for i, p := range clients {
		r.group.Go(func() { p.run(ctx, begin.Add(p.period*time.Duration(i)/time.Duration(len(clients)))) })
	}
	return r
}

// stop ends the clients once each has done with what it is at. It may be called again.
func (r *running) stop() {
	r.cancel()
	r.group.Wait()
}

// events are those of all clients, in no order.
func (r *running) events() []event {
	var all []event
	for _, p := range r.clients {
		all = append(all, p.events()...)
	}
	return all
}

// fault is the first failure of one of the clients.
func (r *running) fault() error {
	for _, p := range r.clients {
		if err := p.fault(); err != nil {
			return err
		}
	}
	return nil
}

// latencies of the requests that fell due between two moments and did not fail, sorted, with how many failed.
func latencies(events []event, from, to time.Time) (good []time.Duration, failed int) {
	first, last := from.Sub(origin), to.Sub(origin)
	for _, e := range events {
		switch {
		case e.due < first || e.due > last:
		case e.failed:
			failed++
		default:
			good = append(good, e.done-e.due)
		}
	}
	slices.Sort(good)
	return good, failed
}

// firstAfter finds, in one client's events, when the first request that was sent after a moment and did not fail was
// answered; whatever had been sent before may have been answered by who died at that moment.
func firstAfter(events []event, moment time.Time) (time.Time, bool) {
	first := len(events)
	for first > 0 && events[first-1].sent > moment.Sub(origin) {
		first--
	}
	for _, e := range events[first:] {
		if !e.failed {
			return origin.Add(e.done), true
		}
	}
	return time.Time{}, false
}

// longestPause is the longest time, in one client's events that fell due between two moments, from when a request was due
// until that one or a later one got through; one that never did counts until the last event.
func longestPause(events []event, from, to time.Time) (longest time.Duration) {
	first, last := from.Sub(origin), to.Sub(origin)
	waits, since := false, time.Duration(0)
	for i, e := range events {
		if e.due < first || e.due > last && !waits {
			continue
		}
		if !waits {
			waits, since = true, e.due
		}
		if !e.failed || i == len(events)-1 {
			longest = max(longest, e.done-since)
		}
		waits = waits && e.failed
	}
	return longest
}

// caller is a client's connection. When it fails, the next call goes to the next address.
type caller struct {
	ctx   context.Context
	addrs []string
	at    int // into addrs
	conn  net.Conn
	in    *bufio.Reader
	reply []byte
}

// do sends commands and returns as many replies, which are valid until the next call. An error reply is an error; the
// connection stays.
func (c *caller) do(commands []byte, replies int) ([]byte, error) {
	if err := c.exchange(commands, replies); err != nil {
		c.turnTo((c.at + 1) % len(c.addrs))
		return nil, err
	}
	if c.reply[0] == '-' {
		return nil, fmt.Errorf("answered %.80q", c.reply)
	}
	return c.reply, nil
}

func (c *caller) exchange(commands []byte, replies int) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.addrs[c.at], patience)
		if err != nil {
			return err
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(patience + time.Second*time.Duration(replies-1))); err != nil {
		return err
	}
	if _, err := c.conn.Write(commands); err != nil {
		return err
	}
	c.reply = c.reply[:0]
	for range replies {
		var err error
		if c.reply, err = readReply(c.in, c.reply); err != nil {
			return err
		}
	}
	return nil
}

// turnTo has the next call go to an address.
func (c *caller) turnTo(at int) {
	c.close()
	c.at = at
}

func (c *caller) close() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing is written behind
		c.conn = nil
	}
}
