package command

import (
	"strings"
	"testing"

	"github.com/larder-db/larder/engine/keyspace"
)

// TestMetaIsStoredByWhoSawTheLastVersion: others are told the version and change nothing, however long the document is.
func TestMetaIsStoredByWhoSawTheLastVersion(t *testing.T) {
	s := newSpace(t)
	long := strings.Repeat("x", 3<<20)
	for _, c := range []struct {
		expected        uint64
		document        string
		replied, stored string
	}{
		{1, "early", ":0\r\n", ""},
		{0, "one", "+OK\r\n", "1 one"},
		{0, "again", ":1\r\n", "1 one"},
		{1, long, "+OK\r\n", "2 " + long},
		{1, "late", ":2\r\n", "2 " + long},
		{2, "", "+OK\r\n", "3 "},
		{1<<64 - 1, "end", "-ERR value is not an integer or out of range\r\n", "3 "},
	} {
		w := &respWriter{proto: 2}
		s.write(1_000_000, 0, func(tx *keyspace.Tx) {
			args := MetaArgs(c.expected, []byte(c.document))
			Lookup(args[0]).Do(tx, args, w)
			e, found := tx.Peek(0, []byte(MetaKey))
			var now string
			if found {
				now = string(tx.Whole(0, []byte(MetaKey), e))
			}
			if now != c.stored {
				t.Errorf("after %d %.10s: stored is %.20q, not %.20q", c.expected, c.document, now, c.stored)
			}
		})
		if string(w.out) != c.replied {
			t.Errorf("%d %.10s: replied %q, not %q", c.expected, c.document, w.out, c.replied)
		}
	}
}

func TestSplitMeta(t *testing.T) {
	for _, c := range []struct {
		stored, document string
		version          uint64
		ok               bool
	}{{"7 {}", "{}", 7, true}, {"7 a b", "a b", 7, true}, {"7", "", 0, false}, {"", "", 0, false}, {"x {}", "{}", 0, false}} {
		version, document, ok := SplitMeta([]byte(c.stored))
		if ok != c.ok || ok && (version != c.version || string(document) != c.document) {
			t.Errorf("%q: %d, %q, %v", c.stored, version, document, ok)
		}
	}
}
