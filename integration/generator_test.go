package integration

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

// generator makes random commands of all families: mostly sensible ones over few keys, so that they meet, with wrong
// words, numbers and counts mixed in. Times to live are far away or long past, so that both servers agree on them.
type generator struct {
	rng *rand.Rand
	db  int // selected
}

func newGenerator(seed uint64) *generator {
	return &generator{rng: rand.New(rand.NewPCG(seed, 42))}
}

func (g *generator) of(words ...string) string { return words[g.rng.IntN(len(words))] }

// sometimes adds words to a command with a chance of one in n.
func (g *generator) sometimes(n int, args []string, words ...string) []string {
	if g.rng.IntN(n) == 0 {
		return append(args, words...)
	}
	return args
}

func (g *generator) key() string {
	if g.rng.IntN(50) == 0 {
		return g.of("", "a\x00b", "{tag}1", "{tag}2", strings.Repeat("long", 100))
	}
	if g.rng.IntN(8) == 0 {
		return g.collection(g.of("h", "l", "s", "z"))
	}
	return "k" + strconv.Itoa(g.rng.IntN(30))
}

// collection is a key that mostly holds one of a kind, which its first letter names.
func (g *generator) collection(letter string) string {
	if g.rng.IntN(30) == 0 {
		return g.key()
	}
	return letter + strconv.Itoa(g.rng.IntN(6))
}

func (g *generator) keys() []string {
	keys := make([]string, 1+g.rng.IntN(4))
	for i := range keys {
		keys[i] = g.key()
	}
	return keys
}

func (g *generator) value() string {
	switch g.rng.IntN(12) {
	case 0:
		return ""
	case 1:
		return g.of("0", "1", "-1", "007", "+5", " 1", "9223372036854775807", "-9223372036854775808", "9223372036854775808")
	case 2:
		return g.of("1.5", "-0.25", "3e5", "inf", "nan", "1e400", "0x10", "1e-30", "5.0")
	case 3:
		return strings.Repeat(g.of("ab", "x", "\x00\xff", "\r\n"), 1+g.rng.IntN(300))
	case 4:
		b := make([]byte, g.rng.IntN(70))
		for i := range b {
			b[i] = byte(g.rng.Uint32())
		}
		return string(b)
	case 5:
		return strings.Repeat("z", 40+g.rng.IntN(8)) // around the bound between two of Redis's encodings
	default:
		return strconv.FormatInt(int64(g.rng.IntN(20_000))-5_000, 10)
	}
}

// number is an argument that should be one.
func (g *generator) number() string {
	switch g.rng.IntN(15) {
	case 0:
		return g.of("x", "", "1.0", "1e3", " 7", "0x1", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "-0")
	case 1:
		return strconv.Itoa(-g.rng.IntN(1000))
	default:
		return strconv.Itoa(g.rng.IntN(100))
	}
}

func (g *generator) offset() string {
	if g.rng.IntN(40) == 0 {
		return g.of("-1", "536870912", "4294967296", "x", "9223372036854775807")
	}
	return strconv.Itoa(g.rng.IntN(200))
}

// lasting is a time to live in seconds, far from now; scale 1000 makes it milliseconds.
func (g *generator) lasting(scale int) string {
	switch g.rng.IntN(20) {
	case 0:
		return g.of("0", "-1", "-100000", "x", "9223372036854775807", "99999999999999999999", "")
	default:
		// No two alike: which of two equal ones is later would depend on the millisecond of their arrival.
		return strconv.Itoa((100_000 + g.rng.IntN(10_000_000)) * scale)
	}
}

// moment is a point in time, in seconds since 1970. It is never past: redis-server keeps a key that was set with a past
// one until it happens to find it.
func (g *generator) moment(scale int) string {
	switch g.rng.IntN(20) {
	case 0:
		return g.of("0", "-1", "x", "9223372036854775807")
	default:
		return strconv.Itoa((4_000_000_000 + 1_000_000*g.rng.IntN(5)) * scale)
	}
}

// anyMoment may be past, for commands that delete the key then.
func (g *generator) anyMoment(scale int) string {
	if g.rng.IntN(20) == 0 {
		return strconv.Itoa(1_000_000_000 * scale)
	}
	return g.moment(scale)
}

// command is the next one.
func (g *generator) command() []string {
	families := []func() []string{
		g.strings, g.strings, g.strings, g.numbers, g.ranges, g.bits, g.bits, g.bitfield,
		g.hashes, g.hashes, g.hashes, g.sets, g.sets, g.sets, g.algebra,
		g.sortedSets, g.sortedSets, g.sortedSets, g.lists, g.lists, g.lists,
		g.keySpace, g.keySpace, g.expiry, g.expiry, g.expiry, g.inspect, g.inspect, g.databases, g.connection,
	}
	args := families[g.rng.IntN(len(families))]()
	if g.rng.IntN(60) == 0 {
		args = g.mangle(args)
	}
	if g.rng.IntN(5) == 0 {
		args[0] = strings.ToLower(args[0])
	}
	return args
}

