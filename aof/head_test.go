package aof

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// TestGetHead: a command's head is what the entry is, without data; any other entry comes whole; a head that was changed
// on disk is damage.
func TestGetHead(t *testing.T) {
	log, err := Open(Options{FS: vfs.NewMem(), Dir: "log"})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s := log.Shard(3)
	entries := []*raft.Log{
		{Index: 1, Term: 2, Type: raft.LogConfiguration, Data: []byte("configuration")},
		{Index: 2, Term: 2, Type: raft.LogCommand, Data: bytes.Repeat([]byte("x"), 100_000)},
		{Index: 3, Term: 4, Type: raft.LogNoop},
	}
	if err := s.StoreLogs(entries); err != nil {
		t.Fatal(err)
	}
	for _, want := range entries {
		var got raft.Log
		if err := s.GetHead(want.Index, &got); err != nil {
			t.Fatal(err)
		}
		data := want.Data
		if want.Type == raft.LogCommand {
			data = nil
		}
		if got.Index != want.Index || got.Term != want.Term || got.Type != want.Type || !bytes.Equal(got.Data, data) {
			t.Errorf("entry %d: got %v", want.Index, &got)
		}
	}
	if err := s.GetHead(4, new(raft.Log)); err != raft.ErrLogNotFound {
		t.Errorf("an entry that is not there: %v", err)
	}
}
