//go:build !linux

package transport

import "net"

// Listen listens for plain connections: network is "tcp", "tcp4", "tcp6" or "unix". The server must have been started.
func (s *Server) Listen(network, addr string) (net.Addr, error) {
	return s.addListener(func() (listener, net.Addr, error) { return s.openStreamListener(network, addr, nil) })
}
