// Package server is the front end: event loops and sessions that speak the Redis protocol, the commands that are about
// connections and the server itself, and the node that holds the data.
//
//	server.go    starts and stops everything
//	loop.go      what is kept per event loop
//	loopshard.go what an event loop keeps for one shard: the open batch, the reader
//	session.go   one client: from bytes to commands to replies, in order
//	transaction.go, lane.go, watch.go   MULTI, EXEC and WATCH
//	batch.go     what becomes one log entry
//	table.go     commands by name
//	node.go      the data folder: log, stable store, and what all shards share
//	shard.go     one shard: it opens and closes while the server runs
//	upkeep.go, checkpoints.go, eviction.go   what the background does for shards
//	budget.go    how maxmemory is divided
//	timing.go    how long commands take, for INFO, slowlog.go and latency.go
//	pause.go     CLIENT PAUSE
//	forward.go, upstream.go, upstream_link.go, origin.go   how the sessions of a node reach the leader
//	member.go, replicas.go, standing.go   the node as part of its cluster: joining, what is open here, whether it still belongs
//	recover.go   a new cluster out of a survivor, when a majority is lost for good
//	topology.go  what the commands about the cluster know of it
//	events.go    Sentinel's events, for who is subscribed to them
//	cmd_*.go     the server's own commands, by family
//
// Whatever belongs to a loop or a session is touched on that loop's goroutine only; other goroutines post.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/server/config"
	"github.com/larder-db/larder/server/transport"
)

// Version is the release.
const Version = "0.1.0"

// RedisVersion is the version of Redis whose behaviour clients may expect.
const RedisVersion = "7.2.4"

// Server is one running server.
type Server struct {
	config  *config.Config
	log     *slog.Logger
	node    *node
	table   *commandTable
	loops   []*loop
	net     *transport.Server
	workers *workers
	started time.Time
	runID   string
	ports   []net.Addr

	topology  topology
	failover  failovers
	announced atomic.Pointer[clusterNode] // the leader that Sentinel's clients were told of last

	end     context.CancelFunc // of what the server does in the background
	running sync.WaitGroup

	forwarding *forwarding // nil: every command is for this node

	tls         tlsSettings
	always      atomic.Bool
	errors      errorCounts
	slow        slowLog
	memoryPeak  atomic.Int64
	accepted    atomic.Int64
	refused     atomic.Int64
	expireRow   *command.Command
	expireEntry *entry

	stopping sync.Once
	stop     chan stopRequest
}

// stopRequest says how the server is to end.
type stopRequest struct {
	save bool
}

// errorCounts counts error replies by code, for INFO's errorstats.
type errorCounts struct {
	mu struct {
		sync.Mutex
		total  uint64
		byCode map[string]uint64
	}
}

// maxErrorCodes bounds the codes that are told apart; commands may put what clients sent first in an error.
const maxErrorCodes = 128

func (e *errorCounts) count(code string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.total++
	if e.mu.byCode == nil {
		e.mu.byCode = map[string]uint64{}
	}
	if _, known := e.mu.byCode[code]; known || len(e.mu.byCode) < maxErrorCodes {
		e.mu.byCode[strings.Clone(code)]++
	}
}

func (e *errorCounts) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.mu.byCode)
	e.mu.total = 0
}

// Start opens the data folder and listens. The server runs until Wait returns.
func Start(ctx context.Context, c *config.Config, log *slog.Logger) (_ *Server, err error) {
	v := c.Load()
	srv := &Server{config: c, log: log, started: time.Now(), workers: newWorkers(), stop: make(chan stopRequest, 1)}
	if err := srv.fitMaxClients(); err != nil {
		return nil, err
	}
	srv.runID = fmt.Sprintf("%016x%016x%08x", randomID(), randomID(), uint32(randomID()))
	srv.table = newCommandTable(renames(v.RenameCommands), srv.thresholds)
	srv.expireRow = command.Lookup([]byte(expireCommand))
	srv.expireEntry = srv.table.byRow[srv.expireRow]
	srv.setPolicies(v)
	if srv.node, err = openNode(ctx, c, log, srv.fatal); err != nil {
		return nil, err
	}
	srv.topology = srv.node.member
	if err := srv.listen(v); err != nil {
		closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return nil, errors.Join(err, srv.close(closing, false))
	}
	srv.watchConfig()
	background, stop := context.WithCancel(context.Background())
	srv.end = stop
	if !srv.node.clustered {
		known := srv.topology
		srv.running.Go(func() { srv.followTopology(background, known) })
	}
	return srv, nil
}

func renames(list []config.Rename) func(string) (string, bool) {
	to := map[string]string{}
	for _, r := range list {
		to[strings.ToLower(r.From)] = r.To
	}
	return func(name string) (string, bool) {
		n, ok := to[name]
		return n, ok
	}
}

