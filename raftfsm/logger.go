package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm/peer"
)

// raftLogger passes Raft's messages on to slog. What Raft calls information is of use to its developers more than to an
// operator, so it becomes a debug message; nothing is formatted for a level that is off. While a replica is missing, Raft says
// so several times a second: it is passed on once in a while.
type raftLogger struct {
	to    *slog.Logger
	named string
	args  []any
	quiet *peer.Quiet
}

var _ hclog.Logger = (*raftLogger)(nil)

func newRaftLogger(to *slog.Logger) *raftLogger {
	return &raftLogger{to: to.With("component", "raft"), named: "raft", quiet: &peer.Quiet{}}
}

func level(l hclog.Level) slog.Level {
	switch {
	case l >= hclog.Error && l != hclog.Off:
		return slog.LevelError
	case l == hclog.Warn:
		return slog.LevelWarn
	case l == hclog.Trace:
		return slog.LevelDebug - 4
	default:
		return slog.LevelDebug
	}
}

func (r *raftLogger) enabled(l hclog.Level) bool { return r.to.Enabled(context.Background(), level(l)) }

func (r *raftLogger) emit(l hclog.Level, msg string, args []any) {
	if !r.enabled(l) {
		return
	}
	for _, a := range args {
		if err, ok := a.(error); ok && harmless(err) {
			l = hclog.Debug
		}
	}
	if l >= hclog.Warn && !r.quiet.May(msg+about(args)) {
		return
	}
	r.to.Log(context.Background(), level(l), msg, args...)
}

// harmless says that an error is part of the course of things: a checkpoint that had nothing to do, a replica that is about
// to be opened, a connection that has ended.
func harmless(err error) bool {
	var ended *net.OpError
	return errors.Is(err, raft.ErrNothingNewToSnapshot) || errors.Is(err, peer.ErrUnknownService) || errors.Is(err, peer.ErrNotMember) ||
		errors.Is(err, raft.ErrTransportShutdown) || errors.As(err, &ended) && ended.Op == "read" && !ended.Timeout()
}

// about is which replica a message is about, as Raft's messages name it.
func about(args []any) (who string) {
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "target", "server-id", "from", "candidate", "follower", "id":
			who += fmt.Sprint(" ", args[i+1])
		}
	}
	return who
}

// The methods of hclog.Logger.

func (r *raftLogger) Log(l hclog.Level, msg string, args ...any) { r.emit(l, msg, args) }
func (r *raftLogger) Trace(msg string, args ...any)              { r.emit(hclog.Trace, msg, args) }
func (r *raftLogger) Debug(msg string, args ...any)              { r.emit(hclog.Debug, msg, args) }
func (r *raftLogger) Info(msg string, args ...any)               { r.emit(hclog.Info, msg, args) }
func (r *raftLogger) Warn(msg string, args ...any)               { r.emit(hclog.Warn, msg, args) }
func (r *raftLogger) Error(msg string, args ...any)              { r.emit(hclog.Error, msg, args) }
func (r *raftLogger) IsTrace() bool                              { return r.enabled(hclog.Trace) }
func (r *raftLogger) IsDebug() bool                              { return r.enabled(hclog.Debug) }
func (r *raftLogger) IsInfo() bool                               { return r.enabled(hclog.Info) }
func (r *raftLogger) IsWarn() bool                               { return r.enabled(hclog.Warn) }
func (r *raftLogger) IsError() bool                              { return r.enabled(hclog.Error) }
func (r *raftLogger) ImpliedArgs() []any                         { return r.args }
func (r *raftLogger) Name() string                               { return r.named }
func (r *raftLogger) SetLevel(hclog.Level)                       {}

func (r *raftLogger) With(args ...any) hclog.Logger {
	all := append(append([]any(nil), r.args...), args...)
	return &raftLogger{to: r.to.With(args...), named: r.named, args: all, quiet: r.quiet}
}

func (r *raftLogger) Named(name string) hclog.Logger { return r.ResetNamed(r.named + "." + name) }

func (r *raftLogger) ResetNamed(name string) hclog.Logger {
	return &raftLogger{to: r.to, named: name, args: r.args, quiet: r.quiet}
}

func (r *raftLogger) GetLevel() hclog.Level {
	for _, l := range []hclog.Level{hclog.Trace, hclog.Debug, hclog.Warn, hclog.Error} {
		if r.enabled(l) {
			return l
		}
	}
	return hclog.Off
}

func (r *raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(r.to.Handler(), slog.LevelDebug)
}

func (r *raftLogger) StandardWriter(o *hclog.StandardLoggerOptions) io.Writer {
	return r.StandardLogger(o).Writer()
}