// mangle makes a command wrong: a word too few or too many, or one that is out of place.
func (g *generator) mangle(args []string) []string {
	switch strings.ToUpper(args[0]) {
	case "SELECT", "FLUSHALL", "FLUSHDB", "SWAPDB", "RANDOMKEY", "SPOP":
		return args // these would change what the generator has to know, or need a comparison of their own
	}
	switch at := 1 + g.rng.IntN(max(1, len(args)-1)); {
	case g.rng.IntN(3) == 0 && len(args) > 1:
		return args[:len(args)-1]
	case g.rng.IntN(2) == 0 || at >= len(args):
		return append(args, g.of("NX", "GET", "x", "", "EX", "0"))
	default:
		args[at] = g.of("NX", "GET", "x", "", "EX", "0", "-1")
		return args
	}
}

func (g *generator) strings() []string {
	switch g.rng.IntN(16) {
	case 0, 1, 2:
		return []string{"GET", g.key()}
	case 3, 4, 5, 6:
		return g.set()
	case 7:
		return []string{"GETSET", g.key(), g.value()}
	case 8:
		return []string{"GETDEL", g.key()}
	case 9:
		args := []string{"GETEX", g.key()}
		return append(args, g.timing("PERSIST")...)
	case 10:
		return []string{"SETNX", g.key(), g.value()}
	case 11:
		return []string{"SETEX", g.key(), g.lasting(1), g.value()}
	case 12:
		return []string{"PSETEX", g.key(), g.lasting(1000), g.value()}
	case 13:
		return append([]string{"MGET"}, g.keys()...)
	case 14:
		args := []string{g.of("MSET", "MSETNX")}
		for _, key := range g.keys() {
			args = append(args, key, g.value())
		}
		return args
	default:
		args := []string{"LCS", g.key(), g.key()}
		args = g.sometimes(3, args, "LEN")
		args = g.sometimes(2, args, "IDX")
		args = g.sometimes(3, args, "MINMATCHLEN", g.number())
		return g.sometimes(3, args, "WITHMATCHLEN")
	}
}

// timing is one of the options that SET and GETEX share, or the given one, or none.
func (g *generator) timing(other string) []string {
	switch g.rng.IntN(6) {
	case 0:
		return []string{"EX", g.lasting(1)}
	case 1:
		return []string{"px", g.lasting(1000)}
	case 2:
		return []string{"EXAT", g.moment(1)}
	case 3:
		return []string{"PXAT", g.moment(1000)}
	case 4:
		return []string{other}
	default:
		return nil
	}
}

func (g *generator) set() []string {
	args := append([]string{"SET", g.key(), g.value()}, g.timing("KEEPTTL")...)
	args = g.sometimes(4, args, g.of("NX", "XX", "nx"))
	args = g.sometimes(4, args, "GET")
	return g.sometimes(50, args, g.of("NX", "EX", "KEEPTTL", "bogus"))
}

func (g *generator) numbers() []string {
	switch g.rng.IntN(5) {
	case 0:
		return []string{g.of("INCR", "DECR"), g.key()}
	case 1, 2:
		return []string{g.of("INCRBY", "DECRBY"), g.key(), g.number()}
	case 3:
		return []string{"INCRBYFLOAT", g.key(), g.of("1.5", "-0.1", "3", "1e10", "x", "inf", "0.000001", "-5e-3")}
	default:
		return []string{"SET", g.key(), g.number()}
	}
}

func (g *generator) ranges() []string {
	switch g.rng.IntN(5) {
	case 0:
		return []string{"APPEND", g.key(), g.value()}
	case 1:
		return []string{"STRLEN", g.key()}
	case 2:
		return []string{"SETRANGE", g.key(), g.offset(), g.value()}
	default:
		return []string{g.of("GETRANGE", "SUBSTR"), g.key(), g.number(), g.of("-1", "5", "-3", "100", g.number())}
	}
}

func (g *generator) bits() []string {
	switch g.rng.IntN(6) {
	case 0, 1:
		return []string{"SETBIT", g.key(), g.offset(), g.of("0", "1", "1", "2")}
	case 2:
		return []string{"GETBIT", g.key(), g.offset()}
	case 3:
		args := []string{"BITCOUNT", g.key()}
		if g.rng.IntN(2) == 0 {
			args = g.sometimes(2, append(args, g.number(), g.of("-1", g.number())), g.of("BIT", "BYTE", "bit"))
		}
		return args
	case 4:
		args := []string{"BITPOS", g.key(), g.of("0", "1")}
		if g.rng.IntN(2) == 0 {
			args = append(args, g.number())
			if g.rng.IntN(2) == 0 {
				args = g.sometimes(2, append(args, g.of("-1", g.number())), g.of("BIT", "BYTE"))
			}
		}
		return args
	default:
		return append([]string{"BITOP", g.of("AND", "OR", "XOR", "NOT", "nor"), g.key()}, g.keys()...)
	}
}

