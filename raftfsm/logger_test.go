package raftfsm

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm/peer"
)

// TestRaftRepeatsItselfQuietly: what goes wrong with one replica is told once, for the time being; what is part of the course
// of things is not told at all.
func TestRaftRepeatsItselfQuietly(t *testing.T) {
	var said bytes.Buffer
	r := newRaftLogger(slog.New(slog.NewTextHandler(&said, nil)))
	named := r.Named("x")
	for i := range 100 {
		r.Error("failed to heartbeat to", "peer", "a", "error", fmt.Errorf("try %d: %w", i, os.ErrDeadlineExceeded))
		named.Error("failed to heartbeat to", "peer", "b", "error", io.EOF)
		r.Error("failed to appendEntries to", "peer", raft.Server{ID: "a"}, "error", io.EOF)
		r.Error("failed to appendEntries to", "peer", "c", "error", fmt.Errorf("connect: %w", peer.ErrUnknownService))
		r.Error("failed to decode incoming command", "error", &net.OpError{Op: "read", Err: net.ErrClosed})
		r.Info("entering follower state")
	}
	if lines := strings.Count(said.String(), "\n"); lines != 3 {
		t.Errorf("%d lines:\n%s", lines, said.String())
	}
}
