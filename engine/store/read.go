package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// DueKey is a record of the deadline index. It is a hint: the key may have got another deadline since, or be gone.
type DueKey struct {
	At int64 // Unix milliseconds
	Position
}

// dueRange are the index records with a deadline <= until.
func dueRange(until int64) Range {
	from := []byte{kindDue}
	return Range{from: from, to: upperBound(appendDeadline(nil, until))}
}

// errStop ends a walk early.
var errStop = errors.New("stop")

// LoadSlot hands all records of a slot to fn, in order, but at most max of them; complete says that there were no more.
// Key and value are valid during the call only. An error of fn ends the walk and is returned.
func (s *Store) LoadSlot(ns uint32, slot uint16, max int, fn func(hash uint64, key, value []byte) error) (complete bool, err error) {
	from := appendSlot(nil, ns, slot)
	n := 0
	err = s.walk(s.db, Range{from: from, to: upperBound(from)}, func(stored, value []byte) error {
		if n == max {
			return errStop
		}
		n++
		return fn(decodePosition(stored).Hash, keyOf(stored), value)
	})
	if errors.Is(err, errStop) {
		return false, nil
	}
	return err == nil, err
}

// KeyAt hands all records at a position to fn: one, none, or several if hashes collide. As in LoadSlot.
func (s *Store) KeyAt(p Position, fn func(key, value []byte) error) error {
	from := appendPosition(nil, p)
	return s.walk(s.db, Range{from: from, to: upperBound(from)}, func(stored, value []byte) error {
		return fn(keyOf(stored), value)
	})
}

// Due returns up to max records of the deadline index in order: those with a deadline <= until that come after
// the given one (the zero DueKey stands before all).
func (s *Store) Due(until int64, after DueKey, max int) ([]DueKey, error) {
	r := dueRange(until)
	if after != (DueKey{}) {
		r.from = append(appendDue(nil, after), 0)
	}
	var keys []DueKey
	if max <= 0 || bytes.Compare(r.from, r.to) >= 0 {
		return keys, nil
	}
	err := s.walk(s.db, r, func(stored, _ []byte) error {
		k, err := decodeDue(stored)
		if err != nil {
			return err
		}
		if keys = append(keys, k); len(keys) == max {
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	return keys, nil
}

// walk hands the records of a range to fn. An error of fn is returned as it is.
func (s *Store) walk(r pebble.Reader, bounds Range, fn func(stored, value []byte) error) (err error) {
	if err := s.usable(); err != nil {
		return err
	}
	defer s.recovered("read", &err)
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: bounds.from, UpperBound: bounds.to})
	if err != nil {
		return s.explain("read", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err == nil && it.Key()[0] == kindKeys && !wellFormed(it.Key()) {
			err = fmt.Errorf("%w: %w: record key %x", ErrCorrupt, errKey, it.Key())
		}
		if err != nil {
			_ = it.Close() // it would repeat the error that ended the walk
			return s.explain("read", err)
		}
		if err := fn(it.Key(), value); err != nil {
			_ = it.Close() // fn's error is the one that counts
			return err
		}
	}
	return s.explain("read", it.Close())
}
