package raftfsm

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
)

// headLog notes which entries were read without their data.
type headLog struct {
	*memoryLog
	heads []uint64
}

func (h *headLog) GetHead(index uint64, l *raft.Log) error {
	h.heads = append(h.heads, index)
	return h.GetLog(index, l)
}

// eager is a transport whose leader speaks at the first moment at which Raft can hear it.
type eager struct {
	*tap
	speak func(handle func(raft.RPC))
}

func (e *eager) SetHeartbeatHandler(handle func(raft.RPC)) { e.speak(handle) }

// twoMembers is a replica of a group whose other member leads, in term 1, with a log that begins with the configuration.
func twoMembers(t *testing.T, logs ...raft.Log) *node {
	t.Helper()
	n := newNode(t, "a")
	n.opts.Bootstrap = nil
	members := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}}}
	for i, l := range append([]raft.Log{{Type: raft.LogConfiguration}}, logs...) {
		if l.Index, l.Term = uint64(i+1), 1; l.Type == raft.LogConfiguration {
			l.Data = raft.EncodeConfiguration(members)
		}
		if err := n.log.StoreLog(&l); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.opts.Stable.SetUint64(keyCurrentTerm, 1); err != nil {
		t.Fatal(err)
	}
	return n
}

func fromLeader(prev, commit uint64) *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("b"), Addr: []byte("b")},
		Term: 1, PrevLogEntry: prev, PrevLogTerm: 1, LeaderCommitIndex: commit}
}

// TestWholeEntriesAreReadOnceRaftRuns: a leader that is heard in the middle of a start must not have entries applied, or sent
// on, of which only the head was read.
func TestWholeEntriesAreReadOnceRaftRuns(t *testing.T) {
	entry := raft.Log{Data: (&engine.Batch{}).Seal(engine.Header{})}
	n := twoMembers(t, entry, entry, entry)
	log := &headLog{memoryLog: n.log}
	n.opts.Log = log
	before := 0
	n.opts.Transport = &eager{newTap("a"), func(handle func(raft.RPC)) {
		before = len(log.heads)
		answer := make(chan raft.RPCResponse, 1)
		handle(raft.RPC{Command: fromLeader(2, 0), RespChan: answer})
		if a := <-answer; a.Error != nil {
			t.Error(a.Error)
		}
	}}
	n.open()
	defer n.close()
	if before == 0 || len(log.heads) != before {
		t.Errorf("read without their data: %v, of them %d before Raft ran", log.heads, before)
	}
}

// TestCheckpointWaitsForMembers: a replica that has in its log more changes of members than it may apply yet cannot take a
// checkpoint, and nothing is wrong with that.
func TestCheckpointWaitsForMembers(t *testing.T) {
	entry := raft.Log{Data: (&engine.Batch{}).Seal(engine.Header{})}
	configuration := raft.Log{Type: raft.LogConfiguration}
	n := twoMembers(t, entry, configuration, configuration)
	p := newTap("a")
	n.opts.Transport = p
	n.open()
	defer n.close()
	if err := <-tell(t, p, fromLeader(2, 2)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first entry is applied", func() bool { return n.engine.AppliedIndex() == 2 })
	if err := n.group.Checkpoint(); !errors.Is(err, ErrBehind) {
		t.Error(err)
	}
	if err := <-tell(t, p, fromLeader(4, 4)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := n.group.Checkpoint()
		if err == nil {
			return
		}
		if !errors.Is(err, ErrBehind) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
