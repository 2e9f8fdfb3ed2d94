package command

import (
	"fmt"
	"testing"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/value"
)

// TestEvict: named keys go whatever they hold, with VOLATILE only those that still have a time to live.
func TestEvict(t *testing.T) {
	s := newSpace(t)
	const now = 1_000_000
	put := func(key string, at int64) {
		s.write(now, 0, func(tx *keyspace.Tx) {
			tx.Put(0, []byte(key), keyspace.Entry{Kind: value.String, Value: []byte("v"), Expire: at})
		})
	}
	put("timed", now+1000)
	put("plain", 0)
	put("due", now+1)
	put("other", now+1000)
	for _, c := range []struct {
		timed   bool
		removed int64
		left    int64
	}{{true, 1, 2}, {false, 1, 1}, {false, 0, 1}} {
		w := &respWriter{proto: 2}
		s.write(now+10, 0, func(tx *keyspace.Tx) {
			args := append(EvictArgs(c.timed), []byte("timed"), []byte("plain"), []byte("due"), []byte("missing"), []byte("timed"))
			Lookup(args[0]).Do(tx, args, w)
			if n := tx.Len(0); n != c.left {
				t.Errorf("%d keys are left, not %d", n, c.left)
			}
		})
		if string(w.out) != fmt.Sprintf(":%d\r\n", c.removed) {
			t.Errorf("replied %q, not %d", w.out, c.removed)
		}
	}
}
