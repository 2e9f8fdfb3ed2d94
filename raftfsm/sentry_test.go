package raftfsm

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// tap is a transport in memory that a test listens in on.
type tap struct {
	*raft.InmemTransport
	handle func(raft.RPC) // the fast path

	mu          sync.Mutex
	appendEntry func(to raft.ServerID, q *raft.AppendEntriesRequest, send func() error) error
	timeoutNow  func(*raft.TimeoutNowRequest)
	cut         bool          // from everybody
	cutFrom     raft.ServerID // from one
	preVotes    int
}

func newTap(id string) *tap {
	_, inner := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), 20*time.Second)
	return &tap{InmemTransport: inner}
}

func (p *tap) SetHeartbeatHandler(handle func(raft.RPC)) { p.handle = handle }

func (p *tap) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *tap) isCut(to raft.ServerID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut || p.cutFrom == to
}

func (p *tap) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (p *tap) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest,
	a *raft.AppendEntriesResponse) error {
	p.mu.Lock()
	hook := p.appendEntry
	p.mu.Unlock()
	send := func() error { return p.InmemTransport.AppendEntries(id, to, q, a) }
	switch {
	case p.isCut(id):
		return errNoWay
	case hook != nil:
		return hook(id, q, send)
	default:
		return send()
	}
}

func (p *tap) RequestPreVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestPreVoteRequest,
	a *raft.RequestPreVoteResponse) error {
	p.set(func() { p.preVotes++ })
	if p.isCut(id) {
		return errNoWay
	}
	return p.InmemTransport.RequestPreVote(id, to, q, a)
}

func (p *tap) RequestVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestVoteRequest, a *raft.RequestVoteResponse) error {
	if p.isCut(id) {
		return errNoWay
	}
	return p.InmemTransport.RequestVote(id, to, q, a)
}

func (p *tap) TimeoutNow(id raft.ServerID, to raft.ServerAddress, q *raft.TimeoutNowRequest, a *raft.TimeoutNowResponse) error {
	p.mu.Lock()
	hook := p.timeoutNow
	p.mu.Unlock()
	if hook != nil {
		hook(q)
	}
	return p.InmemTransport.TimeoutNow(id, to, q, a)
}

// guarded is a sentry without a Raft, in term 5, whose inbox the test reads.
func guarded(t *testing.T) (*sentry, *tap) {
	p := newTap("a")
	s := newSentry(p, &proof{})
	s.memory = &memory{fence: &s.fence, last: func() (uint64, bool) { return 0, false }}
	s.goroutines.Go(s.receive)
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	stable := fencedStable{NewMemoryStable().Group(7), &s.fence}
	if err := stable.SetUint64(keyCurrentTerm, 5); err != nil {
		t.Fatal(err)
	}
	return s, p
}

// tell has another node send a message to the tap's.
func tell(t *testing.T, to *tap, command any) chan error {
	from := newTap("b")
	from.Connect(to.LocalAddr(), to.InmemTransport)
	done := make(chan error, 1)
	go func() {
		switch m := command.(type) {
		case *raft.TimeoutNowRequest:
			done <- from.InmemTransport.TimeoutNow("a", to.LocalAddr(), m, &raft.TimeoutNowResponse{})
		case *raft.AppendEntriesRequest:
			done <- from.InmemTransport.AppendEntries("a", to.LocalAddr(), m, &raft.AppendEntriesResponse{})
		}
	}()
	return done
}

// TestMessagesThatWaitAreBounded: while Raft takes none, as when its disk does not answer, senders give up on theirs and send
// them again.
func TestMessagesThatWaitAreBounded(t *testing.T) {
	s, p := guarded(t)
	refused := make(chan error, 2*mostWaiting)
	for range 2 * mostWaiting {
		done := tell(t, p, &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: 1})
		go func() { refused <- <-done }()
	}
	for range mostWaiting {
		if err := <-refused; !errors.Is(err, errOverrun) {
			t.Fatal(err)
		}
	}
	for range mostWaiting {
		rpc := <-s.Consumer()
		rpc.Respond(&raft.AppendEntriesResponse{}, nil)
	}
	for range mostWaiting {
		if err := <-refused; err != nil {
			t.Fatal(err)
		}
	}
}

func TestTimeoutNowIsOfTheTerm(t *testing.T) {
	s, p := guarded(t)
	for _, addr := range [][]byte{encodeTerm(4), encodeTerm(6), nil, []byte("127.0.0.1:7000"), encodeTerm(5)[:9],
		append(encodeTerm(5), 0)} {
		q := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{Addr: addr}}
		if err := <-tell(t, p, q); !errors.Is(err, errStale) {
			t.Errorf("%q: %v", addr, err)
		}
	}
	done := tell(t, p, &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{Addr: encodeTerm(5)}})
	rpc := <-s.Consumer()
	rpc.Respond(&raft.TimeoutNowResponse{}, nil)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestOnlyLeadersTellOthersToStand(t *testing.T) {
	p := newTap("a")
	var sent *raft.TimeoutNowRequest
	p.timeoutNow = func(q *raft.TimeoutNowRequest) { sent = q }
	leads := false
	s := newSentry(p, &proof{leads: func() (uint64, bool) { return 9, leads }})
	defer func() { _ = s.close() }()
	if err := s.TimeoutNow("b", "b", &raft.TimeoutNowRequest{}, nil); !errors.Is(err, ErrNotLeader) || sent != nil {
		t.Fatal(err, sent)
	}
	leads = true
	if err := s.TimeoutNow("b", "b", &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ID: []byte("a")}}, nil); err == nil {
		t.Fatal("nobody is there")
	}
	if term, ok := decodeTerm(sent.Addr); !ok || term != 9 || string(sent.ID) != "a" {
		t.Fatalf("%+v", sent)
	}
}

