package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"
)

// Dial connects to a service of the peer at addr, "host:port", whoever it is. The result is a *Conn. It takes until ctx ends or
// the handshake's time-out has passed.
func (e *Endpoint) Dial(ctx context.Context, addr string, s Service) (net.Conn, error) {
	return e.DialNode(ctx, addr, "", s)
}

// DialNode does the same, and fails with ErrOtherNode if the peer is not that node.
func (e *Endpoint) DialNode(ctx context.Context, addr, node string, s Service) (net.Conn, error) {
	c, err := e.dial(ctx, addr, node, s)
	if err != nil {
		return nil, fmt.Errorf("connect to peer %s: %w", addr, err)
	}
	return c, nil
}

func (e *Endpoint) dial(ctx context.Context, addr, node string, s Service) (*Conn, error) {
	deadline := e.opts.Clock().Add(e.opts.HandshakeTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	dialer := net.Dialer{Deadline: deadline, KeepAliveConfig: e.opts.keepAlive()}
	raw, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if !e.remember(raw) {
		_ = raw.Close()
		return nil, ErrClosed
	}
	c, err := e.dialHandshake(ctx, raw, deadline, node, s)
	if err != nil {
		e.forget(raw)
		_ = raw.Close()
		switch {
		case e.isClosed():
			return nil, ErrClosed
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	return c, nil
}

func (e *Endpoint) dialHandshake(ctx context.Context, raw net.Conn, deadline time.Time, node string, s Service) (*Conn, error) {
	self, err := e.self()
	if err != nil {
		return nil, err
	}
	self.service = s
	if err := raw.SetDeadline(deadline); err != nil {
		return nil, err
	}
	interrupted := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	c, binding, err := e.clientTLS(raw)
	if err != nil {
		interrupted()
		return nil, err
	}
	t := transcript{secret: e.opts.Secret, binding: binding}
	peer, err := t.dial(c, e.opts.Random, self)
	if err == nil {
		err = refusal(self, peer)
	}
	if err == nil {
		err = agrees(self, peer)
	}
	if err == nil && node != "" && peer.node != node {
		err = fmt.Errorf("%w: %q, not %q", ErrOtherNode, peer.node, node)
	}
	if !interrupted() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return e.newConn(raw, c, self, peer), nil
}

// agrees checks an acceptor's welcome: it must not be the acceptor alone who cares with whom it speaks.
func agrees(self, peer statement) error {
	switch {
	case peer.highest < self.lowest || peer.lowest > self.highest:
		peer.verdict = otherVersion
	case peer.cluster != "" && self.cluster != "" && peer.cluster != self.cluster:
		peer.verdict = otherCluster
	case (peer.cluster == "" || self.cluster == "") && self.service.Kind != Control:
		peer.verdict = notMember
	}
	return refusal(self, peer)
}

func (e *Endpoint) newConn(raw, c net.Conn, self, peer statement) *Conn {
	return &Conn{Conn: c, raw: raw, endpoint: e, node: peer.node, cluster: peer.cluster,
		version: min(self.highest, peer.highest)}
}

var errNoKeyingMaterial = errors.New("the TLS session offers no keying material: both ends have to speak TLS 1.3")

// bindingOf is keying material that only the two ends of the TLS session know.
func bindingOf(c *tls.Conn) ([]byte, error) {
	state := c.ConnectionState()
	b, err := state.ExportKeyingMaterial("EXPORTER-larder-peer", nil, 32)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoKeyingMaterial, err)
	}
	return b, nil
}

// serverTLS puts TLS beneath an accepted connection, if it is configured.
func (e *Endpoint) serverTLS(raw net.Conn) (net.Conn, []byte, error) {
	if e.opts.TLS == nil {
		return raw, nil, nil
	}
	config := e.opts.TLS.Clone()
	config.MinVersion = tls.VersionTLS13
	config.ClientAuth = tls.RequireAndVerifyClientCert
	if config.ClientCAs == nil {
		config.ClientCAs = config.RootCAs
	}
	c := tls.Server(raw, config)
	if err := c.Handshake(); err != nil {
		return nil, nil, err
	}
	b, err := bindingOf(c)
	return c, b, err
}

// clientTLS puts TLS beneath a dialled connection, if it is configured. Nodes are known by their secret and by who signed
// their certificates: they move between addresses, which certificates would have to list.
func (e *Endpoint) clientTLS(raw net.Conn) (net.Conn, []byte, error) {
	if e.opts.TLS == nil {
		return raw, nil, nil
	}
	config := e.opts.TLS.Clone()
	config.MinVersion = tls.VersionTLS13
	if config.ServerName == "" {
		config.InsecureSkipVerify = true // in favour of VerifyConnection, which leaves out the name alone
		config.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(config, s.PeerCertificates) }
	}
	c := tls.Client(raw, config)
	if err := c.Handshake(); err != nil {
		return nil, nil, err
	}
	b, err := bindingOf(c)
	return c, b, err
}

func verifyChain(config *tls.Config, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("the peer showed no certificate")
	}
	o := x509.VerifyOptions{Roots: config.RootCAs, Intermediates: x509.NewCertPool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if config.Time != nil {
		o.CurrentTime = config.Time()
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(o)
	return err
}
