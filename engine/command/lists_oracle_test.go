package command

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func TestListsAgainstRedis(t *testing.T) { newOracle(t).Table("lists.txt") }

// listStream makes random commands on a few lists: l… are small, m… hold elements of all sizes, b… grow to thousands.
type listStream struct {
	rng     *rand.Rand
	lengths map[string]int // about what they hold, to aim at places that are there
}

func (g *listStream) of(words ...string) string { return words[g.rng.IntN(len(words))] }

func (g *listStream) key() string {
	return g.of("l", "m", "b") + strconv.Itoa(g.rng.IntN(2))
}

func (g *listStream) element(key string) string {
	switch g.rng.IntN(10) {
	case 0:
		return g.of("", "-1", "007", "9223372036854775807", "-9223372036854775808", "1.5", "\x00\xff", "a\r\nb")
	case 1:
		size := 1 + g.rng.IntN(80)
		if key[0] == 'm' {
			size = 1 << g.rng.IntN(15)
		}
		return strings.Repeat(g.of("x", "yz"), size)
	}
	return strconv.Itoa(g.rng.IntN(30)) // few, so that they are found again
}

func (g *listStream) elements(key string) (out []string) {
	n := 1 + g.rng.IntN(3)
	if key[0] == 'b' && g.rng.IntN(6) == 0 {
		n = 500
	}
	for range n {
		out = append(out, g.element(key))
	}
	return out
}

// at is a place in or around a list, from either end.
func (g *listStream) at(key string) string {
	n := g.lengths[key]
	switch i := g.rng.IntN(n + 3); g.rng.IntN(8) {
	case 0:
		return g.of("0", "-1", "1", "-2")
	case 1:
		return strconv.Itoa(n - i%3)
	case 2:
		return strconv.Itoa(i%3 - n - 1)
	case 3, 4, 5:
		return strconv.Itoa(i)
	default:
		return strconv.Itoa(-i)
	}
}

func (g *listStream) count() string {
	if g.rng.IntN(10) == 0 {
		return g.of("100000", "-1", "0", "x")
	}
	return strconv.Itoa(g.rng.IntN(6))
}

func (g *listStream) command() []string {
	k, side := g.key(), g.of("L", "R")
	end := func() string { return g.of("LEFT", "RIGHT") }
	switch g.rng.IntN(22) {
	case 0, 1, 2, 3, 4:
		return append([]string{side + "PUSH", k}, g.elements(k)...)
	case 5:
		return append([]string{side + "PUSHX", k}, g.elements(k)...)
	case 6:
		return []string{side + "POP", k}
	case 7:
		return []string{side + "POP", k, g.count()}
	case 8:
		return []string{"LINDEX", k, g.at(k)}
	case 9, 10:
		return []string{"LSET", k, g.at(k), g.element(k)}
	case 11, 12:
		return []string{"LINSERT", k, g.of("BEFORE", "AFTER"), g.element(k), g.element(k)}
	case 13, 14:
		return []string{"LRANGE", k, g.at(k), g.at(k)}
	case 15:
		return []string{"LREM", k, g.of("1", "2", "5", "-1", "-2", "-5", "0"), g.element(k)}
	case 16:
		if g.rng.IntN(3) > 0 { // else long ones would not last
			return []string{"LTRIM", k, g.of("0", "1", "2"), g.of("-1", "-2", "-3")}
		}
		return []string{"LTRIM", k, g.at(k), g.at(k)}
	case 17:
		args := []string{"LPOS", k, g.element(k)}
		if g.rng.IntN(2) == 0 {
			args = append(args, "RANK", g.of("1", "2", "3", "-1", "-2", "-30"))
		}
		if g.rng.IntN(2) == 0 {
			args = append(args, "COUNT", g.count())
		}
		if g.rng.IntN(3) == 0 {
			args = append(args, "MAXLEN", g.of("1", "2", "10", "200"))
		}
		return args
	case 18:
		return []string{"LMOVE", k, g.key(), end(), end()}
	case 19:
		return []string{"RPOPLPUSH", k, g.key()}
	case 20:
		return []string{"LMPOP", "2", k, g.key(), end(), "COUNT", g.count()}
	default:
		if g.rng.IntN(10) == 0 {
			return []string{"DEL", k}
		}
		return []string{"LLEN", k}
	}
}

// TestRandomListsAgainstRedis runs a long stream of commands on both sides, compares all lists now and then, and makes
// them cold.
func TestRandomListsAgainstRedis(t *testing.T) {
	o := newOracle(t)
	steps := 20_000
	if testing.Short() {
		steps = 3_000
	}
	for seed := range uint64(3) {
		g := &listStream{rng: rand.New(rand.NewPCG(seed, 7)), lengths: map[string]int{}}
		o.Flush()
		o.RESP(2 + int(seed%2))
		for step := range steps {
			args := g.command()
			o.Do(args...)
			if step%50 == 0 {
				for _, key := range []string{"l0", "l1", "m0", "m1", "b0", "b1"} {
					o.Do("LRANGE", key, "0", "-1")
					g.lengths[key], _ = strconv.Atoi(strings.Trim(o.Do("LLEN", key), ":\r\n")) // it is a number
				}
			}
			if step%997 == 0 {
				o.space.chill()
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
		}
	}
}
