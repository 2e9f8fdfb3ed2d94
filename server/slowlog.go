package server

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/server/resp"
)

// slowLog remembers commands that took long (slowlog-log-slower-than, slowlog-max-len). What counts is in timing.go. The
// server's own commands that ask all loops or wait for a worker (CLIENT LIST, CONFIG SET) are not in it.
type slowLog struct {
	mu struct {
		sync.Mutex
		next    int64
		entries []slowEntry // oldest first
	}
}

type slowEntry struct {
	id         int64
	at         time.Time
	took       time.Duration
	args       []string
	addr, name string
}

// Bounds of what an entry keeps of a command, as in Redis.
const (
	slowArgs     = 32
	slowArgBytes = 128
	slowMost     = 1 << 16 // entries, whatever slowlog-max-len says
)

// isSlow says whether a duration is one for the slow log.
func (srv *Server) isSlow(took time.Duration) bool {
	least := srv.config.Load().SlowlogLogSlowerThan
	return least >= 0 && took.Microseconds() >= least
}

// note remembers a command of s. It runs on the session's loop.
func (l *slowLog) note(s *session, c *entry, args [][]byte, took time.Duration) {
	e := slowEntry{at: time.Now(), took: took, args: slowArgsOf(redact(c, args)), addr: s.peer(), name: s.client.name}
	most := int(min(s.server.config.Load().SlowlogMaxLen, slowMost))
	l.mu.Lock()
	defer l.mu.Unlock()
	e.id = l.mu.next
	l.mu.next++
	l.mu.entries = append(l.mu.entries, e)
	if over := len(l.mu.entries) - most; over > 0 {
		clear(l.mu.entries[:over])
		l.mu.entries = l.mu.entries[over:]
	}
}

// redact replaces the passwords among a command's arguments.
func redact(c *entry, args [][]byte) [][]byte {
	if c.server == nil {
		return args
	}
	var secret func(i int) bool
	switch c.row.Name {
	case "AUTH":
		secret = func(i int) bool { return i > 0 }
	case "HELLO":
		secret = func(i int) bool { return isWord(args[i-1], "AUTH") || i > 1 && isWord(args[i-2], "AUTH") }
	default:
		return args
	}
	shown := slices.Clone(args)
	for i := 1; i < len(args); i++ {
		if secret(i) {
			shown[i] = []byte("(redacted)")
		}
	}
	return shown
}

// slowArgsOf shortens a command to what is kept of it.
func slowArgsOf(args [][]byte) []string {
	var out []string
	for i, a := range args {
		if i == slowArgs-1 && len(args) > slowArgs {
			return append(out, fmt.Sprintf("... (%d more arguments)", len(args)-slowArgs+1))
		}
		if len(a) > slowArgBytes {
			out = append(out, fmt.Sprintf("%s... (%d more bytes)", a[:slowArgBytes], len(a)-slowArgBytes))
			continue
		}
		out = append(out, string(a))
	}
	return out
}

func slowlogGet(s *session, args [][]byte, w *resp.Writer) {
	if len(args) > 3 {
		w.Error("ERR unknown subcommand or wrong number of arguments for '" + string(shortened(args[1], shownBytes)) + "'. Try SLOWLOG HELP.")
		return
	}
	count := 10
	if len(args) == 3 {
		n, err := strconv.ParseInt(string(args[2]), 10, 64)
		if err != nil || n < -1 {
			w.Error("ERR count should be greater than or equal to -1")
			return
		}
		if count = int(min(n, slowMost)); n < 0 {
			count = math.MaxInt
		}
	}
	l := &s.server.slow
	l.mu.Lock()
	defer l.mu.Unlock()
	count = min(count, len(l.mu.entries))
	w.Array(count)
	for i := range count {
		l.mu.entries[len(l.mu.entries)-1-i].write(w)
	}
}

func (e *slowEntry) write(w *resp.Writer) {
	w.Array(6)
	w.Int(e.id)
	w.Int(e.at.Unix())
	w.Int(e.took.Microseconds())
	w.Array(len(e.args))
	for _, a := range e.args {
		w.BulkString(a)
	}
	w.BulkString(e.addr)
	w.BulkString(e.name)
}

func slowlogLen(s *session, _ [][]byte, w *resp.Writer) {
	l := &s.server.slow
	l.mu.Lock()
	defer l.mu.Unlock()
	w.Int(int64(len(l.mu.entries)))
}

func slowlogReset(s *session, _ [][]byte, w *resp.Writer) {
	l := &s.server.slow
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.entries = nil
	w.Simple(reply.OK)
}

func slowlogHelp(_ *session, _ [][]byte, w *resp.Writer) {
	help(w, "SLOWLOG",
		"GET [<count>]",
		"    Returns the newest slow commands (default: 10, -1: all): number, time, microseconds,",
		"    arguments, the client's address and name.",
		"LEN",
		"    Returns how many slow commands are remembered.",
		"RESET",
		"    Forgets them.")
}
