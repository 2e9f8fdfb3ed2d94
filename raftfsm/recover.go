package raftfsm

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// A group that has lost the majority of its voters for good can only go on by decree: one replica is made its only voter,
// whatever the others may have acknowledged since it heard of them last. What is decreed is an entry of the log, a
// configuration behind all that this replica has, in a term above all that it knows of; so a crash in between leaves the
// group as it was or as it is to be. That the others do not go on beside it is for who decrees to see to: they have to be
// told apart by something that is no term (server/recover.go).

// ErrNothingHeld says that a replica has neither log nor checkpoint: it never learned anything.
var ErrNothingHeld = errors.New("the replica holds nothing")

// Remains is what a replica has, and knows of its group.
type Remains struct {
	Durable   uint64 // A, the index of the last checkpoint; 0: none
	LastIndex uint64
	LastTerm  uint64 // of the entry at LastIndex
	Term      uint64 // of the replica
	Servers   []raft.Server
}

// Voters counts those of the latest configuration.
func (r *Remains) Voters() (n int) {
	for _, s := range r.Servers {
		if s.Suffrage == raft.Voter {
			n++
		}
	}
	return n
}

// IsSoleVoter says whether the replica with this name is the only voter already.
func (r *Remains) IsSoleVoter(id raft.ServerID) bool {
	return len(r.Servers) == 1 && r.Servers[0].ID == id && r.Servers[0].Suffrage == raft.Voter
}

// Inspect reads what a closed replica has. It changes nothing.
func Inspect(e Engine, log Log, stable raft.StableStore) (r Remains, err error) {
	index, term, encoded, _, ok := e.Durable()
	if ok {
		c, err := decodeConfiguration(encoded)
		if err != nil {
			return r, fmt.Errorf("the store's checkpoint at %d: %w", index, err)
		}
		r.Durable, r.LastIndex, r.LastTerm, r.Servers = index, index, term, c.Servers
	}
	first, err := log.FirstIndex()
	if err != nil {
		return r, fmt.Errorf("first index of the log: %w", err)
	}
	last, err := log.LastIndex()
	if err != nil {
		return r, fmt.Errorf("last index of the log: %w", err)
	}
	read := log.GetLog
	if h, ok := log.(headReader); ok {
		read = h.GetHead
	}
	for i := max(first, r.Durable+1); i > 0 && i <= last; i++ {
		var l raft.Log
		if err := read(i, &l); err != nil {
			return r, fmt.Errorf("entry %d of the log: %w", i, err)
		}
		r.LastIndex, r.LastTerm = i, l.Term
		if l.Type != raft.LogConfiguration {
			continue
		}
		c, err := decodeConfiguration(l.Data)
		if err != nil {
			return r, fmt.Errorf("entry %d of the log: %w", i, err)
		}
		r.Servers = c.Servers
	}
	if r.Term, err = stableUint64(stable, keyCurrentTerm); err != nil {
		return r, err
	}
	if r.LastIndex == 0 {
		err = ErrNothingHeld
	}
	return r, err
}

// takeOver makes this replica its group's only voter before it starts.
func takeOver(o *Options) error {
	if _, err := reconcile(o); err != nil { // what it may have lost, it has no others to learn from
		return err
	}
	r, err := Inspect(o.Engine, o.Log, o.Stable)
	if err != nil || r.IsSoleVoter(o.ID) {
		return err
	}
	term := max(r.Term, r.LastTerm) + 1
	if err := o.Stable.SetUint64(keyCurrentTerm, term); err != nil {
		return fmt.Errorf("raise the term: %w", err)
	}
	self := raft.Server{Suffrage: raft.Voter, ID: o.ID, Address: o.Transport.LocalAddr()}
	entry := &raft.Log{
		Index: r.LastIndex + 1, Term: term, Type: raft.LogConfiguration,
		Data: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{self}}),
	}
	if err := o.Log.StoreLog(entry); err != nil {
		return fmt.Errorf("store the configuration: %w", err)
	}
	if err := o.Sync(); err != nil {
		return fmt.Errorf("sync the configuration: %w", err)
	}
	o.Logger.Warn("this replica has been made its group's only voter", "shard", o.Group, "index", entry.Index, "term", term, "before", len(r.Servers))
	return nil
}
