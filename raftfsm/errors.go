package raftfsm

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/aof"
)

// What a proposal can end with, besides success. Only ErrIndeterminate leaves open whether the batch was, or will be,
// applied; after each of the others it is certain that it never is.
var (
	// ErrNotLeader says that this node does not lead the group: redirect or forward.
	ErrNotLeader = errors.New("not the leader of the shard")
	// ErrBusy says that more batches are in flight than Raft's queue takes.
	ErrBusy = errors.New("too many batches in flight")
	// ErrClosed says that the group is being closed.
	ErrClosed = errors.New("the shard's group is closed")
	// ErrIndeterminate says that the batch may or may not have been, or yet be, applied.
	ErrIndeterminate = errors.New("outcome unknown")
)

// ErrBehind says that a checkpoint cannot be taken yet: the log has a change of members that this replica has not come to.
var ErrBehind = errors.New("the replica has to catch up first")

// ErrNoRoom says that the batch could not be stored, for want of room on the disk, and so never is applied.
var ErrNoRoom = errors.New("no room on the disk")

// ErrTooLarge says that the batch is larger than an entry of the log may be, and so never is applied.
var ErrTooLarge = aof.ErrTooLarge

// MaxEntry bounds a batch's entry, bytes: no log takes more.
const MaxEntry = aof.MaxEntrySize

var errStalled = errors.New("the disk does not answer")

// proposalError maps the error of a Raft future to what a proposer may conclude from it.
func proposalError(err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("%w: Raft reports success but the entry was not applied here", ErrIndeterminate)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout):
		return ErrNotLeader
	case errors.Is(err, aof.ErrNoRoom): // none of it was written, and what is not in the log here is sent to nobody
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	case errors.Is(err, ErrTooLarge): // likewise
		return err
	default: // leadership lost, shut down, a failed StoreLogs
		return fmt.Errorf("%w: %w", ErrIndeterminate, err)
	}
}
