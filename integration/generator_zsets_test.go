package integration

import "strconv"

func (g *generator) zmember() string {
	if g.rng.IntN(50) == 0 {
		return g.value()
	}
	return "m" + strconv.Itoa(g.rng.IntN(200))
}

func (g *generator) score() string {
	if g.rng.IntN(12) == 0 {
		return g.of("inf", "-inf", "nan", "x", "", "1e17", "0.1", "-0", "0x1p-3", "1e400")
	}
	return strconv.Itoa(g.rng.IntN(40) - 10)
}

func (g *generator) zranges() []string {
	z, bound := g.collection("z"), func() string { return g.of("", "", "(") + g.score() }
	switch g.rng.IntN(6) {
	case 0:
		args := g.sometimes(2, []string{g.of("ZRANGE", "ZREVRANGE"), z, g.number(), g.of("-1", "20", g.number())}, "WITHSCORES")
		return g.sometimes(6, args, g.of("REV", "BYSCORE", "LIMIT", "BYLEX"))
	case 1:
		args := g.sometimes(2, []string{g.of("ZRANGEBYSCORE", "ZREVRANGEBYSCORE"), z, bound(), bound()}, "WITHSCORES")
		return g.sometimes(3, args, "LIMIT", g.number(), g.number())
	case 2:
		return []string{"ZCOUNT", z, bound(), bound()}
	case 3:
		return []string{"ZRANGESTORE", g.collection("z"), z, g.number(), g.of("-1", g.number())}
	case 4:
		return []string{"ZREMRANGEBYSCORE", z, bound(), bound()}
	default:
		return []string{"ZREMRANGEBYRANK", z, g.number(), g.number()}
	}
}

func (g *generator) zalgebra() []string {
	args := []string{g.of("ZUNION", "ZINTER", "ZDIFF", "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE", "ZINTERCARD")}
	if args[0][len(args[0])-1] == 'E' {
		args = append(args, g.collection("z"))
	}
	args = append(args, g.of("2", "2", "2", "2", "1", "3", "0", "x"), g.collection("z"), g.collection(g.of("z", "z", "s")))
	args = g.sometimes(3, args, "WEIGHTS", g.score(), g.score())
	args = g.sometimes(3, args, "AGGREGATE", g.of("SUM", "MIN", "MAX", "AVG"))
	return g.sometimes(2, args, g.of("WITHSCORES", "WITHSCORES", "LIMIT"))
}

func (g *generator) sortedSets() []string {
	z := g.collection("z")
	switch g.rng.IntN(14) {
	case 0, 1, 2:
		args := []string{"ZADD", z}
		for range 1 + g.rng.IntN(12) {
			args = append(args, g.score(), g.zmember())
		}
		return args
	case 3:
		args := []string{"ZADD", z, g.of("NX", "XX", "GT", "LT", "CH", "INCR")}
		return append(g.sometimes(3, args, g.of("CH", "INCR", "XX")), g.score(), g.zmember())
	case 4:
		return []string{"ZINCRBY", z, g.score(), g.zmember()}
	case 5:
		return []string{"ZREM", z, g.zmember(), g.zmember(), g.zmember()}
	case 6:
		return []string{g.of("ZSCORE", "ZRANK", "ZREVRANK", "ZMSCORE"), z, g.zmember()}
	case 7:
		return g.sometimes(2, []string{g.of("ZPOPMIN", "ZPOPMAX"), z}, g.number())
	case 8:
		return g.sometimes(2, []string{"ZMPOP", "2", g.collection("z"), z, g.of("MIN", "MAX")}, "COUNT", g.number())
	case 9:
		return g.zalgebra()
	case 10:
		return g.walk("ZSCAN", z)
	case 11:
		return g.sometimes(3, g.sometimes(2, []string{"ZRANDMEMBER", z}, g.number()), "WITHSCORES")
	default:
		return g.zranges()
	}
}
