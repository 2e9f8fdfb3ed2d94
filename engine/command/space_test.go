package command

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/xxh3"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/store"
)

// space is the key space of our side of a differential test: the real one over a store in memory, used by one
// goroutine, so that no lock is needed.
type space struct {
	t    testing.TB
	keys *keyspace.Keyspace
	tx   keyspace.Tx
	seed uint64
	at   uint64 // index of the last checkpoint
}

func newSpace(t testing.TB) *space {
	t.Helper()
	st, err := store.Open(store.Options{FS: vfs.NewMem(), Dir: "store"})
	if err != nil {
		t.Fatal(err)
	}
	s := &space{t: t}
	s.keys, err = keyspace.Open(keyspace.Options{Store: st, Random: s.random})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.keys.Close(); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// random is mixed, since seeds that lie side by side have transactions draw nearly the same.
func (s *space) random() uint64 {
	s.seed++
	return xxh3.HashSeed(nil, s.seed)
}

// write runs do in a writing transaction.
func (s *space) write(now int64, db int, do func(tx *keyspace.Tx)) {
	s.run(keyspace.Writing, now, db, do)
}

// read runs do in a reading transaction. Where that meets a key that is cold or due, it runs again as a read in a
// batch does.
func (s *space) read(now int64, db int, do func(tx *keyspace.Tx)) {
	s.run(keyspace.Reading, now, db, do)
	if s.tx.Cold() || s.tx.Due() {
		s.run(keyspace.Riding, now, db, do)
	}
}

// detached runs do as a long read over the keys, or over all there are.
func (s *space) detached(now int64, db int, keys []keyspace.Key, all bool, do func(tx *keyspace.Tx)) {
	due, err := s.keys.Detach(keys, all, db, now, s.random(), do)
	if err != nil {
		s.t.Fatal(err)
	}
	if due {
		s.run(keyspace.Riding, now, db, do)
	}
}

// chill makes every key cold: a checkpoint, and the front dropped.
func (s *space) chill() {
	c, err := s.keys.BeginCheckpoint()
	if err == nil {
		s.at++
		err = c.Commit(s.at, 1, nil, 0)
	}
	if err == nil {
		err = s.keys.Reload(func() error { return nil })
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) run(mode keyspace.Mode, now int64, db int, do func(tx *keyspace.Tx)) {
	if mode == keyspace.Reading { // fills may be under way, as in the engine
		s.keys.RLock()
		defer s.keys.RUnlock()
	} else {
		s.keys.Lock()
		defer s.keys.Unlock()
	}
	s.tx.Begin(s.keys, mode, db, now, s.random())
	do(&s.tx)
	if err := s.tx.Err(); err != nil {
		s.t.Fatal(err)
	}
}
