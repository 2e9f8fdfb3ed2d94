package command

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

func TestStringsTable(t *testing.T) { newOracle(t).Table("strings.txt") }

// Every sequence of up to three options, on a key that is missing, a string that has a time to live, and a list.
func TestSetOptions(t *testing.T) {
	o := newOracle(t)
	words := []string{
		"NX", "XX", "GET", "KEEPTTL", "PERSIST", "EX 100000", "PX 500000000", "EXAT 99999999999", "PXAT 99999999999999",
		"EX 0", "EXAT 1", "PXAT x", "EX",
	}
	var sequences []string
	last := []string{""}
	for range 3 {
		var next []string
		for _, before := range last {
			for _, w := range words {
				next = append(next, before+" "+w)
			}
		}
		sequences = append(sequences, next...)
		last = next
	}
	for i, options := range sequences {
		if len(options) > 20 && i%4 != 0 { // the long ones are many; a quarter of them will do
			continue
		}
		o.RESP(2 + i%2)
		for _, c := range []string{"SET k new", "GETEX k"} {
			o.Lines("GETDEL k\n" + c + options + "\n%key k")
			o.Lines("SET k old EX 50000\n" + c + options + "\n%key k")
			if i < 200 {
				o.Lines("%list k\n" + c + options + "\n%key k")
			}
		}
	}
}

// Every pair of places around a string's ends.
func TestGetRangePlaces(t *testing.T) {
	o := newOracle(t)
	o.Lines("SET empty \"\"\nSET one 1\nSET five 12345")
	places := []string{"-9223372036854775808", "9223372036854775807"}
	for i := -8; i <= 8; i++ {
		places = append(places, strconv.Itoa(i))
	}
	for _, key := range []string{"empty", "one", "five"} {
		for _, from := range places {
			for _, to := range places {
				o.Do("GETRANGE", key, from, to)
			}
		}
	}
}

// Random numbers in every notation, added up; what is stored must be the digits that x87 arithmetic gives.
func TestIncrByFloatRandom(t *testing.T) {
	o := newOracle(t)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 6000 {
		if i%4 == 0 {
			o.Do("SET", "f", randomFloat(r))
		}
		o.Do("INCRBYFLOAT", "f", randomFloat(r))
	}
	o.CompareKey("f")
}

func randomFloat(r *rand.Rand) string {
	sign := []string{"", "-", "+"}[r.IntN(3)]
	switch r.IntN(8) {
	case 0:
		return sign + strconv.FormatUint(r.Uint64()>>r.IntN(64), 10)
	case 1:
		return sign + fmt.Sprintf("%d.%d", r.IntN(1000), r.IntN(1000))
	case 2:
		return sign + fmt.Sprintf("%d.%018d", r.Uint64()>>r.IntN(64), r.Int64N(1e18))
	case 3:
		return sign + fmt.Sprintf("%de%d", r.IntN(100000), r.IntN(60)-40)
	case 4:
		return sign + strconv.FormatFloat(r.NormFloat64()*1e6, 'g', r.IntN(20), 64)
	case 5:
		return sign + fmt.Sprintf("%#x.%xp%d", r.Uint64()>>r.IntN(64), r.Uint32(), r.IntN(200)-100)
	case 6: // many digits, and exact halves of the last one that counts
		return sign + fmt.Sprintf("%d.%s5", r.IntN(10), randomOf(r, "0123456789", 10+r.IntN(40)))
	default:
		return sign + fmt.Sprintf("%de%d", 1+r.IntN(1000), r.IntN(9900)-4960)
	}
}

// Random strings over small alphabets, so that much is in common.
func TestLCSRandom(t *testing.T) {
	o := newOracle(t)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 1500 {
		alphabet := "abcdefgh"[:1+r.IntN(8)]
		most := 12
		if i%10 == 0 {
			most = 300
		}
		o.RESP(2 + i%2)
		o.Do("MSET", "a", randomOf(r, alphabet, r.IntN(most)), "b", randomOf(r, alphabet, r.IntN(most)))
		o.Do("LCS", "a", "b")
		o.Do("LCS", "a", "b", "LEN")
		o.Do("LCS", "a", "b", "IDX")
		o.Do("LCS", "a", "b", "IDX", "WITHMATCHLEN", "MINMATCHLEN", strconv.Itoa(r.IntN(5)))
	}
}

// Redis's table may have 2^27 cells: 6710·20001 is just below, 6711·20001 just above.
func TestLCSMemoryLimit(t *testing.T) {
	o := newOracle(t)
	o.Do("SET", "long", strings.Repeat("ab", 10_000))
	o.Do("SET", "fits", strings.Repeat("a", 6709))
	o.Do("LCS", "fits", "long", "LEN")
	o.Do("APPEND", "fits", "a")
	o.Do("LCS", "fits", "long", "LEN")
	o.Do("LCS", "fits", "long", "IDX", "LEN")
	o.Do("LCS", "fits", "long", "FOO")
}

// A long random stream over a few keys, which are cold now and then.
func TestStringsRandom(t *testing.T) {
	o := newOracle(t)
	r := rand.New(rand.NewPCG(5, 6))
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
		o.Do(randomStringCommand(r)...)
		if i%20 == 0 {
			o.CompareKey(someKey(r))
		}
	}
	for i := range 6 {
		o.CompareKey(fmt.Sprintf("k%d", i))
	}
}

