package raftfsm

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

// FuzzStable: whatever a record of the stable store holds, it is a vote and a number, or an error.
func FuzzStable(f *testing.F) {
	f.Add([]byte("12345678server"), true)
	f.Add([]byte("short"), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, contents []byte, sound bool) {
		m := NewMemoryStable()
		g := newGroupStable(m, 7)
		for _, name := range [][]byte{keyVote, keyCurrentTerm} {
			if sound {
				must(t, g.write(name, contents))
			} else {
				must(t, m.put(g.key(name), contents))
			}
		}
		_, err := g.Get(keyCandidate)
		if sound && (err == nil) != (len(contents) >= 8) {
			t.Errorf("a vote of %d bytes: %v", len(contents), err)
		}
		if _, err := g.GetUint64(keyCurrentTerm); err != nil && !errors.Is(err, ErrStable) {
			t.Errorf("a term of %d bytes: %v", len(contents), err)
		}
	})
}

// FuzzConfiguration: any bytes are a configuration or an error, not a panic of the library's.
func FuzzConfiguration(f *testing.F) {
	f.Add(raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "b"}}}))
	f.Add([]byte{0xc1})
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = decodeConfiguration(b) // it returns
	})
}
