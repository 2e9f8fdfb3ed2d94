package raftfsm

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// notedPipeline is a pipeline whose answers are noted for the proof of leadership, with the times of their requests.
// Answers come in the order of the requests.
type notedPipeline struct {
	inner raft.AppendPipeline
	proof *proof
	disk  *disk
	to    raft.ServerID

	over       atomic.Bool // Raft takes no more answers: one was not of success
	sent       chan time.Duration
	answers    chan raft.AppendFuture
	stop       chan struct{}
	once       sync.Once
	goroutines sync.WaitGroup
}

// pipelineDepth is more than a transport has in flight.
const pipelineDepth = 64

func newNotedPipeline(inner raft.AppendPipeline, p *proof, d *disk, to raft.ServerID) *notedPipeline {
	n := &notedPipeline{
		inner:   inner,
		proof:   p,
		disk:    d,
		to:      to,
		sent:    make(chan time.Duration, pipelineDepth),
		answers: make(chan raft.AppendFuture, pipelineDepth),
		stop:    make(chan struct{}),
	}
	n.goroutines.Go(n.relay)
	return n
}

// AppendEntries sends a request, in parts if it is large: Raft hears of each part's answer as of a request's, and knows by q's
// entries how far it has come. After an error it gives the pipeline up, so a time too many does not matter.
func (n *notedPipeline) AppendEntries(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) (f raft.AppendFuture, err error) {
	parts := partsOf(q)
	if parts == nil {
		return n.send(q, a)
	}
	since, sent := n.proof.now(), 0
	for i, m := range parts {
		if i > 0 && (n.over.Load() || n.proof.now()-since >= partsTime) {
			break
		}
		if f, err = n.send(m, new(raft.AppendEntriesResponse)); err != nil {
			return nil, err
		}
		sent += len(m.Entries)
	}
	q.Entries = q.Entries[:sent]
	return f, nil
}

func (n *notedPipeline) send(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if n.disk.stalls() {
		return nil, errStalled
	}
	n.proof.sends(q)
	select {
	case n.sent <- n.proof.now():
	case <-n.stop:
		return nil, raft.ErrPipelineShutdown
	}
	return n.inner.AppendEntries(q, a)
}

func (n *notedPipeline) relay() {
	for {
		select {
		case f := <-n.inner.Consumer():
			sent := <-n.sent
			if f.Error() == nil {
				n.proof.answered(n.to, sent, f.Request(), f.Response())
			}
			if !f.Response().Success {
				n.over.Store(true)
			}
			select {
			case n.answers <- f:
			case <-n.stop:
				return
			}
		case <-n.stop:
			return
		}
	}
}

// Consumer is where Raft takes the answers from.
func (n *notedPipeline) Consumer() <-chan raft.AppendFuture { return n.answers }

// Close closes the pipeline beneath.
func (n *notedPipeline) Close() error {
	n.once.Do(func() { close(n.stop) })
	err := n.inner.Close()
	n.goroutines.Wait()
	return err
}