func someKey(r *rand.Rand) string { return fmt.Sprintf("k%d", r.IntN(6)) }

func randomOf(r *rand.Rand, alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

func randomValue(r *rand.Rand) string {
	switch r.IntN(5) {
	case 0:
		return strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10)
	case 1:
		return fmt.Sprintf("%d.%d", r.IntN(100)-50, r.IntN(100))
	case 2:
		return randomOf(r, "ab\x00\xff", r.IntN(60))
	case 3:
		return randomOf(r, "0123456789", r.IntN(25))
	default:
		return strconv.Itoa(r.IntN(200) - 100)
	}
}

func randomStringCommand(r *rand.Rand) []string {
	k, v := someKey(r), randomValue(r)
	offset := func() string { return strconv.Itoa(r.IntN(80) - 20) }
	amount := func() string { return strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10) }
	expiry := func() []string {
		return [][]string{
			{"EX", "100000"}, {"PX", "200000000"}, {"EXAT", "99999999999"}, {"PXAT", "99999999999999"},
			{"PXAT", "1"}, {"EXAT", "1"}, {"EX", "0"}, nil, nil,
		}[r.IntN(9)]
	}
	switch r.IntN(22) {
	case 0:
		return []string{"GET", k}
	case 1:
		return []string{"SET", k, v}
	case 2:
		args := []string{"SET", k, v}
		for _, w := range []string{"NX", "XX", "GET", "KEEPTTL"} {
			if r.IntN(4) == 0 {
				args = append(args, w)
			}
		}
		return append(args, expiry()...)
	case 3:
		return []string{"SETNX", k, v}
	case 4:
		return []string{"SETEX", k, "100000", v}
	case 5:
		return []string{"PSETEX", k, "100000000", v}
	case 6:
		return []string{"GETSET", k, v}
	case 7:
		return []string{"GETDEL", k}
	case 8:
		if r.IntN(4) == 0 {
			return []string{"GETEX", k, "PERSIST"}
		}
		return append([]string{"GETEX", k}, expiry()...)
	case 9:
		return []string{"MGET", k, someKey(r), someKey(r)}
	case 10:
		return []string{"MSET", k, v, someKey(r), randomValue(r)}
	case 11:
		return []string{"MSETNX", k, v, someKey(r), randomValue(r)}
	case 12:
		return []string{"APPEND", k, v}
	case 13:
		return []string{"STRLEN", k}
	case 14:
		return []string{"SETRANGE", k, offset(), v}
	case 15:
		return []string{[]string{"GETRANGE", "SUBSTR"}[r.IntN(2)], k, offset(), offset()}
	case 16:
		return []string{"INCR", k}
	case 17:
		return []string{"DECR", k}
	case 18:
		return []string{"INCRBY", k, amount()}
	case 19:
		return []string{"DECRBY", k, amount()}
	case 20:
		return []string{"INCRBYFLOAT", k, v}
	default:
		return []string{"LCS", k, someKey(r), []string{"LEN", "IDX"}[r.IntN(2)]}
	}
}

// GET and SET, and what works in place, must not allocate.
func TestHotStringsDoNotAllocate(t *testing.T) {
	s := newSpace(t)
	big := strings.Repeat("x", 100_000)
	s.write(1, 0, func(tx *keyspace.Tx) {
		set(tx, splitBytes("SET big "+big), reply.Discard)
		set(tx, splitBytes("SET small abc"), reply.Discard)
		set(tx, splitBytes("SET number 1000"), reply.Discard)
	})
	for _, line := range []string{
		"SET small xyz", "SET small xyz EX 100", "SET small xyz KEEPTTL GET", "GET small", "GET big", "MGET small big",
		"INCR number", "STRLEN big", "GETRANGE big 5 10", "SETRANGE big 500 abc", "SETBIT big 800 1", "GETBIT big 7",
		"BITCOUNT big", "BITFIELD big SET u8 0 1 INCRBY i16 #5 3", "GETEX small EX 100",
	} {
		args := splitBytes(line)
		row := Lookup(args[0])
		s.write(1, 0, func(tx *keyspace.Tx) {
			if n := testing.AllocsPerRun(100, func() { row.Do(tx, args, reply.Discard) }); n > 0 {
				t.Errorf("%s allocates %v times", line, n)
			}
		})
	}
}

func splitBytes(line string) (args [][]byte) { return bytes.Fields([]byte(line)) }

func BenchmarkStrings(b *testing.B) {
	s := newSpace(b)
	big := strings.Repeat("x", 10_000_000)
	s.write(1, 0, func(tx *keyspace.Tx) {
		set(tx, splitBytes("SET big "+big), reply.Discard)
		set(tx, splitBytes("SET small abc"), reply.Discard)
		set(tx, splitBytes("SET number 1000"), reply.Discard)
	})
	for _, line := range []string{
		"GET small", "SET small xyz", "SET small xyz EX 100", "INCR number", "APPEND grown 0123456789", "SETBIT big 800 1",
		"SETRANGE big 500 abc", "BITCOUNT big", "INCRBYFLOAT float 0.1",
	} {
		args := splitBytes(line)
		row := Lookup(args[0])
		b.Run(strings.ReplaceAll(line, " ", "_"), func(b *testing.B) {
			s.write(1, 0, func(tx *keyspace.Tx) {
				b.ReportAllocs()
				for b.Loop() {
					row.Do(tx, args, reply.Discard)
				}
			})
		})
	}
}
