package raftfsm

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
)

// pacedClock is a clock that only work and rests move.
type pacedClock struct {
	at     time.Duration
	rested time.Duration
	over   time.Duration // by which sleeps are longer than asked for
}

func (c *pacedClock) pacer() pacer {
	return pacer{now: func() time.Duration { return c.at }, sleep: func(d time.Duration) {
		c.at += d + c.over
		c.rested += d + c.over
	}}
}

func (c *pacedClock) works(d time.Duration) { c.at += d }

// A sender rests by what making a frame took, but not so that the snapshot is slower than it may be.
func TestSendingRests(t *testing.T) {
	const frame = 64 << 10
	c := &pacedClock{}
	hurry := false
	p := &sendPacer{pacer: c.pacer(), hurry: func() bool { return hurry }}
	p.begin()
	send := func(work, write time.Duration) time.Duration {
		t.Helper()
		before := c.rested
		c.works(work)
		n, err := p.frame(make([]byte, frame), func(b []byte) (int, error) {
			c.works(write)
			return len(b), nil
		})
		if n != frame || err != nil {
			t.Fatal(n, err)
		}
		return c.rested - before
	}
	const ms = time.Millisecond
	least := time.Duration(frame) * time.Second / leastRate
	for _, x := range []struct{ work, write, want time.Duration }{
		{ms / 2, 0, restTimes * ms / 2},
		{ms / 2, ms, restTimes * ms / 2},      // that the follower takes its time is no work
		{2 * ms, 0, least - 2*ms},             // never slower than leastRate
		{2 * ms, 10 * ms, 0},                  // which it is already
		{ms / 16, 0, 0}, {3 * ms / 16, 0, ms}, // short rests are put together
		{ms / 2, 0, restTimes * ms / 2},
	} {
		if got := send(x.work, x.write); got != x.want {
			t.Errorf("after %v of work and %v of writing it rests %v, want %v", x.work, x.write, got, x.want)
		}
	}
	c.over = ms / 2
	first, second := send(ms/2, 0), send(ms/2, 0)
	if first != restTimes*ms/2+ms/2 || second != restTimes*ms/2 {
		t.Errorf("what was overslept counts as rest: %v, %v", first, second)
	}
	hurry = true
	for range hurryLook / frame {
		send(ms/2, 0)
	}
	if got := send(ms/2, 0); got != 0 {
		t.Errorf("it rests %v while the log grows too long", got)
	}
	hurry = false
	for range hurryLook / frame {
		send(ms/2, 0)
	}
	if send(ms/2, 0) == 0 {
		t.Error("it does not rest any more")
	}
	broken := errors.New("broken")
	before := c.rested
	c.works(ms)
	if _, err := p.frame([]byte{1}, func([]byte) (int, error) { return 0, broken }); !errors.Is(err, broken) || c.rested != before {
		t.Errorf("%v, rested %v", err, c.rested-before)
	}
}

// A follower rests behind an install, for a while, and as long as it does not lead and is not to stop.
func TestApplyingRestsBehindAnInstall(t *testing.T) {
	var none *applyPacer
	if none.paced() {
		t.Error("a group that has installed nothing rests")
	}
	const ms = time.Millisecond
	for _, end := range []string{"time", "leads", "stopped"} {
		c := &pacedClock{}
		is, applied := "", 0
		p := &applyPacer{pacer: c.pacer(), until: longestRests,
			leads: func() bool { return is == "leads" }, stopped: func() bool { return is == "stopped" }}
		apply := func(work time.Duration) time.Duration {
			before := c.rested
			p.apply(func() { applied++; c.works(work) })
			return c.rested - before
		}
		if got := apply(ms); got != restTimes*ms {
			t.Errorf("it rests %v", got)
		}
		if got := apply(time.Second); got != longestRest {
			t.Errorf("after a long step it rests %v", got)
		}
		before := c.rested
		p.apply(func() {
			applied++
			for range 3 {
				c.works(ms)
				p.step()
			}
			if is = end; end == "time" {
				c.works(longestRests)
			}
			p.step()
			c.works(ms)
		})
		if got := c.rested - before; got != 3*restTimes*ms || p.paced() {
			t.Errorf("%s: it rests %v in four steps, and goes on: %t", end, got, p.paced())
		}
		if is = ""; apply(ms) != 0 || p.paced() {
			t.Errorf("%s: it rests again", end)
		}
		if applied != 4 {
			t.Errorf("%d of 4 entries were applied", applied)
		}
	}
}

// What an entry needs is fetched bit by bit, with rests, before it is applied.
func TestPacedEntriesAreWarmedFirst(t *testing.T) {
	e := openTwin(&twinDisk{})
	e.onApply = func(index uint64, _ *engine.Batch) error {
		e.events.add(fmt.Sprint("apply ", index))
		return nil
	}
	c := &pacedClock{}
	e.onWarm = func() {
		e.events.add("warm")
		c.works(time.Millisecond)
	}
	no := func() bool { return false }
	p := &applyPacer{pacer: c.pacer(), leads: no, stopped: no, until: longestRests}
	f := newFSM(&Options{Engine: e, Fatal: func(err error) { t.Error(err) }}, newInFlight(1), &gate{}, 0)
	f.pace = p
	b := engine.Batch{}
	b.AddWrite(command.Lookup([]byte("SET")), 0, [][]byte{[]byte("SET"), []byte("k"), []byte("v")})
	entry := b.Seal(engine.Header{})
	f.ApplyBatch([]*raft.Log{{Index: 1, Data: entry}, {Index: 2, Data: entry}})
	if got := e.events.take(); !slices.Equal(got, []string{"warm", "apply 1", "warm", "apply 2"}) {
		t.Errorf("%q", got)
	}
	if c.rested != 2*restTimes*time.Millisecond {
		t.Errorf("it rested %v", c.rested)
	}
	p.over.Store(true)
	f.ApplyBatch([]*raft.Log{{Index: 3, Data: entry}})
	if got := e.events.take(); !slices.Equal(got, []string{"apply 3"}) {
		t.Errorf("%q", got)
	}
}
