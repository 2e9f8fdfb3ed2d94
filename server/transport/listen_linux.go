package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// acceptsPerTurn bounds how many connections one listener accepts in one turn.
const acceptsPerTurn = 64

// Listen listens for plain connections: network is "tcp", "tcp4", "tcp6" or "unix". The server must have been started.
func (s *Server) Listen(network, addr string) (net.Addr, error) {
	return s.addListener(func() (listener, net.Addr, error) {
		if s.opts.Portable {
			return s.openStreamListener(network, addr, nil)
		}
		return s.openAcceptor(network, addr)
	})
}

// acceptor is a listening socket in a loop's epoll instance.
type acceptor struct {
	server *Server
	loop   *Loop
	ln     net.Listener // keeps the socket open, and removes a Unix socket's file
	sysfd  int
	unix   bool
	closed bool
}

func (s *Server) openAcceptor(network, addr string) (listener, net.Addr, error) {
	ln, err := listenConfig.Listen(context.Background(), network, addr)
	if err != nil {
		return nil, nil, fmt.Errorf("transport: %w", err)
	}
	a := &acceptor{server: s, loop: s.loops[0], ln: ln, unix: network == "unix"}
	if err := a.register(); err != nil {
		ln.Close()
		return nil, nil, err
	}
	return a, ln.Addr(), nil
}

// register has the loop wait for connections.
func (a *acceptor) register() error {
	sc, ok := a.ln.(syscall.Conn)
	if !ok {
		return fmt.Errorf("transport: cannot listen on %s", a.ln.Addr().Network())
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return fmt.Errorf("transport: listening socket: %w", err)
	}
	if err := raw.Control(func(fd uintptr) { a.sysfd = int(fd) }); err != nil {
		return fmt.Errorf("transport: listening socket: %w", err)
	}
	result := make(chan error, 1)
	if !a.loop.Post(func() { result <- a.loop.poll.add(a.sysfd, unix.EPOLLIN, a) }) {
		return ErrServerClosed
	}
	return <-result
}

// ready implements pollee.
func (a *acceptor) ready(uint32) {
	for range acceptsPerTurn {
		fd, peer, err := unix.Accept4(a.sysfd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			a.take(fd, peer)
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED):
		default: // no descriptors, most likely: the socket stays ready, and must not keep the loop turning
			a.server.acceptError(fmt.Errorf("transport: accept: %w", err))
			a.rest()
			return
		}
	}
}

// rest stops accepting until the next tick.
func (a *acceptor) rest() {
	poll := a.loop.poll
	if err := poll.modify(a.sysfd, 0); err != nil {
		a.server.acceptError(err)
	}
	poll.atTick = append(poll.atTick, func() {
		if a.closed {
			return
		}
		if err := poll.modify(a.sysfd, unix.EPOLLIN); err != nil {
			a.server.acceptError(err)
		}
	})
}

// take gives a new socket to a loop.
func (a *acceptor) take(fd int, peer unix.Sockaddr) {
	s := a.server
	local := a.ln.Addr()
	if !a.unix {
		s.tune(fd)
		if sa, err := unix.Getsockname(fd); err == nil {
			local = netAddr(sa)
		}
	}
	c := s.newConn(netAddr(peer), local, false)
	sock := &socket{c: c, poll: c.loop.poll, sysfd: fd}
	c.link = sock
	c.loop.Post(func() {
		if err := sock.attach(); err != nil {
			s.acceptError(err)
			unix.Close(fd)
			s.left(c)
			return
		}
		c.adopt()
	})
}

// tune sets a TCP socket's options. A refusal does no harm that anyone could mend.
func (s *Server) tune(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	idle := int(time.Duration(s.keepAlive.Load()) / time.Second)
	if idle <= 0 {
		return
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, idle)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, max(idle/keepAliveProbes, 1))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveProbes)
}

func netAddr(sa unix.Sockaddr) net.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: sa.Name, Net: "unix"}
	}
	return &net.UnixAddr{Net: "unix"}
}

// close implements listener.
func (a *acceptor) close() error {
	done := make(chan struct{})
	if a.loop.Post(func() {
		a.closed = true
		a.loop.poll.remove(a.sysfd)
		close(done)
	}) {
		<-done
	}
	if err := a.ln.Close(); err != nil {
		return fmt.Errorf("transport: closing listener: %w", err)
	}
	return nil
}
