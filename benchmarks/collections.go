package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"time"
)

// collectionFloor is what commands on collections have to reach.
const collectionFloor = 0.9

// Commands on collections, in redis-benchmark's words. It writes a random number with leading zeros, which is no rank or
// index: commands that need one ask for the same place each time.
var (
	collectionWrites = [][]string{
		{"HSET", "h", "memb__rand_int__", "memb__rand_int__"},
		{"ZADD", "z", "__rand_int__", "memb__rand_int__"},
		{"LPUSH", "l", "memb__rand_int__"},
		{"SADD", "s", "memb__rand_int__"},
	}
	collectionReads = [][]string{
		{"HGET", "h", "memb__rand_int__"},
		{"ZSCORE", "z", "memb__rand_int__"},
		{"ZRANGE", "z", "77777", "77786"},
		{"ZRANGE", "z", "__rand_int__", "inf", "BYSCORE", "LIMIT", "0", "10"},
		{"SISMEMBER", "s", "memb__rand_int__"},
		{"LINDEX", "l", "55555"},
	}
)

// memberOf is the i-th member as redis-benchmark writes it, 16 bytes long.
func memberOf(i int) []byte { return fmt.Appendf(nil, "memb%012d", i) }

func isInteger(reply []byte) bool { return reply[0] == ':' }

// adders are the commands that fill the collections h, z, s and l, the i-th element each.
var adders = map[string]func(out []byte, i int) []byte{
	"h": func(out []byte, i int) []byte {
		return appendCommand(out, []byte("HSET"), []byte("h"), memberOf(i), memberOf(i))
	},
	"z": func(out []byte, i int) []byte {
		return appendCommand(out, []byte("ZADD"), []byte("z"), strconv.AppendInt(nil, int64(i), 10), memberOf(i))
	},
	"s": func(out []byte, i int) []byte { return appendCommand(out, []byte("SADD"), []byte("s"), memberOf(i)) },
	"l": func(out []byte, i int) []byte { return appendCommand(out, []byte("RPUSH"), []byte("l"), memberOf(i)) },
}

// fillWith runs n commands of an adder, in an order without pattern.
func (b *bench) fillWith(s *server, n int, add func(out []byte, i int) []byte) error {
	return b.inParts(s, n, func(out []byte, _ *rand.Rand, _ []byte, i int) []byte {
		return add(out, int(uint64(i)*2654435761%uint64(n)))
	}, 0, isInteger)
}

// everysecPair starts both servers.
func (b *bench) everysecPair() (p pair, err error) {
	if p.larder, err = b.startLarder("--appendfsync", "everysec"); err != nil {
		return p, err
	}
	if p.redis, err = b.startRedis("--appendfsync", "everysec"); err != nil {
		p.larder.end()
	}
	return p, err
}

func (p pair) end() {
	p.larder.end()
	p.redis.end()
}

func (p pair) both() []*server { return []*server{p.larder, p.redis} }

// collections measures commands on collections of many members.
func (b *bench) collections() error {
	writes, err := b.everysecPair()
	if err != nil {
		return err
	}
	err = b.compareCommands(writes, collectionWrites, ", everysec")
	writes.end()
	if err != nil {
		return err
	}
	reads, err := b.everysecPair()
	if err != nil {
		return err
	}
	defer reads.end()
	for _, s := range reads.both() {
		for _, add := range adders {
			if err := b.fillWith(s, b.sizes.members, add); err != nil {
				return err
			}
		}
	}
	if err := b.compareCommands(reads, collectionReads, fmt.Sprintf(", %s members", number(float64(b.sizes.members)))); err != nil {
		return err
	}
	return b.combine(reads)
}

// compareCommands measures each command in each round, on one server after the other.
func (b *bench) compareCommands(p pair, commands [][]string, under string) error {
	rates := make([][2][]float64, len(commands))
	requests := strconv.Itoa(int(b.sizes.seconds.Seconds() * 250_000))
	for range b.rounds {
		for i, command := range commands {
			for j, s := range p.both() {
				if err := b.rest(p.both()...); err != nil {
					return err
				}
				one, err := b.redisBenchmarkWith(s, append([]string{"-P", "16", "-n", requests, "-r", strconv.Itoa(b.sizes.members)}, command...)...)
				if err != nil {
					return err
				}
				rates[i][j] = append(rates[i][j], one.rate)
			}
		}
	}
	for i, command := range commands {
		name := command[0]
		if name == "ZRANGE" {
			name += " of 10 by rank"
			if len(command) > 4 {
				name = "ZRANGE of 10 by score"
			}
		}
		b.report.ratio(name+", pipeline 16"+under, "/s", median(rates[i][0]), median(rates[i][1]), collectionFloor, false)
	}
	return nil
}

