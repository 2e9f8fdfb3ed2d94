package raftfsm

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
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
//
// A message goes to the replica that it is for, or nowhere: a node that was given another one's address does not answer for
// that one. Votes and acknowledgements would count twice else, and a replica whose disk was wiped would vote for what it
// was before.
type Network struct {
	*raft.NetworkTransport
	resolve func(raft.ServerID) raft.ServerAddress
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
	return &Network{
		NetworkTransport: raft.NewNetworkTransportWithConfig(config),
		resolve:          o.Resolve,
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

// PlaceAddress is an address that a replica's place in a configuration may have where another place has at already: Raft wants
// addresses distinct.
func PlaceAddress(at raft.ServerAddress, id raft.ServerID) raft.ServerAddress {
	return raft.ServerAddress(DialAddress(at)) + placeMark + raft.ServerAddress(id)
}

// DialAddress is where the replica with an address in a configuration is reached, "host:port".
func DialAddress(at raft.ServerAddress) string {
	address, _, _ := strings.Cut(string(at), placeMark)
	return address
}

const placeMark = "#"

// placeNow is where a replica is, as it is known now, as a PlaceAddress.
func placeNow(resolve func(raft.ServerID) raft.ServerAddress, id raft.ServerID, configured raft.ServerAddress) raft.ServerAddress {
	if resolve != nil {
		if known := resolve(id); known != "" {
			configured = known
		}
	}
	return PlaceAddress(configured, id)
}

func (n *Network) to(id raft.ServerID, configured raft.ServerAddress) raft.ServerAddress {
	return placeNow(n.resolve, id, configured)
}

// AppendEntries and the other methods are those of the stock transport, which dials by address alone.
func (n *Network) AppendEntries(id raft.ServerID, at raft.ServerAddress, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
	return n.NetworkTransport.AppendEntries(id, n.to(id, at), q, a)
}

func (n *Network) AppendEntriesPipeline(id raft.ServerID, at raft.ServerAddress) (raft.AppendPipeline, error) {
	return n.NetworkTransport.AppendEntriesPipeline(id, n.to(id, at))
}

func (n *Network) RequestVote(id raft.ServerID, at raft.ServerAddress, q *raft.RequestVoteRequest, a *raft.RequestVoteResponse) error {
	return n.NetworkTransport.RequestVote(id, n.to(id, at), q, a)
}

func (n *Network) RequestPreVote(id raft.ServerID, at raft.ServerAddress, q *raft.RequestPreVoteRequest, a *raft.RequestPreVoteResponse) error {
	return n.NetworkTransport.RequestPreVote(id, n.to(id, at), q, a)
}

func (n *Network) TimeoutNow(id raft.ServerID, at raft.ServerAddress, q *raft.TimeoutNowRequest, a *raft.TimeoutNowResponse) error {
	return n.NetworkTransport.TimeoutNow(id, n.to(id, at), q, a)
}

func (n *Network) InstallSnapshot(id raft.ServerID, at raft.ServerAddress, q *raft.InstallSnapshotRequest, a *raft.InstallSnapshotResponse,
	data io.Reader) error {
	return n.NetworkTransport.InstallSnapshot(id, n.to(id, at), q, a, data)
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
	c, err := dialReplica(ctx, s.endpoint, to, s.service)
	if err != nil {
		return nil, err
	}
	return s.keep(&pacedConn{Conn: c})
}

// dialReplica connects to the replica with the address, a PlaceAddress, and to no other.
func dialReplica(ctx context.Context, e *peer.Endpoint, at raft.ServerAddress, s peer.Service) (net.Conn, error) {
	_, node, _ := strings.Cut(string(at), placeMark)
	return e.DialNode(ctx, DialAddress(at), node, s)
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
