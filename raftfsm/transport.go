package raftfsm

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"
)

// Loopback is the transport of a group that has one replica and never gets another: it reaches nobody.
type Loopback struct {
	address raft.ServerAddress
}

var _ Transport = (*Loopback)(nil)

// ErrUnreachable is what a Loopback answers to messages for others.
var ErrUnreachable = errors.New("the shard's transport reaches only this node")

// NewLoopback returns a transport for one group.
func NewLoopback(address raft.ServerAddress) *Loopback {
	return &Loopback{address: address}
}

// Consumer never delivers anything.
func (l *Loopback) Consumer() <-chan raft.RPC { return nil }

// LocalAddr is the address that the group's configuration has for this replica.
func (l *Loopback) LocalAddr() raft.ServerAddress { return l.address }

// TimeoutNow fails.
func (l *Loopback) TimeoutNow(_ raft.ServerID, to raft.ServerAddress, _ *raft.TimeoutNowRequest,
	_ *raft.TimeoutNowResponse) error {
	return unreachable(to)
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
