package command

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestZSetsAgainstRedis(t *testing.T) { newOracle(t).Table("zsets.txt") }

// TestRandomZSetsAgainstRedis runs a long random stream, over sorted sets on both sides of the sizes at which Redis
// changes its layout, with many equal scores and infinities among them.
func TestRandomZSetsAgainstRedis(t *testing.T) {
	steps := 12_000
	if testing.Short() {
		steps = 2_000
	}
	for _, version := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", version), func(t *testing.T) {
			o := newOracle(t)
			o.RESP(version)
			g := &zsetStream{rng: rand.New(rand.NewPCG(uint64(version), 7))}
			for step := 0; step < steps && !t.Failed(); step++ {
				o.Do(g.command()...)
				switch {
				case step%500 == 499:
					g.compareAll(o)
				case step%97 == 0:
					o.space.chill()
				case step%83 == 0:
					g.compareDraws(o)
				}
			}
		})
	}
}

// zsetStream makes random commands on sorted sets z0 to z4, on l0 and l1, in which all scores are 0, and on the plain
// sets s0 and s1.
type zsetStream struct{ rng *rand.Rand }

func (g *zsetStream) of(words ...string) string { return words[g.rng.IntN(len(words))] }

func (g *zsetStream) key() string { return "z" + strconv.Itoa(g.rng.IntN(5)) }

func (g *zsetStream) source() string {
	switch g.rng.IntN(10) {
	case 0:
		return "missing"
	case 1, 2:
		return g.of("s0", "s1")
	case 3:
		return g.of("l0", "l1")
	}
	return g.key()
}

func (g *zsetStream) member() string {
	switch g.rng.IntN(40) {
	case 0:
		return strings.Repeat("m", 60+g.rng.IntN(8)) // around the longest that Redis keeps in its small layout
	case 1:
		return g.of("", "\x00", "\xff\xff", "-5", "007")
	case 2, 3, 4:
		return strconv.Itoa(g.rng.IntN(1000))
	}
	return "m" + strconv.Itoa(g.rng.IntN(220))
}

func (g *zsetStream) score() string {
	switch g.rng.IntN(12) {
	case 0:
		return g.of("inf", "-inf", "+inf", "1e300", "-1e300", "5e-324", "0x1p4", "1e16", "123456789012")
	case 1:
		return strconv.FormatFloat(g.rng.NormFloat64()*1000, 'g', -1, 64)
	case 2:
		return strconv.FormatFloat(float64(g.rng.IntN(100))/10, 'f', 1, 64)
	case 3:
		if g.rng.IntN(10) == 0 {
			return g.of("nan", "x", "", " 1", "1e999")
		}
	}
	return strconv.Itoa(g.rng.IntN(20) - 5)
}

func (g *zsetStream) bound() string {
	if g.rng.IntN(4) == 0 {
		return g.of("-inf", "+inf", "(-inf", "(inf", "", "(", "x")
	}
	return g.of("", "", "(") + g.score()
}

func (g *zsetStream) lexBound() string {
	if g.rng.IntN(4) == 0 {
		return g.of("-", "+", "-", "+", "x", "[", "(")
	}
	return g.of("[", "(") + g.member()
}

func (g *zsetStream) rank() string {
	if g.rng.IntN(30) == 0 {
		return g.of("x", "9223372036854775807", "-9223372036854775808")
	}
	return strconv.Itoa(g.rng.IntN(80) - 40)
}

func (g *zsetStream) limit(args []string) []string {
	if g.rng.IntN(3) > 0 {
		return args
	}
	return append(args, "LIMIT", strconv.Itoa(g.rng.IntN(12)-1), strconv.Itoa(g.rng.IntN(20)-2))
}

func (g *zsetStream) sometimes(n int, args []string, words ...string) []string {
	if g.rng.IntN(n) == 0 {
		return append(args, words...)
	}
	return args
}

func (g *zsetStream) command() []string {
	switch g.rng.IntN(20) {
	case 0, 1, 2, 3, 4, 5:
		return g.add()
	case 6:
		return g.remove()
	case 7, 8:
		return g.single()
	case 9, 10, 11, 12:
		return g.span()
	case 13:
		return g.spanStore()
	case 14:
		return g.pop()
	case 15, 16:
		return g.algebra()
	case 17, 18:
		return g.lex()
	default:
		return g.plain()
	}
}

