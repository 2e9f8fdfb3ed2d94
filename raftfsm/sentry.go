package raftfsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// sentry stands between Raft and its transport, in both directions. What it sends, it notes for the proof of leadership
// (proof.go). What it receives, it checks where the stock library does not:
//
//   - TimeoutNow makes a replica stand without a pre-vote, and others vote although they have a leader. So it bears the
//     term in which the sender leads, and one of another term is dropped.
//   - A heartbeat passes by Raft's main goroutine only if it is of the current term, and the term cannot change while it
//     is being looked at: else the term could go back behind a vote. All others wait for the main goroutine.
//   - LeaderCommitIndex is cut down to the last entry that the message vouches for: a follower takes it for all of its
//     own log, the end of which may be an earlier leader's.
//   - A replica that may have forgotten something is not told to stand, and its votes are marked (memory.go, ballot.go).
//
// A heartbeat is left out if the follower has just answered something else: most of what idle shards would cost.
//
// While the disk stalls it sends nothing that is a leader's (disk.go).
//
// It stays when Raft is started anew beneath a group, so it has no Close that Raft could find.
type sentry struct {
	inner Transport
	proof *proof
	fence termFence
	inbox chan raft.RPC

	memory    *memory // nil before begin
	disk      *disk
	beat      time.Duration
	last      func() uint64 // the end of this replica's log
	leftOut   leftOut
	ballots   ballots
	successor atomic.Pointer[leaderNews]

	stop       chan struct{}
	goroutines sync.WaitGroup
}

var _ Transport = (*sentry)(nil)

var (
	errStale     = errors.New("the message is of another term")
	errForgetful = errors.New("the replica may have forgotten entries, and does not stand")
	errStopped   = errors.New("the replica is being stopped")
	errOverrun   = errors.New("the replica has too many messages to look at")
)

// mostWaiting is how many messages wait for Raft at most, and mostWaitingBytes what they bear, but for one that is larger by
// itself: whoever has given up on one dials anew and sends another.
const (
	mostWaiting      = 64
	mostWaitingBytes = 64 << 20
)

// leaderNews is a leader that Raft does not know of yet.
type leaderNews struct {
	term    uint64
	id      raft.ServerID
	address raft.ServerAddress
}

// begin gives the sentry what belongs to the group, before anything goes out or comes in.
func (s *sentry) begin(g *Group) {
	s.memory, s.disk = g.memory, &g.disk
	s.last = func() uint64 {
		index, _ := g.memory.last()
		return index
	}
	s.ballots.others = func() (n int) {
		for _, server := range g.proof.configuration().Servers {
			if server.Suffrage == raft.Voter && server.ID != g.opts.ID {
				n++
			}
		}
		return n
	}
	s.beat = g.opts.Timeouts.Beat
	s.ballots.wait, s.ballots.stop = g.opts.Timeouts.Election, s.stop
	s.ballots.won = func() {
		g.opts.Logger.Error("voters of this shard have lost power together, and may have lost what was acknowledged last; "+
			"all of them are here, and the one with the longest log is elected", "shard", g.opts.Group, "log-ends-at", s.last())
	}
	s.goroutines.Go(s.receive)
}

// newSentry returns one to which begin is to be called.
func newSentry(inner Transport, p *proof) *sentry {
	return &sentry{inner: inner, proof: p, inbox: make(chan raft.RPC), stop: make(chan struct{})}
}

// close closes the transport beneath too.
func (s *sentry) close() error {
	close(s.stop)
	var err error
	if c, ok := s.inner.(io.Closer); ok {
		err = c.Close()
	}
	s.goroutines.Wait()
	return err
}

// receive checks what comes in while what came before may wait for Raft.
func (s *sentry) receive() {
	var waiting []raft.RPC
	var sizes []int // of those, since who has sent one may use it again once it is answered
	bytes := 0      // of all of them
	for {
		var inbox chan<- raft.RPC
		var next raft.RPC
		if len(waiting) > 0 {
			inbox, next = s.inbox, waiting[0]
		}
		select {
		case rpc := <-s.inner.Consumer():
			n, err := bytesIn(rpc), error(errOverrun)
			if len(waiting) < mostWaiting && (bytes == 0 || bytes+n <= mostWaitingBytes) {
				err = s.admit(rpc.Command)
			}
			if err != nil {
				rpc.Respond(emptyAnswer(rpc.Command), err)
				continue
			}
			bytes += n
			waiting, sizes = append(waiting, s.marked(rpc)), append(sizes, n)
		case inbox <- next:
			bytes -= sizes[0]
			waiting, sizes = slices.Delete(waiting, 0, 1), slices.Delete(sizes, 0, 1)
		case <-s.stop:
			for _, rpc := range waiting {
				rpc.Respond(emptyAnswer(rpc.Command), errStopped)
			}
			return
		}
	}
}

