package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// clients is the number of connections of every measurement.
const clients = 50

// valueBytes is the size of the values but where data must not fit into memory.
const valueBytes = 64

// load is one line of the throughput table.
type load struct {
	test     string // of redis-benchmark: set or get
	pipeline int
	policy   string // of the servers that it is run on
	floor    float64
}

func (l load) String() string {
	if l.test == "get" {
		return fmt.Sprintf("GET, pipeline %d", l.pipeline)
	}
	return fmt.Sprintf("SET, pipeline %d, %s", l.pipeline, l.policy)
}

var loads = []load{
	{"set", 1, "always", 0.95}, {"set", 16, "always", 1.3},
	{"set", 1, "everysec", 0.72}, {"set", 16, "everysec", 1.2},
	{"get", 1, "always", 0.95}, {"get", 16, "always", 1.3},
}

// latencyFloor is the most that a p99 may be, relative to redis-server's.
const latencyFloor = 1.5

// sample is what redis-benchmark says of one run.
type sample struct {
	rate     float64 // per second
	p50, p99 float64 // milliseconds
}

func (s sample) perSecond() float64 { return s.rate }
func (s sample) middle() float64    { return s.p50 }
func (s sample) slow() float64      { return s.p99 }

// pair are the two that run side by side.
type pair struct{ larder, redis *server }

// throughput measures every load in each round, on one server after the other; who goes first changes.
func (b *bench) throughput() error {
	pairs := map[string]pair{}
	var all []*server
	defer func() {
		for _, s := range all {
			s.end()
		}
	}()
	for _, policy := range []string{"always", "everysec"} {
		larder, err := b.startLarder("--appendfsync", policy)
		if err != nil {
			return err
		}
		all = append(all, larder)
		redis, err := b.startRedis("--appendfsync", policy)
		if err != nil {
			return err
		}
		all = append(all, redis)
		pairs[policy] = pair{larder, redis}
	}
	for _, s := range all {
		if err := b.fill(s, b.sizes.keys, keyOf, valueBytes); err != nil {
			return err
		}
	}
	larder, redis := make([][]sample, len(loads)), make([][]sample, len(loads))
	for round := range b.rounds {
		for i, l := range loads {
			p := pairs[l.policy]
			order := []*server{p.larder, p.redis}
			if round%2 == 1 {
				order = []*server{p.redis, p.larder}
			}
			for _, s := range order {
				if err := b.rest(all...); err != nil {
					return err
				}
				one, err := b.redisBenchmark(s, l)
				if err != nil {
					return err
				}
				if s == p.larder {
					larder[i] = append(larder[i], one)
				} else {
					redis[i] = append(redis[i], one)
				}
			}
		}
	}
	for i, l := range loads {
		b.report.ratio(l.String(), "/s", medianOf(larder[i], sample.perSecond), medianOf(redis[i], sample.perSecond), l.floor, false)
	}
	for i, l := range loads {
		b.report.ratio("p99 of "+l.String(), "ms", medianOf(larder[i], sample.slow), medianOf(redis[i], sample.slow), latencyFloor, true)
	}
	for i, l := range loads {
		b.report.figure("p50 of "+l.String(), "ms", medianOf(larder[i], sample.middle), medianOf(redis[i], sample.middle), 0)
	}
	return nil
}

func medianOf(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	return median(values)
}

// redisBenchmark runs redis-benchmark for about as long as the sizes say.
func (b *bench) redisBenchmark(s *server, l load) (sample, error) {
	// A first guess of the rate is enough: it decides only how long the run takes.
	requests := int(b.sizes.seconds.Seconds() * 60_000)
	if l.pipeline > 1 {
		requests *= 5
	}
	return b.runRedisBenchmark(s, l, requests, b.sizes.keys)
}

func (b *bench) runRedisBenchmark(s *server, l load, requests, keys int) (sample, error) {
	return b.redisBenchmarkWith(s, "-t", l.test, "-P", strconv.Itoa(l.pipeline), "-n", strconv.Itoa(requests), "-r", strconv.Itoa(keys),
		"-d", strconv.Itoa(valueBytes))
}

// redisBenchmarkWith runs redis-benchmark with these arguments.
func (b *bench) redisBenchmarkWith(s *server, args ...string) (sample, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 3*time.Minute)
	defer cancel()
	args = append([]string{"--csv", "-p", strconv.Itoa(s.port), "-c", strconv.Itoa(clients)}, args...)
	out, err := exec.CommandContext(ctx, "redis-benchmark", args...).Output()
	if err != nil {
		return sample{}, fmt.Errorf("redis-benchmark on %s: %w; the server said: %s", s.name, err, s.said.String())
	}
	return parseCSV(string(out))
}

// parseCSV reads a header and one line, which name what redis-benchmark measured.
func parseCSV(text string) (sample, error) {
	at := strings.Index(text, `"test"`)
	if at < 0 {
		return sample{}, fmt.Errorf("redis-benchmark said %q", text)
	}
	lines, err := csv.NewReader(strings.NewReader(text[at:])).ReadAll()
	if err != nil || len(lines) < 2 {
		return sample{}, fmt.Errorf("redis-benchmark said %q: %w", text, err)
	}
	var one sample
	for i, name := range lines[0] {
		var into *float64
		switch name {
		case "rps":
			into = &one.rate
		case "p50_latency_ms":
			into = &one.p50
		case "p99_latency_ms":
			into = &one.p99
		default:
			continue
		}
		if *into, err = strconv.ParseFloat(lines[1][i], 64); err != nil {
			return sample{}, err
		}
	}
	return one, nil
}
