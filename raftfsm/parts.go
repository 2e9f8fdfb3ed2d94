package raftfsm

import (
	"time"

	"github.com/hashicorp/raft"
)

// Raft puts up to MaxAppendEntries entries into a message, however large they are, and sends the same message again if it
// was not answered in time. Here what it asks for is sent in parts, so that a follower which lags, or is on a slow link, is a
// part further each time.

// mostBytes is how much of entries a message bears; one entry goes alone, however large it is. It is what the log writes at
// once.
const mostBytes = 4 << 20

// partsTime is for how long parts follow each other before Raft is told how far the follower has come.
const partsTime = time.Second

// entryBytes is what an entry takes in a message, about.
func entryBytes(l *raft.Log) int {
	if l == nil { // as a peer may have sent it
		return 0
	}
	return len(l.Data) + len(l.Extensions)
}

func bytesOf(entries []*raft.Log) (n int) {
	for _, l := range entries {
		n += entryBytes(l)
	}
	return n
}

// part is how many of the entries go into one message.
func part(entries []*raft.Log) (n int) {
	bytes := 0
	for _, l := range entries {
		if bytes += entryBytes(l); n > 0 && bytes > mostBytes {
			break
		}
		n++
	}
	return n
}

// partsOf splits a request that is too large; nil: it is not. Each part is one as Raft would have made it.
func partsOf(q *raft.AppendEntriesRequest) (parts []*raft.AppendEntriesRequest) {
	rest := q.Entries
	if part(rest) == len(rest) {
		return nil
	}
	previous := raft.Log{Index: q.PrevLogEntry, Term: q.PrevLogTerm}
	for len(rest) > 0 {
		n := part(rest)
		m := *q
		m.Entries = rest[:n:n]
		m.PrevLogEntry, m.PrevLogTerm = previous.Index, previous.Term
		parts, rest, previous = append(parts, &m), rest[n:], *rest[n-1]
	}
	return parts
}

// sendParts sends a request in parts, each once the one before is answered, while more is to be had from it. What Raft takes
// for sent and answered is then q's entries: those that were.
func sendParts(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse, more func() bool,
	send func(*raft.AppendEntriesRequest, *raft.AppendEntriesResponse) error) error {
	parts := partsOf(q)
	if parts == nil {
		return send(q, a)
	}
	n := 0
	for i, m := range parts {
		var next raft.AppendEntriesResponse
		err := send(m, &next)
		if i == 0 && err != nil {
			return err
		}
		if err != nil { // whoever sends what follows sees it, too
			break
		}
		n += len(m.Entries)
		if *a = next; !a.Success || !more() {
			break
		}
	}
	q.Entries = q.Entries[:n] // where the last was not taken, Raft looks at none
	return nil
}
