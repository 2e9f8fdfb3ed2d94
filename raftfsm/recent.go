package raftfsm

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

const (
	recentEntries = 16
	recentBytes   = 16 << 10 // of an entry that is kept
)

// recent is the log's newest short entries. Raft stores an entry, and asks for it again at once: a leader once for each
// follower, and for the one before it as often, and a follower in order to apply it. It is safe for concurrent use.
type recent struct {
	wanted atomic.Bool // somebody asks: the leader of a lone replica never does
	mu     sync.Mutex
	ring   [recentEntries]raft.Log // an entry's place is its index modulo the length; 0: none
}

// add keeps copies of entries that have been stored: their data is the caller's.
func (r *recent) add(logs []*raft.Log) {
	if !r.wanted.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range logs[max(0, len(logs)-recentEntries):] {
		at := &r.ring[l.Index%recentEntries]
		if *at = (raft.Log{}); len(l.Data)+len(l.Extensions) <= recentBytes {
			*at = *l
			at.Data, at.Extensions = clone(l.Data), clone(l.Extensions)
		}
	}
}

// clone copies bytes.
func clone(b []byte) []byte { return append([]byte(nil), b...) }

// get finds an entry. Its data is shared and must not be changed.
func (r *recent) get(index uint64, l *raft.Log) bool {
	r.wanted.Store(true)
	r.mu.Lock()
	defer r.mu.Unlock()
	at := &r.ring[index%recentEntries]
	if at.Index != index || index == 0 {
		return false
	}
	*l = *at
	return true
}

// forget drops all.
func (r *recent) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.ring[:])
}
