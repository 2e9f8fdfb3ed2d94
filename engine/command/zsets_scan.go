package command

import (
	"math"
	"strconv"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

func zScan(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	cursor, ok := cursorArg(args[2])
	if !ok {
		w.Error(invalidCursor)
		return
	}
	z, ok := openZSet(tx, args[1], w)
	if !ok {
		return
	}
	var found keyList
	if z.Len() == 0 { // Redis does not look at the options then
		found.replyScan(w, 0)
		return
	}
	o, ok := parseScanOptions(w, args[3:], false)
	if !ok {
		return
	}
	var digits [32]byte
	large := z.Large()
	next := z.Scan(cursor, o.count, func(m []byte, score float64) {
		if o.pattern.match(m) {
			found.add(m)
			found.add(appendScore(digits[:0], score, large))
		}
	})
	found.replyScan(w, next)
}

// appendScore appends a score as ZSCAN writes it, in whichever version of the protocol: with 17 significant digits,
// trailing zeros removed. In a small sorted set Redis keeps whole scores as integers, and they show all their digits.
func appendScore(b []byte, score float64, large bool) []byte {
	const mostInteger = 1 << 62
	switch {
	case math.IsInf(score, 1):
		return append(b, "inf"...)
	case math.IsInf(score, -1):
		return append(b, "-inf"...)
	case !large && score == math.Trunc(score) && math.Abs(score) <= mostInteger:
		return strconv.AppendInt(b, int64(score), 10)
	}
	return strconv.AppendFloat(b, score, 'g', 17, 64)
}
