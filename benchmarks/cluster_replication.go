package main

import "fmt"

// voters is how many nodes a cluster of the measurements has.
const voters = 3

var replicationLoads = []load{
	{"set", 1, "always", 0.5}, {"set", 16, "always", 0.65},
	{"get", 1, "always", 0.7}, {"get", 16, "always", 0.8},
}

// replication measures what a leader of three voters does beside one redis-server.
func (b *bench) replication() error {
	c, err := b.startCluster(voters, voters)
	if err != nil {
		return err
	}
	defer c.end()
	redis, err := b.startRedis("--appendfsync", "always")
	if err != nil {
		return err
	}
	defer redis.end()
	leader, err := c.leader()
	if err != nil {
		return err
	}
	for _, s := range []*server{leader, redis} {
		if err := b.fill(s, b.sizes.keys, keyOf, valueBytes); err != nil {
			return err
		}
	}
	all := append([]*server{redis}, c.nodes...)
	requests := int(b.sizes.seconds.Seconds() * 20_000) // of pipeline 1; deeper ones take less time each
	ours, theirs := make([][]sample, len(replicationLoads)), make([][]sample, len(replicationLoads))
	for round := range b.rounds {
		for i, l := range replicationLoads {
			for turn := range 2 {
				if err := b.rest(all...); err != nil {
					return err
				}
				s, into := redis, theirs
				if (round+turn)%2 == 0 {
					// Whoever leads now: a figure of a node that forwards is another one.
					if s, err = c.leader(); err != nil {
						return err
					}
					into = ours
				}
				one, err := b.runRedisBenchmark(s, l, requests*min(l.pipeline, 6), b.sizes.keys)
				if err != nil {
					return fmt.Errorf("%w; %s", err, c.said())
				}
				into[i] = append(into[i], one)
			}
		}
	}
	for i, l := range replicationLoads {
		b.report.ratio(replicatedName(l), "/s", medianOf(ours[i], sample.perSecond), medianOf(theirs[i], sample.perSecond), l.floor, false)
	}
	for i, l := range replicationLoads {
		b.report.figure("p50 of "+replicatedName(l), "ms", medianOf(ours[i], sample.middle), medianOf(theirs[i], sample.middle), 0)
		b.report.figure("p99 of "+replicatedName(l), "ms", medianOf(ours[i], sample.slow), medianOf(theirs[i], sample.slow), 0)
	}
	return nil
}

func replicatedName(l load) string {
	if l.test == "get" {
		return fmt.Sprintf("three voters: linearizable GET, pipeline %d", l.pipeline)
	}
	return fmt.Sprintf("three voters: SET, pipeline %d, %s", l.pipeline, l.policy)
}
