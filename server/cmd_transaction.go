package server

import (
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/server/resp"
)

// aboutTransactions are the flags of the rows.
const aboutTransactions = command.NoScript | command.Loading | command.Stale | command.Fast | command.AllowBusy

// What transactions are made of is in transaction.go, and who watches what in watch.go.
var transactionCommands = []serverCommand{
	{Command: command.Command{Name: "MULTI", Arity: 1, Flags: aboutTransactions, Group: "transactions", Since: "1.2.0",
		Summary: "Begins a transaction: what follows is kept for EXEC."}, Run: multi, Anytime: true, InMulti: true},
	{Command: command.Command{Name: execName, Arity: 1, Flags: command.NoScript | command.Loading | command.Stale | command.SkipSlowlog, Group: "transactions", Since: "1.2.0",
		Summary: "Runs the commands of a transaction, all or none, with nobody else's between them."}, Take: execCommand, InMulti: true},
	{Command: command.Command{Name: "DISCARD", Arity: 1, Flags: aboutTransactions, Group: "transactions", Since: "2.0.0",
		Summary: "Ends a transaction without running it."}, Run: discard, Anytime: true, InMulti: true},
	{Command: command.Command{Name: "WATCH", Arity: -2, Flags: aboutTransactions, Group: "transactions", Since: "2.2.0",
		Keys:    []command.KeySpec{{First: 1, Last: -1, Step: 1, Use: command.RO}},
		Summary: "Has the next EXEC do nothing if one of the keys is touched before it."}, Run: watchKeys, Take: watchCommand, InMulti: true, AtLeader: true},
	{Command: command.Command{Name: "UNWATCH", Arity: 1, Flags: aboutTransactions, Group: "transactions", Since: "2.2.0",
		Summary: "Forgets all watched keys."}, Run: unwatch, Anytime: true},
}

const execName = "EXEC"

// watchRow says which of WATCH's arguments are keys.
var watchRow = &command.Command{Name: "WATCH", Keys: []command.KeySpec{{First: 1, Last: -1, Step: 1, Use: command.RO}}}

func multi(s *session, _ [][]byte, w *resp.Writer) {
	if s.multi != nil {
		w.Error("ERR MULTI calls can not be nested")
		return
	}
	s.multi = &transaction{slot: noSlot}
	w.Simple(reply.OK)
}

func discard(s *session, _ [][]byte, w *resp.Writer) {
	if s.multi == nil {
		w.Error("ERR DISCARD without MULTI")
		return
	}
	s.discard()
	w.Simple(reply.OK)
}

// discard ends the transaction under way, if there is one, and forgets the watched keys.
func (s *session) discard() {
	s.multi = nil
	s.unwatch()
}

func unwatch(s *session, _ [][]byte, w *resp.Writer) {
	s.unwatch()
	w.Simple(reply.OK)
}

// unwatch forgets the watched keys.
func (s *session) unwatch() {
	if s.up != nil {
		s.up.unwatch()
	}
	s.watchLost = false
	if s.watcher != nil {
		s.watcher.shard.watches.remove(s.watcher)
		s.watcher = nil
	}
}

// maxWatched bounds the keys that one client watches.
const maxWatched = 1 << 16

// watchCommand is WATCH, or returns false if it has to wait: for the commands before it, for a leader that knows what is
// acknowledged, or for a slot on the move, whose keys would change out of this shard's sight.
func watchCommand(s *session, e *entry, args [][]byte) bool {
	if s.unfinished() > 0 {
		return false
	}
	if s.multi == nil && !s.watchLost {
		ls, slot, why := s.route(watchRow, args)
		if why != "" {
			return s.redirect(e, slot, why)
		}
		if r, lacks := ls.lacks(slot); lacks {
			return s.awaitSlot(e, ls.shard, r)
		}
		switch {
		case ls.shard.group.CanRead():
		case ls.shard.leads():
			return s.park(ls)
		default:
			return s.redirect(e, slot, s.servedElsewhere(slot))
		}
	}
	return s.serve(e, args)
}

// watchKeys runs WATCH. Earlier commands of the connection are done, so that nothing of its own is still to be applied.
func watchKeys(s *session, args [][]byte, w *resp.Writer) {
	if s.multi != nil {
		w.Error("ERR WATCH inside MULTI is not allowed")
		return
	}
	if s.watchLost { // its EXEC will do nothing whatever comes
		w.Simple(reply.OK)
		return
	}
	ls, _, why := s.route(watchRow, args)
	term := uint64(0)
	if why == "" {
		term = ls.shard.group.LeaderTerm()
	}
	switch {
	case term == 0: // it led when watchCommand looked: its EXEC will do nothing whatever comes
		s.unwatch()
		s.watchLost = true
		w.Simple(reply.OK)
		return
	case s.watcher != nil && s.watcher.shard != ls.shard:
		w.Error(crossSlot)
		return
	}
	sh := ls.shard
	if s.watcher == nil {
		s.watcher = &watcher{shard: sh, term: term}
	}
	of := s.watcher
	if len(of.list)+len(args)-1 > maxWatched {
		w.Error("ERR too many watched keys")
		return
	}
	if of.term != term || of.dirty.Load() { // its EXEC will do nothing whatever comes
		of.dirty.Store(true)
		w.Simple(reply.OK)
		return
	}
	args = cloneArgs(args[1:])
	keys := make([]keyspace.Key, len(args))
	for i, key := range args {
		keys[i] = keyspace.Key{DB: s.db, Key: key}
	}
	now := sh.group.Now()
	look := func(wait bool) (bool, error) {
		return sh.engine.Keys().States(keys, wait, func(states []keyspace.KeyState) { sh.watches.add(of, keys, states, now) })
	}
	done, err := look(false)
	if err == nil && !done { // a key is cold
		s.workReply(func() {
			if err = errClosing; sh.use() {
				defer sh.unuse()
				_, err = look(true)
			}
		}, func(w *resp.Writer) { s.watched(err, w) })
		return
	}
	s.watched(err, w)
}

// watched answers WATCH. A slot that was frozen before the keys were watched has told nobody.
func (s *session) watched(err error, w *resp.Writer) {
	for _, x := range s.watcher.list {
		if s.watcher.shard.engine.SlotState(keyspace.Slot([]byte(x.key))) != keyspace.Owned {
			s.watcher.dirty.Store(true)
		}
	}
	if err != nil {
		s.server.log.Error("WATCH met data that cannot be read", "error", err)
		s.watcher.dirty.Store(true)
		w.Error(unreadable)
		return
	}
	w.Simple(reply.OK)
}
