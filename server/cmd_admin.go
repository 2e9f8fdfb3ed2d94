package server

import (
	"strconv"
	"time"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/server/resp"
)

// Flags that several of the rows share.
const (
	adminRow  = command.Admin | command.NoScript
	adminBusy = command.Admin | command.Loading | command.Stale
	watching  = command.Admin | command.NoScript | command.Loading | command.Stale
)

// Tips of what looks at one node.
var (
	oneOfAll = []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}
	onAll    = []string{"request_policy:all_nodes", "response_policy:all_succeeded"}
)

var adminCommands = []serverCommand{
	{Command: command.Command{Name: "TIME", Arity: 1, Flags: command.Loading | command.Stale | command.Fast, Group: "server", Since: "2.6.0",
		Summary: "Returns the server's time: seconds, microseconds.", Tips: []string{"nondeterministic_output"}}, Run: timeCommand, Anytime: true},
	{Command: command.Command{Name: "LASTSAVE", Arity: 1, Flags: command.Loading | command.Stale | command.Fast, Group: "server", Since: "1.0.0", Extra: "admin dangerous",
		Summary: "Returns when the last checkpoint was completed, Unix seconds.", Tips: []string{"nondeterministic_output"}}, Run: lastSave},
	{Command: command.Command{Name: "SAVE", Arity: 1, Flags: adminRow | command.NoAsyncLoading | command.NoMulti, Group: "server", Since: "1.0.0",
		Summary: "Takes a checkpoint and waits for it."}, Run: save},
	{Command: command.Command{Name: "BGSAVE", Arity: -1, Flags: adminRow | command.NoAsyncLoading, Group: "server", Since: "1.0.0",
		Summary: "Takes a checkpoint in the background."}, Run: bgSave},
	{Command: command.Command{Name: "BGREWRITEAOF", Arity: 1, Flags: adminRow | command.NoAsyncLoading, Group: "server", Since: "1.0.0",
		Summary: "Shortens the log: takes a checkpoint in the background."}, Run: bgRewriteAOF},
	{Command: command.Command{Name: "SHUTDOWN", Arity: -1, Flags: watching | command.NoMulti | command.AllowBusy, Group: "server", Since: "1.0.0",
		Summary: "Ends the server, by default after a checkpoint."}, Run: shutdown},
	{Command: command.Command{Name: "LOLWUT", Arity: -1, Flags: command.ReadOnly | command.Fast, Group: "server", Since: "5.0.0",
		Summary: "Names the server and its version."}, Run: lolwut, Anytime: true},
	{
		Command: command.Command{Name: "SLOWLOG", Arity: -2, Group: "server", Since: "2.2.12", Summary: "Commands about slow commands."},
		Sub: []serverCommand{
			adminSub("GET", -2, adminBusy, "2.2.12", "Returns the newest slow commands.", slowlogGet, "request_policy:all_nodes", "nondeterministic_output"),
			adminSub("HELP", 2, command.Loading|command.Stale, "6.2.0", "Lists the subcommands.", slowlogHelp),
			adminSub("LEN", 2, adminBusy, "2.2.12", "Returns how many slow commands are remembered.", slowlogLen,
				"request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"),
			adminSub("RESET", 2, adminBusy, "2.2.12", "Forgets the slow commands.", slowlogReset, onAll...),
		},
	},
	{
		Command: command.Command{Name: "LATENCY", Arity: -2, Group: "server", Since: "2.8.13", Summary: "Commands about delays."},
		Sub: []serverCommand{
			adminSub("DOCTOR", 2, watching, "2.8.13", "Sums up the delays that were noted.", latencyDoctor, oneOfAll...),
			adminSub("GRAPH", 3, watching, "2.8.13", "Draws the delays of an event.", latencyGraph, oneOfAll...),
			adminSub("HELP", 2, command.Loading|command.Stale, "2.8.13", "Lists the subcommands.", latencyHelp),
			adminSub("HISTOGRAM", -2, watching, "7.0.0", "Returns how many calls of commands took how long.", latencyHistogram, oneOfAll...),
			adminSub("HISTORY", 3, watching, "2.8.13", "Returns the delays of an event.", latencyHistory, oneOfAll...),
			adminSub("LATEST", 2, watching, "2.8.13", "Returns the last delay of each event, and the longest.", latencyLatest, oneOfAll...),
			adminSub("RESET", -2, watching, "2.8.13", "Forgets delays and returns of how many events.", latencyReset, onAll...),
		},
	},
	{
		// MEMORY USAGE is the engine's.
		Command: command.Command{Name: "MEMORY", Arity: -2, Group: "server", Since: "4.0.0", Summary: "Commands that tell where memory goes."},
		Sub: []serverCommand{
			adminSub("DOCTOR", 2, 0, "4.0.0", "Says what is unusual about memory.", memoryDoctor, perShard...),
			adminSub("HELP", 2, command.Loading|command.Stale, "4.0.0", "Lists the subcommands.", memoryHelp),
			adminSub("MALLOC-STATS", 2, 0, "4.0.0", "Returns the allocators' figures.", memoryMallocStats, perShard...),
			adminSub("PURGE", 2, 0, "4.0.0", "Gives unused memory back to the system.", memoryPurge,
				"request_policy:all_shards", "response_policy:all_succeeded"),
			adminSub("STATS", 2, 0, "4.0.0", "Returns figures about memory.", memoryStats, perShard...),
		},
	},
}

