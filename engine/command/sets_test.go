package command

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestSetsTable(t *testing.T) { newOracle(t).Table("sets.txt") }

// compareSet compares a set: its layout, and its members, which have an order if they are few integers.
func (o *oracle) compareSet(key string) {
	o.t.Helper()
	o.Do("TYPE", key)
	o.Do("SCARD", key)
	o.CompareKey(key)
	if o.encoding(key) == "intset" {
		o.Do("SMEMBERS", key)
		o.Do("SSCAN", key, "0")
		return
	}
	o.DoSet("SMEMBERS", key)
}

// Both sides of the bounds of a set of integers, and back: a set that has become one of anything stays so.
func TestSetBounds(t *testing.T) {
	o := newOracle(t)
	for _, n := range []int{127, 128, 129, 511, 512, 513, 1000} {
		for _, form := range []string{"%d", "m%d"} {
			o.Do("DEL", "s")
			for i := range n {
				o.Do("SADD", "s", fmt.Sprintf(form, i))
			}
			o.compareSet("s")
			o.Do("SADD", "s", "x")
			o.compareSet("s")
			o.Do("SREM", "s", "x")
			o.compareSet("s")
			for i := 1; i < n; i++ {
				o.Do("SREM", "s", fmt.Sprintf(form, i))
			}
			o.compareSet("s")
		}
	}
	long := strings.Repeat("x", 65)
	for _, line := range []string{"SADD s 1 " + long, "SADD s " + long + " 1", "SADD s 1 2 3 a", "SADD s 1 01", "SADD s 1 9223372036854775808"} {
		o.Lines("DEL s\n" + line)
		o.compareSet("s")
		o.Lines("SREM s a 01 9223372036854775808 " + long)
		o.compareSet("s")
	}
}

// What SPOP leaves behind is the old set where most of it stays, a new one where most of it goes.
func TestSetsThatSPopLeaves(t *testing.T) {
	o := newOracle(t)
	for _, form := range []string{"%d", "m%d"} {
		for _, n := range []int{6, 12, 100, 513, 700, 1200} {
			for _, keep := range []int{0, 1, 2, n / 7, n / 6, n/6 + 1, n / 2, n - 1, n} {
				o.Do("DEL", "s")
				for i := range n {
					o.Do("SADD", "s", fmt.Sprintf(form, i))
				}
				o.Do("EXPIRE", "s", "100000")
				o.popMembers("s", n-keep)
				o.CompareKey("s")
			}
		}
	}
}

// popMembers pops on both sides, and then has theirs hold what ours still does, in the layout that it should have: that
// of the old set, or, where at most one member stays for five that go, that of a new one.
func (o *oracle) popMembers(k string, count int) {
	o.t.Helper()
	before, intset := o.leaves(o.Theirs("SMEMBERS", k)), strings.Contains(o.Theirs("OBJECT", "ENCODING", k), "intset")
	args := []string{"SPOP", k, strconv.Itoa(count)}
	if count < 0 {
		args = args[:2]
	}
	ours, theirs := o.Ours(args...), o.Theirs(args...)
	if frame(ours) != frame(theirs) {
		o.t.Errorf("RESP%d %s\n ours   %s\n theirs %s", o.proto, quoteArgs(args), shorten(ours), shorten(theirs))
		return
	}
	popped := o.leaves(ours)
	rest := without(before, popped)
	if len(rest) != len(before)-len(popped) {
		o.t.Errorf("%s: popped twice, or what was not there: %s", quoteArgs(args), shorten(ours))
	}
	if len(rest) > 0 {
		if 5*len(rest) <= count {
			intset = allIntegers(rest) && len(rest) <= intSetCount
		}
		if allIntegers(before) || !slices.ContainsFunc(before, func(m string) bool { return allIntegers([]string{m}) }) {
			o.encoding(k) // no matter which have gone
		}
		ttl := o.intOf(o.Theirs("PTTL", k))
		o.Theirs("DEL", k)
		o.Theirs(append([]string{"SADD", k}, rest...)...)
		if !intset {
			o.Theirs("SADD", k, "no integer")
			o.Theirs("SREM", k, "no integer")
		}
		if ttl >= 0 {
			o.Theirs("PEXPIRE", k, strconv.Itoa(ttl))
		}
	}
	o.compareSet(k)
}

func (o *oracle) intOf(reply string) int {
	n, err := strconv.Atoi(strings.TrimSpace(reply[1:]))
	if err != nil {
		o.t.Fatalf("no integer: %q", reply)
	}
	return n
}

func allIntegers(members []string) bool {
	return !slices.ContainsFunc(members, func(m string) bool {
		n, err := strconv.ParseInt(m, 10, 64)
		return err != nil || strconv.FormatInt(n, 10) != m
	})
}

// without is the members of a that b has not, sorted.
func without(a, b []string) (rest []string) {
	in := map[string]bool{}
	for _, m := range b {
		in[m] = true
	}
	for _, m := range a {
		if !in[m] {
			rest = append(rest, m)
		}
	}
	slices.Sort(rest)
	return rest
}

// A long random stream over a few sets of all sizes, which are cold now and then.
func TestSetsRandom(t *testing.T) {
	o := newOracle(t)
	r := rand.New(rand.NewPCG(9, 10))
	for i := range 6_000 {
		if i%50 == 0 {
			o.RESP(2 + r.IntN(2))
		}
		if i%400 == 0 {
			o.space.chill()
		}
		randomSetStep(o, r)
		if t.Failed() {
			t.Fatalf("step %d", i)
		}
	}
	for i := range setKinds {
		o.compareSet(fmt.Sprintf("k%d", i))
	}
}

const setKinds = 9

