package raftfsm

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// request is one for entries from 11 on, of these sizes.
func request(sizes ...int) *raft.AppendEntriesRequest {
	q := &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 10, PrevLogTerm: 2, LeaderCommitIndex: 99}
	for i, n := range sizes {
		q.Entries = append(q.Entries, &raft.Log{Index: 11 + uint64(i), Term: 3, Data: make([]byte, n)})
	}
	return q
}

// laggard checks that what it is sent follows what it has, and is no more than a message bears.
type laggard struct {
	t      *testing.T
	last   raft.Log
	counts []int
	answer func(message int) (success bool, err error)
}

func (f *laggard) take(q *raft.AppendEntriesRequest) (bool, error) {
	f.t.Helper()
	if q.PrevLogEntry != f.last.Index || q.PrevLogTerm != f.last.Term || q.LeaderCommitIndex != 99 || q.Term != 3 {
		f.t.Errorf("behind %d of %d comes %+v", f.last.Index, f.last.Term, q)
	}
	if n := bytesOf(q.Entries); n > mostBytes && len(q.Entries) > 1 {
		f.t.Errorf("a message of %d entries bears %d bytes", len(q.Entries), n)
	}
	f.counts = append(f.counts, len(q.Entries))
	ok, err := true, error(nil)
	if f.answer != nil {
		ok, err = f.answer(len(f.counts) - 1)
	}
	if n := len(q.Entries); ok && err == nil && n > 0 {
		f.last = *q.Entries[n-1]
	}
	return ok, err
}

func newLaggard(t *testing.T) *laggard { return &laggard{t: t, last: raft.Log{Index: 10, Term: 2}} }

const half = mostBytes / 2

func TestMessagesAreBoundedInBytes(t *testing.T) {
	always := func() bool { return true }
	for name, c := range map[string]struct {
		sizes  []int
		answer func(int) (bool, error)
		more   func() bool
		counts []int
		sent   int
		failed bool
	}{
		"none":             {nil, nil, always, []int{0}, 0, false},
		"what fits":        {[]int{half, half, 0}, nil, always, []int{3}, 3, false},
		"more":             {[]int{half, half, 1, half, half}, nil, always, []int{2, 2, 1}, 5, false},
		"very large":       {[]int{1, 3 * mostBytes, 1, 1}, nil, always, []int{1, 1, 2}, 4, false},
		"the first fails":  {[]int{half, half, half}, func(int) (bool, error) { return false, errNoWay }, always, []int{2}, 3, true},
		"the second fails": {[]int{half, half, half}, failsAt(1), always, []int{2, 1}, 2, false},
		"not for ever":     {[]int{half, half, half}, nil, func() bool { return false }, []int{2}, 2, false},
	} {
		f := newLaggard(t)
		f.answer = c.answer
		q := request(c.sizes...)
		var a raft.AppendEntriesResponse
		err := sendParts(q, &a, c.more, func(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) (err error) {
			a.Success, err = f.take(q)
			return err
		})
		if !slices.Equal(f.counts, c.counts) || len(q.Entries) != c.sent || (err != nil) != c.failed || a.Success == c.failed {
			t.Errorf("%s: %v in %v, %d sent, answer %v", name, err, f.counts, len(q.Entries), a.Success)
		}
	}
}

func failsAt(message int) func(int) (bool, error) {
	return func(i int) (bool, error) {
		if i == message {
			return false, errNoWay
		}
		return true, nil
	}
}

// TestARefusedPartIsTheAnswer: Raft goes back to where the follower is.
func TestARefusedPartIsTheAnswer(t *testing.T) {
	f := newLaggard(t)
	f.answer = func(i int) (bool, error) { return i == 0, nil }
	var a raft.AppendEntriesResponse
	err := sendParts(request(half, half, half), &a, func() bool { return true },
		func(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) (err error) {
			a.Success, err = f.take(q)
			a.LastLog = f.last.Index
			return err
		})
	if err != nil || a.Success || a.LastLog != 12 {
		t.Fatal(err, a)
	}
}

// TestLaggardsAreSentParts: a transport of Raft's bounds what it sends, and Raft is told how far that came.
func TestLaggardsAreSentParts(t *testing.T) {
	n := newNode(t, "a").open().ready()
	defer n.close()
	f := newLaggard(t)
	f.answer = failsAt(2)
	i := &instance{ready: make(chan struct{})}
	i.context, i.cancel = context.WithCancel(context.Background())
	defer i.cancel()
	close(i.ready)
	l := &lentTransport{sentry: newSentry(hears{n.opts.Transport, f}, n.group.proof), group: n.group, instance: i}
	l.sentry.begin(n.group)
	defer func() { _ = l.sentry.close() }()
	q := request(half, half, half, half, half, half)
	if err := l.AppendEntries("b", "b", q, &raft.AppendEntriesResponse{}); err != nil {
		t.Fatal(err)
	}
	if len(q.Entries) != 4 || !slices.Equal(f.counts, []int{2, 2, 2}) {
		t.Fatal(len(q.Entries), f.counts)
	}
}