func (g *generator) bitfield() []string {
	width := func() string { return g.of("u8", "i5", "u1", "i64", "u63", "i16", "u64", "i0", "x") }
	place := func() string { return g.of("0", "#1", "3", "#7", "100", "-1", "#") }
	args := []string{"BITFIELD", g.key()}
	if g.rng.IntN(4) == 0 {
		args[0] = "BITFIELD_RO"
		return append(args, "GET", width(), place())
	}
	for range g.rng.IntN(4) {
		switch g.rng.IntN(4) {
		case 0:
			args = append(args, "GET", width(), place())
		case 1:
			args = append(args, "SET", width(), place(), g.number())
		case 2:
			args = append(args, "INCRBY", width(), place(), g.number())
		default:
			args = append(args, "OVERFLOW", g.of("WRAP", "SAT", "FAIL", "fail", "x"))
		}
	}
	return args
}

// field is one of so few that a hash of them keeps the order in which they came, unless a long value makes it large.
func (g *generator) field() string {
	if g.rng.IntN(40) == 0 {
		return g.of("", "a\x00b", "\r\n", "7")
	}
	return "f" + strconv.Itoa(g.rng.IntN(60))
}

func (g *generator) hashes() []string {
	h := g.collection("h")
	fields := func(args ...string) []string {
		for range 1 + g.rng.IntN(5) {
			args = append(args, g.field())
		}
		return args
	}
	switch g.rng.IntN(18) {
	case 0, 1, 2:
		args := []string{g.of("HSET", "HSET", "HMSET"), h}
		for range 1 + g.rng.IntN(6) {
			args = append(args, g.field(), g.value())
		}
		return args
	case 3:
		return []string{"HSETNX", h, g.field(), g.value()}
	case 4, 5:
		return []string{g.of("HGET", "HEXISTS", "HSTRLEN"), h, g.field()}
	case 6:
		return fields("HMGET", h)
	case 7, 8:
		return fields("HDEL", h)
	case 9, 10:
		return []string{"HINCRBY", h, g.field(), g.number()}
	case 11:
		return []string{"HINCRBYFLOAT", h, g.field(), g.of("1.5", "-0.1", "3", "1e10", "x", "inf", "0.000001", "-5e-3")}
	case 12:
		return []string{"HLEN", h}
	case 13:
		args := g.sometimes(3, []string{"HRANDFIELD", h}, g.number())
		return g.sometimes(3, args, "WITHVALUES")
	case 14:
		return g.walk("HSCAN", h)
	default:
		return []string{g.of("HGETALL", "HGETALL", "HKEYS", "HVALS"), h}
	}
}

// walk is a step through the members of a key.
func (g *generator) walk(command, key string) []string {
	args := g.sometimes(2, []string{command, key, g.of("0", "0", "0", "", "x", "-")}, "MATCH", g.of("*", "f1*", "[1-3]*", ""))
	return g.sometimes(2, args, "COUNT", g.of("1", "10", "1000", "0", "x"))
}

func (g *generator) member() string {
	switch g.rng.IntN(60) {
	case 0:
		return g.value()
	case 1, 2, 3:
		return "m" + strconv.Itoa(g.rng.IntN(100))
	}
	return strconv.Itoa(g.rng.IntN(200) - 50)
}

func (g *generator) sets() []string {
	s := g.collection("s")
	members := func(args ...string) []string {
		for range 1 + g.rng.IntN(8) {
			args = append(args, g.member())
		}
		return args
	}
	switch g.rng.IntN(16) {
	case 0, 1, 2, 3:
		return members("SADD", s)
	case 4, 5:
		return members("SREM", s)
	case 6:
		return []string{"SISMEMBER", s, g.member()}
	case 7:
		return members("SMISMEMBER", s)
	case 8:
		return []string{"SMOVE", s, g.collection("s"), g.member()}
	case 9:
		return []string{"SCARD", s}
	case 10:
		return []string{"SPOP", s, g.of("0", "-1", "x", "1000000")} // others would leave different sets
	case 11:
		return g.sometimes(2, []string{"SRANDMEMBER", s}, g.number())
	case 12:
		return g.walk("SSCAN", s)
	default:
		return []string{"SMEMBERS", s}
	}
}

