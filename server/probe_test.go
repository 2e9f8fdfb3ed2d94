package server

import (
	"testing"

	"github.com/larder-db/larder/engine/command"
)

// TestProofBehindTheEndOfAShard: a proof that arrives when the shard has closed here answers nothing from what was its state.
func TestProofBehindTheEndOfAShard(t *testing.T) {
	t.Parallel()
	ts := start(t)
	sh := ts.openAnother(2)
	var ls *loopShard
	var b *batch
	onLoop := func(do func(l *loop)) {
		done := make(chan struct{})
		l := (*ts.node.loops.Load())[0]
		l.loop.Post(func() { defer close(done); do(l) })
		<-done
	}
	onLoop(func(l *loop) {
		ls = l.of(sh)
		b = ls.batch(0)
		b.commands.AddRead(command.Lookup([]byte("GET")), 0, [][]byte{[]byte("GET"), []byte("a")})
		b.notes = append(b.notes, note{session: l.nobody, slot: noSlot, entry: l.server.expireEntry})
		ls.open, ls.probing = nil, b
	})
	ts.closeAgain(sh)
	onLoop(func(*loop) {
		before := ls.flight
		ls.probed(b, sh.group.Uptime(), nil)
		if b.of != nil || ls.flight != before { // it was taken back at once, and is ready for its next use
			t.Error("the reads are being answered")
		}
	})
}
