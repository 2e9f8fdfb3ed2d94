package keyspace

import (
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// What Tx.Kind says of a key decides which of the following may be called for it: the one of its kind, or, where the key
// does not exist (value.None), any. A collection that was opened is good until the transaction's command ends; several may
// be open at a time, but none may be used behind a Put, Delete, Swap or Flush of its key.

// Kind is the kind of value under key, value.None if there is none. It counts as a use of the key.
func (tx *Tx) Kind(db int, key []byte) value.Kind { panic("stub") }

// Hash opens the hash under key, which holds one or does not exist.
func (tx *Tx) Hash(db int, key []byte) *collection.Hash { panic("stub") }

// List opens the list under key, which holds one or does not exist.
func (tx *Tx) List(db int, key []byte) *collection.List { panic("stub") }

// Set opens the set under key, which holds one or does not exist.
func (tx *Tx) Set(db int, key []byte) *collection.Set { panic("stub") }

// ZSet opens the sorted set under key, which holds one or does not exist.
func (tx *Tx) ZSet(db int, key []byte) *collection.ZSet { panic("stub") }

// Copy stores what from holds under to as well, in place of what was there, with the time to live expire (0: none). The
// source must exist, and not be the destination.
func (tx *Tx) Copy(fromDB int, from []byte, toDB int, to []byte, expire int64) { panic("stub") }

// Move is Copy with the source's own time to live, and removes the source.
func (tx *Tx) Move(fromDB int, from []byte, toDB int, to []byte) { panic("stub") }
