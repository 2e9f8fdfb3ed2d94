package aof

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// trace collects the operations that change files, apart for the keeper and for the callers, whose order
// among each other is not fixed.
type trace struct {
	mu             sync.Mutex
	caller, keeper []string
}

var traced = map[errorfs.OpKind]string{
	errorfs.OpCreate:       "create",
	errorfs.OpOpen:         "open",
	errorfs.OpRemove:       "remove",
	errorfs.OpRename:       "rename",
	errorfs.OpMkdirAll:     "mkdir",
	errorfs.OpFileWriteAt:  "write",
	errorfs.OpFileSync:     "sync",
	errorfs.OpFileSyncData: "sync-data",
}

func (tr *trace) String() string { return "trace" }

// MaybeError injects nothing.
func (tr *trace) MaybeError(op errorfs.Op) error {
	name, ok := traced[op.Kind]
	if !ok {
		return nil
	}
	line := name + " " + op.Path
	if op.Kind == errorfs.OpFileWriteAt {
		line += fmt.Sprintf(" at %d", op.Offset)
	}
	stack := make([]byte, 4<<10)
	stack = stack[:runtime.Stack(stack, false)]
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if strings.Contains(string(stack), "(*Log).keep(") {
		tr.keeper = append(tr.keeper, line)
	} else {
		tr.caller = append(tr.caller, line)
	}
	return nil
}

func (tr *trace) flush() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var out strings.Builder
	for _, part := range []struct {
		who   string
		lines []string
	}{{"", tr.caller}, {"keeper: ", tr.keeper}} {
		for _, line := range part.lines {
			fmt.Fprintf(&out, "%s%s\n", part.who, line)
		}
	}
	tr.caller, tr.keeper = nil, nil
	return out.String()
}

// TestTrace shows which files are written, synced and renamed, and in which order. Files are named as
// when they were opened: a segment may still be called a spare.
func TestTrace(t *testing.T) {
	tr := new(trace)
	opts, _ := testOptions(errorfs.Wrap(vfs.NewMem(), tr))
	var l *Log
	defer func() {
		if l != nil {
			l.Close()
		}
	}()
	datadriven.RunTest(t, "testdata/trace", func(t *testing.T, d *datadriven.TestData) string {
		var shard, first, last, bytes int
		d.MaybeScanArgs(t, "shard", &shard)
		d.MaybeScanArgs(t, "first", &first)
		d.MaybeScanArgs(t, "last", &last)
		d.MaybeScanArgs(t, "bytes", &bytes)
		switch d.Cmd {
		case "open":
			l = mustOpen(t, opts)
		case "store":
			logs := batch(uint64(first), uint64(last), 1)
			for _, log := range logs {
				log.Data = entry(29, 1).Data[:bytes]
			}
			must(t, l.Shard(uint64(shard)).StoreLogs(logs))
		case "delete":
			must(t, l.Shard(uint64(shard)).DeleteRange(uint64(first), uint64(last)))
		case "cut":
			must(t, l.Shard(uint64(shard)).CutBelow(uint64(first)))
		case "reset":
			must(t, l.Shard(uint64(shard)).Reset(uint64(first), 1))
		case "policy":
			must(t, l.SetPolicy(map[string]SyncPolicy{"always": Always, "everysec": EverySec, "no": No}[d.CmdArgs[0].Key]))
		case "tick":
			l.onTick()
		case "close":
			must(t, l.Close())
			l = nil
		default:
			t.Fatalf("unknown command %s", d.Cmd)
		}
		if l != nil {
			l.settle()
		}
		return tr.flush()
	})
}
