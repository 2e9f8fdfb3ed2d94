package peer

import (
	"fmt"
	"net"
	"sync"
)

// Service is what a connection is for.
type Service struct {
	Kind  byte
	Group uint32
}

// The kinds of services.
const (
	Raft     byte = 'r' // messages of one group
	Snapshot byte = 's' // state of one group
	Forward  byte = 'f' // sessions of clients
	Control  byte = 'c' // the cluster's own requests; the only one for nodes that are no members yet
)

func (s Service) String() string {
	switch s.Kind {
	case Raft:
		return fmt.Sprintf("raft of group %d", s.Group)
	case Snapshot:
		return fmt.Sprintf("snapshots of group %d", s.Group)
	case Forward:
		return "forwarding"
	case Control:
		return "control"
	default:
		return fmt.Sprintf("service %d of group %d", s.Kind, s.Group)
	}
}

// backlog is how many connections may wait for Accept; more are hung up on. Sessions come by the hundred.
const (
	backlog        = 64
	forwardBacklog = 1024
)

// listener hands out the accepted connections of one service.
type listener struct {
	endpoint *Endpoint
	service  Service
	queue    chan *Conn

	mu struct {
		sync.Mutex
		closed bool
	}
	closed chan struct{}
}

var _ net.Listener = (*listener)(nil)

func newListener(e *Endpoint, s Service) *listener {
	size := backlog
	if s.Kind == Forward {
		size = forwardBacklog
	}
	return &listener{endpoint: e, service: s, queue: make(chan *Conn, size), closed: make(chan struct{})}
}

// Accept waits for the next connection, a *Conn.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close takes the service away. Connections that were accepted stay.
func (l *listener) Close() error {
	l.endpoint.withdraw(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return nil
	}
	l.mu.closed = true
	close(l.closed)
	for {
		select {
		case c := <-l.queue:
			_ = c.Close()
		default:
			return nil
		}
	}
}

// Addr is the endpoint's address.
func (l *listener) Addr() net.Addr { return l.endpoint.Addr() }

// deliver queues a connection; false if there is no room or nobody to take it.
func (l *listener) deliver(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return false
	}
	select {
	case l.queue <- c:
		return true
	default:
		return false
	}
}
