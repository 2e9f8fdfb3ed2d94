package command

import (
	"bytes"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value/collection"
)

func sPop(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	count := int64(-1) // one, not as a set
	if len(args) > 3 {
		w.Error(reply.Syntax)
		return
	}
	if len(args) == 3 {
		var ok bool
		if count, ok = positiveArg(w, args[2]); !ok {
			return
		}
	}
	s, ok := openSet(tx, args[1], w)
	if !ok {
		return
	}
	size := int64(s.Len())
	switch {
	case count < 0 && size == 0:
		w.Null()
	case count < 0:
		popOne(tx, s, w)
	case count >= size:
		all := union([]*collection.Set{s})
		all.replySet(w)
		tx.Delete(tx.DB(), args[1])
	case count/5 >= size-count:
		popMost(tx, args[1], s, int(size-count), w)
	default:
		w.Set(int(count))
		for range count {
			popOne(tx, s, w)
		}
	}
}

// popOne removes a member and answers with it.
func popOne(tx *keyspace.Tx, s *collection.Set, w reply.Writer) {
	m := bytes.Clone(s.At(draw(tx, s.Len())))
	w.Bulk(m)
	s.Remove(m)
}

// popMost removes and answers with all members but a few, which make up the set anew: as in Redis, it may thereby
// become a set of integers again. It keeps its time to live.
func popMost(tx *keyspace.Tx, key []byte, s *collection.Set, keep int, w reply.Writer) {
	left := s.Len()
	w.Set(left - keep)
	var kept keyList
	for m := range s.All() {
		if draw(tx, left) < keep {
			kept.add(m)
			keep--
		} else {
			w.Bulk(m)
		}
		left--
	}
	e, _ := tx.Peek(tx.DB(), key)
	expire := e.Expire
	tx.Delete(tx.DB(), key)
	tx.Set(tx.DB(), key).Fill(len(kept.ends), kept.all)
	tx.SetExpire(tx.DB(), key, expire)
}

// sRandMember answers with one member, with a number of distinct ones, or, where the number is negative, with as many
// that may repeat.
func sRandMember(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	if len(args) == 2 {
		s, ok := openSet(tx, args[1], w)
		switch {
		case !ok:
		case s.Len() == 0:
			w.Null()
		default:
			w.Bulk(s.At(draw(tx, s.Len())))
		}
		return
	}
	if len(args) > 3 {
		w.Error(reply.Syntax)
		return
	}
	count, ok := drawsArg(w, args[2])
	if !ok {
		return
	}
	s, ok := openSet(tx, args[1], w)
	if !ok {
		return
	}
	size := s.Len()
	switch {
	case size == 0:
		w.Array(0)
	case count < -mostRepeats:
		w.Error(drawsOutOfRange)
	case count < 0:
		w.Array(int(-count))
		for range -count {
			w.Bulk(s.At(draw(tx, size)))
		}
	case count >= int64(size):
		w.Array(size)
		for m := range s.All() {
			w.Bulk(m)
		}
	default:
		w.Array(int(count))
		sample(tx, int(count), size, func(place int) { w.Bulk(s.At(place)) })
	}
}
