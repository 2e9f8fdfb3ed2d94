package server

import (
	"context"
	"runtime"
	"slices"
	"time"
)

// A command of a shard with several replicas is handed on from goroutine to goroutine, on its leader and on its followers: a
// loop, Raft, the log, the connections of its peers. Where processors stand idle each of these wakes a thread, which costs
// more than the work that it wakes for. So a node that has such shards makes do with half of its processors, for the event
// loops and for Go's scheduler, as long as those are not kept busy; the kernel has the others for the network and the disk.
// Three voters and their load on two cores did a fifth more for it, with half as many switches between threads.
//
// While slots or replicas are on their way a node that leads uses all: that is much work with files, and a goroutine that waits
// for a file keeps its processor for up to 10 ms, until the runtime's monitor takes it away. Where there is no other, all wait
// with it: the clients' p99 while a node joined was 14 ms with one processor, 7 with two. For who leads nothing clients wait at
// most as for one of several voters, and with all its processors it would take some from others on the same machine. All are used
// also where the log's disk is slow: with syncs of 2 ms one after the other, 95 in 100 reads were answered within 2.2 ms by one
// processor, within 0.8 by two.
const (
	processorLook = 100 * time.Millisecond
	busyShare     = 0.95 // of the few processors that is used: they do not suffice
	easyShare     = 0.9  // of them that would be used: they suffice
	busyLooks     = 3    // in a row until all are used
	easyLooks     = 20   // in a row until few are

	slowSync    = 500 * time.Microsecond
	slowShare   = 0.1 // of the time is spent in slow syncs: all are used
	slowInertia = 8   // looks that are remembered, as it were
)

// thrift decides how many processors a node uses.
type thrift struct {
	few, all int
	thrifty  bool
	looks    int     // in a row that spoke for a change
	slow     float64 // share of the time that is spent in slow syncs
}

func newThrift(all int) *thrift { return &thrift{all: all, few: (all + 1) / 2} }

// synced is called before each look with how many syncs there were since the last one, how long they took together, and how long
// ago that is. It returns whether the log's disk is slow.
func (t *thrift) synced(n uint64, took, since time.Duration) bool {
	share := 0.0
	if took > slowSync*time.Duration(n) {
		share = took.Seconds() / since.Seconds()
	}
	t.slow += (share - t.slow) / slowInertia
	return t.slow > slowShare
}

// look is called now and then with the processors that were used since, and returns how many to use: all unless it may be few.
func (t *thrift) look(may bool, used float64) int {
	few, enough := float64(t.few), easyLooks
	change := may && used < easyShare*few
	if t.thrifty {
		change, enough = used > busyShare*few, busyLooks
	}
	if t.looks++; !change {
		t.looks = 0
	}
	if !may {
		t.thrifty = false
	} else if t.looks >= enough {
		t.thrifty, t.looks = !t.thrifty, 0
	}
	if t.thrifty {
		return t.few
	}
	return t.all
}

// SpareProcessors has the process use no more processors than it needs, until ctx is done. It changes GOMAXPROCS: it is for
// a process that is this server and nothing else. Once it has, Go no longer follows a container's limit that changes.
func (srv *Server) SpareProcessors(ctx context.Context) {
	look := time.NewTicker(processorLook)
	defer look.Stop()
	t := newThrift(runtime.GOMAXPROCS(0))
	spread := srv.config.Load().IOThreads == 0
	now, before, log := t.all, processorTime(), srv.node.aof.Stats()
	for then := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		replicated := srv.node.replicated.Load()
		if spread {
			loops := t.all
			if replicated {
				loops = t.few
			}
			srv.net.Spread(loops)
		}
		if !replicated && now == t.all {
			continue
		}
		after, moment, logAfter := processorTime(), time.Now(), srv.node.aof.Stats()
		since := moment.Sub(then)
		slow := t.synced(logAfter.Syncs-log.Syncs, logAfter.SyncTime-log.SyncTime, since)
		use := t.look(replicated && !slow && !srv.node.movesAsLeader(), (after-before)/since.Seconds())
		before, then, log = after, moment, logAfter
		if use != now {
			now = use
			runtime.GOMAXPROCS(now)
		}
	}
}

// movesAsLeader says whether slots or replicas are on their way while this node leads a shard.
func (n *node) movesAsLeader() bool {
	return n.moving.Load() && slices.ContainsFunc(n.local(), func(sh *shard) bool { return sh.group.CanRead() })
}

// processorTime is what the process has used, seconds.
func processorTime() (s float64) {
	for _, c := range cpuUse() {
		if c.name == "used_cpu_sys" || c.name == "used_cpu_user" {
			s += c.seconds
		}
	}
	return s
}