func (srv *Server) setPolicies(v *config.Values) {
	srv.always.Store(v.AppendFsync == config.FsyncAlways)
}

// thresholds are what OBJECT ENCODING goes by.
func (srv *Server) thresholds() command.Thresholds {
	v := srv.config.Load()
	return command.Thresholds{
		HashEntries: v.HashMaxListpackEntries, HashValue: v.HashMaxListpackValue,
		ZSetEntries: v.ZSetMaxListpackEntries, ZSetValue: v.ZSetMaxListpackValue,
		SetIntegers: v.SetMaxIntsetEntries,
	}
}

// watchConfig makes CONFIG SET take effect where a value is not read anew each time.
func (srv *Server) watchConfig() {
	srv.config.OnChange(func(_, new *config.Values) error {
		if err := srv.node.aof.SetPolicy(logPolicy(new.AppendFsync)); err != nil {
			return err
		}
		srv.setPolicies(new)
		return nil
	}, "appendfsync")
	srv.config.OnChange(func(_, new *config.Values) error {
		srv.node.setEviction(new)
		return nil
	}, "maxmemory", "overflow", "maxmemory-policy", "maxmemory-samples", "lfu-log-factor", "lfu-decay-time")
	srv.config.OnChange(func(_, new *config.Values) error {
		srv.net.SetKeepAlive(new.TCPKeepAlive)
		return nil
	}, "tcp-keepalive")
	srv.config.OnChange(func(_, new *config.Values) error {
		for _, l := range srv.loops {
			l.loop.Post(func() {
				for _, s := range l.sessions {
					s.applyLimits(new)
				}
			})
		}
		return nil
	}, "proto-max-bulk-len", "client-query-buffer-limit", "requirepass")
	srv.config.OnChange(func(_, new *config.Values) error { return checkMaxClients(new.MaxClients) }, "maxclients")
	srv.config.OnChange(srv.reloadTLS, "tls-cert-file", "tls-key-file", "tls-key-file-pass", "tls-ca-cert-file", "tls-ca-cert-dir",
		"tls-auth-clients", "tls-protocols", "tls-ciphers", "tls-ciphersuites", "tls-session-caching")
}

// reloadTLS has new connections get what the tls-* directives, and the files that they name, say now.
func (srv *Server) reloadTLS(_, new *config.Values) error {
	if new.TLS.Port == 0 {
		return nil
	}
	if err := srv.tls.load(new); err != nil {
		srv.log.Warn("the TLS settings stay as they are", "error", err)
		//lint:ignore ST1005 Redis's words
		return errors.New("Unable to update TLS configuration. Check server logs.")
	}
	return nil
}

// eventLoops is how many event loops there are.
func eventLoops(v *config.Values) int {
	if v.IOThreads == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return v.IOThreads
}

func (srv *Server) listen(v *config.Values) error {
	var err error
	srv.net, err = transport.New(transport.Options{
		Loops:         srv.node.threads,
		NewHandler:    func(c *transport.Conn) transport.Handler { return srv.newSession(c) },
		Accept:        srv.accept,
		OnTurnEnd:     func(l *transport.Loop) { srv.loops[l.ID()].turnEnd() },
		OnTick:        func(l *transport.Loop) { srv.loops[l.ID()].tick() },
		KeepAlive:     v.TCPKeepAlive,
		OnAcceptError: func(err error) { srv.log.Error("connections cannot be accepted", "error", err) },
	})
	if err != nil {
		return err
	}
	for i, tl := range srv.net.Loops() {
		srv.loops = append(srv.loops, &loop{
			server: srv, loop: tl, id: i,
			run:      make([]taken, 0, keyspace.Window),
			stats:    make([]commandStat, len(srv.table.names)),
			sessions: map[uint64]*session{},
			nobody:   &session{server: srv, closed: true},

			listening: map[*session]struct{}{},
			away:      map[*session]struct{}{},
			unled:     map[uint32]unled{},
		})
	}
	srv.node.loops.Store(&srv.loops)
	srv.net.Start()
	if err := srv.startForwarding(); err != nil {
		return err
	}
	if v.Port != 0 {
		if err := srv.listenTCP(v.Bind, v.Port, srv.net.Listen); err != nil {
			return err
		}
	}
	if v.TLS.Port != 0 {
		if err := srv.tls.load(v); err != nil {
			return err
		}
		if err := srv.listenTCP(v.Bind, v.TLS.Port, func(network, addr string) (net.Addr, error) {
			return srv.net.ListenTLS(network, addr, srv.tls.listening())
		}); err != nil {
			return err
		}
	}
	if v.UnixSocket != "" {
		addr, err := srv.net.ListenUnix(v.UnixSocket, os.FileMode(v.UnixSocketPerm))
		if err != nil {
			return fmt.Errorf("cannot listen on the Unix socket: %w", err)
		}
		srv.ports = append(srv.ports, addr)
	}
	if len(srv.ports) == 0 {
		return errors.New("configured to not listen anywhere: set port, tls-port or unixsocket")
	}
	return nil
}

