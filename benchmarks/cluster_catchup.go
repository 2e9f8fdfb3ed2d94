package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// catchupLoad is the part of what two nodes can do that clients ask for while a third one joins.
const catchupLoad = 0.25

// joinSlows is the most that the join of a node may multiply the clients' p99 with.
const joinSlows = 2

// mixClient sends GET and SET by turns, of keys that keyOf names.
type mixClient struct {
	caller caller
	keys   int
	rng    *rand.Rand
	out    []byte
	value  [valueBytes]byte
}

func (m *mixClient) send(n int) error {
	key := keyOf(m.rng.IntN(m.keys))
	if n%2 == 0 {
		m.out = appendCommand(m.out[:0], []byte("GET"), key)
	} else {
		randomise(m.rng, m.value[:])
		m.out = appendCommand(m.out[:0], []byte("SET"), key, m.value[:])
	}
	_, err := m.caller.do(m.out, 1)
	return err
}

// startMix has as many clients as every measurement send GET and SET at a rate together.
func (b *bench) startMix(rate float64, keys int, addrs ...string) *running {
	paceds := make([]*paced, clients)
	for i := range paceds {
		m := &mixClient{caller: caller{ctx: b.ctx, addrs: addrs}, keys: keys, rng: rand.New(rand.NewPCG(uint64(i), 5))}
		paceds[i] = &paced{period: time.Duration(clients / rate * float64(time.Second)), send: m.send}
	}
	return startPaced(b.ctx, paceds)
}

// catchup has a third node with an empty disk join two that hold many keys and work.
func (b *bench) catchup() error {
	c, err := b.startCluster(2, 1)
	if err != nil {
		return err
	}
	defer c.end()
	leader, err := c.leader()
	if err != nil {
		return err
	}
	n := b.sizes.manyKeys
	if err := b.fill(leader, n, keyOf, valueBytes); err != nil {
		return err
	}
	// With a checkpoint the log need not be kept: the third node gets a snapshot.
	if err := leader.await(b.ctx, "SAVE\r\n", "+OK"); err != nil {
		return err
	}
	if err := c.caughtUp(); err != nil {
		return err
	}
	if err := b.rest(c.nodes...); err != nil {
		return err
	}
	full, err := b.mix(leader, 0, b.sizes.mix/2)
	if err != nil {
		return err
	}
	rate := float64(len(full)) / (b.sizes.mix / 2).Seconds() * catchupLoad
	if err := b.rest(c.nodes...); err != nil {
		return err
	}

	load := b.startMix(rate, n, leader.addr(), c.nodes[1].addr())
	defer load.stop()
	time.Sleep(time.Second) // all are connected
	begun := time.Now()
	time.Sleep(b.sizes.mix)
	joining := time.Now()
	if _, err := c.add(); err != nil {
		return err
	}
	if err := c.wait(voters); err != nil {
		return err
	}
	joined := time.Now()
	time.Sleep(b.sizes.mix / 2)
	load.stop()

	events := load.events()
	alone, _ := latencies(events, begun, joining)
	meanwhile, _ := latencies(events, joining, joined)
	afterwards, _ := latencies(events, joined, joined.Add(b.sizes.mix))
	_, failed := latencies(events, begun, joined.Add(b.sizes.mix))
	work := fmt.Sprintf("a third node with an empty disk joins two with %s keys under a mix of %s/s", number(float64(n)), number(rate))
	b.report.figure(work+": until it votes", "s", joined.Sub(joining).Seconds(), 0, 0)
	b.report.figure("p99 of clients meanwhile over that before", "times", percentile(meanwhile, 99)/percentile(alone, 99), 0, joinSlows)
	b.report.none("errors of clients meanwhile", failed)
	b.report.note("p99 of the clients was %.2f ms before, %.2f ms meanwhile, %.2f ms with three voters; the longest %.0f, %.0f and %.0f ms.",
		percentile(alone, 99), percentile(meanwhile, 99), percentile(afterwards, 99),
		percentile(alone, 100), percentile(meanwhile, 100), percentile(afterwards, 100))
	if failed > 0 {
		b.report.note("The first error: %v", load.fault())
	}
	return nil
}
