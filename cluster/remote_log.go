package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/larder-db/larder/raftfsm"
)

// MaxLogRequest bounds the commands that one request takes to a shard's log: as an entry of the log is. A record may be that
// large, since a single element of a collection may.
const MaxLogRequest = 1 << 30

// largeRequest is how long a request is of which a node takes one at a time.
const largeRequest = 8 << 20

// transferTime is how much longer a request may take for its length.
func transferTime(size int64) time.Duration {
	return time.Duration(max(size, 0)>>20) * 100 * time.Millisecond
}

// maxLogArguments bounds the arguments of all commands of a request. Those of an entry of records are few; a step names up to
// half as many ranges of slots as there are slots.
const maxLogArguments = 1 << 15

// errCommands is wrapped by errors about bytes that are no list of commands.
var errCommands = errors.New("malformed commands")

// encodeCommands writes commands one behind the other: their number, then of each the number of its arguments and of
// each of those its length and its bytes.
func encodeCommands(commands [][][]byte) []byte {
	size := binary.MaxVarintLen64
	for _, args := range commands {
		size += binary.MaxVarintLen64
		for _, a := range args {
			size += binary.MaxVarintLen64 + len(a)
		}
	}
	b := binary.AppendUvarint(make([]byte, 0, size), uint64(len(commands)))
	for _, args := range commands {
		b = binary.AppendUvarint(b, uint64(len(args)))
		for _, a := range args {
			b = append(binary.AppendUvarint(b, uint64(len(a))), a...)
		}
	}
	return b
}

// decodeCommands reads what encodeCommands has written. The arguments share b's memory.
func decodeCommands(b []byte) (commands [][][]byte, err error) {
	number := func() (n uint64) {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) { // whatever is counted takes a byte at least
			err = errCommands
			return 0
		}
		b = b[used:]
		return n
	}
	left := uint64(maxLogArguments)
	for range number() {
		n := number()
		if err != nil || n == 0 || n > left {
			return nil, errCommands
		}
		left -= n
		args := make([][]byte, n)
		for i := range args {
			n := number()
			args[i], b = b[:n:n], b[n:]
		}
		commands = append(commands, args)
	}
	if err == nil && len(b) > 0 {
		err = errCommands
	}
	return commands, err
}

// propose takes commands of a migration to the log of a shard that this node leads; it does not pass them on.
func (c control) propose(r *http.Request) (any, error) {
	shard, err := strconv.ParseUint(r.PathValue("shard"), 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	if r.ContentLength < 0 || r.ContentLength > MaxLogRequest {
		return nil, fmt.Errorf("%w: commands of %d bytes", errInvalid, r.ContentLength)
	}
	if r.ContentLength > largeRequest {
		select {
		case c.large <- struct{}{}:
			defer func() { <-c.large }()
		case <-r.Context().Done():
			return nil, Busy("another large record is being taken")
		}
	}
	b := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, b); err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	commands, err := decodeCommands(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	if c.Log == nil {
		return nil, raftfsm.ErrNotLeader
	}
	log := c.Log(uint32(shard))
	if log == nil {
		return nil, raftfsm.ErrNotLeader
	}
	return log.Propose(r.Context(), commands)
}

// Propose takes commands of a migration to the log of a shard, which the node at an address has to lead.
func (c *Client) Propose(ctx context.Context, address string, shard uint32, commands [][][]byte) (replies []LogReply, err error) {
	body := encodeCommands(commands)
	if len(body) > MaxLogRequest {
		return nil, fmt.Errorf("commands for shard %d: %d bytes, more than %d", shard, len(body), MaxLogRequest)
	}
	err = c.send(ctx, http.MethodPost, address, pathLog+strconv.FormatUint(uint64(shard), 10), true, bytes.NewReader(body), &replies)
	return replies, err
}

// RemoteLog is the log of a shard, whoever leads it. It implements ShardLog.
type RemoteLog struct {
	Shard  uint32
	Client *Client
	View   func() *View
	// Local is the log of the shard if this node leads it, else nil.
	Local func(shard uint32) ShardLog
	// Leader is who leads it, as far as this node's own replica knows; empty: unknown.
	Leader func(shard uint32) NodeID
	// Patience is for how long a leader is looked for, and how long an answer may take, besides what many bytes take.
	Patience time.Duration
}

// leaderLook is how long RemoteLog waits before it looks for the leader again.
const leaderLook = 20 * time.Millisecond

// Propose implements ShardLog. It looks for a leader for a while; what certainly was not applied is given to the next one.
func (l RemoteLog) Propose(ctx context.Context, commands [][][]byte) ([]LogReply, error) {
	look, cancel := context.WithTimeout(ctx, l.Patience)
	defer cancel()
	for {
		replies, err := l.try(ctx, commands)
		if err == nil || !errors.Is(err, raftfsm.ErrNotLeader) {
			return replies, err
		}
		select {
		case <-time.After(leaderLook):
		case <-look.Done():
			return nil, fmt.Errorf("shard %d: %w", l.Shard, err)
		}
	}
}

// try asks those who may lead, one after the other. An error that wraps ErrNotLeader says that nobody took the commands.
func (l RemoteLog) try(ctx context.Context, commands [][][]byte) ([]LogReply, error) {
	if local := l.Local(l.Shard); local != nil {
		if replies, err := local.Propose(ctx, commands); !errors.Is(err, raftfsm.ErrNotLeader) {
			return replies, err
		}
	}
	last := error(raftfsm.ErrNotLeader)
	v := l.View()
	if v == nil {
		return nil, last
	}
	for _, id := range l.candidates(v) {
		address := v.Address(id)
		if address == "" {
			continue
		}
		replies, err := l.ask(ctx, address, commands)
		if _, unsent := errors.AsType[unreachable](err); !unsent && !errors.Is(err, raftfsm.ErrNotLeader) {
			return replies, err
		}
		last = fmt.Errorf("%w: %w", raftfsm.ErrNotLeader, err)
	}
	return nil, last
}

// ask asks one node.
func (l RemoteLog) ask(ctx context.Context, address string, commands [][][]byte) ([]LogReply, error) {
	size := 0
	for _, args := range commands {
		for _, a := range args {
			size += len(a)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, l.Patience+transferTime(int64(size)))
	defer cancel()
	return l.Client.Propose(ctx, address, l.Shard, commands)
}

// candidates are who may lead the shard, the likeliest first.
func (l RemoteLog) candidates(v *View) (ids []NodeID) {
	s := v.Shard(l.Shard)
	if s == nil {
		return nil
	}
	for _, id := range append([]NodeID{l.Leader(l.Shard), s.Leader}, s.Replicas...) {
		if id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}