func (g *zsetStream) add() []string {
	switch g.rng.IntN(6) {
	case 0:
		return []string{"ZINCRBY", g.key(), g.score(), g.member()}
	case 1:
		args := []string{"ZADD", g.key()}
		for range 1 + g.rng.IntN(2) {
			args = append(args, g.of("NX", "XX", "GT", "LT", "CH", "INCR", "xx", "gt", "lt"))
		}
		for range 1 + g.rng.IntN(5)/4 {
			args = append(args, g.score(), g.member())
		}
		return args
	case 2:
		args := []string{"ZADD", g.key()}
		for range 1 + g.rng.IntN(60) {
			args = append(args, g.score(), g.member())
		}
		return args
	}
	return []string{"ZADD", g.key(), g.score(), g.member()}
}

func (g *zsetStream) remove() []string {
	switch g.rng.IntN(6) {
	case 0:
		return []string{"ZREMRANGEBYSCORE", g.key(), g.bound(), g.bound()}
	case 1:
		from := g.rng.IntN(60) - 30
		return []string{"ZREMRANGEBYRANK", g.key(), strconv.Itoa(from), strconv.Itoa(from + g.rng.IntN(12))}
	case 2:
		if g.rng.IntN(4) == 0 {
			return []string{"DEL", g.of(g.key(), "l0", "l1")}
		}
	}
	args := []string{"ZREM", g.key()}
	for range 1 + g.rng.IntN(10) {
		args = append(args, g.member())
	}
	return args
}

func (g *zsetStream) single() []string {
	switch g.rng.IntN(5) {
	case 0:
		return []string{"ZCARD", g.source()}
	case 1:
		return []string{g.of("ZRANK", "ZREVRANK"), g.key(), g.member()}
	case 2:
		return []string{"ZSCORE", g.source(), g.member()}
	case 3:
		return []string{"ZMSCORE", g.key(), g.member(), g.member(), g.member()}
	}
	return []string{"ZCOUNT", g.key(), g.bound(), g.bound()}
}

func (g *zsetStream) span() []string {
	var args []string
	switch g.rng.IntN(6) {
	case 0, 1:
		args = []string{g.of("ZRANGE", "ZREVRANGE"), g.key(), g.rank(), g.rank()}
	case 2:
		args = g.sometimes(2, []string{"ZRANGE", g.key(), g.rank(), g.rank()}, "REV")
	case 3, 4:
		args = g.limit([]string{g.of("ZRANGEBYSCORE", "ZREVRANGEBYSCORE"), g.key(), g.bound(), g.bound()})
	default:
		args = g.limit(g.sometimes(2, []string{"ZRANGE", g.key(), g.bound(), g.bound(), "BYSCORE"}, "REV"))
	}
	return g.sometimes(2, args, "WITHSCORES")
}

func (g *zsetStream) spanStore() []string {
	if g.rng.IntN(2) == 0 {
		return g.sometimes(2, []string{"ZRANGESTORE", g.key(), g.source(), g.rank(), g.rank()}, "REV")
	}
	return g.limit(g.sometimes(2, []string{"ZRANGESTORE", g.key(), g.source(), g.bound(), g.bound(), "BYSCORE"}, "REV"))
}

func (g *zsetStream) pop() []string {
	if g.rng.IntN(2) == 0 {
		return g.sometimes(2, []string{g.of("ZPOPMIN", "ZPOPMAX"), g.source()}, strconv.Itoa(g.rng.IntN(10)-1))
	}
	args := []string{"ZMPOP", "2", g.source(), g.source(), g.of("MIN", "MAX")}
	return g.sometimes(2, args, "COUNT", strconv.Itoa(g.rng.IntN(10)))
}

func (g *zsetStream) algebra() []string {
	name := g.of("ZUNION", "ZINTER", "ZDIFF", "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE", "ZINTERCARD")
	args := []string{name}
	if strings.HasSuffix(name, "STORE") {
		args = append(args, g.key())
	}
	n := 1 + g.rng.IntN(3)
	args = append(args, strconv.Itoa(n))
	for range n {
		args = append(args, g.source())
	}
	if name == "ZINTERCARD" {
		return g.sometimes(2, args, "LIMIT", strconv.Itoa(g.rng.IntN(12)-1))
	}
	if !strings.HasPrefix(name, "ZDIFF") {
		if g.rng.IntN(2) == 0 {
			args = append(args, "WEIGHTS")
			for range n {
				args = append(args, g.of("1", "2", "0.5", "-1", "0.1", "inf", "0", "1e-3"))
			}
		}
		args = g.sometimes(2, args, "AGGREGATE", g.of("SUM", "MIN", "MAX"))
	}
	if !strings.HasSuffix(name, "STORE") {
		args = g.sometimes(2, args, "WITHSCORES")
	}
	return args
}

