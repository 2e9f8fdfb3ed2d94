package command

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestSortAgainstRedis(t *testing.T) { newOracle(t).Table("sort.txt") }

func TestSortOfAllKindsAgainstRedis(t *testing.T) { newOracle(t).Table("sort_kinds.txt") }

// TestRandomSortsAgainstRedis sorts random lists with random options. Equal texts under BY with ALPHA are avoided: what
// order Redis gives them with LIMIT hangs on its way of sorting.
func TestRandomSortsAgainstRedis(t *testing.T) {
	o := newOracle(t)
	rng := rand.New(rand.NewPCG(1, 2))
	of := func(words ...string) string { return words[rng.IntN(len(words))] }
	for i := range 200 {
		n := strconv.Itoa(i)
		if i%7 > 0 {
			o.Do("SET", "w_"+n, strconv.Itoa(rng.IntN(50)-10))
		}
		o.Do("SET", "t_"+n, strconv.Itoa(rng.IntN(10))+"-"+n)
	}
	for round := range 300 {
		o.RESP(2 + round%2)
		list := []string{"RPUSH", "l"}
		for range rng.IntN(1 << rng.IntN(11)) {
			list = append(list, of("", " ", "+", "0", "-", "000")+strconv.Itoa(rng.IntN(200)))
		}
		o.Do("DEL", "l")
		if len(list) > 2 {
			o.Do(list...)
		}
		for range 20 {
			args := []string{of("SORT", "SORT", "SORT_RO"), "l"}
			switch rng.IntN(6) {
			case 0, 1:
				args = append(args, "BY", "w_*")
			case 2:
				args = append(args, "BY", "nosort")
			case 3:
				args = append(args, "ALPHA", "BY", "#*") // nothing is found, and LIMIT would show the way of sorting
			case 4:
				args = append(args, "ALPHA")
			}
			if rng.IntN(2) == 0 {
				args = append(args, of("DESC", "ASC"))
			}
			if rng.IntN(2) == 0 && (len(args) < 4 || args[3] != "BY") {
				args = append(args, "LIMIT", strconv.Itoa(rng.IntN(40)-3), strconv.Itoa(rng.IntN(40)-3))
			}
			for range rng.IntN(3) {
				args = append(args, "GET", of("#", "w_*", "t_*", "none"))
			}
			if args[0] == "SORT" && rng.IntN(4) == 0 {
				args = append(args, "STORE", "d")
			}
			o.Do(args...)
			o.Do("LRANGE", "d", "0", "-1")
			if t.Failed() {
				t.Fatalf("round %d", round)
			}
		}
	}
}
