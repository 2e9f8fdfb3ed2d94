package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	trickleRate  = 200 // changes a second
	trickleBound = 20  // MB a second that may be written for them
	deleteBound  = 5   // ms until the deletion of something huge is answered
)

// large measures what little work on huge collections costs.
func (b *bench) large() error {
	s, err := b.startLarder("--appendfsync", "everysec")
	if err != nil {
		return err
	}
	defer s.end()
	if err := b.trickle(s); err != nil {
		return err
	}
	return b.deleteHuge(s)
}

// trickle changes a few fields of a huge hash each second, with checkpoints, and counts what is written to the disk.
func (b *bench) trickle(s *server) error {
	n := b.sizes.hugeMembers
	if err := b.fillWith(s, n, adders["h"]); err != nil {
		return err
	}
	if err := s.await(b.ctx, "SAVE\r\n", "+OK"); err != nil {
		return err
	}
	if err := b.rest(s); err != nil {
		return err
	}
	before, err := s.written()
	if err != nil {
		return err
	}
	begun := time.Now()
	ticker := time.NewTicker(time.Second / trickleRate)
	defer ticker.Stop()
	for saved := begun; time.Since(begun) < b.sizes.trickle; <-ticker.C {
		field := memberOf(rand.IntN(n))
		if err := s.askOnce(string(appendCommand(nil, []byte("HSET"), []byte("h"), field, memberOf(rand.IntN(n)))), ":0"); err != nil {
			return err
		}
		if time.Since(saved) > b.sizes.trickle/4 {
			saved = time.Now()
			_ = s.askOnce("BGSAVE\r\n", "+") // one that is still under way does as well
		}
	}
	took := time.Since(begun)
	if err := s.await(b.ctx, "SAVE\r\n", "+OK"); err != nil {
		return err
	}
	after, err := s.written()
	if err != nil {
		return err
	}
	b.report.figure(fmt.Sprintf("written to disk, hash of %s fields, %d HSET/s with five checkpoints", number(float64(n)), trickleRate),
		"MB/s", float64(after-before)/1e6/took.Seconds(), 0, trickleBound)
	return nil
}

// written is what the process has had written to the disk, bytes.
func (s *server) written() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if n, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			return strconv.ParseInt(n, 10, 64)
		}
	}
	return 0, fmt.Errorf("no write_bytes in %q", text)
}

// deleteHuge deletes a huge sorted set while others read and write.
func (b *bench) deleteHuge(s *server) error {
	n := b.sizes.hugeMembers
	if err := b.fillWith(s, n, adders["z"]); err != nil {
		return err
	}
	if err := b.fill(s, b.sizes.keys, keyOf, valueBytes); err != nil {
		return err
	}
	if err := b.rest(s); err != nil {
		return err
	}
	all, err := b.mix(s, 0, b.sizes.mix/4)
	if err != nil {
		return err
	}
	rate := float64(len(all)) / (b.sizes.mix / 4).Seconds() / 2
	alone, err := b.mix(s, rate, b.sizes.mix/2)
	if err != nil {
		return err
	}
	replied := make(chan error, 1)
	var took time.Duration
	go func() {
		time.Sleep(b.sizes.mix / 10)
		var err error
		took, err = b.time(s, "DEL z")
		replied <- err
	}()
	beside, err := b.mix(s, rate, b.sizes.mix/2)
	if derr := <-replied; err == nil {
		err = derr
	}
	if err != nil {
		return err
	}
	b.report.figure(fmt.Sprintf("DEL of a sorted set of %s members: reply", number(float64(n))), "ms", took.Seconds()*1000, 0, deleteBound)
	b.report.figure("p99.9 of others meanwhile (half load, mix)", "ms", percentile(beside, 99.9), 0, 0)
	b.report.note("Without the DEL, their p99.9 is %.2f ms.", percentile(alone, 99.9))
	return nil
}
