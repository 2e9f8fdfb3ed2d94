package raftfsm

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/reply"
)

// benchEngine decodes and answers, and keeps nothing.
type benchEngine struct {
	twinEngine
	args [][]byte
}

func (e *benchEngine) Apply(index, _ uint64, entry []byte, b *engine.Batch) error {
	_, commands, err := engine.DecodeHeader(entry)
	for i := 0; len(commands) > 0 && err == nil; i++ {
		_, e.args, commands, err = engine.NextCommand(commands, e.args[:0])
		if b != nil {
			b.Replies.Begin(i).Simple("OK")
			b.Replies.End(i)
		}
	}
	e.applied = index
	return err
}

// benchLog keeps the in-memory log short.
type benchLog struct{ *memoryLog }

func (l benchLog) StoreLogs(logs []*raft.Log) error {
	copies := make([]*raft.Log, len(logs))
	for i, e := range logs {
		c := *e
		c.Data = append([]byte(nil), e.Data...)
		copies[i] = &c
	}
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	if last > first+1000 {
		if err := l.InmemStore.DeleteRange(first, last-100); err != nil {
			return err
		}
	}
	return l.InmemStore.StoreLogs(copies)
}

type discardReplies struct{}

func (discardReplies) Begin(int) reply.Writer { return reply.Discard }
func (discardReplies) End(int)                {}

// BenchmarkPropose is a batch's way through the stock library: an operation is a batch, each event loop has one in
// flight. There is no sync in it.
func BenchmarkPropose(b *testing.B) {
	for _, loops := range []int{1, 2, 4} {
		for _, commands := range []int{10, 100} {
			b.Run(fmt.Sprintf("loops=%d/commands=%d", loops, commands), func(b *testing.B) {
				benchmarkPropose(b, loops, commands)
			})
		}
	}
}

func benchmarkPropose(b *testing.B, loops, commands int) {
	n := newNode(b, "a")
	n.opts.Engine = &benchEngine{twinEngine: twinEngine{disk: n.disk, events: &trace{}}}
	n.opts.Log = benchLog{n.log}
	n.open().ready()
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	done := make(chan struct{})
	args := [][]byte{[]byte("SET"), []byte("key:00000001"), make([]byte, 64)}
	for l := range loops {
		rounds := b.N / loops
		if l == 0 {
			rounds += b.N % loops
		}
		go func() {
			back := make(chan struct{}, 1)
			batch := &engine.Batch{Replies: discardReplies{}}
			p := &Proposal{Batch: batch, Loop: uint32(l), Done: func(*Proposal, error) { back <- struct{}{} }}
			for range rounds {
				batch.Reset(1 << 20)
				for range commands {
					batch.AddWrite(row, 0, args)
				}
				n.group.Propose(p)
				<-back
			}
			done <- struct{}{}
		}()
	}
	for range loops {
		<-done
	}
	b.ReportMetric(float64(b.N*commands)/time.Since(start).Seconds(), "commands/s")
	b.StopTimer()
	if err := n.group.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}
