package peer

import (
	"net"
	"sync"
)

// Conn is a connection whose ends have proven themselves to each other.
type Conn struct {
	net.Conn
	raw      net.Conn // what is beneath TLS: the endpoint knows the connection by it
	endpoint *Endpoint
	node     string
	cluster  string
	version  uint16
	once     sync.Once
}

// RemoteNode is the ID of the node at the other end.
func (c *Conn) RemoteNode() string { return c.node }

// RemoteCluster is the ID of that node's cluster, empty if it is no member yet.
func (c *Conn) RemoteCluster() string { return c.cluster }

// Version is the highest version of the protocol that both ends speak.
func (c *Conn) Version() uint16 { return c.version }

// Close closes the connection.
func (c *Conn) Close() error {
	var err error
	c.once.Do(func() {
		c.endpoint.forget(c.raw)
		err = c.Conn.Close()
	})
	return err
}
