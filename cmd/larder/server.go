package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/larder-db/larder/server"
	"github.com/larder-db/larder/server/config"
)

type serverCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" help:"Configuration file, then --directive value …"`
}

// startTimeout bounds how long the shard may take to become ready.
const startTimeout = 10 * time.Minute

func (s *serverCmd) Run() error {
	c, warnings, err := config.Load(config.Options{Version: server.Version, Args: s.Args, Stdin: os.Stdin})
	if err != nil {
		var faults *config.LoadError
		if errors.As(err, &faults) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return err
	}
	v := c.Load()
	var level slog.LevelVar
	level.Set(slogLevel(v.LogLevel))
	c.OnChange(func(_, new *config.Values) error {
		level.Set(slogLevel(new.LogLevel))
		return nil
	}, "loglevel")
	log, closeLog, err := openLog(v, &level)
	if err != nil {
		return err
	}
	defer closeLog()
	for _, w := range warnings {
		log.Warn("configuration", "note", w.String())
	}
	if err := writePID(v.PIDFile); err != nil {
		return err
	}
	defer removePID(v.PIDFile)
	tuneMemory(v.MaxMemory.Bytes)

	log.Info("larder starts", "version", server.Version, "pid", os.Getpid(), "dir", v.Dir, "appendfsync", v.AppendFsync.String(), "maxmemory", v.MaxMemory.Bytes)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	srv, err := server.Start(ctx, c, log)
	if err != nil {
		log.Error("the server cannot start", "error", err)
		return err
	}
	if os.Getenv("GOMAXPROCS") == "" {
		sparing, enough := context.WithCancel(context.Background())
		var spares sync.WaitGroup
		spares.Go(func() { srv.SpareProcessors(sparing) })
		defer spares.Wait()
		defer enough()
	}
	// Until here a signal ends the process as it is: what is acknowledged is in the log.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	for _, a := range srv.Addrs() {
		log.Info("ready to accept connections", "network", a.Network(), "addr", a.String())
	}
	go func() {
		for sig := range signals {
			v := c.Load()
			o := v.ShutdownOnSigterm
			if sig == syscall.SIGINT {
				o = v.ShutdownOnSigint
			}
			log.Info("signal received", "signal", sig.String())
			srv.Stop(!o.NoSave)
		}
	}()
	return srv.Wait()
}

// tuneMemory keeps the Go heap small beside the data, which lives outside it.
func tuneMemory(maxmemory int64) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	if maxmemory > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(maxmemory/8 + 128<<20)
	}
}

func openLog(v *config.Values, level slog.Leveler) (*slog.Logger, func(), error) {
	var out io.Writer = os.Stdout
	closeLog := func() {}
	if v.LogFile != "" {
		f, err := os.OpenFile(v.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			return nil, nil, fmt.Errorf("the log file cannot be opened: %w", err)
		}
		out, closeLog = f, func() { _ = f.Close() }
	}
	o := &slog.HandlerOptions{Level: level}
	if v.LogFormat == config.LogJSON {
		return slog.New(slog.NewJSONHandler(out, o)), closeLog, nil
	}
	return slog.New(slog.NewTextHandler(out, o)), closeLog, nil
}

func slogLevel(l config.LogLevel) slog.Level {
	switch l {
	case config.LogDebug, config.LogVerbose:
		return slog.LevelDebug
	case config.LogWarning:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func writePID(path string) error {
	if path == "" {
		return nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return fmt.Errorf("the pid file cannot be written: %w", err)
	}
	return nil
}

func removePID(path string) {
	if path != "" {
		_ = os.Remove(path) // a stale pid file names a process that is gone
	}
}
