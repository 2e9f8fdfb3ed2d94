package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Endpoint is a node's end of all its connections with other nodes. Its methods may be called by any goroutine.
type Endpoint struct {
	opts       Options
	listeners  []net.Listener
	handshakes chan struct{} // a place for each one that is under way or has just been hung up on
	goroutines sync.WaitGroup
	quiet      Quiet
	// versions are those that are offered; tests offer others.
	lowest, highest uint16

	mu struct {
		sync.Mutex
		closed    bool
		services  map[Service]*listener
		conns     map[net.Conn]struct{} // all that are open, in their handshake or past it
		strangers strangers
	}
}

// Listen opens an endpoint. It accepts at once; a service is there from its Serve on.
func Listen(o Options) (*Endpoint, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	e := &Endpoint{
		opts:       o,
		handshakes: make(chan struct{}, 2*o.MaxHandshakes),
		lowest:     lowestVersion,
		highest:    highestVersion,
	}
	e.mu.services = make(map[Service]*listener)
	e.mu.conns = make(map[net.Conn]struct{})
	e.mu.strangers.most = o.MaxHandshakes
	if err := e.bind(); err != nil {
		_ = e.Close()
		return nil, err
	}
	for _, l := range e.listeners {
		e.goroutines.Go(func() { e.acceptAll(l) })
	}
	return e, nil
}

// bind listens on every address, all on the port that the first one got.
func (e *Endpoint) bind() error {
	config := net.ListenConfig{KeepAliveConfig: e.opts.keepAlive()}
	port := e.opts.Port
	for _, b := range e.opts.Bind {
		host, optional := strings.CutPrefix(b, "-")
		if host == "*" {
			host = ""
		}
		l, err := config.Listen(context.Background(), "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			if optional && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
				e.opts.Logger.Debug("not listening for peers on an optional address", "addr", host, "error", err)
				continue
			}
			return fmt.Errorf("cannot listen for peers on %s port %d: %w", b, port, err)
		}
		e.listeners = append(e.listeners, l)
		if t, ok := l.Addr().(*net.TCPAddr); ok {
			port = t.Port
		}
	}
	if len(e.listeners) == 0 {
		return fmt.Errorf("cannot listen for peers on port %d: none of the bind addresses exists", port)
	}
	return nil
}

// Addr is the address of the first listener.
func (e *Endpoint) Addr() net.Addr { return e.listeners[0].Addr() }

// Serve returns a listener for the connections of one service. One that is there already is closed and replaced.
func (e *Endpoint) Serve(s Service) net.Listener {
	l := newListener(e, s)
	e.mu.Lock()
	closed, before := e.mu.closed, e.mu.services[s]
	if !closed {
		e.mu.services[s] = l
	}
	e.mu.Unlock()
	if before != nil {
		_ = before.Close()
	}
	if closed {
		_ = l.Close()
	}
	return l
}

func (e *Endpoint) withdraw(l *listener) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.services[l.service] == l {
		delete(e.mu.services, l.service)
	}
}

func (e *Endpoint) service(s Service) *listener {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.services[s]
}

// Close stops listening, closes every connection, accepted or dialled, and waits for its goroutines.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.mu.closed = true
	services, conns := e.mu.services, e.mu.conns
	e.mu.services, e.mu.conns = map[Service]*listener{}, map[net.Conn]struct{}{}
	e.mu.Unlock()
	var err error
	for _, l := range e.listeners {
		if e := l.Close(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	for c := range conns {
		_ = c.Close()
	}
	for _, l := range services {
		_ = l.Close()
	}
	e.goroutines.Wait()
	return err
}

// remember keeps a connection until it is forgotten or the endpoint closes; false if it is closed.
func (e *Endpoint) remember(c net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.mu.closed {
		return false
	}
	e.mu.conns[c] = struct{}{}
	return true
}

func (e *Endpoint) forget(c net.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.mu.conns, c)
}

func (e *Endpoint) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.closed
}

// acceptPause keeps an endpoint that has run out of file descriptors from trying without rest.
const acceptPause = 10 * time.Millisecond

func (e *Endpoint) acceptAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if e.isClosed() || errors.Is(err, net.ErrClosed) {
				return
			}
			if e.quiet.May("accept") {
				e.opts.Logger.Warn("cannot accept a peer", "error", err)
			}
			time.Sleep(acceptPause)
			continue
		}
		if !e.begins(c) {
			continue
		}
		e.handshakes <- struct{}{} // who was hung up on leaves at once
		e.goroutines.Go(func() {
			defer func() { <-e.handshakes }()
			e.receive(c)
		})
	}
}

