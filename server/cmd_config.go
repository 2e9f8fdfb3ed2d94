package server

import (
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/server/config"
	"github.com/larder-db/larder/server/resp"
)

// What reads or writes files, or may wait for a lock, runs on a worker.
var configCommands = []serverCommand{
	{
		Command: command.Command{Name: "CONFIG", Arity: -2, Group: "server", Since: "2.0.0", Summary: "Commands about the configuration."},
		Sub: []serverCommand{
			configRow("GET", -3, aboutClients, "2.0.0", "Returns the directives whose names match the patterns.", configGet),
			configRow("HELP", 2, command.Loading|command.Stale, "5.0.0", "Lists the subcommands.", configHelp),
			configRow("RESETSTAT", 2, aboutClients, "2.0.0", "Has INFO count from zero again.", configResetStat),
			configRow("REWRITE", 2, aboutClients, "2.8.0", "Brings the configuration file up to date.", configRewrite),
			configRow("SET", -4, aboutClients, "2.0.0", "Changes directives, all or none.", configSet,
				"request_policy:all_nodes", "response_policy:all_succeeded"),
		},
	},
}

func configRow(name string, arity int, flags command.Flags, since, summary string, run func(*session, [][]byte, *resp.Writer), tips ...string) serverCommand {
	row := clientRow(name, arity, flags, since, summary, run, tips...)
	row.Group = "server"
	return row
}

func configHelp(_ *session, _ [][]byte, w *resp.Writer) {
	help(w, "CONFIG",
		"GET <pattern> [<pattern> ...]",
		"    Returns the directives whose names match, and their values.",
		"RESETSTAT",
		"    Has INFO count from zero again.",
		"REWRITE",
		"    Brings the configuration file up to date.",
		"SET <directive> <value> [<directive> <value> ...]",
		"    Changes directives, all or none.")
}

func configGet(s *session, args [][]byte, w *resp.Writer) {
	patterns := make([]string, len(args)-2)
	for i, a := range args[2:] {
		patterns[i] = string(a)
	}
	pairs := s.server.config.Get(patterns...)
	w.Map(len(pairs))
	for _, p := range pairs {
		w.BulkString(p.Name)
		w.BulkString(p.Value)
	}
}

func configSet(s *session, args [][]byte, w *resp.Writer) {
	if len(args)%2 != 0 {
		w.Error(reply.Syntax)
		return
	}
	var pairs []config.Pair
	for i := 2; i < len(args); i += 2 {
		pairs = append(pairs, config.Pair{Name: string(args[i]), Value: string(args[i+1])})
	}
	s.workResult(func() error { return s.server.config.Set(pairs, isLocal(s.conn.RemoteAddr())) })
}

func configRewrite(s *session, _ [][]byte, _ *resp.Writer) { s.workResult(s.server.config.Rewrite) }

// workResult answers the command that s is running with OK or the error, whose text is the whole reply, of what a
// worker does.
func (s *session) workResult(do func() error) {
	var err error
	s.workReply(func() { err = do() }, func(w *resp.Writer) {
		if err != nil {
			w.Error(err.Error())
			return
		}
		w.Simple(reply.OK)
	})
}

func configResetStat(s *session, _ [][]byte, _ *resp.Writer) {
	gather(s, func(l *loop) struct{} {
		l.resetStats()
		return struct{}{}
	}, func(_ []struct{}, w *resp.Writer) {
		s.server.resetStats()
		w.Simple(reply.OK)
	})
}

// resetStats forgets what the loop has counted. It runs on the loop.
func (l *loop) resetStats() {
	clear(l.stats)
	l.figures = loopFigures{}
}

// resetStats forgets what the server has counted beside its loops.
func (srv *Server) resetStats() {
	srv.errors.reset()
	srv.node.expired.Store(0)
	srv.node.resetEvictions()
	srv.accepted.Store(0)
	srv.refused.Store(0)
}
