package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	watchedMoving  = 16                    // keys that are watched in slots that move
	watchedStaying = 4                     // and in the others of the source
	watchPeriod    = 10 * time.Millisecond // of each
	pauseBound     = 100                   // ms in which a key may not be had
)

// watched is a key that one client sets and gets by turns, so that it knows what there has to be.
type watched struct {
	ctx    context.Context
	client redis.UniversalClient
	key    string
	set    int // the latest that was acknowledged; -1: none
	sent   int // the latest that may have been set; -1: none
	wrong  []string
}

func watchedKey(i int) []byte { return fmt.Appendf(nil, "watched:%d", i) }

func (w *watched) send(n int) error {
	if n%2 == 0 {
		w.sent = n
		err := w.client.Set(w.ctx, w.key, n, 0).Err()
		if err == nil {
			w.set = n
		}
		return err
	}
	text, err := w.client.Get(w.ctx, w.key).Result()
	if errors.Is(err, redis.Nil) {
		text, err = "-1", nil
	}
	if err != nil {
		return err
	}
	got, err := strconv.Atoi(text)
	if err != nil || got < w.set || got > w.sent {
		w.wrong = append(w.wrong, fmt.Sprintf("%s is %q, not %d to %d", w.key, text, w.set, w.sent))
		return nil
	}
	w.set = got // what was seen must not vanish either
	return nil
}

// watch has a cluster client set and get keys by turns.
func (c *cluster) watch(keys [][]byte) ([]*watched, *running, func()) {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.addrs()})
	all, clients := make([]*watched, len(keys)), make([]*paced, len(keys))
	for i, key := range keys {
		all[i] = &watched{ctx: c.b.ctx, client: client, key: string(key), set: -1, sent: -1}
		clients[i] = &paced{period: watchPeriod, send: all[i].send}
	}
	load := startPaced(c.b.ctx, clients)
	return all, load, func() {
		load.stop()
		_ = client.Close() // nothing is under way
	}
}

// judgeWatched adds what clients saw between two moments.
func (b *bench) judgeWatched(all []*watched, load *running, from, to time.Time) {
	_, failed := latencies(load.events(), from, to)
	var wrong []string
	for _, w := range all {
		wrong = append(wrong, w.wrong...)
	}
	b.report.none("errors that go-redis's cluster client returned meanwhile", failed)
	b.report.none("wrong values read meanwhile", len(wrong))
	if failed > 0 {
		b.report.note("The first error: %v", load.fault())
	}
	if len(wrong) > 0 {
		b.report.note("Wrong: %v", wrong[:min(len(wrong), 20)])
	}
}

// migration moves half the slots of a shard that has many keys to another one, while a cluster client works.
func (b *bench) migration() error {
	c, err := b.startCluster(voters, voters, "--cluster-enabled", "yes", "--shards", "2")
	if err != nil {
		return err
	}
	defer c.end()
	status, err := c.status()
	if err != nil {
		return err
	}
	if len(status.Shards) != 2 {
		return fmt.Errorf("there are %d shards instead of 2", len(status.Shards))
	}
	source, target := status.Shards[0], status.Shards[1]
	move, keep := halved(source.Slots)
	n := b.sizes.manyKeys / 2
	moving, staying := listed(keysIn(move, n, keyOf), keyOf), listed(keysIn(keep, n, keyOf), keyOf)
	if err := c.fillShard(source.ID, n, moving, staying); err != nil {
		return err
	}
	if err := b.rest(c.nodes...); err != nil {
		return err
	}
	var keys [][]byte
	for _, i := range keysIn(move, watchedMoving, watchedKey) {
		keys = append(keys, watchedKey(i))
	}
	for _, i := range keysIn(keep, watchedStaying, watchedKey) {
		keys = append(keys, watchedKey(i))
	}
	all, load, stop := c.watch(keys)
	defer stop()
	time.Sleep(time.Second) // all are connected
	begun := time.Now()
	time.Sleep(b.sizes.mix)
	moved := time.Now()
	if err := c.migrate(source.ID, target.ID, move); err != nil {
		return err
	}
	ended := time.Now()
	time.Sleep(time.Second)
	stop()
	b.judgeMigration(n, all, load, begun, moved, ended)
	return c.readShards(source.ID, target.ID, n, moving, staying)
}

// fillShard sets the keys at the shard's leader.
func (c *cluster) fillShard(shard, n int, keys ...func(int) []byte) error {
	leader, err := c.leaderOf(shard)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := c.b.fill(leader, n, key, valueBytes); err != nil {
			return err
		}
	}
	return nil
}

// migrate starts a migration and returns when there is none any more.
func (c *cluster) migrate(from, to int, slots []slotRange) error {
	if _, err := c.command(migrateCommand, "FROM", strconv.Itoa(from), "TO", strconv.Itoa(to), "SLOTS", slotText(slots)); err != nil {
		return err
	}
	err := c.b.poll(movePatience, 500*time.Millisecond, func() (bool, error) {
		status, err := c.status()
		return err == nil && len(status.Migrations) == 0, err
	})
	if err != nil {
		return fmt.Errorf("the migration does not end: %w; %s", err, c.said())
	}
	status, err := c.status()
	if err != nil {
		return err
	}
	for _, sh := range status.Shards {
		if sh.ID == to && !holds(sh.Slots, slots[0].From) {
			return fmt.Errorf("there is no migration any more, but shard %d has %v", to, sh.Slots)
		}
	}
	return nil
}

func (b *bench) judgeMigration(n int, all []*watched, load *running, begun, moved, ended time.Time) {
	var pause, pauseBefore, pauseStaying time.Duration
	for i, p := range load.clients {
		here := longestPause(p.events(), moved, ended.Add(time.Second))
		pauseBefore = max(pauseBefore, longestPause(p.events(), begun, moved))
		if i < watchedMoving {
			pause = max(pause, here)
		} else {
			pauseStaying = max(pauseStaying, here)
		}
	}
	before, _ := latencies(load.events(), begun, moved)
	meanwhile, _ := latencies(load.events(), moved, ended)
	work := fmt.Sprintf("half the slots of a shard, %s keys, migrate under load", number(float64(n)))
	b.report.figure(work+": time", "s", ended.Sub(moved).Seconds(), 0, 0)
	b.report.figure("longest pause of a key that moves", "ms", pause.Seconds()*1000, 0, pauseBound)
	b.report.figure("longest pause of a key that stays", "ms", pauseStaying.Seconds()*1000, 0, 0)
	b.judgeWatched(all, load, begun, ended.Add(time.Second))
	b.report.note("Before the migration the longest pause was %.0f ms; p99 %.2f ms before, %.2f ms meanwhile.",
		pauseBefore.Seconds()*1000, percentile(before, 99), percentile(meanwhile, 99))
}

// readShards checks that every key is where it belongs, with its value.
func (c *cluster) readShards(source, target, n int, moved, stayed func(int) []byte) error {
	for _, part := range []struct {
		shard int
		key   func(int) []byte
	}{{target, moved}, {source, stayed}} {
		leader, err := c.leaderOf(part.shard)
		if err != nil {
			return err
		}
		if err := c.b.readAll(leader, n, part.key, valueBytes); err != nil {
			return fmt.Errorf("keys of shard %d after the migration: %w", part.shard, err)
		}
	}
	return nil
}
