package raftfsm

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm/peer"
)

// NetworkOptions are what a group's network transport is opened with.
type NetworkOptions struct {
	Endpoint *peer.Endpoint
	Group    uint32
	// Address is where others reach this node.
	Address raft.ServerAddress
	// Resolve returns a replica's address as it is known now; "" makes do with that of the group's configuration. It is
	// called for every message. If left out, all addresses are those of the configuration.
	Resolve func(raft.ServerID) raft.ServerAddress
	// Timeout bounds connecting, and the wait for an answer: a follower has to have stored what it was sent by then. What is
	// large gets more: paced.go.
	Timeout time.Duration
	Logger  *slog.Logger
}

// Network carries a group's messages over an Endpoint: the stock transport on connections that are a peer's. There is one
// for each group; the endpoint beneath is shared.
type Network struct {
	*raft.NetworkTransport
	address raft.ServerAddress
	stream  *stream
}

var _ Transport = (*Network)(nil)

// pooledConns is how many idle connections to a replica are kept: for Raft's heartbeats and for our own. A pipeline has its
// own.
const pooledConns = 2

// NewNetwork opens a transport, which is ready for what comes in: its group has to be opened soon.
func NewNetwork(o NetworkOptions) *Network {
	orDefault(&o.Timeout, 2*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	service := peer.Service{Kind: peer.Raft, Group: o.Group}
	s := &stream{Listener: o.Endpoint.Serve(service), endpoint: o.Endpoint, service: service}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.mu.conns = make(map[*streamConn]struct{})
	config := &raft.NetworkTransportConfig{
		Stream:  s,
		MaxPool: pooledConns,
		Timeout: o.Timeout,
		Logger:  newRaftLogger(o.Logger.With("shard", o.Group)),
	}
	if o.Resolve != nil {
		config.ServerAddressProvider = resolver(o.Resolve)
	}
	return &Network{
		NetworkTransport: raft.NewNetworkTransportWithConfig(config),
		address:          o.Address,
		stream:           s,
	}
}

// LocalAddr is where others reach this node, which is not always what it listens on.
func (n *Network) LocalAddr() raft.ServerAddress { return n.address }

// EncodePeer is asked for each message. What it returns is nobody else's: a vote that is written down by it says whose it is.
func (n *Network) EncodePeer(_ raft.ServerID, a raft.ServerAddress) []byte { return []byte(a) }

// Close ends what is under way with an error, and waits until the transport has let go of every connection: the stock one
// leaves open those that it keeps for later and those that it serves.
func (n *Network) Close() error {
	err := n.NetworkTransport.Close()
	n.CloseStreams()
	n.stream.cut()
	return err
}

type resolver func(raft.ServerID) raft.ServerAddress

var errUnresolved = errors.New("no address is known but that of the configuration")

// ServerAddr is asked by the stock transport.
func (r resolver) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if a := r(id); a != "" {
		return a, nil
	}
	return "", errUnresolved
}

// stream is one group's service of the endpoint as the stock transport wants it, and knows every connection that the
// transport has not closed yet.
type stream struct {
	net.Listener
	endpoint *peer.Endpoint
	service  peer.Service
	ctx      context.Context // ends with the transport
	cancel   context.CancelCauseFunc
	open     sync.WaitGroup

	mu struct {
		sync.Mutex
		closed bool
		conns  map[*streamConn]struct{}
	}
}

// Accept returns the next connection.
func (s *stream) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.keep(c)
}

// Dial connects to the same group of another node.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	c, err := s.endpoint.Dial(ctx, string(to), s.service)
	if err != nil {
		return nil, err
	}
	return s.keep(&pacedConn{Conn: c})
}

// Close is called by the stock transport. Connections stay until cut.
func (s *stream) Close() error {
	s.cancel(raft.ErrTransportShutdown)
	return s.Listener.Close()
}

func (s *stream) keep(c net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		_ = c.Close()
		return nil, raft.ErrTransportShutdown
	}
	k := &streamConn{Conn: c, stream: s}
	s.mu.conns[k] = struct{}{}
	s.open.Add(1)
	return k, nil
}

// cut closes every connection beneath the transport, and waits until it has closed them too.
func (s *stream) cut() {
	s.mu.Lock()
	s.mu.closed = true
	for c := range s.mu.conns {
		_ = c.Conn.Close()
	}
	s.mu.Unlock()
	s.open.Wait()
}

type streamConn struct {
	net.Conn
	stream *stream
	once   sync.Once
}

// Close closes the connection.
func (c *streamConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.stream.mu.Lock()
		delete(c.stream.mu.conns, c)
		c.stream.mu.Unlock()
		c.stream.open.Done()
	})
	return err
}
