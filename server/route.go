package server

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
)

// What a client of a cluster is told instead of a reply.
const (
	notServed  = "CLUSTERDOWN Hash slot not served"
	noCluster  = "ERR This instance has cluster support disabled"
	crossSlot  = "CROSSSLOT Keys in request don't hash to the same slot"
	moved      = "MOVED "
	noSlot     = -1
	notInMulti = "ERR Command not allowed inside a transaction"
)

// inCluster says whether slots decide where commands are run.
func (s *session) inCluster() bool { return s.server.node.clustered }

// route finds the shard that runs a command. Where it is not run here, why says what the client is told. slot is that of
// the command's keys, if slots decide.
func (s *session) route(row *command.Command, args [][]byte) (ls *loopShard, slot int, why string) {
	r := s.server.node.routing.Load()
	if r.sole != nil {
		return s.loop.of(r.sole), noSlot, ""
	}
	if !s.inCluster() {
		return nil, noSlot, noLeader
	}
	// Where the arguments do not hold the keys that they announce, the handler says so.
	at, _ := row.KeyPositions(args, s.loop.positions[:0])
	s.loop.positions = at
	if len(at) == 0 {
		return s.anywhere(r)
	}
	slot = int(keyspace.Slot(args[at[0]]))
	if r.slots[slot] == nobody {
		return nil, slot, notServed
	}
	for _, i := range at[1:] {
		if int(keyspace.Slot(args[i])) != slot {
			return nil, slot, crossSlot
		}
	}
	ls, why = s.here(r, slot, row.Flags&command.ReadOnly != 0)
	return ls, slot, why
}

// here is what the loop keeps for the shard of a slot, if its commands may be run here.
func (s *session) here(r *routing, slot int, read bool) (ls *loopShard, why string) {
	o := &r.owners[r.slots[slot]]
	if o.local != nil && (o.local.leads() || read && s.readOnly) {
		return s.loop.of(o.local), ""
	}
	if sh := r.taken(slot); sh != nil {
		return s.loop.of(sh), ""
	}
	return nil, r.elsewhere(o, slot, s.conn.Secure())
}

// anywhere is a shard for what has no key.
func (s *session) anywhere(r *routing) (ls *loopShard, slot int, why string) {
	if led := r.led(); len(led) > 0 {
		return s.loop.of(led[0]), noSlot, ""
	}
	return nil, noSlot, noLeader
}

// elsewhere words that a slot is served by another node, to a client that has come with TLS or without.
func (r *routing) elsewhere(o *owner, slot int, secure bool) string {
	if o.shard == nobody {
		return notServed
	}
	address := r.leaderOf(o).by(secure)
	if address == "" {
		return noLeader
	}
	return fmt.Sprintf("%s%d %s", moved, slot, address)
}

// servedElsewhere words that this node does not lead the shard of a slot, or, with noSlot, of all.
func (s *session) servedElsewhere(slot int) string {
	if slot == noSlot {
		return noLeader
	}
	r := s.server.node.routing.Load()
	return r.elsewhere(&r.owners[r.slots[slot]], slot, s.conn.Secure())
}

// redirect answers a command on a slot, or noSlot, that is not run here, or has it wait for the leader. A transaction ends with the
// answer.
func (s *session) redirect(e *entry, slot int, why string) bool {
	if s.origin != nil && why == noLeader {
		return s.refuse()
	}
	if s.awaitLeader(slot, why) {
		return false
	}
	if strings.HasPrefix(why, moved) {
		r := s.server.node.routing.Load()
		s.loop.led(r.owners[r.slots[slot]].shard)
	}
	if e.row.Name != execName {
		return s.reject(e, why)
	}
	s.loop.stats[e.id].rejected++
	s.discard()
	w := s.writer()
	w.Error(why)
	s.server.errors.count(w.ErrorCode())
	s.finish(w)
	return true
}

// otherInCluster are the commands that deniedInCluster looks at.
var otherInCluster = []string{"MOVE", "SWAPDB", "COPY", "SORT", "SORT_RO"}

// deniedInCluster says what a cluster does not allow, or "". Handlers do not know of it: they go by state and entry alone.
func deniedInCluster(row *command.Command, args [][]byte) string {
	switch row.Name {
	case "MOVE", "SWAPDB":
		return "ERR " + row.Name + " is not allowed in cluster mode"
	case "COPY":
		return copyDenied(args)
	case "SORT", "SORT_RO":
		return sortDenied(args)
	}
	return ""
}

func copyDenied(args [][]byte) string {
	for i := 3; i < len(args); i++ {
		if isWord(args[i], "DB") && i+1 < len(args) {
			if i++; string(args[i]) != "0" {
				return "ERR Copying to another database is not allowed in cluster mode"
			}
		}
	}
	return ""
}

// sortDenied refuses what looks at keys of other names. A pattern without * is none.
func sortDenied(args [][]byte) string {
	for i := 2; i < len(args); i++ {
		switch {
		case isWord(args[i], "BY") && i+1 < len(args):
			if i++; bytes.IndexByte(args[i], '*') >= 0 {
				return "ERR BY option of SORT denied in Cluster mode."
			}
		case isWord(args[i], "GET") && i+1 < len(args):
			return "ERR GET option of SORT denied in Cluster mode."
		case isWord(args[i], "LIMIT"):
			i += 2
		case isWord(args[i], "STORE"):
			i++
		}
	}
	return ""
}