var perShard = []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}

// adminSub is a row of a subcommand.
func adminSub(name string, arity int, flags command.Flags, since, summary string, run func(*session, [][]byte, *resp.Writer), tips ...string) serverCommand {
	return serverCommand{
		Command: command.Command{Name: name, Arity: arity, Flags: flags, Group: "server", Since: since, Summary: summary, Tips: tips},
		Run:     run,
	}
}

func timeCommand(_ *session, _ [][]byte, w *resp.Writer) {
	now := time.Now()
	w.Array(2)
	w.BulkString(strconv.FormatInt(now.Unix(), 10))
	w.BulkString(strconv.Itoa(now.Nanosecond() / 1000))
}

func lastSave(s *session, _ [][]byte, w *resp.Writer) {
	w.Int(s.server.node.checkpointFigures().last.Unix())
}

const alreadySaving = "ERR Background save already in progress"

func save(s *session, args [][]byte, w *resp.Writer) {
	run, err := s.server.node.startCheckpoint()
	if err != nil {
		w.Error(alreadySaving)
		return
	}
	s.slowly(args, func(_ [][]byte, w *resp.Writer) {
		if err := run(); err != nil {
			w.Error("ERR the checkpoint failed, and the log still holds everything: " + err.Error())
			return
		}
		w.Simple(reply.OK)
	})
}

func bgSave(s *session, args [][]byte, w *resp.Writer) {
	if len(args) > 2 || len(args) == 2 && !isWord(args[1], "SCHEDULE") {
		w.Error(reply.Syntax)
		return
	}
	run, err := s.server.node.startCheckpoint()
	if err != nil {
		w.Error(alreadySaving)
		return
	}
	s.server.workers.run(func() { _ = run() }) // it logs its error and keeps it for INFO
	w.Simple("Background saving started")
}

// bgRewriteAOF takes a checkpoint, since that is what the log is cut behind. One that is under way may have begun
// before the client's last write: then another follows.
func bgRewriteAOF(s *session, _ [][]byte, w *resp.Writer) {
	n := s.server.node
	if run, err := n.startCheckpoint(); err == nil {
		s.server.workers.run(func() { _ = run() }) // it logs its error and keeps it for INFO
		w.Simple("Background append only file rewriting started")
		return
	}
	if n.scheduled.CompareAndSwap(false, true) {
		s.server.workers.run(func() {
			_ = n.checkpoint() // the one under way
			n.scheduled.Store(false)
			_ = n.checkpoint()
		})
	}
	w.Simple("Background append only file rewriting scheduled")
}

// shutdownFlags are SHUTDOWN's options.
type shutdownFlags struct{ save, noSave, now, force, abort bool }

func (f *shutdownFlags) parse(args [][]byte) bool {
	for _, a := range args {
		switch {
		case isWord(a, "SAVE"):
			f.save = true
		case isWord(a, "NOSAVE"):
			f.noSave = true
		case isWord(a, "NOW"):
			f.now = true
		case isWord(a, "FORCE"):
			f.force = true
		case isWord(a, "ABORT"):
			f.abort = true
		default:
			return false
		}
	}
	return !(f.save && f.noSave) && !(f.abort && (f.save || f.noSave || f.now || f.force))
}

// shutdown ends the server. Nothing is lost either way: a checkpoint only spares the next start the replay. There are
// no replicas to wait for, so that NOW changes nothing, and an end that has begun cannot be aborted.
func shutdown(s *session, args [][]byte, w *resp.Writer) {
	var f shutdownFlags
	if !f.parse(args[1:]) {
		w.Error(reply.Syntax)
		return
	}
	if f.abort {
		w.Error("ERR No shutdown in progress.")
		return
	}
	srv := s.server
	srv.log.Info("a client asks for the end", "client", s.conn.ID(), "addr", s.peer())
	if f.noSave {
		s.conn.CloseAfterFlush()
		srv.Stop(false)
		return
	}
	var err error
	s.workReply(func() { err = srv.node.checkpoint() }, func(w *resp.Writer) {
		if err != nil && !f.force {
			w.Error("ERR Errors trying to SHUTDOWN. Check logs.")
			return
		}
		s.conn.CloseAfterFlush()
		srv.Stop(err == nil)
	})
}

func lolwut(_ *session, _ [][]byte, w *resp.Writer) {
	w.Verbatim("txt", "Larder ver. "+Version+", Redis ver. "+RedisVersion+"\n")
}