// listenTCP listens on all bind addresses. One with a leading dash may be missing on this machine.
func (srv *Server) listenTCP(bind []string, port int, listen func(network, addr string) (net.Addr, error)) error {
	if len(bind) == 0 {
		bind = []string{"*"}
	}
	n := 0
	for _, b := range bind {
		host, optional := strings.CutPrefix(b, "-")
		network := "tcp"
		switch host {
		case "*":
			host, network = "0.0.0.0", "tcp4"
		case "::*":
			host, network = "::", "tcp6"
		}
		addr, err := listen(network, net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			if optional {
				srv.log.Debug("not listening on an optional address", "addr", host, "error", err)
				continue
			}
			return fmt.Errorf("cannot listen on %s port %d: %w", host, port, err)
		}
		srv.ports = append(srv.ports, addr)
		n++
	}
	if n == 0 {
		return fmt.Errorf("cannot listen on port %d: none of the bind addresses exists", port)
	}
	return nil
}

const (
	denied  = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers, either disable protected mode by 'CONFIG SET protected-mode no' from the loopback interface, set protected-mode to no in the configuration file, or set a password with requirepass.\r\n"
	tooMany = "-ERR max number of clients reached\r\n"
)

// accept decides about a new connection.
func (srv *Server) accept(c *transport.Conn) (reply []byte, ok bool) {
	if c.Trusted() {
		return nil, true
	}
	srv.accepted.Add(1)
	v := srv.config.Load()
	if v.ProtectedMode && v.RequirePass == "" && !isLocal(c.RemoteAddr()) {
		srv.refused.Add(1)
		return []byte(denied), false
	}
	if int64(srv.net.Strangers()) > v.MaxClients { // clients of other nodes count there
		srv.refused.Add(1)
		return []byte(tooMany), false
	}
	return nil, true
}

func isLocal(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return !ok || t.IP.IsLoopback()
}

// addrOf is an address as CLIENT LIST shows it.
func addrOf(a net.Addr) string {
	if u, ok := a.(*net.UnixAddr); ok {
		return u.Name + ":0"
	}
	return a.String()
}

// tick is called on each loop about every 100 ms.
func (l *loop) tick() {
	for _, ls := range l.shards {
		if ls != nil {
			ls.lane.wake()
			ls.seal() // what was held back while memory was short
		}
	}
	l.lookForLeader()
	l.figures.rate.sample(l.loop.Now(), l.calls())
	v := l.server.config.Load()
	timeout, output := v.Timeout, v.OutputLimits[config.ClassNormal]
	if timeout <= 0 && output.Soft == 0 {
		return
	}
	now := l.loop.Now()
	for _, s := range l.sessions {
		if timeout > 0 && s.origin == nil && s.unfinished() == 0 && !s.busy && now.Sub(s.lastActive()) > timeout {
			s.conn.Close()
		}
		s.checkSoftOutput(output, now)
	}
}

// fatal ends the process: the state or the log cannot be trusted any more.
func (srv *Server) fatal(err error) {
	srv.log.Error("the server ends at once, so that nothing wrong is served: see the error; every acknowledged write is in the log", "error", err)
	os.Exit(1)
}

// Stop asks the server to end; with save it takes a checkpoint first. Wait returns afterwards.
func (srv *Server) Stop(save bool) {
	srv.stopping.Do(func() { srv.stop <- stopRequest{save: save} })
}

// Wait waits until the server was asked to end, and ends it.
func (srv *Server) Wait() error {
	r := <-srv.stop
	srv.log.Info("stopping", "checkpoint", r.save)
	ctx, cancel := context.WithTimeout(context.Background(), max(srv.config.Load().ShutdownTimeout, 5*time.Second))
	defer cancel()
	err := srv.close(ctx, r.save)
	if err == nil {
		srv.log.Info("stopped")
	}
	return err
}

func (srv *Server) close(ctx context.Context, save bool) error {
	var err error
	srv.node.pause.end()
	if srv.end != nil {
		srv.end()
		srv.running.Wait()
	}
	if srv.net != nil {
		err = srv.net.Close(ctx)
	}
	if srv.forwarding != nil {
		srv.forwarding.close()
	}
	srv.workers.close()
	return errors.Join(err, srv.node.close(ctx, save))
}

// Addrs are the addresses that the server listens on.
func (srv *Server) Addrs() []net.Addr { return srv.ports }