// combine measures commands over two whole collections: how many a second.
func (b *bench) combine(p pair) error {
	n := b.sizes.members
	for _, s := range p.both() {
		err := b.inParts(s, n, func(out []byte, _ *rand.Rand, _ []byte, i int) []byte {
			return appendCommand(out, []byte("SADD"), []byte("s2"), memberOf(i+n/2))
		}, 0, isInteger)
		for _, key := range []string{"za", "zb"} {
			if err == nil {
				err = b.inParts(s, n/10, func(out []byte, rng *rand.Rand, _ []byte, i int) []byte {
					return appendCommand(out, []byte("ZADD"), []byte(key), strconv.AppendInt(nil, rng.Int64N(1000), 10), memberOf(i*3/2))
				}, 0, isInteger)
			}
		}
		if err != nil {
			return err
		}
	}
	for _, work := range []struct{ name, command string }{
		{fmt.Sprintf("SINTER of two sets of %s", number(float64(n))), "SINTER s s2"},
		{fmt.Sprintf("ZUNIONSTORE of two sorted sets of %s", number(float64(n/10))), "ZUNIONSTORE zu 2 za zb"},
	} {
		var rates [2][]float64
		for range b.rounds + 2 {
			for j, s := range p.both() {
				took, err := b.time(s, work.command)
				if err != nil {
					return err
				}
				rates[j] = append(rates[j], 1/took.Seconds())
			}
		}
		b.report.ratio(work.name, "/s", median(rates[0]), median(rates[1]), 1, false)
	}
	return nil
}

// time sends one command and reads its whole reply.
func (b *bench) time(s *server, command string) (time.Duration, error) {
	conn, err := net.Dial("tcp", s.addr())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(b.ctx, func() { _ = conn.Close() })()
	in := bufio.NewReaderSize(conn, 1<<16)
	begun := time.Now()
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		return 0, err
	}
	err = skipReply(in)
	return time.Since(begun), err
}

// skipReply reads a reply of any form; an error is one.
func skipReply(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	switch line[0] {
	case '-':
		return fmt.Errorf("answered %.80q", line)
	case '$', '*':
		n, err := strconv.Atoi(string(bytes.TrimSpace(line[1:])))
		if err != nil {
			return err
		}
		if line[0] == '$' && n >= 0 {
			_, err = in.Discard(n + 2)
			return err
		}
		for ; n > 0; n-- {
			if err := skipReply(in); err != nil {
				return err
			}
		}
	}
	return nil
}

// memberFloor is what a member may take up, relative to redis-server's.
const memberFloor = 0.6

// members measures the growth of the resident size per member.
func (b *bench) members() error {
	n := b.sizes.manyMembers
	for _, kind := range []struct{ key, name string }{{"z", "sorted set"}, {"h", "hash (16-byte fields and values)"}, {"s", "set"}} {
		p, err := b.everysecPair()
		if err != nil {
			return err
		}
		var bytes [2]float64
		for i, s := range p.both() {
			if bytes[i], err = b.bytesPerMember(s, n, adders[kind.key]); err != nil {
				break
			}
		}
		p.end()
		if err != nil {
			return err
		}
		b.report.ratio(fmt.Sprintf("resident bytes per member, %s of %s members of 16 bytes", kind.name, number(float64(n))), "bytes",
			bytes[0], bytes[1], memberFloor, true)
	}
	return nil
}

func (b *bench) bytesPerMember(s *server, n int, add func([]byte, int) []byte) (float64, error) {
	before, err := s.resident()
	if err != nil {
		return 0, err
	}
	if err := b.fillWith(s, n, add); err != nil {
		return 0, err
	}
	if err := b.rest(s); err != nil {
		return 0, err
	}
	after, err := s.resident()
	return float64(after-before) / float64(n), err
}
