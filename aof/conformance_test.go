package aof_test

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/larder-db/larder/aof"
	"github.com/larder-db/larder/aof/storetest"
)

func TestConformance(t *testing.T) {
	t.Run("aof", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) raft.LogStore {
			l, err := aof.Open(aof.Options{FS: vfs.NewMem(), Dir: "log", SegmentSize: 16 << 10})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
			return l.Shard(7)
		})
	})
	t.Run("inmem", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) raft.LogStore { return raft.NewInmemStore() })
	})
	t.Run("boltdb", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) raft.LogStore {
			options := boltdb.Options{Path: filepath.Join(t.TempDir(), "raft.db"), NoSync: true, MsgpackUseNewTimeFormat: true}
			s, err := boltdb.New(options)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		})
	})
}