func (g *generator) algebra() []string {
	var args, sources []string
	for range 1 + g.rng.IntN(4) {
		sources = append(sources, g.collection("s"))
	}
	switch g.rng.IntN(3) {
	case 0:
		args = []string{g.of("SINTER", "SUNION", "SDIFF")}
	case 1:
		args = []string{g.of("SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"), g.collection("s")}
	default:
		args = append([]string{"SINTERCARD", strconv.Itoa(len(sources))}, sources...)
		return g.sometimes(2, args, "LIMIT", g.number())
	}
	return append(args, sources...)
}

func (g *generator) keySpace() []string {
	switch g.rng.IntN(10) {
	case 0:
		return append([]string{g.of("DEL", "UNLINK")}, g.key())
	case 1:
		return append([]string{"DEL"}, g.keys()...)
	case 2:
		return append([]string{g.of("EXISTS", "TOUCH")}, g.keys()...)
	case 3:
		return []string{"TYPE", g.key()}
	case 4:
		return []string{g.of("RENAME", "RENAMENX"), g.key(), g.key()}
	case 5, 6:
		args := g.sometimes(3, []string{"COPY", g.key(), g.key()}, "DB", g.of("0", "1", "2", "15", "16", "x"))
		return g.sometimes(2, args, "REPLACE")
	case 7:
		return []string{"MOVE", g.key(), g.of("0", "1", "2", "3", "16", "-1", "x")}
	case 8:
		return []string{"KEYS", g.of("*", "k1*", "k?", "k[1-3]", "k[^1]", "*1", "nothing", "\\k1", "[")}
	default:
		return []string{"RANDOMKEY"}
	}
}

func (g *generator) expiry() []string {
	switch g.rng.IntN(8) {
	case 0, 1:
		args := []string{"EXPIRE", g.key(), g.lasting(1)}
		return g.sometimes(2, args, g.of("NX", "XX", "GT", "LT", "gt", "bogus"))
	case 2:
		args := []string{"PEXPIRE", g.key(), g.lasting(1000)}
		return g.sometimes(2, args, g.of("NX", "XX"))
	case 3:
		args := []string{"EXPIREAT", g.key(), g.anyMoment(1)}
		return g.sometimes(2, g.sometimes(2, args, g.of("NX", "XX", "GT", "LT")), g.of("GT", "LT"))
	case 4:
		args := []string{"PEXPIREAT", g.key(), g.anyMoment(1000)}
		return g.sometimes(2, args, g.of("NX", "XX", "GT", "LT"))
	case 5:
		return []string{"PERSIST", g.key()}
	default:
		return []string{g.of("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"), g.key()}
	}
}

func (g *generator) inspect() []string {
	switch g.rng.IntN(7) {
	case 0, 1:
		return []string{"OBJECT", "ENCODING", g.key()}
	case 2:
		return []string{"OBJECT", g.of("IDLETIME", "FREQ", "bogus"), g.key()}
	case 3:
		return []string{"DBSIZE"}
	case 4:
		return []string{"DEBUG", "DIGEST-VALUE", g.key(), g.key()}
	case 5:
		return []string{"DUMP", g.key()}
	default:
		return []string{"RESTORE", g.key(), g.of("0", "-1", "x"), g.of("", "garbage", "\x00\x01a\x0a\x00")}
	}
}

func (g *generator) databases() []string {
	switch g.rng.IntN(20) {
	case 0:
		return []string{"FLUSHDB"}
	case 1:
		if g.rng.IntN(5) == 0 {
			return []string{"FLUSHALL", g.of("SYNC", "ASYNC")}
		}
		return []string{"FLUSHDB", g.of("ASYNC", "SYNC", "bogus")}
	case 2, 3:
		return []string{"SWAPDB", g.of("0", "1", "2", "16", "x"), g.of("0", "1", "2", "-1")}
	case 4, 5, 6:
		db := g.of("0", "0", "0", "1", "2")
		g.db, _ = strconv.Atoi(db)
		return []string{"SELECT", db}
	case 7:
		return []string{"SELECT", g.of("16", "-1", "x", "")}
	default:
		return []string{"DBSIZE"}
	}
}

func (g *generator) connection() []string {
	switch g.rng.IntN(6) {
	case 0:
		return []string{"PING"}
	case 1:
		return []string{"PING", g.value()}
	case 2:
		return []string{"ECHO", g.value()}
	case 3:
		return []string{"CLIENT", g.of("GETNAME", "bogus", "SETNAME")}
	case 4:
		return []string{"CLIENT", "SETNAME", g.of("name", "", "with space", "x\ny")}
	default:
		return []string{g.of("NOSUCHCOMMAND", "GETT", "set1"), g.value()}
	}
}