func TestCommitIndexIsCutToWhatIsVouchedFor(t *testing.T) {
	s, p := guarded(t)
	for _, c := range []struct{ previous, entries, commit, want uint64 }{
		{10, 0, 50, 10}, {10, 3, 50, 13}, {10, 3, 13, 13}, {10, 3, 12, 12}, {0, 0, 9, 0}, {0, 2, 9, 2}, {10, 3, 0, 0},
	} {
		q := &raft.AppendEntriesRequest{Term: 5, PrevLogEntry: c.previous, LeaderCommitIndex: c.commit,
			Entries: make([]*raft.Log, c.entries)}
		done := tell(t, p, q)
		rpc := <-s.Consumer()
		if got := rpc.Command.(*raft.AppendEntriesRequest).LeaderCommitIndex; got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
		rpc.Respond(&raft.AppendEntriesResponse{}, nil)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestOnlyHeartbeatsOfTheTermPassRaftsMainGoroutine(t *testing.T) {
	s, p := guarded(t)
	answers := true
	s.SetHeartbeatHandler(func(rpc raft.RPC) {
		if answers {
			rpc.Respond("passed by", nil)
		}
	})
	for term, want := range map[uint64]any{4: "waited", 5: "passed by", 6: "waited"} {
		answer := make(chan raft.RPCResponse, 1)
		go p.handle(raft.RPC{Command: &raft.AppendEntriesRequest{Term: term}, RespChan: answer})
		if want == "waited" {
			rpc := <-s.Consumer()
			rpc.Respond("waited", nil)
		}
		if got := <-answer; got.Response != want {
			t.Errorf("term %d: %v, not %v", term, got.Response, want)
		}
	}
	answers = false // as Raft does when it has been stopped
	answer := make(chan raft.RPCResponse, 1)
	p.handle(raft.RPC{Command: &raft.AppendEntriesRequest{Term: 5}, RespChan: answer})
	if got := <-answer; !errors.Is(got.Error, errStopped) {
		t.Fatal(got)
	}
}

// While a heartbeat of term 5 is being looked at, the term does not become 6: the library would set it back to 5 behind a
// vote that was given in 6.
func TestTheTermDoesNotChangeDuringAHeartbeat(t *testing.T) {
	s, p := guarded(t)
	stable := fencedStable{NewMemoryStable().Group(7), &s.fence}
	under, proceed := make(chan struct{}), make(chan struct{})
	var order []string
	s.SetHeartbeatHandler(func(rpc raft.RPC) {
		close(under)
		<-proceed
		if err := stable.SetUint64(keyCurrentTerm, 5); err != nil { // what Raft does when it was a candidate: no deadlock
			t.Error(err)
		}
		order = append(order, "heartbeat")
		rpc.Respond(nil, nil)
	})
	answer := make(chan raft.RPCResponse, 1)
	go p.handle(raft.RPC{Command: &raft.AppendEntriesRequest{Term: 5}, RespChan: answer})
	<-under
	if s.fence.mu.TryLock() {
		t.Error("the term is free to change")
	}
	voted := make(chan error)
	go func() {
		err := stable.SetUint64(keyCurrentTerm, 6)
		order = append(order, "vote")
		voted <- err
	}()
	close(proceed)
	if err := <-voted; err != nil {
		t.Fatal(err)
	}
	if <-answer; order[0] != "heartbeat" {
		t.Fatal(order)
	}
	if err := stable.SetUint64(keyCurrentTerm, 5); err == nil {
		t.Fatal("the term went back")
	}
	if v, err := stable.GetUint64(keyCurrentTerm); v != 6 || err != nil {
		t.Fatal(v, err)
	}
}

func TestEachStartOfRaftReadsTheTerm(t *testing.T) {
	s, _ := guarded(t)
	disk := NewMemoryStable().Group(7)
	if err := disk.SetUint64(keyCurrentTerm, 8); err != nil { // while Raft was stopped
		t.Fatal(err)
	}
	if _, err := (fencedStable{disk, &s.fence}).GetUint64(keyCurrentTerm); err != nil {
		t.Fatal(err)
	}
	if !s.fence.within(8, func() {}) || s.fence.within(5, func() {}) {
		t.Fatal(s.fence.term.Load())
	}
}
