package server

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/server/resp"
)

// slowLog remembers commands that took long (slowlog-log-slower-than, slowlog-max-len). Only what workers do is timed:
// long reads, reads from the store, and the server's own slow commands. What runs on a loop or rides in a log entry
// is bounded work, and is not timed.
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

// note remembers the command of s if it was slow. It runs on the session's loop.
func (l *slowLog) note(s *session, args [][]byte, took time.Duration) {
	v := s.server.config.Load()
	if v.SlowlogLogSlowerThan < 0 || took.Microseconds() < v.SlowlogLogSlowerThan {
		return
	}
	e := slowEntry{at: time.Now(), took: took, args: slowArgsOf(args), addr: s.peer(), name: s.client.name}
	most := int(min(v.SlowlogMaxLen, slowMost))
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