// bytesIn is what a message bears.
func bytesIn(rpc raft.RPC) int {
	if m, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
		return bytesOf(m.Entries)
	}
	return 0
}

// emptyAnswer is what goes beside an error: a transport in memory looks at it before it looks at the error.
func emptyAnswer(command any) any {
	if _, ok := command.(*raft.AppendEntriesRequest); ok {
		return &raft.AppendEntriesResponse{}
	}
	return nil
}

// pass waits until Raft takes the message; false if it is being stopped, which then is the answer.
func (s *sentry) pass(rpc raft.RPC) bool {
	select {
	case s.inbox <- rpc:
		return true
	case <-s.stop:
		rpc.Respond(emptyAnswer(rpc.Command), errStopped)
		return false
	}
}

// admit changes or refuses what Raft should not see as it is.
func (s *sentry) admit(command any) error {
	switch m := command.(type) {
	case *raft.AppendEntriesRequest:
		if last := m.PrevLogEntry + uint64(len(m.Entries)); m.LeaderCommitIndex > last {
			m.LeaderCommitIndex = last
		}
		s.notice(m)
	case *raft.TimeoutNowRequest:
		term, ok := decodeTerm(m.Addr)
		if current := s.fence.term.Load(); !ok || term != current {
			return fmt.Errorf("%w: it is from term %d, this is term %d", errStale, term, current)
		}
		if s.memory.doubt.Load() {
			return errForgetful
		}
	}
	return nil
}

// notice sees what a leader sends before Raft does.
func (s *sentry) notice(m *raft.AppendEntriesRequest) {
	s.memory.hear(m)
	if known := s.successor.Load(); m.Term > s.fence.term.Load() && (known == nil || known.term < m.Term) {
		s.successor.Store(&leaderNews{m.Term, raft.ServerID(m.ID), s.inner.DecodePeer(m.Addr)})
	}
}

// marked has the answer to a request for a vote be marked, if this replica may have forgotten something.
func (s *sentry) marked(rpc raft.RPC) raft.RPC {
	switch rpc.Command.(type) {
	case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest:
	default:
		return rpc
	}
	if !s.memory.doubt.Load() {
		return rpc
	}
	answer, asker := make(chan raft.RPCResponse, 1), rpc
	rpc.RespChan = answer
	s.goroutines.Go(func() {
		select {
		case a := <-answer:
			asker.Respond(markDoubtful(a.Response), a.Error)
		case <-s.stop:
			asker.Respond(nil, errStopped)
		}
	})
	return rpc
}

// SetHeartbeatHandler is told by each start of Raft.
func (s *sentry) SetHeartbeatHandler(handle func(raft.RPC)) {
	s.inner.SetHeartbeatHandler(func(rpc raft.RPC) {
		m, ok := rpc.Command.(*raft.AppendEntriesRequest)
		if ok {
			s.notice(m)
		}
		if !ok || !s.fence.within(m.Term, func() { handle(rpc) }) {
			s.pass(rpc)
			return
		}
		if len(rpc.RespChan) == 0 { // Raft has been stopped: nobody else will answer
			rpc.Respond(emptyAnswer(rpc.Command), errStopped)
		}
	})
}

// stand delivers a TimeoutNow to this replica itself, and waits until Raft has taken it.
func (s *sentry) stand(self raft.ServerID) error {
	answer := make(chan raft.RPCResponse, 1)
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self)}
	if !s.pass(raft.RPC{Command: &raft.TimeoutNowRequest{RPCHeader: header}, RespChan: answer}) {
		return errStopped
	}
	select {
	case a := <-answer:
		return a.Error
	case <-s.stop:
		return errStopped
	}
}

// TimeoutNow adds the term in which this replica leads.
func (s *sentry) TimeoutNow(id raft.ServerID, to raft.ServerAddress, q *raft.TimeoutNowRequest, a *raft.TimeoutNowResponse) error {
	term, leads := s.proof.leads()
	if !leads {
		return ErrNotLeader
	}
	m := *q
	m.Addr = encodeTerm(term)
	return s.inner.TimeoutNow(id, to, &m, a)
}

// termMark tells a term from an address, which is what the field is for.
var termMark = []byte{0, 't'}

func encodeTerm(term uint64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(termMark), term)
}

