package command

import (
	"math"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// zAddOptions are ZADD's options; ZINCRBY is ZADD with incr.
type zAddOptions struct {
	nx, xx bool // only new members, only old ones
	gt, lt bool // an old member's score may only rise, only fall
	ch     bool // count changed scores as well
	incr   bool // the score is what to add
}

// parseZAddOptions reads the options that lead args and returns what follows them.
func parseZAddOptions(args [][]byte) (o zAddOptions, pairs [][]byte) {
	for ; len(args) > 0; args = args[1:] {
		switch arg := args[0]; {
		case isWord(arg, "NX"):
			o.nx = true
		case isWord(arg, "XX"):
			o.xx = true
		case isWord(arg, "GT"):
			o.gt = true
		case isWord(arg, "LT"):
			o.lt = true
		case isWord(arg, "CH"):
			o.ch = true
		case isWord(arg, "INCR"):
			o.incr = true
		default:
			return o, args
		}
	}
	return o, nil
}

// fault is the error about options that exclude each other or the number of pairs; "" if there is none.
func (o zAddOptions) fault(args int) string {
	switch {
	case args == 0 || args%2 != 0:
		return reply.Syntax
	case o.nx && o.xx:
		return "ERR XX and NX options at the same time are not compatible"
	case o.gt && o.nx, o.lt && o.nx, o.gt && o.lt:
		return "ERR GT, LT, and/or NX options at the same time are not compatible"
	case o.incr && args > 2:
		return "ERR INCR option supports a single increment-element pair"
	}
	return ""
}

func zAdd(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	o, pairs := parseZAddOptions(args[2:])
	if fault := o.fault(len(pairs)); fault != "" {
		w.Error(fault)
		return
	}
	var few [8]float64 // most calls need no more
	scores := few[:0]
	for i := 0; i < len(pairs); i += 2 {
		score, ok := scoreArg(w, pairs[i])
		if !ok {
			return
		}
		scores = append(scores, score)
	}
	z, ok := openZSet(tx, args[1], w)
	if !ok {
		return
	}
	if o.incr {
		zIncrease(z, pairs[1], scores[0], o, w)
		return
	}
	var added, changed int64
	for i, score := range scores {
		isNew, isChanged := o.put(z, pairs[2*i+1], score)
		if isNew {
			added++
		}
		if isChanged {
			changed++
		}
	}
	if o.ch {
		added += changed
	}
	w.Int(added)
}

// put gives a member its score, as far as the options allow.
func (o zAddOptions) put(z *collection.ZSet, m []byte, score float64) (added, changed bool) {
	if o == (zAddOptions{}) && score != 0 { // what becomes of an old member need not be known; -0 must not replace 0
		return setScore(z, m, score), false
	}
	old, found := z.Score(m)
	switch {
	case !found && !o.xx:
		return setScore(z, m, score), false
	case found && o.allows(old, score) && score != old:
		setScore(z, m, score)
		return false, true
	}
	return false, false
}

// allows says whether an old member's score may be replaced.
func (o zAddOptions) allows(old, score float64) bool {
	return !o.nx && !(o.gt && score <= old) && !(o.lt && score >= old)
}

// zIncrease adds to a member's score and answers the new one; the absent value where the options forbid it.
func zIncrease(z *collection.ZSet, m []byte, by float64, o zAddOptions, w reply.Writer) {
	old, found := z.Score(m)
	if found && o.nx || !found && o.xx {
		w.Null()
		return
	}
	score := by
	if found {
		score += old
	}
	switch {
	case math.IsNaN(score):
		w.Error("ERR resulting score is not a number (NaN)")
		return
	case found && !o.allows(old, score):
		w.Null()
		return
	case !found || score != old:
		setScore(z, m, score)
	}
	w.Double(score)
}

// setScore gives a member its score and says whether the member is new. There is no -0 in a small sorted set: Redis
// keeps whole scores as integers there.
func setScore(z *collection.ZSet, m []byte, score float64) (added bool) {
	added = z.Set(m, score)
	if score == 0 && math.Signbit(score) && !z.Large() {
		z.Set(m, 0)
	}
	return added
}

func zIncrBy(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	// The argument stands where ZADD's options do, and a word that is one is taken for it: there is no pair then.
	if o, pairs := parseZAddOptions(args[2:]); len(pairs) != 2 {
		w.Error(o.fault(len(pairs)))
		return
	}
	by, ok := scoreArg(w, args[2])
	if !ok {
		return
	}
	if z, ok := openZSet(tx, args[1], w); ok {
		zIncrease(z, args[3], by, zAddOptions{}, w)
	}
}

// scoreArg reads a score; where it is none, it answers the error and returns false.
func scoreArg(w reply.Writer, arg []byte) (float64, bool) {
	score, ok := value.ParseDouble(arg)
	if !ok {
		w.Error(reply.NotFloat)
	}
	return score, ok
}