// randomMember is a member for the set k0 … k8: few or many, integers, mixed with other members or none.
func randomMember(r *rand.Rand, k int) string {
	n := r.IntN([]int{10, 100, 900}[k%3])
	if r.IntN(3000) == 0 {
		return strings.Repeat("M", 63+r.IntN(3))
	}
	switch k / 3 {
	case 0:
		if r.IntN(2000) == 0 {
			return "x"
		}
		return strconv.Itoa(n - 5)
	case 1:
		return []string{"", "m"}[n%2] + strconv.Itoa(n)
	default:
		return "m" + strconv.Itoa(n)
	}
}

func randomSetStep(o *oracle, r *rand.Rand) {
	n := r.IntN(setKinds)
	k := fmt.Sprintf("k%d", n)
	member := func() string { return randomMember(r, n) }
	members := func(most int, args ...string) []string {
		for range 1 + r.IntN(most) {
			args = append(args, member())
		}
		return args
	}
	key := func() string {
		if r.IntN(20) == 0 {
			return "missing"
		}
		return fmt.Sprintf("k%d", r.IntN(setKinds))
	}
	sources := func(args ...string) []string {
		for range 1 + r.IntN(4) {
			args = append(args, key())
		}
		return args
	}
	switch r.IntN(24) {
	case 0, 1, 2:
		o.Do(members(4, "SADD", k)...)
	case 3:
		o.Do(members([]int{10, 100, 900}[n%3], "SADD", k)...)
	case 4, 5:
		o.Do(members(4, "SREM", k)...)
	case 6:
		o.Do(members([]int{10, 100, 1500}[n%3], "SREM", k)...)
	case 7:
		o.Do("SISMEMBER", k, member())
	case 8:
		o.Do(members(5, "SMISMEMBER", k)...)
	case 9:
		o.Do("SMOVE", k, key(), member())
	case 10:
		o.popMembers(k, r.IntN(30)-1)
	case 11:
		o.drawMembers(k, r.IntN(400)-200)
	case 12, 13, 14:
		o.calculate(sources([]string{"SINTER", "SUNION", "SDIFF"}[r.IntN(3)])...)
	case 15, 16:
		o.Do(sources([]string{"SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"}[r.IntN(3)], k)...)
		o.compareSet(k)
	case 17:
		keys := sources()
		args := slices.Concat([]string{"SINTERCARD", strconv.Itoa(len(keys))}, keys)
		if r.IntN(2) == 0 {
			args = append(args, "LIMIT", strconv.Itoa(r.IntN(50)))
		}
		o.Do(args...)
	case 18:
		o.scanAll(r, "SSCAN", k)
	case 19:
		o.Do("EXPIRE", k, "100000")
	case 20:
		if r.IntN(4) == 0 {
			o.Do("DEL", k)
		}
	default:
		o.compareSet(k)
	}
}

// calculate compares SINTER, SUNION or SDIFF. What Redis makes of sets of integers alone is in order.
func (o *oracle) calculate(args ...string) {
	o.t.Helper()
	ordered := true
	for _, k := range args[1:] {
		if !strings.Contains(o.Theirs("OBJECT", "ENCODING", k), "intset") {
			ordered = false
		}
	}
	if ordered && len(o.leaves(o.Theirs(args...))) <= intSetCount {
		o.Do(args...)
	} else {
		o.DoSet(args...)
	}
}

// drawMembers checks that SRANDMEMBER draws as many as Redis does, and none twice unless that is asked for.
func (o *oracle) drawMembers(k string, count int) {
	o.t.Helper()
	args := []string{"SRANDMEMBER", k, strconv.Itoa(count)}
	ours, theirs := o.Ours(args...), o.Theirs(args...)
	if frame(ours) != frame(theirs) {
		o.t.Errorf("RESP%d %s\n ours   %s\n theirs %s", o.proto, quoteArgs(args), shorten(ours), shorten(theirs))
		return
	}
	drawn := o.leaves(ours)
	if alien := without(drawn, o.leaves(o.Theirs("SMEMBERS", k))); len(alien) > 0 {
		o.t.Errorf("%s draws %q", quoteArgs(args), alien)
	}
	slices.Sort(drawn)
	if count > 0 && len(slices.Compact(drawn)) != len(o.leaves(ours)) {
		o.t.Errorf("%s draws one twice: %s", quoteArgs(args), shorten(ours))
	}
}

// Sets that are drawn from, with sizes and counts that bring the destination of SDIFFSTORE to subtract, and keys that are
// named several times.
func TestSDiffStoreLayouts(t *testing.T) {
	o := newOracle(t)
	o.Lines("SADD a 1 2 3 4 x\nSADD b x\nSADD c 9\nSADD d y")
	for i := range 600 {
		o.Do("SADD", "many", strconv.Itoa(i))
	}
	for i := range 100 {
		o.Do("SADD", "some", strconv.Itoa(i))
		o.Do("SADD", "others", strconv.Itoa(i+50))
	}
	for _, sources := range []string{
		"a b", "a b c", "a b c d", "a b b b", "a a", "a a b c", "a missing b", "a missing missing b c", "many some", "many some others",
		"many some others b c d", "many many b c d", "some b c d many", "missing a b c", "a",
	} {
		for _, destination := range []string{"new", "a2", "many2"} {
			o.Lines("DEL new\nSUNIONSTORE a2 a\nSUNIONSTORE many2 many")
			o.Line("SDIFFSTORE " + destination + " " + sources)
			o.compareSet(destination)
		}
		o.Line("SUNIONSTORE kept " + strings.Fields(sources)[0])
		o.Line("SDIFFSTORE kept kept " + sources[strings.IndexByte(sources+" ", ' '):])
		o.compareSet("kept")
	}
}
