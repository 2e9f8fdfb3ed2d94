package raftfsm

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// readAhead bounds what a replay holds in memory. At start Raft's main goroutine reads the whole tail of the log and
// queues it for the FSM, thousands of entries deep. Here it waits while more than a bound of what it has read is
// not applied yet.
type readAhead struct {
	limit   int64       // bytes
	last    uint64      // entries up to here were in the log at open
	running atomic.Bool // the FSM runs: before, Raft looks through the tail for configurations, and nothing is applied

	mu struct {
		sync.Mutex
		read  []readEntry
		bytes int64
	}
}

type readEntry struct {
	index uint64
	bytes int64
}

const (
	readAheadWait = time.Millisecond
	readAheadIdle = 5 // looks without progress after which the reader goes on: what the FSM waits for may be the batch being read
)

// add counts an entry that was read, and waits for the FSM if too much is ahead of it.
func (r *readAhead) add(l *raft.Log, applied func() uint64) {
	if !r.running.Load() || l.Index > r.last || l.Index <= applied() {
		return
	}
	r.mu.Lock()
	r.mu.read = append(r.mu.read, readEntry{l.Index, int64(len(l.Data))})
	r.mu.bytes += int64(len(l.Data))
	r.mu.Unlock()
	before := applied()
	for idle := 0; idle < readAheadIdle; idle++ {
		now := applied()
		if r.settle(now) <= r.limit {
			return
		}
		if now != before {
			before, idle = now, 0
		}
		time.Sleep(readAheadWait)
	}
}

// settle forgets what has been applied and returns how many bytes are ahead.
func (r *readAhead) settle(applied uint64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for n < len(r.mu.read) && r.mu.read[n].index <= applied {
		r.mu.bytes -= r.mu.read[n].bytes
		n++
	}
	r.mu.read = r.mu.read[n:]
	return r.mu.bytes
}