func decodeTerm(b []byte) (uint64, bool) {
	b, ok := bytes.CutPrefix(b, termMark)
	if !ok || len(b) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

// leftOut counts the heartbeats that were left out one after the other. Now and then one goes out all the same: what only
// heartbeats carry (memory.go) has to arrive at a follower that is always busy, too.
type leftOut struct {
	mu sync.Mutex
	of map[raft.ServerID]int
}

const mostLeftOut = 3

// another says whether one more may be left out.
func (l *leftOut) another(id raft.ServerID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[id] == mostLeftOut {
		delete(l.of, id)
		return false
	}
	if l.of == nil {
		l.of = make(map[raft.ServerID]int)
	}
	l.of[id]++
	return true
}

// AppendEntries sends entries or a heartbeat and waits for the answer.
func (s *sentry) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest,
	a *raft.AppendEntriesResponse) error {
	if s.disk.stalls() {
		return errStalled
	}
	s.proof.sends(q)
	if isHeartbeat(q) {
		if s.proof.heardOf(id, q.Term, s.proof.now()-s.beat) && s.leftOut.another(id) {
			// Not the request's header: Raft uses both again, and the next answer would be decoded into its bytes.
			*a = raft.AppendEntriesResponse{RPCHeader: raft.RPCHeader{ProtocolVersion: q.ProtocolVersion}, Term: q.Term, Success: true}
			return nil
		}
		m := *q
		m.Addr = progress{s.last(), s.proof.acknowledged(id, q.Term)}.before(q.Addr)
		q = &m
	}
	sent := s.proof.now()
	err := s.inner.AppendEntries(id, to, q, a)
	if err == nil {
		s.proof.answered(id, sent, q, a)
	}
	return err
}

// AppendEntriesPipeline sends entries without waiting for the answers.
func (s *sentry) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := s.inner.AppendEntriesPipeline(id, to)
	if err != nil {
		return nil, err
	}
	return newNotedPipeline(inner, s.proof, s.disk, id), nil
}

// Consumer is where Raft takes its messages from.
func (s *sentry) Consumer() <-chan raft.RPC { return s.inbox }

// LocalAddr is this replica's address.
func (s *sentry) LocalAddr() raft.ServerAddress { return s.inner.LocalAddr() }

// RequestVote asks for a vote, which may count only if all give theirs.
func (s *sentry) RequestVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestVoteRequest, a *raft.RequestVoteResponse) error {
	b := s.ballots.join(&s.ballots.mu.votes, q.Term, id)
	doubtful := s.memory.doubt.Load()
	err := s.inner.RequestVote(id, to, q, a)
	doubtful = doubtful || s.memory.doubt.Load() || isDoubtful(a.RPCHeader)
	a.Granted = s.ballots.settle(b, err == nil && a.Granted, doubtful)
	return err
}

// RequestPreVote asks whether a vote would be given. Without the method Raft leaves pre-votes out.
func (s *sentry) RequestPreVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestPreVoteRequest,
	a *raft.RequestPreVoteResponse) error {
	b := s.ballots.join(&s.ballots.mu.preVotes, q.Term, id)
	doubtful := s.memory.doubt.Load()
	err := s.inner.RequestPreVote(id, to, q, a)
	doubtful = doubtful || s.memory.doubt.Load() || isDoubtful(a.RPCHeader)
	a.Granted = s.ballots.settle(b, err == nil && a.Granted, doubtful)
	return err
}

// InstallSnapshot sends a snapshot.
func (s *sentry) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, q *raft.InstallSnapshotRequest,
	a *raft.InstallSnapshotResponse, data io.Reader) error {
	return s.inner.InstallSnapshot(id, to, q, a, data)
}

// EncodePeer is the address as messages carry it.
func (s *sentry) EncodePeer(id raft.ServerID, a raft.ServerAddress) []byte {
	return s.inner.EncodePeer(id, a)
}

// DecodePeer is the opposite.
func (s *sentry) DecodePeer(b []byte) raft.ServerAddress { return s.inner.DecodePeer(b) }

// termFence knows the term that is on stable storage, which is ahead of the one Raft goes by for a moment.
type termFence struct {
	mu   sync.Mutex // held while the term changes, and while a heartbeat is looked at beside the main goroutine
	term atomic.Uint64
}

// within calls f if term is the current one, and keeps it current meanwhile; false if it is another.
func (f *termFence) within(term uint64, do func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.term.Load() != term {
		return false
	}
	do()
	return true
}

// fencedStable is the stable store as Raft sees it.
type fencedStable struct {
	raft.StableStore
	fence *termFence
}

// GetUint64 is how each start of Raft learns its term.
func (s fencedStable) GetUint64(key []byte) (uint64, error) {
	v, err := s.StableStore.GetUint64(key)
	if bytes.Equal(key, keyCurrentTerm) {
		s.fence.mu.Lock()
		defer s.fence.mu.Unlock()
		s.fence.term.Store(v)
	}
	return v, err
}

// SetUint64 writes a number. A term that is current already needs no write; it may come from within a heartbeat.
func (s fencedStable) SetUint64(key []byte, v uint64) error {
	if !bytes.Equal(key, keyCurrentTerm) {
		return s.StableStore.SetUint64(key, v)
	}
	if v == s.fence.term.Load() {
		return nil
	}
	s.fence.mu.Lock()
	defer s.fence.mu.Unlock()
	if current := s.fence.term.Load(); v < current {
		return fmt.Errorf("the term would go back from %d to %d", current, v)
	}
	if err := s.StableStore.SetUint64(key, v); err != nil {
		return err
	}
	s.fence.term.Store(v)
	return nil
}
