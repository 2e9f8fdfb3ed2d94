package command

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestBitmapsTable(t *testing.T) { newOracle(t).Table("bitmaps.txt") }

// Every pair of places around the ends of short bitmaps, in bytes and in bits.
func TestBitRanges(t *testing.T) {
	o := newOracle(t)
	bitmaps := map[string]string{"empty": "", "zero": "\x00\x00", "full": "\xff\xff", "mixed": "\x0f\x81\xf0"}
	for _, key := range []string{"empty", "zero", "full", "mixed"} {
		o.Do("SET", key, bitmaps[key])
		for from := -27; from <= 27; from += 3 {
			first := strconv.Itoa(from)
			o.Do("BITPOS", key, "0", first)
			o.Do("BITPOS", key, "1", first)
			for to := -27; to <= 27; to += 2 {
				last := strconv.Itoa(to)
				for _, unit := range []string{"BIT", "BYTE"} {
					o.Do("BITCOUNT", key, first, last, unit)
					o.Do("BITPOS", key, "0", first, last, unit)
					o.Do("BITPOS", key, "1", first, last, unit)
				}
			}
		}
	}
}

// A long random stream over a few keys, which are cold now and then.
func TestBitmapsRandom(t *testing.T) {
	o := newOracle(t)
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 12_000 {
		if i%50 == 0 {
			o.RESP(2 + r.IntN(2))
		}
		if i%300 == 0 {
			o.PutList("k0")
		}
		if i%500 == 0 {
			o.space.chill()
		}
		if i%40 == 0 {
			o.Do("SET", someKey(r), randomOf(r, "\x00\xff\x01\x80", r.IntN(200)))
		}
		o.Do(randomBitmapCommand(r)...)
		if i%20 == 0 {
			o.CompareKey(someKey(r))
		}
	}
	for i := range 6 {
		o.CompareKey(fmt.Sprintf("k%d", i))
	}
}

func randomBitmapCommand(r *rand.Rand) []string {
	k := someKey(r)
	place := func() string { return strconv.Itoa(r.IntN(1700) - 50) }
	signed := func() string { return strconv.Itoa(r.IntN(1700) - 850) }
	bit := func() string { return strconv.Itoa(r.IntN(2)) }
	unit := func() string { return []string{"BIT", "BYTE"}[r.IntN(2)] }
	switch r.IntN(10) {
	case 0, 1:
		return []string{"SETBIT", k, place(), bit()}
	case 2:
		return []string{"GETBIT", k, place()}
	case 3:
		return []string{"BITCOUNT", k}
	case 4:
		return []string{"BITCOUNT", k, signed(), signed(), unit()}
	case 5:
		return []string{"BITPOS", k, bit(), signed(), signed(), unit()}
	case 6:
		return []string{"BITPOS", k, bit()}
	case 7:
		if r.IntN(4) == 0 {
			return []string{"BITOP", "NOT", k, someKey(r)}
		}
		args := []string{"BITOP", []string{"AND", "OR", "XOR"}[r.IntN(3)], k}
		for range 1 + r.IntN(4) {
			args = append(args, someKey(r))
		}
		return args
	case 8:
		return append([]string{"BITFIELD_RO", k}, randomField(r, "GET")...)
	default:
		args := []string{"BITFIELD", k}
		for range 1 + r.IntN(5) {
			args = append(args, randomField(r, []string{"GET", "SET", "INCRBY", "OVERFLOW"}[r.IntN(4)])...)
		}
		return args
	}
}

func randomField(r *rand.Rand, verb string) []string {
	if verb == "OVERFLOW" {
		return []string{verb, []string{"WRAP", "SAT", "FAIL"}[r.IntN(3)]}
	}
	args := []string{
		verb,
		[]string{"u", "i"}[r.IntN(2)] + strconv.Itoa(1+r.IntN(63)),
		[]string{"", "#"}[r.IntN(2)] + strconv.Itoa(r.IntN(30)),
	}
	if r.IntN(10) == 0 {
		args[1] = "i64"
	}
	if verb != "GET" {
		args = append(args, strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10))
	}
	return args
}
