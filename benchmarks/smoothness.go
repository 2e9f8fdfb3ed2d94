package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"time"
)

// checkpointsAdd is the most that checkpoints may add to the 99.9th percentile, milliseconds.
const checkpointsAdd = 5

// smoothness compares the slowest requests of a mix at half load while checkpoints run one after the other with those
// while none runs.
func (b *bench) smoothness() error {
	// No checkpoint but those that are asked for.
	s, err := b.startLarder("--appendfsync", "everysec", "--save", "", "--checkpoint-interval", "0",
		"--checkpoint-log-bytes", fmt.Sprint(math.MaxInt64))
	defer s.end()
	if err != nil {
		return err
	}
	if err := b.fill(s, b.sizes.keys, keyOf, valueBytes); err != nil {
		return err
	}
	if err := b.rest(s); err != nil {
		return err
	}
	full, err := b.mix(s, 0, b.sizes.mix/2)
	if err != nil {
		return err
	}
	rate := float64(len(full)) / (b.sizes.mix / 2).Seconds() / 2
	var with, without, added, asked []float64
	for range b.rounds {
		if err := b.rest(s); err != nil {
			return err
		}
		latencies, err := b.mix(s, rate, b.sizes.mix)
		if err != nil {
			return err
		}
		without = append(without, percentile(latencies, 99.9))
		stop := b.checkpointAgainAndAgain(s)
		latencies, err = b.mix(s, rate, b.sizes.mix)
		asked = append(asked, float64(stop()))
		if err != nil {
			return err
		}
		with = append(with, percentile(latencies, 99.9))
		added = append(added, with[len(with)-1]-without[len(without)-1])
	}
	work := fmt.Sprintf("p99.9 of a GET/SET mix at half load (%s/s)", number(rate))
	b.report.figure(work+", no checkpoints", "ms", median(without), 0, 0)
	b.report.figure(work+", checkpoints back to back", "ms", median(with), 0, 0)
	b.report.figure("what checkpoints back to back add to that p99.9", "ms", median(added), 0, checkpointsAdd)
	b.report.note("There were %.0f checkpoints in %v. The bound is meant with a core to spare: generator and server have %d together.",
		median(asked), b.sizes.mix, runtime.NumCPU())
	return nil
}

// checkpointAgainAndAgain asks for the next checkpoint as soon as there is none under way, until the returned function is
// called, which returns how many there were.
func (b *bench) checkpointAgainAndAgain(s *server) func() int {
	ctx, cancel := context.WithCancel(b.ctx)
	result := make(chan int)
	go func() {
		asked := 0
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			// One that is still running is an error that says so: then this one is left out.
			if s.askOnce("BGSAVE\r\n", "+Background") == nil {
				asked++
			}
			select {
			case <-ctx.Done():
				result <- asked
				return
			case <-ticker.C:
			}
		}
	}()
	return func() int {
		cancel()
		return <-result
	}
}
