package main

import (
	"fmt"
	"time"
)

// keyBytes is the length of shortKeyOf's keys.
const keyBytes = 11

// memoryAndRestart fills both servers with many small keys: how much each grows, and how soon it answers after a kill.
func (b *bench) memoryAndRestart() error {
	n := b.sizes.manyKeys
	larder, err := b.startLarder("--appendfsync", "everysec")
	defer larder.end()
	if err != nil {
		return err
	}
	ours, err := b.bytesPerKey(larder, n)
	if err != nil {
		return err
	}
	redis, err := b.startRedis("--appendfsync", "everysec")
	defer redis.end()
	if err != nil {
		return err
	}
	theirs, err := b.bytesPerKey(redis, n)
	if err != nil {
		return err
	}
	b.report.figure(fmt.Sprintf("memory per key over key and value, %s keys of %d + %d bytes",
		number(float64(n)), keyBytes, valueBytes), "bytes", ours, theirs, 36)

	oursRestart, err := b.restartTime(larder, n)
	if err != nil {
		return err
	}
	theirsRestart, err := b.restartTime(redis, n)
	if err != nil {
		return err
	}
	b.report.figure(fmt.Sprintf("start to first answered GET after kill -9, %s keys", number(float64(n))), "s",
		oursRestart.Seconds(), theirsRestart.Seconds(), 2)
	return nil
}

// bytesPerKey is the growth of the resident size over n keys, less the keys' and values' own bytes.
func (b *bench) bytesPerKey(s *server, n int) (float64, error) {
	before, err := s.resident()
	if err != nil {
		return 0, err
	}
	if err := b.fill(s, n, shortKeyOf, valueBytes); err != nil {
		return 0, err
	}
	if err := b.rest(s); err != nil {
		return 0, err
	}
	after, err := s.resident()
	return float64(after-before)/float64(n) - keyBytes - valueBytes, err
}

// restartTime is the median of a few kills, each right behind some writes that only the log has.
func (b *bench) restartTime(s *server, n int) (time.Duration, error) {
	var times []time.Duration
	for range min(3, b.rounds) {
		if err := b.fill(s, n/10, shortKeyOf, valueBytes); err != nil {
			return 0, err
		}
		s.kill()
		before := time.Now()
		if err := s.launch(); err != nil {
			return 0, err
		}
		question := appendCommand(nil, []byte("GET"), shortKeyOf(n/2))
		if err := s.await(b.ctx, string(question), fmt.Sprintf("$%d\r\n", valueBytes)); err != nil {
			return 0, err
		}
		times = append(times, time.Since(before))
	}
	return median(times), nil
}
