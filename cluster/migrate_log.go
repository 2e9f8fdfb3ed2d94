package cluster

import (
	"context"
	"fmt"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/raftfsm"
)

// ShardLog is the log of a shard, wherever its leader is: what the steps of a migration are put into.
type ShardLog interface {
	// Propose has commands applied, in order and next to each other, and returns their replies. After an error that wraps
	// raftfsm.ErrIndeterminate they may have been applied, or may still be; after any other they were not.
	Propose(ctx context.Context, commands [][][]byte) ([]LogReply, error)
}

// LogReply is the reply of a row of the server's own: the text of an error, or numbers, or neither for OK.
type LogReply struct {
	Error   string  `json:"error,omitempty"`
	Numbers []int64 `json:"numbers,omitempty"`
}

// Err is the error that the reply tells.
func (r *LogReply) Err() error {
	if r.Error == "" {
		return nil
	}
	return command.SlotError(r.Error)
}

// first is the first number, 0 if there is none.
func (r *LogReply) first() int64 {
	if len(r.Numbers) == 0 {
		return 0
	}
	return r.Numbers[0]
}

// GroupLog is the log of a shard that this node leads.
type GroupLog struct {
	Group interface{ Propose(*raftfsm.Proposal) }
	// Loop stands for it in the origin of entries: no event loop of the node has the number.
	Loop uint32
	// Brake says why commands cannot be taken now, an error that wraps ErrBusy; nil: nothing is in the way of any.
	Brake func(commands [][][]byte) error
}

// Propose implements ShardLog. The commands may come from another node: those that are not a migration's are refused.
func (g GroupLog) Propose(ctx context.Context, commands [][][]byte) ([]LogReply, error) {
	replies := &logReplies{list: make([]LogReply, len(commands))}
	batch := &engine.Batch{Replies: replies}
	for _, args := range commands {
		row, err := command.MigrationRow(args)
		if err != nil {
			return nil, err
		}
		batch.AddWrite(row, 0, args)
	}
	if g.Brake != nil {
		if err := g.Brake(commands); err != nil {
			return nil, err
		}
	}
	answered := make(chan error, 1)
	g.Group.Propose(&raftfsm.Proposal{
		Batch: batch,
		Loop:  g.Loop,
		Done:  func(_ *raftfsm.Proposal, err error) { answered <- err },
	})
	select {
	case err := <-answered:
		if err != nil {
			return nil, err
		}
		return replies.list, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", raftfsm.ErrIndeterminate, context.Cause(ctx))
	}
}

// logReplies keeps the replies of a batch.
type logReplies struct{ list []LogReply }

func (l *logReplies) Begin(i int) reply.Writer { return logWriter{reply.Discard, &l.list[i]} }
func (l *logReplies) End(int)                  {}

type logWriter struct {
	reply.Writer
	to *LogReply
}

func (w logWriter) Int(n int64)       { w.to.Numbers = append(w.to.Numbers, n) }
func (w logWriter) Error(text string) { w.to.Error = text }
