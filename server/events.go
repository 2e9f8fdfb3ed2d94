package server

import (
	"fmt"
	"strings"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/server/resp"
)

// Clients of Sentinel subscribe to its events. There is no other pub/sub yet: channels are those whose names begin as
// Sentinel's do, with a sign, and only the server publishes. Who is subscribed is known to its session and to its loop.

var eventCommands = []serverCommand{
	eventRow("SUBSCRIBE", -2, "2.0.0", "Has Sentinel's events of these names sent to this connection.", subscribe),
	eventRow("PSUBSCRIBE", -2, "2.0.0", "Has Sentinel's events whose names match sent to this connection.", psubscribe),
	eventRow("UNSUBSCRIBE", -1, "2.0.0", "Ends SUBSCRIBE, of some or all names.", unsubscribe),
	eventRow("PUNSUBSCRIBE", -1, "2.0.0", "Ends PSUBSCRIBE, of some or all patterns.", punsubscribe),
}

func eventRow(name string, arity int, since, summary string, run func(*session, [][]byte, *resp.Writer)) serverCommand {
	row := clientRow(name, arity, command.PubSub|command.NoScript|command.Loading|command.Stale, since, summary, run)
	row.Group, row.Subscribed = "pubsub", true
	return row
}

// maxSubscribed bounds what one connection is subscribed to.
const maxSubscribed = 1024

// subscriptions is what one session is subscribed to, in the order of asking.
type subscriptions struct {
	channels, patterns []string
	late               [][]byte // messages that wait until a reply that is being put together is whole
}

func (p *subscriptions) count() int { return len(p.channels) + len(p.patterns) }

// isEvent says whether a channel or pattern can be one of Sentinel's.
func isEvent(name []byte) bool {
	return len(name) > 0 && strings.IndexByte("+-*?[", name[0]) >= 0
}

func subscribe(s *session, args [][]byte, w *resp.Writer) {
	s.subscribe(w, "subscribe", &s.subscribed.channels, args[1:])
}

func psubscribe(s *session, args [][]byte, w *resp.Writer) {
	s.subscribe(w, "psubscribe", &s.subscribed.patterns, args[1:])
}

func (s *session) subscribe(w *resp.Writer, word string, list *[]string, names [][]byte) {
	if s.playing != nil {
		w.Error("ERR Command not allowed inside a transaction")
		return
	}
	for _, name := range names {
		if !isEvent(name) {
			w.Error("ERR Larder has no pub/sub yet but Sentinel's events, such as +switch-master")
			return
		}
	}
	if s.subscribed.count()+len(names) > maxSubscribed {
		w.Error("ERR too many subscriptions")
		return
	}
	for _, name := range names {
		if !contains(*list, name) {
			*list = append(*list, string(name))
		}
		s.confirm(w, word, name)
	}
	s.loop.listening[s] = struct{}{}
}

func contains(list []string, name []byte) bool {
	for _, have := range list {
		if have == string(name) {
			return true
		}
	}
	return false
}

// confirm says what the session is subscribed to now. A nil name is that of nothing.
func (s *session) confirm(w *resp.Writer, word string, name []byte) {
	w.Push(3)
	w.BulkString(word)
	if name == nil {
		w.Null()
	} else {
		w.Bulk(name)
	}
	w.Int(int64(s.subscribed.count()))
}

func unsubscribe(s *session, args [][]byte, w *resp.Writer) {
	s.unsubscribe(w, "unsubscribe", &s.subscribed.channels, args[1:])
}

func punsubscribe(s *session, args [][]byte, w *resp.Writer) {
	s.unsubscribe(w, "punsubscribe", &s.subscribed.patterns, args[1:])
}

func (s *session) unsubscribe(w *resp.Writer, word string, list *[]string, names [][]byte) {
	if len(names) == 0 {
		for _, name := range *list {
			names = append(names, []byte(name))
		}
		if len(names) == 0 {
			s.confirm(w, word, nil)
		}
	}
	for _, name := range names {
		for i, have := range *list {
			if have == string(name) {
				*list = append((*list)[:i:i], (*list)[i+1:]...)
				break
			}
		}
		s.confirm(w, word, name)
	}
	if s.subscribed.count() == 0 {
		delete(s.loop.listening, s)
	}
}

// deaf says that a session may not run a command because it is subscribed, as in RESP2, and what to answer.
func (s *session) deaf(e *entry) (why string) {
	if s.resp3 || s.subscribed.count() == 0 || e.server != nil && e.server.Subscribed {
		return ""
	}
	return "ERR Can't execute '" + s.server.table.names[e.id] + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
}

// publish tells everybody who is subscribed to an event of it, in other words those who have come with TLS. Any goroutine may
// call it.
func (srv *Server) publish(event, message, secure string) {
	for _, l := range srv.loops {
		l.loop.Post(func() {
			for s := range l.listening {
				if s.conn.Secure() {
					s.hear(event, secure)
					continue
				}
				s.hear(event, message)
			}
		})
	}
}

// hear sends an event to a session: once for its name and once for each pattern that matches.
func (s *session) hear(event, message string) {
	w := resp.Writer{RESP3: s.resp3}
	if contains(s.subscribed.channels, []byte(event)) {
		w.Push(3)
		w.BulkString("message")
		w.BulkString(event)
		w.BulkString(message)
	}
	for _, pattern := range s.subscribed.patterns {
		if !value.Glob([]byte(pattern), []byte(event)) {
			continue
		}
		w.Push(4)
		w.BulkString("pmessage")
		w.BulkString(pattern)
		w.BulkString(event)
		w.BulkString(message)
	}
	if len(w.Buf) == 0 {
		return
	}
	if s.playing != nil || s.busy {
		if len(s.subscribed.late) < maxSubscribed { // a client that misses an event asks again when it connects
			s.subscribed.late = append(s.subscribed.late, w.Buf)
		}
		return
	}
	s.hold(w.Buf)
	s.checkOutput()
}

// hearLate sends what came while a reply was put together.
func (s *session) hearLate() {
	if len(s.subscribed.late) == 0 || s.playing != nil || s.busy {
		return
	}
	for _, b := range s.subscribed.late {
		s.hold(b)
	}
	s.subscribed.late = nil
}

// forgetEvents ends all subscriptions.
func (s *session) forgetEvents() {
	s.subscribed = subscriptions{}
	delete(s.loop.listening, s)
}

// pingSubscribed answers PING where RESP2 allows nothing but messages.
func pingSubscribed(args [][]byte, w *resp.Writer) {
	w.Array(2)
	w.BulkString("pong")
	if len(args) > 1 {
		w.Bulk(args[1])
		return
	}
	w.BulkString("")
}

// leaderChanged tells Sentinel's clients that the shard has another leader. Whoever keeps the topology calls it, from any
// goroutine.
func (srv *Server) leaderChanged(from, to *clusterNode) {
	if srv.node.clustered || from == nil || to == nil || from.ID == to.ID {
		return
	}
	message := func(secure bool) string {
		return fmt.Sprintf("%s %s %d %s %d", srv.config.Load().Cluster.SentinelMasterName, from.Host, from.port(secure), to.Host, to.port(secure))
	}
	srv.publish("+switch-master", message(false), message(true))
}
