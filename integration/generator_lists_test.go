package integration

import "strconv"

// element is often one that has been there before, so that LREM, LPOS and LINSERT find some.
func (g *generator) element() string {
	if g.rng.IntN(4) == 0 {
		return g.value()
	}
	return strconv.Itoa(g.rng.IntN(40))
}

// index is a place in a list from either end.
func (g *generator) index() string {
	if g.rng.IntN(15) == 0 {
		return g.number()
	}
	return strconv.Itoa(g.rng.IntN(30) - 15)
}

func (g *generator) lists() []string {
	l, side, end := g.collection("l"), g.of("L", "R"), func() string { return g.of("LEFT", "RIGHT", "left", "right") }
	switch g.rng.IntN(18) {
	case 0, 1, 2, 3:
		args := []string{side + g.of("PUSH", "PUSH", "PUSH", "PUSHX"), l}
		for range 1 + g.rng.IntN(10) {
			args = append(args, g.element())
		}
		return args
	case 4, 5:
		return g.sometimes(2, []string{side + "POP", l}, g.of("0", "1", "3", g.number()))
	case 6:
		return []string{g.of("LLEN", "TYPE"), l}
	case 7:
		return []string{"LINDEX", l, g.index()}
	case 8:
		return []string{"LSET", l, g.index(), g.element()}
	case 9:
		return []string{"LINSERT", l, g.of("BEFORE", "AFTER", "before", "x"), g.element(), g.element()}
	case 10, 11:
		return []string{"LRANGE", l, g.of("0", g.index()), g.of("-1", g.index())}
	case 12:
		return []string{"LREM", l, g.of("0", "1", "-1", "2", "-2", g.number()), g.element()}
	case 13:
		return []string{"LTRIM", l, g.of("0", "1", "0", g.index()), g.of("-1", "-1", "-2", g.index())}
	case 14:
		args := g.sometimes(2, []string{"LPOS", l, g.element()}, "RANK", g.of("1", "2", "-1", "-2", "0", g.number()))
		return g.sometimes(3, g.sometimes(2, args, "COUNT", g.of("0", "2", g.number())), "MAXLEN", g.number())
	case 15:
		return []string{"LMOVE", l, g.collection("l"), end(), end()}
	case 16:
		args := []string{"LMPOP", g.of("2", "2", "2", "1", "0"), g.collection("l"), l, end()}
		return g.sometimes(2, args, "COUNT", g.of("1", "5", g.number()))
	default:
		return g.sorting()
	}
}

// sorting sorts by bytes and stores the result: else the order of equals would hang on how each server keeps a set. It
// sorts no numbers: once one was out of range, redis-server takes those that follow for wrong.
func (g *generator) sorting() []string {
	args := []string{"SORT", g.collection(g.of("l", "l", "s", "z")), "STORE", g.collection("l")}
	if g.rng.IntN(2) == 0 {
		args = append(args, "ALPHA")
	} else {
		args = append(args, "BY", "nosort")
	}
	args = g.sometimes(2, args, g.of("DESC", "ASC", "x"))
	args = g.sometimes(2, args, "LIMIT", g.number(), g.number())
	return g.sometimes(3, args, "GET", g.of("#", "k*", "h*->f1", "k1"))
}
