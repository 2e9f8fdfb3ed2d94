package server

import (
	"slices"
	"strings"
	"testing"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/server/resp"
)

// TestKeysShowOnceWhileSlotsMove: between the moment from which the target owns a slot and that in which the source lets go of
// it both have its keys, and a map that is behind makes no key vanish.
func TestKeysShowOnceWhileSlotsMove(t *testing.T) {
	t.Parallel()
	x := startTwoShards(t)
	c := x.dial()
	source, target := x.shards[0], x.shards[1]
	c.must("SET b 1", "+OK\r\n")
	c.must("SET c 1", "+OK\r\n") // the source's, too
	c.must("SET a 1", "+OK\r\n") // the target's
	once := func(when string) {
		t.Helper()
		if got := c.do("DBSIZE"); got != ":3\r\n" {
			t.Errorf("%s: DBSIZE is %q", when, got)
		}
		keys := elements(c.do("KEYS", "*"))
		slices.Sort(keys)
		var scanned []string
		for cursor := "0"; ; {
			list := elements(c.do("SCAN", cursor))
			scanned = append(scanned, list[1:]...)
			if cursor = list[0]; cursor == "0" {
				break
			}
		}
		slices.Sort(scanned)
		if want := []string{"a", "b", "c"}; !slices.Equal(keys, want) || !slices.Equal(scanned, want) {
			t.Errorf("%s: KEYS has %q, SCAN %q", when, keys, scanned)
		}
	}
	old := x.node.routing.Load()
	slot := keyspace.Slot([]byte("b"))
	next := *old
	next.takers = []taker{{[]cluster.Range{{From: slot, To: slot}}, target}}
	x.node.setRouting(&next)
	x.step(target, command.SlotsBeginImport, "b")
	once("while it is copied")
	x.step(source, command.SlotsFreeze, "b")
	once("frozen")
	x.step(target, command.SlotsSeal, "b")
	x.step(target, command.SlotsOwn, "b")
	set := &engine.Batch{Replies: singleReply{&resp.Writer{}}} // stands for the copied one
	set.AddWrite(command.Lookup([]byte("SET")), 0, [][]byte{[]byte("SET"), []byte("b"), []byte("1")})
	if err := target.proposeAndWait(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	once("owned by the target")
	x.step(source, command.SlotsDisown, "b")
	once("let go by the source")

	f := &fanned{server: x.Server, routing: old, row: command.Lookup([]byte("SCAN"))} // it was begun before
	w := &resp.Writer{}
	f.scan([][]byte{[]byte("SCAN"), []byte("0"), []byte("COUNT"), []byte("1000")}, w)
	if !strings.Contains(string(w.Buf), bulk("b")) {
		t.Errorf("a SCAN that began before the slot went found %q", w.Buf)
	}
}

// TestFlushMeetsSlotsOnTheMove: slots go from a shard that is still to be flushed to one that has been.
func TestFlushMeetsSlotsOnTheMove(t *testing.T) {
	t.Parallel()
	x := startTwoShards(t)
	c, flusher := x.dial(), x.dial()
	c.must("SET b 1", "+OK\r\n") // the first shard's
	c.must("SET d 1", "+OK\r\n") // the second's
	x.step(x.shards[1], command.SlotsFreeze, "a")
	flusher.send(line("FLUSHALL"))
	eventually(t, "the first shard is empty", func() bool { return c.do("GET", "b") == "$-1\r\n" })
	slot := keyspace.Slot([]byte("d"))
	if err := x.migrate(1, cluster.Range{From: slot, To: slot}); err != nil {
		t.Fatal(err)
	}
	x.step(x.shards[1], command.SlotsThaw, "a")
	switch got := flusher.reply(); got {
	case "+OK\r\n":
		c.must("GET d", "$-1\r\n")
	case string(indeterminateReply): // it took too long
	default:
		t.Error(got)
	}
}
