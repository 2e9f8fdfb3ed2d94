package keyspace

import (
	"errors"
	"fmt"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// ErrGap: entries of the import are missing before this one.
var ErrGap = errors.New("entries of the import are missing")

// ImportHead says which part of an import it is.
type ImportHead struct {
	Migration, Attempt uint64
	Entry              uint64 // of this attempt, from 1: each is applied once, in order
	Seed               uint64 // the source's
}

// removeStep is how many nodes of collections that are gone one entry removes.
const removeStep = 4096

// Import stores records that a SlotExport has made in importing slots. What was applied already is not applied again. left
// is how many large collections are still to be removed, which later entries do.
//
// The numbers of large collections become numbers that this shard has given to none: those that were sent plus an offset.
// Collections of other slots may get the same; those that this shard makes later are beyond.
func (tx *Tx) Import(h ImportHead, records []byte) (left int, err error) {
	tx.changes()
	m, err := tx.ks.attemptLocked(h.Migration, h.Attempt)
	switch {
	case err != nil:
		return 0, err
	case h.Seed != tx.ks.mu.seed:
		return 0, ErrSeed
	case m.begun != h.Attempt:
		return 0, fmt.Errorf("%w: no import was begun", ErrSlotState)
	case m.spoiled:
		return 0, ErrSpoiled
	case h.Entry <= m.entries:
		return len(m.unremoved), nil
	case h.Entry != m.entries+1:
		return 0, fmt.Errorf("%w: %d came, %d comes next", ErrGap, h.Entry, m.entries+1)
	}
	t := tx.ks.Slots()
	for r := (sentReader{records, true}); len(r.b) > 0; {
		s, err := r.next()
		if err != nil {
			return 0, err
		}
		if t.State(s.slot) != Importing || t.migration[s.slot] != h.Migration {
			return 0, fmt.Errorf("%w: slot %d is %v", ErrSlotState, s.slot, t.State(s.slot))
		}
		if max(s.hash>>value.NodeBits, s.number, s.collection())+m.offset > maxCollection {
			return 0, fmt.Errorf("%w: %w", ErrImport, errNumbersUsedUp)
		}
	}
	for r := (sentReader{records, true}); len(r.b) > 0 && tx.err == nil; {
		s, _ := r.next()
		tx.importRecord(m, &s)
	}
	m.entries, m.sealed = h.Entry, false
	tx.ks.mu.emptying = emptying{}
	for budget := removeStep; len(m.unremoved) > 0 && tx.err == nil; {
		n, more := tx.removeNodes(m.unremoved[0], budget)
		if more {
			break
		}
		budget -= n
		m.unremoved = m.unremoved[1:]
	}
	return len(m.unremoved), nil
}

// collection is the number of the large collection that a key's record is the root of; 0: of none.
func (s *sent) collection() uint64 {
	if s.what != sentKey || s.item.Enc != value.Large {
		return 0
	}
	return collection.Number(s.item.Value)
}

func (tx *Tx) importRecord(m *migration, s *sent) {
	sp, f := tx.ks.mu.dbs[s.db], tx.ks.front
	switch s.what {
	case sentKey:
		if n := s.collection(); n > 0 {
			s.item.Value = collection.WithNumber(s.item.Value, n+m.offset)
			tx.ks.mu.collections = max(tx.ks.mu.collections, n+m.offset)
		}
		now := tx.ks.usage.clock.Load()
		tx.setRaw(f.Find(sp, s.slot, tx.ks.hash(s.key), s.key), s.item, front.WithFrequency(now-s.idle, s.uses))
	case sentGoneKey:
		tx.removeRaw(f.Find(sp, s.slot, tx.ks.hash(s.key), s.key))
	case sentNode, sentGoneNode:
		hash := s.hash + m.offset<<value.NodeBits
		tx.ks.mu.collections = max(tx.ks.mu.collections, hash>>value.NodeBits)
		l := f.Find(sp.Nodes, s.slot, hash, front.AppendNodeKey(nil, s.slot, hash))
		if s.what == sentNode {
			tx.setRaw(l, s.item, tx.fresh())
		} else {
			tx.removeRaw(l)
		}
	case sentGoneCollection:
		m.unremoved = append(m.unremoved, goneCollection{s.db, s.slot, s.number + m.offset})
	}
}

// known makes sure that the front has an entry where the store has one.
func (tx *Tx) known(l *front.Loc) {
	if !l.Known() && !l.Final() {
		if err := tx.ks.loadLocked(l); err != nil {
			tx.fail(err)
		}
	}
}

// setRaw stores a key's or a node's contents; nodes of what a key had before stay.
func (tx *Tx) setRaw(l front.Loc, it front.Item, use uint32) {
	if tx.known(&l); tx.err != nil {
		return
	}
	if err := tx.ks.front.Put(&l, it, use); err != nil {
		tx.fail(err)
	}
}

// removeRaw removes a key or a node, if it is there; nodes of what a key had stay.
func (tx *Tx) removeRaw(l front.Loc) {
	if tx.known(&l); tx.err != nil || !l.Known() || tx.ks.front.Item(&l).Tombstone {
		return
	}
	if err := tx.ks.front.Remove(&l, tx.fresh()); err != nil {
		tx.fail(err)
	}
}

// removeNodes removes about most nodes of a collection whose key is gone, and says whether more are left.
func (tx *Tx) removeNodes(g goneCollection, most int) (n int, more bool) {
	end := (g.number + 1) << value.NodeBits
	for hash := g.number << value.NodeBits; ; {
		if n >= most {
			return n, true
		}
		list, to, err := tx.stretchOf(func() *front.Space { return tx.ks.mu.dbs[g.db].Nodes }, g.slot, hash, most-n, most-n, false)
		if err != nil {
			tx.fail(err)
			return n, false
		}
		for _, s := range list {
			if s.position.Slot != g.slot || s.position.Hash >= end {
				return n, false
			}
			if !s.gone {
				tx.removeRaw(tx.ks.front.Find(tx.ks.mu.dbs[g.db].Nodes, g.slot, s.position.Hash, s.key))
				n++
			}
		}
		if to.Slot != g.slot || to.Hash >= end {
			return n, false
		}
		hash = to.Hash
	}
}
