package main

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	failoverWriters = 12
	failoverPeriod  = 10 * time.Millisecond // of each writer
	betweenKills    = time.Second           // of load on three nodes

	failoverMedian = 1.0 // s until the next acknowledged write, at most
	failoverWorst  = 2.5
)

// writer sets keys that are never set again, so that each write that was acknowledged can be looked for.
type writer struct {
	id       int
	caller   caller
	goesHome atomic.Bool // to the node it began at
	sent     int
	acked    []int
	out      []byte
}

func writtenKey(id, n int) []byte { return fmt.Appendf(nil, "written:%d:%d", id, n) }

func (w *writer) send(n int) error {
	if w.goesHome.CompareAndSwap(true, false) {
		w.caller.turnTo(w.id % len(w.caller.addrs))
	}
	w.out = appendCommand(w.out[:0], []byte("SET"), writtenKey(w.id, n), strconv.AppendInt(nil, int64(n), 10))
	w.sent++
	_, err := w.caller.do(w.out, 1)
	if err == nil {
		w.acked = append(w.acked, n)
	}
	return err
}

// failover kills the leader again and again while writers write on all nodes, and looks for all that was acknowledged.
func (b *bench) failover() error {
	c, err := b.startCluster(voters, voters)
	if err != nil {
		return err
	}
	defer c.end()
	writers, load := c.startWriters()
	defer load.stop()
	var outages, everyone []float64
	for kill := range b.sizes.kills {
		for _, w := range writers {
			w.goesHome.Store(true) // else all would end up at the same node
		}
		select {
		case <-b.ctx.Done():
			return b.ctx.Err()
		case <-time.After(betweenKills):
		}
		outage, all, err := c.killLeader(load)
		if err != nil {
			return fmt.Errorf("kill %d: %w", kill+1, err)
		}
		outages, everyone = append(outages, outage.Seconds()), append(everyone, all.Seconds())
	}
	load.stop()

	acked, sent, lost := 0, 0, []string(nil)
	for _, w := range writers {
		w.caller.close()
		missing, err := missingOf(c.nodes[0].addr(), w.id, w.acked)
		if err != nil {
			return fmt.Errorf("look for what was written: %w; %s", err, c.said())
		}
		acked, sent, lost = acked+len(w.acked), sent+w.sent, append(lost, missing...)
	}
	work := fmt.Sprintf("leader killed -9 under load, %d times: until the next acknowledged write", len(outages))
	b.report.figure(work+", median", "s", median(outages), 0, failoverMedian)
	b.report.figure(work+", worst", "s", highest(outages), 0, failoverWorst)
	b.report.figure("until every writer goes on, median", "s", median(everyone), 0, 0)
	b.report.figure("until every writer goes on, worst", "s", highest(everyone), 0, 0)
	b.report.none("acknowledged writes lost meanwhile", len(lost))
	b.report.note("%s writes were sent and %s acknowledged, by %d writers on three nodes.", number(float64(sent)), number(float64(acked)), failoverWriters)
	if len(lost) > 0 {
		b.report.note("Lost: %v", lost[:min(len(lost), 20)])
	}
	return nil
}

// startWriters starts writers that begin at one node each, by turns.
func (c *cluster) startWriters() ([]*writer, *running) {
	writers, clients := make([]*writer, failoverWriters), make([]*paced, failoverWriters)
	for i := range writers {
		w := &writer{id: i, caller: caller{ctx: c.b.ctx, addrs: c.addrs(), at: i % len(c.nodes)}}
		writers[i], clients[i] = w, &paced{period: failoverPeriod, skip: true, send: w.send}
	}
	return writers, startPaced(c.b.ctx, clients)
}

// killLeader measures from the leader's death until one writer, and until every writer, has had a write acknowledged. It
// ends when the node is back and has caught up.
func (c *cluster) killLeader(load *running) (first, all time.Duration, err error) {
	leader, err := c.leader()
	if err != nil {
		return 0, 0, err
	}
	before := time.Now()
	leader.kill()
	gone := time.Now()
	err = c.b.poll(clusterPatience, 5*time.Millisecond, func() (bool, error) {
		first, all = 0, 0
		for _, p := range load.clients {
			done, ok := firstAfter(p.events(), gone)
			if !ok {
				return false, nil
			}
			if took := done.Sub(before); first == 0 || took < first {
				first = took
			}
			all = max(all, done.Sub(before))
		}
		return true, nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("writers do not go on: %w; the first failure was %w; %s", err, load.fault(), c.said())
	}
	if err := leader.launch(); err != nil {
		return 0, 0, err
	}
	if err := leader.await(c.b.ctx, "PING\r\n", "+PONG"); err != nil {
		return 0, 0, err
	}
	return first, all, c.caughtUp()
}

// missingOf lists those of a writer's acknowledged keys that a node does not have.
func missingOf(addr string, id int, acked []int) (missing []string, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	var out, reply []byte
	for at := 0; at < len(acked); at += fillDepth {
		batch := acked[at:min(at+fillDepth, len(acked))]
		out = out[:0]
		for _, n := range batch {
			out = appendCommand(out, []byte("GET"), writtenKey(id, n))
		}
		if _, err := conn.Write(out); err != nil {
			return nil, err
		}
		for _, n := range batch {
			if reply, err = readReply(in, reply[:0]); err != nil {
				return nil, err
			}
			if reply[0] == '-' {
				return nil, fmt.Errorf("answered %.80q", reply)
			}
			text := strconv.Itoa(n)
			if string(reply) != fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) {
				missing = append(missing, string(writtenKey(id, n)))
			}
		}
	}
	return missing, nil
}

func highest(values []float64) (most float64) {
	for _, v := range values {
		most = max(most, v)
	}
	return most
}
