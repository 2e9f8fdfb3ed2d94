package raftfsm

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"
)

// Loopback is the transport of a group that has one replica: it reaches itself and nobody else.
type Loopback struct {
	address raft.ServerAddress
	inbox   chan raft.RPC
	closed  chan struct{}
}

var _ Transport = (*Loopback)(nil)

// ErrUnreachable is what a Loopback answers to messages for others.
var ErrUnreachable = errors.New("the shard's transport reaches only this node")

// NewLoopback returns a transport for one group. It belongs to the group it is opened with, which closes it.
func NewLoopback(address raft.ServerAddress) *Loopback {
	return &Loopback{address: address, inbox: make(chan raft.RPC), closed: make(chan struct{})}
}

// Consumer is where Raft takes its messages from.
func (l *Loopback) Consumer() <-chan raft.RPC { return l.inbox }

// LocalAddr is the address that the group's configuration has for this replica.
func (l *Loopback) LocalAddr() raft.ServerAddress { return l.address }

// TimeoutNow delivers the message to the replica itself, and waits for its answer.
func (l *Loopback) TimeoutNow(_ raft.ServerID, to raft.ServerAddress, request *raft.TimeoutNowRequest,
	response *raft.TimeoutNowResponse) error {
	if to != l.address {
		return unreachable(to)
	}
	answer := make(chan raft.RPCResponse, 1)
	select {
	case l.inbox <- raft.RPC{Command: request, RespChan: answer}:
	case <-l.closed:
		return raft.ErrTransportShutdown
	}
	select {
	case a := <-answer:
		if r, ok := a.Response.(*raft.TimeoutNowResponse); ok {
			*response = *r
		}
		return a.Error
	case <-l.closed:
		return raft.ErrTransportShutdown
	}
}

// Close lets go whoever waits for an answer.
func (l *Loopback) Close() error {
	close(l.closed)
	return nil
}

// EncodePeer is the address as it is.
func (l *Loopback) EncodePeer(_ raft.ServerID, address raft.ServerAddress) []byte {
	return []byte(address)
}

// DecodePeer is the address as it is.
func (l *Loopback) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler does nothing: there are no heartbeats.
func (l *Loopback) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntriesPipeline fails.
func (l *Loopback) AppendEntriesPipeline(_ raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, unreachable(to)
}

// AppendEntries fails.
func (l *Loopback) AppendEntries(_ raft.ServerID, to raft.ServerAddress, _ *raft.AppendEntriesRequest,
	_ *raft.AppendEntriesResponse) error {
	return unreachable(to)
}

// RequestVote fails.
func (l *Loopback) RequestVote(_ raft.ServerID, to raft.ServerAddress, _ *raft.RequestVoteRequest,
	_ *raft.RequestVoteResponse) error {
	return unreachable(to)
}

// RequestPreVote fails.
func (l *Loopback) RequestPreVote(_ raft.ServerID, to raft.ServerAddress, _ *raft.RequestPreVoteRequest,
	_ *raft.RequestPreVoteResponse) error {
	return unreachable(to)
}

// InstallSnapshot fails.
func (l *Loopback) InstallSnapshot(_ raft.ServerID, to raft.ServerAddress, _ *raft.InstallSnapshotRequest,
	_ *raft.InstallSnapshotResponse, _ io.Reader) error {
	return unreachable(to)
}

func unreachable(to raft.ServerAddress) error { return fmt.Errorf("%w: %s", ErrUnreachable, to) }
