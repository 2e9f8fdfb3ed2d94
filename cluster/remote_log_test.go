package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/race"
	"github.com/larder-db/larder/raftfsm"
)

func FuzzCommands(f *testing.F) {
	f.Add(encodeCommands(nil))
	f.Add(encodeCommands([][][]byte{words("LARDER.SLOTS", "STATE", ""), words("x")}))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		commands, err := decodeCommands(b)
		if err != nil {
			return
		}
		again, err := decodeCommands(encodeCommands(commands))
		if err != nil || len(again) != len(commands) {
			t.Fatal(again, err)
		}
		for i, args := range commands {
			if len(args) != len(again[i]) || !bytes.Equal(bytes.Join(args, []byte{0}), bytes.Join(again[i], []byte{0})) {
				t.Fatalf("%q became %q", args, again[i])
			}
		}
	})
}

// TestCommandsAreFewerThanTheirBytes: each takes many times the memory that it takes bytes on its way.
func TestCommandsAreFewerThanTheirBytes(t *testing.T) {
	const n = 1 << 20
	for _, b := range [][]byte{
		append(binary.AppendUvarint(nil, n), make([]byte, n)...),                     // commands without arguments
		append(binary.AppendUvarint(append([]byte(nil), 1), n), make([]byte, n)...),  // arguments without bytes
		append(binary.AppendUvarint(nil, n), bytes.Repeat([]byte{0xff, 0x7f}, n)...), // and what breaks off
		append(binary.AppendUvarint(append([]byte(nil), 1), n), bytes.Repeat([]byte{0xff, 0x7f}, n)...),
	} {
		var before, behind runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := decodeCommands(b)
		runtime.ReadMemStats(&behind)
		if took := behind.TotalAlloc - before.TotalAlloc; !errors.Is(err, errCommands) || took > 8*n {
			t.Errorf("%x…: %d bytes took %d, %v", b[:8], len(b), took, err)
		}
	}
}

// TestRemoteLogFindsTheLeader: whoever leads the shard gets the commands, and nobody else's answer counts; what no row of
// a migration is, is refused there.
func TestRemoteLogFindsTheLeader(t *testing.T) {
	w := newWorld(t)
	nodes := []*testNode{w.start(aNode(1, "")), w.start(aNode(2, "")), w.start(aNode(3, ""))}
	nodes[0].found(1, 3)
	nodes[1].join(nodes[0])
	nodes[2].join(nodes[0])
	ctx := context.Background()
	w.eventually("all is settled", func() bool { return w.settled(nodes...) && len(nodes[0].document().Nodes) == 3 })
	from := nodes[0]
	if from.shardLog(1) != nil {
		from = nodes[1] // which does not lead
	}
	w.eventually("it knows the document", func() bool { return from.document().Shard(1) != nil })
	log := RemoteLog{Shard: 1, Client: from.client, View: from.meta.Load().View, Patience: 5 * time.Second,
		Local:  func(uint32) ShardLog { return nil },
		Leader: func(uint32) NodeID { return from.self.ID }} // who is wrong
	slots := []keyspace.SlotRange{{From: 1, To: 2}}
	replies, err := log.Propose(ctx, [][][]byte{command.SlotsArgs(command.SlotsState, 1, 1, slots), command.SlotsArgs(command.SlotsState, 1, 0, slots)})
	if err != nil || len(replies) != 2 || replies[0].first() != 2 || !errors.Is(replies[1].Err(), keyspace.ErrStale) {
		t.Errorf("%+v, %v", replies, err)
	}
	large := command.ImportArgs(keyspace.ImportHead{Migration: 1, Attempt: 1, Entry: 1}, make([]byte, (90<<20)/race.Factor)) // a large request in any case
	w.eventually("a large record is refused by the leader", func() bool {                                                    // storing it may cost the leadership, whose lease is short here
		replies, err := log.Propose(ctx, [][][]byte{large})
		return err == nil && len(replies) == 1 && replies[0].Error != ""
	})
	if _, err := log.Propose(ctx, [][][]byte{words("SET", "a", "1")}); err == nil {
		t.Error("a client's command was taken")
	}
	log.Shard, log.Patience = 9, 50*time.Millisecond
	if _, err := log.Propose(ctx, [][][]byte{command.SlotsArgs(command.SlotsState, 1, 1, slots)}); !errors.Is(err, raftfsm.ErrNotLeader) {
		t.Error(err)
	}
	var none struct{}
	if err := from.client.call(ctx, http.MethodPost, nodes[2].self.Peer, pathLog+"x", false, none, &none); err == nil {
		t.Error("a shard without a number was found")
	}
}