// hears is a transport with one follower.
type hears struct {
	Transport
	follower *laggard
}

func (h hears) AppendEntries(_ raft.ServerID, _ raft.ServerAddress, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) (err error) {
	a.Success, err = h.follower.take(q)
	return err
}

// railTo is a pipeline to a follower that answers when it is told to.
type railTo struct {
	rail
	follower *laggard
	sent     []railFuture
}

func (r *railTo) AppendEntries(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	var err error
	if a.Success, err = r.follower.take(q); err != nil {
		return nil, err
	}
	r.sent = append(r.sent, railFuture{q, a, nil})
	return r.sent[len(r.sent)-1], nil
}

func TestPipelinesSendParts(t *testing.T) {
	c := newCourt(t, voter("self"), voter("a"))
	inner := &railTo{rail: rail{answers: make(chan raft.AppendFuture)}, follower: newLaggard(t)}
	p := newNotedPipeline(inner, c.proof, &disk{}, "a")
	defer func() { _ = p.Close() }()
	q := request(half, half, half, half, 1)
	if _, err := p.AppendEntries(q, &raft.AppendEntriesResponse{}); err != nil || len(q.Entries) != 5 {
		t.Fatal(err, len(q.Entries))
	}
	if !slices.Equal(inner.follower.counts, []int{2, 2, 1}) {
		t.Fatal(inner.follower.counts)
	}
	inner.sent[2].a.Success = false
	for _, f := range inner.sent { // Raft hears of each
		inner.answers <- f
		if got := <-p.Consumer(); got != raft.AppendFuture(f) {
			t.Fatal("another answer")
		}
	}
	q = request(half, half, half)
	q.PrevLogEntry, q.PrevLogTerm = 15, 3
	for i, l := range q.Entries {
		l.Index = 16 + uint64(i)
	}
	if _, err := p.AppendEntries(q, &raft.AppendEntriesResponse{}); err != nil || len(q.Entries) != 2 {
		t.Fatal("where nobody takes the answers it goes on: ", err, len(q.Entries))
	}
}

// TestMessagesThatWaitAreBoundedInBytes: one that is larger by itself is let in all the same.
func TestMessagesThatWaitAreBoundedInBytes(t *testing.T) {
	_, p := guarded(t)
	large := &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 1, Entries: []*raft.Log{{Index: 2, Data: make([]byte, mostWaitingBytes+1)}}}
	errs := make(chan error, 2)
	for range 2 {
		done := tell(t, p, large)
		go func() { errs <- <-done }()
	}
	if err := <-errs; err == nil || err.Error() != errOverrun.Error() {
		t.Fatal(err)
	}
}

// deadlines is a connection that notes what it is told, in seconds.
type deadlines struct {
	net.Conn
	read, write float64
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = t.Sub(time.Unix(0, 0)).Seconds()
	return nil
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.write = t.Sub(time.Unix(0, 0)).Seconds()
	return nil
}

func (d *deadlines) SetDeadline(t time.Time) error {
	_ = d.SetReadDeadline(t)
	return d.SetWriteDeadline(t)
}

func (d *deadlines) Write(b []byte) (int, error) { return len(b), nil }

// TestLargeMessagesHaveLonger: a follower stores what it was sent at the pace at which its disk counts as working, and the
// link has to carry it before.
func TestLargeMessagesHaveLonger(t *testing.T) {
	var d deadlines
	c := &pacedConn{Conn: &d}
	write := func(n int) {
		if _, err := c.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	is := func(what string, read, write float64) {
		t.Helper()
		if d.read != read || d.write != write {
			t.Errorf("%s: read by %v, write by %v", what, d.read, d.write)
		}
	}
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	_ = c.SetDeadline(at(2))
	write(100)
	is("a heartbeat", 2, 2)
	_ = c.SetDeadline(at(10))
	write(16 << 20)
	write(16 << 20)
	is("a large message", 10+2+32, 10+2+32)
	_ = c.SetDeadline(at(100))
	write(100)
	is("a heartbeat behind it", 100, 100)
	_ = c.SetWriteDeadline(at(200))
	write(16 << 20)
	is("the first of a pipeline", 100, 200+1+16)
	_ = c.SetWriteDeadline(at(201))
	write(1)
	is("the second", 100, 201)
	_ = c.SetReadDeadline(at(300))
	is("the first answer", 300+1+16, 201)
	_ = c.SetReadDeadline(at(400))
	is("the second answer", 400, 201)
}
