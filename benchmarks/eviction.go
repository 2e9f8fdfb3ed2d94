package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
)

// Eviction: both servers are used as caches of a data set that is a few times larger than what they may hold. Keys are
// asked for as Zipf's law has it; who is not told the value sets it. What counts is the share of hits.
//
// A byte of maxmemory holds more keys in one server than in the other, so the sizes are made equal by keys held, not by
// bytes: Larder has a fixed maxmemory and is filled until it evicts; what it then holds, on average, is the size that
// redis-server gets, whose maxmemory follows from what a key takes up in it. Before the hits are counted, a part of the
// trace warms both up.

// policies are those whose choice shows in the hits.
var evictionPolicies = []string{"allkeys-lru", "allkeys-lfu", "allkeys-random"}

const (
	zipfExponent   = 1.0
	evictionSpread = 20  // times as many keys as are held
	evictionWarm   = 0.4 // of the trace
	evictionPoints = 2   // percentage points that the hits may fall behind
)

func (b *bench) eviction() error {
	for _, policy := range evictionPolicies {
		if err := b.evictionOf(policy); err != nil {
			return fmt.Errorf("%s: %w", policy, err)
		}
	}
	return nil
}

func (b *bench) evictionOf(policy string) error {
	larder, err := b.startLarder("--appendfsync", "no", "--overflow", "no", "--maxmemory-policy", policy,
		"--maxmemory", strconv.FormatInt(b.sizes.evictionMax, 10))
	defer larder.end()
	if err != nil {
		return err
	}
	held, err := b.fillUp(larder)
	if err != nil {
		return err
	}
	ours, held, err := b.hitsWhile(larder, held)
	if err != nil {
		return err
	}
	redis, err := b.startRedis("--appendfsync", "no", "--maxmemory-policy", policy)
	defer redis.end()
	if err != nil {
		return err
	}
	if err := b.limitRedis(redis, held); err != nil {
		return err
	}
	theirs, redisHeld, err := b.hitsWhile(redis, held)
	if err != nil {
		return err
	}
	work := fmt.Sprintf("%s, Zipf %.1f over %s keys, hits", policy, zipfExponent, number(float64(evictionSpread*held)))
	b.report.figure(work, "%", ours, theirs, 0)
	b.report.atLeast(work+" less those of redis-server", "points", ours-theirs, -evictionPoints)
	b.report.note("%s: larder held %s keys on average, redis-server %s.", policy, number(float64(held)), number(float64(redisHeld)))
	return nil
}

// fillUp sets keys until the server has evicted some, and returns how many it holds.
func (b *bench) fillUp(s *server) (held int, err error) {
	const step = 20_000
	for at := 0; ; at += step {
		from := at
		if err := b.fill(s, step, func(i int) []byte { return fmt.Appendf(nil, "fill:%012d", from+i) }, valueBytes); err != nil {
			return 0, err
		}
		if evicted, err := s.info("evicted_keys"); err != nil {
			return 0, err
		} else if evicted > step {
			break
		}
	}
	held, err = s.keys()
	if err != nil {
		return 0, err
	}
	return held, s.await(b.ctx, "FLUSHALL\r\n", "+OK")
}

// limitRedis gives a redis-server the maxmemory at which it holds so many keys: it is filled with them, and what it then
// uses is its bound. What clients take up does not count, as each of ours is small.
func (b *bench) limitRedis(s *server, held int) error {
	if err := b.fill(s, held, func(i int) []byte { return fmt.Appendf(nil, "fill:%012d", i) }, valueBytes); err != nil {
		return err
	}
	used, err := s.info("used_memory")
	if err != nil {
		return err
	}
	if err := s.await(b.ctx, "FLUSHALL\r\n", "+OK"); err != nil {
		return err
	}
	return s.await(b.ctx, fmt.Sprintf("CONFIG SET maxmemory %d\r\n", used), "+OK")
}