// begins says whether a connection may shake hands; where there are too many, one of them is hung up on.
func (e *Endpoint) begins(c net.Conn) bool {
	e.mu.Lock()
	leaves := e.mu.strangers.add(c, e.opts.Clock())
	e.mu.Unlock()
	if leaves == nil {
		return true
	}
	if e.quiet.May("handshakes") { // or whoever dials without end fills the disk
		e.opts.Logger.Warn("too many peers shake hands at once", "addr", leaves.RemoteAddr())
	}
	_ = leaves.Close()
	return leaves != c
}

// receive shakes hands with who has dialled and hands the connection to its service.
func (e *Endpoint) receive(raw net.Conn) {
	if !e.remember(raw) {
		_ = raw.Close() // with it all are closed
		return
	}
	c, service, err := e.acceptHandshake(raw)
	e.mu.Lock()
	e.mu.strangers.remove(raw)
	e.mu.Unlock()
	if err != nil {
		if !e.isClosed() {
			e.tellRefused(raw.RemoteAddr(), err)
		}
		e.forget(raw)
		_ = raw.Close()
		return
	}
	if l := e.service(service); l == nil || !l.deliver(c) {
		if e.quiet.May("no room " + c.node) { // many come together where a node loses its connections
			e.opts.Logger.Warn("no room for a peer's connection", "node", c.node, "service", service)
		}
		_ = c.Close()
	}
}

// tellRefused logs why somebody was refused, of each place and reason once in a while: whoever is refused dials again.
func (e *Endpoint) tellRefused(addr net.Addr, err error) {
	level := slog.LevelWarn
	switch host, _, _ := net.SplitHostPort(addr.String()); {
	case errors.Is(err, io.EOF) || errors.Is(err, errMalformed) || errors.Is(err, net.ErrClosed) || isReset(err): // whoever looks at every port, or has ended
		level = slog.LevelDebug
	case errors.Is(err, ErrUnknownService) || e.opts.ClusterID() == "": // a replica that is about to be opened, or was closed
		level = slog.LevelDebug
	case !e.quiet.May(host + reason(err)):
		return
	}
	e.opts.Logger.Log(context.Background(), level, "a peer was refused", "addr", addr, "error", err)
}

// reason is the part of an error that does not change from one time to the next.
func reason(err error) string {
	for _, known := range []error{ErrSecret, ErrOtherCluster, ErrVersion, ErrNotMember} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return ""
}

func (e *Endpoint) acceptHandshake(raw net.Conn) (*Conn, Service, error) {
	if err := raw.SetDeadline(e.opts.Clock().Add(e.opts.HandshakeTimeout)); err != nil {
		return nil, Service{}, err
	}
	c, binding, err := e.serverTLS(raw)
	if err != nil {
		return nil, Service{}, err
	}
	t := transcript{secret: e.opts.Secret, binding: binding}
	self, err := e.self()
	if err != nil {
		return nil, Service{}, err
	}
	peer, v, err := t.accept(c, e.opts.Random, self, func(peer statement) verdict { return e.judge(self, peer) })
	if err != nil {
		return nil, Service{}, err
	}
	if v != welcome {
		self.service, peer.verdict = peer.service, v
		return nil, Service{}, refusal(self, peer)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, Service{}, err
	}
	return e.newConn(raw, c, self, peer), peer.service, nil
}

func (e *Endpoint) self() (statement, error) {
	s := statement{lowest: e.lowest, highest: e.highest, cluster: e.opts.ClusterID(), node: e.opts.NodeID()}
	if len(s.cluster) > maxID || len(s.node) > maxID {
		return s, fmt.Errorf("the ID of this node or of its cluster is longer than %d bytes", maxID)
	}
	return s, nil
}

// judge decides about a dialler that has proven itself.
func (e *Endpoint) judge(self, peer statement) verdict {
	switch {
	case peer.highest < self.lowest || peer.lowest > self.highest:
		return otherVersion
	case peer.cluster != "" && self.cluster != "" && peer.cluster != self.cluster:
		return otherCluster
	case (peer.cluster == "" || self.cluster == "") && peer.service.Kind != Control:
		return notMember
	case e.service(peer.service) == nil:
		return noSuchService
	default:
		return welcome
	}
}
