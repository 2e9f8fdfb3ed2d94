package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm/repeat"
)

// raftLogger passes Raft's messages on to slog. What Raft calls information is of use to its developers more than to an
// operator, so it becomes a debug message; nothing is formatted for a level that is off.
type raftLogger struct {
	to    *slog.Logger
	named string
	args  []any
	said  *repeat.Filter // nil: everything is passed on
}

var _ hclog.Logger = (*raftLogger)(nil)

func newRaftLogger(to *slog.Logger, clock func() time.Time) *raftLogger {
	r := &raftLogger{to: to.With("component", "raft"), named: "raft"}
	if clock != nil {
		r.said = repeat.New(clock)
	}
	return r
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
		if err, ok := a.(error); ok && errors.Is(err, raft.ErrNothingNewToSnapshot) {
			l = hclog.Debug // a checkpoint that had nothing to do is no failure
		}
		if err, ok := a.(error); ok && isYetToOpen(err) {
			l = hclog.Debug // a new replica is about to
		}
	}
	if !r.enabled(l) {
		return
	}
	if l >= hclog.Warn && r.said != nil {
		again, kept := r.said.Again(fmt.Sprint(msg, whom(args)))
		if again {
			return
		}
		if kept > 0 {
			args = append(args[:len(args):len(args)], "times", kept+1)
		}
	}
	r.to.Log(context.Background(), level(l), msg, args...)
}

// whom is the replica that a message is about.
func whom(args []any) any {
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "target", "server-id", "id":
			return args[i+1]
		}
	}
	return nil
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
	return &raftLogger{to: r.to.With(args...), named: r.named, args: all, said: r.said}
}

func (r *raftLogger) Named(name string) hclog.Logger { return r.ResetNamed(r.named + "." + name) }

func (r *raftLogger) ResetNamed(name string) hclog.Logger {
	return &raftLogger{to: r.to, named: name, args: r.args, said: r.said}
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
