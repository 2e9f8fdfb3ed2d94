package server

import (
	"fmt"
	"net"
	"strings"
	"time"
	"unsafe"

	"github.com/larder-db/larder/server/transport"
)

// sessionBytes is what a client costs beside its buffers.
const sessionBytes = int(unsafe.Sizeof(session{}) + unsafe.Sizeof(transport.Conn{}))

// peer is the client's address as CLIENT LIST shows it: over a Unix socket, which clients seldom bind to a name, the
// server's.
func (s *session) peer() string {
	if _, ok := s.conn.RemoteAddr().(*net.UnixAddr); ok {
		return addrOf(s.conn.LocalAddr())
	}
	return addrOf(s.conn.RemoteAddr())
}

// describe appends the client's line of CLIENT LIST. It runs on the session's loop.
func (s *session) describe(dst []byte) []byte {
	c := &s.client
	now := s.loop.loop.Now()
	unparsed, unread := s.conn.Parser.Buffered(), s.conn.OutputBuffered()
	waiting := 0
	for _, args := range s.waiting {
		for _, a := range args {
			waiting += len(a)
		}
	}
	events, resp := "r", 2
	if s.conn.ReadingPaused() && !s.busy {
		events = ""
	}
	if unread > 0 {
		events += "w"
	}
	if s.resp3 {
		resp = 3
	}
	multi, multiBytes := -1, 0
	if m := s.multi; m != nil {
		multi, multiBytes = len(m.queue), m.bytes
	}
	if s.playing != nil {
		multi = len(s.playing.steps)
	}
	last := "NULL"
	if c.lastCommand != nil {
		last = s.server.table.names[c.lastCommand.id]
	}
	if s.playing != nil {
		last = s.server.table.names[s.playing.entry.id]
	}
	dst = fmt.Appendf(dst, "id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=%d ssub=0 multi=%d",
		s.conn.ID(), s.peer(), addrOf(s.conn.LocalAddr()), s.conn.Fd(), c.name,
		now.Sub(c.since)/time.Second, now.Sub(s.lastActive())/time.Second, s.flags(), s.db, len(s.subscribed.channels), len(s.subscribed.patterns), multi)
	dst = fmt.Appendf(dst, " qbuf=%d qbuf-free=0 argv-mem=%d multi-mem=%d rbs=0 rbp=0 obl=0 oll=%d omem=%d tot-mem=%d",
		unparsed, waiting, multiBytes, len(s.held), unread+s.heldBytes, sessionBytes+unparsed+waiting+multiBytes+unread+s.heldBytes)
	return fmt.Appendf(dst, " events=%s cmd=%s user=default redir=-1 resp=%d lib-name=%s lib-ver=%s\n",
		events, last, resp, c.libName, c.libVer)
}

// flags are the letters of CLIENT LIST.
func (s *session) flags() string {
	var b strings.Builder
	for _, f := range []struct {
		on     bool
		letter byte
	}{
		{s.subscribed.count() > 0, 'P'},
		{s.multi != nil || s.playing != nil, 'x'},
		{s.watcher != nil && s.watcher.dirty.Load(), 'd'},
		{s.conn.Closing(), 'c'},
		{s.readOnly, 'r'},
		{isUnix(s.conn.LocalAddr()), 'U'},
		{s.client.noEvict, 'e'},
		{s.client.noTouch, 'T'},
		{s.postponed, 'b'},
	} {
		if f.on {
			b.WriteByte(f.letter)
		}
	}
	if b.Len() == 0 {
		return "N"
	}
	return b.String()
}

func isUnix(a net.Addr) bool {
	_, ok := a.(*net.UnixAddr)
	return ok
}
