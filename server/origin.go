package server

import (
	"errors"
	"net"
	"strconv"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/raftfsm"
)

// remoteClient is what a session at the leader knows of the client at another node whose commands it runs. That node has let the
// client in, and proved to this one who it is.
type remoteClient struct {
	addr    string
	known   bool
	refused bool // something was refused: everything is, so that what is sent elsewhere keeps its order
}

const (
	// originCommand is what the other node says first, and again when something changes:
	// the client's address, its name, the data base, whether RESP3, whether reads do not count as uses.
	originCommand = "LARDER.CLIENT"
	originArgs    = 6
	// refusal is the reply to what was certainly not done because this node does not lead. No command's reply begins so.
	refusal = "!9\r\nNOTLEADER\r\n"
)

// introduced runs originCommand, or returns false if that is not what was sent. Whoever says it wrongly is not talked to.
func (s *session) introduced(args [][]byte) bool {
	o := s.origin
	if string(args[0]) != originCommand {
		if !o.known {
			s.conn.Close()
			return true
		}
		return false
	}
	if len(args) != originArgs {
		s.conn.Close()
		return true
	}
	db, err := strconv.Atoi(string(args[3]))
	if err != nil || db < 0 || db >= keyspace.Databases {
		s.conn.Close()
		return true
	}
	o.addr, o.known = string(args[1]), true
	s.client.name = string(args[2])
	s.db, s.resp3, s.client.noTouch = db, string(args[4]) == "1", string(args[5]) == "1"
	w := s.writer()
	w.Simple(reply.OK)
	s.finish(w)
	return true
}

// refuses says that the session has to refuse a command of the leader's business.
func (s *session) refuses(e *entry) bool {
	if s.origin == nil || !e.leaders() && e.row.Name != execName {
		return false
	}
	return s.origin.refused || !s.server.forwarding.leads()
}

// turnsBack says that a call whose batch failed certainly was not applied, and is to be refused in the words that the other
// node knows.
func (s *session) turnsBack(err error) bool {
	if s.origin == nil || errors.Is(err, raftfsm.ErrIndeterminate) || !errors.Is(err, raftfsm.ErrNotLeader) && !errors.Is(err, raftfsm.ErrClosed) {
		return false
	}
	s.origin.refused = true
	return true
}

// refuse answers a command that was not run, because another node leads.
func (s *session) refuse() bool {
	s.origin.refused = true
	s.discard()
	w := s.writer()
	w.Buf = append(w.Buf, refusal...)
	s.finish(w)
	return true
}

// serveForwarded takes other nodes' sessions from a listener that has checked who they are.
func (srv *Server) serveForwarded(ln net.Listener) error { return srv.net.ServeTrusted(ln) }