// hitsWhile uses the server as a cache and returns the share of hits, in percent, and how many keys it held on average
// meanwhile. size is about how many it holds.
func (b *bench) hitsWhile(s *server, size int) (share float64, held int, err error) {
	keys := evictionSpread * size
	trace := newZipf(keys, rand.New(rand.NewPCG(7, uint64(keys))))
	total := b.sizes.evictionAsks * size
	warm := int(float64(total) * evictionWarm)
	conn, err := net.Dial("tcp", s.addr())
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	c := &cacheUser{conn: conn, in: bufio.NewReaderSize(conn, 1<<16), value: make([]byte, valueBytes)}
	const part = 64
	hits, asked, sum, samples := 0, 0, 0, 0
	for at := 0; at < total && b.ctx.Err() == nil; at += part {
		got, err := c.ask(trace, part)
		if err != nil {
			return 0, 0, err
		}
		if at < warm {
			continue
		}
		hits, asked = hits+got, asked+part
		if at/part%512 == 0 {
			n, err := s.keys()
			if err != nil {
				return 0, 0, err
			}
			sum, samples = sum+n, samples+1
		}
	}
	return 100 * float64(hits) / float64(max(asked, 1)), sum / max(samples, 1), b.ctx.Err()
}

// cacheUser asks for keys and sets those that are not there.
type cacheUser struct {
	conn       net.Conn
	in         *bufio.Reader
	out, reply []byte
	value      []byte
}

// ask asks for n keys in a pipeline, sets those that were missed in another, and returns the hits.
func (c *cacheUser) ask(trace *zipf, n int) (hits int, err error) {
	picked := make([]int, n)
	c.out = c.out[:0]
	for i := range picked {
		picked[i] = trace.next()
		c.out = appendCommand(c.out, []byte("GET"), keyOf(picked[i]))
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, err
	}
	c.out = c.out[:0]
	missed := 0
	for _, k := range picked {
		if c.reply, err = readReply(c.in, c.reply[:0]); err != nil {
			return 0, err
		}
		if !bytes.HasPrefix(c.reply, []byte("$-1")) {
			hits++
			continue
		}
		c.out = appendCommand(c.out, []byte("SET"), keyOf(k), c.value)
		missed++
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, err
	}
	for range missed {
		if c.reply, err = readReply(c.in, c.reply[:0]); err != nil {
			return 0, err
		}
		if !bytes.HasPrefix(c.reply, []byte("+OK")) {
			return 0, fmt.Errorf("SET was answered with %.80q", c.reply)
		}
	}
	return hits, nil
}

// zipf draws keys 0 to n-1 with probabilities in proportion to 1/rank^zipfExponent; which key has which rank is a fixed
// permutation.
type zipf struct {
	sums  []float64 // of probabilities up to a rank
	ranks []int
	rng   *rand.Rand
}

func newZipf(n int, rng *rand.Rand) *zipf {
	z := &zipf{sums: make([]float64, n), ranks: rng.Perm(n), rng: rng}
	sum := 0.0
	for i := range n {
		sum += 1 / math.Pow(float64(i+1), zipfExponent)
		z.sums[i] = sum
	}
	return z
}

func (z *zipf) next() int {
	x := z.rng.Float64() * z.sums[len(z.sums)-1]
	low, high := 0, len(z.sums)-1
	for low < high {
		if mid := (low + high) / 2; z.sums[mid] < x {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return z.ranks[low]
}

// info is one figure of INFO.
func (s *server) info(name string) (int, error) {
	text, err := s.asked("INFO")
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(l), name+":"); ok {
			return strconv.Atoi(value)
		}
	}
	return 0, fmt.Errorf("%s: INFO has no %s", s.name, name)
}

// keys is how many keys the server holds.
func (s *server) keys() (int, error) {
	text, err := s.asked("DBSIZE")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(text, ":")))
}

// asked is the answer to a command without arguments.
func (s *server) asked(command string) (string, error) {
	conn, err := net.Dial("tcp", s.addr())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := conn.Write(appendCommand(nil, []byte(command))); err != nil {
		return "", err
	}
	reply, err := readReply(bufio.NewReader(conn), nil)
	return string(reply), err
}