func (g *zsetStream) lex() []string {
	key := g.of("l0", "l1")
	switch g.rng.IntN(8) {
	case 0, 1, 2:
		args := []string{"ZADD", key}
		for range 1 + g.rng.IntN(30) {
			args = append(args, "0", g.member())
		}
		return args
	case 3:
		return []string{"ZLEXCOUNT", key, g.lexBound(), g.lexBound()}
	case 4:
		if g.rng.IntN(4) == 0 {
			return []string{"ZREMRANGEBYLEX", key, g.lexBound(), g.lexBound()}
		}
		return []string{"ZREM", key, g.member(), g.member()}
	case 5:
		return g.limit(g.sometimes(2, []string{"ZRANGE", key, g.lexBound(), g.lexBound(), "BYLEX"}, "REV"))
	case 6:
		return g.limit([]string{"ZRANGESTORE", g.of("l0", "l1"), key, g.lexBound(), g.lexBound(), "BYLEX"})
	}
	return g.limit([]string{g.of("ZRANGEBYLEX", "ZREVRANGEBYLEX"), key, g.lexBound(), g.lexBound()})
}

func (g *zsetStream) plain() []string {
	return []string{g.of("SADD", "SADD", "SREM"), g.of("s0", "s1"), g.member(), g.member()}
}

// compareAll compares every sorted set in full: its members in order, its length, and what ZSCAN returns in all.
func (g *zsetStream) compareAll(o *oracle) {
	o.t.Helper()
	for _, key := range []string{"z0", "z1", "z2", "z3", "z4", "l0", "l1"} {
		o.Do("ZRANGE", key, "0", "-1", "WITHSCORES")
		o.Do("ZREVRANGE", key, "0", "-1")
		o.Do("ZCARD", key)
		o.Do("ZRANDMEMBER", key, "100000", "WITHSCORES")
		ours, theirs := scanAll(o, o.Ours, key), scanAll(o, o.Theirs, key)
		if !slices.Equal(ours, theirs) {
			o.t.Errorf("ZSCAN %s\n ours   %q\n theirs %q", key, ours, theirs)
		}
	}
}

// scanAll is everything that ZSCAN returns from the beginning to the end: members and scores in turn, sorted by pairs.
func scanAll(o *oracle, do func(args ...string) string, key string) []string {
	var pairs []string
	for cursor := "0"; ; {
		reply, _ := parseNext(do("ZSCAN", key, cursor, "COUNT", "20"))
		step := reply.([]any)
		list := step[1].([]any)
		for i := 0; i < len(list); i += 2 {
			pairs = append(pairs, fmt.Sprintf("%q %s", list[i], list[i+1]))
		}
		if cursor = step[0].(string); cursor == "0" {
			break
		}
	}
	slices.Sort(pairs)
	return slices.Compact(pairs) // redis-server may return a member twice while its table shrinks
}

// compareDraws draws members of our side and looks that they are there, and as many as they should be.
func (g *zsetStream) compareDraws(o *oracle) {
	o.t.Helper()
	key, count := g.key(), g.rng.IntN(300)-60
	size, _ := parseNext(o.Do("ZCARD", key))
	drawn, _ := parseNext(o.Ours("ZRANDMEMBER", key, strconv.Itoa(count)))
	members := texts(drawn)
	want := min(count, size.(int))
	if count < 0 && size.(int) > 0 {
		want = -count
	}
	if len(members) != max(want, 0) {
		o.t.Errorf("ZRANDMEMBER %s %d: %d members of %d", key, count, len(members), size)
	}
	slices.Sort(members)
	if distinct := len(slices.Compact(slices.Clone(members))); count >= 0 && distinct != len(members) {
		o.t.Errorf("ZRANDMEMBER %s %d: %d of the %d members are different", key, count, distinct, len(members))
	}
	for _, m := range members {
		if score := o.Theirs("ZSCORE", key, m); score == "$-1\r\n" || score == "_\r\n" {
			o.t.Errorf("ZRANDMEMBER %s %d: no member is %q", key, count, m)
		}
	}
}
