package peer

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"
)

// Options are what an endpoint is opened with.
type Options struct {
	// Bind are the addresses to listen on, all if there is none. As in a configuration file, "*" is every address of IPv4
	// and IPv6, and one with a leading dash may be missing on this machine.
	Bind []string
	// Port is the port on each of them; 0 lets the system choose one.
	Port int
	// Secret is what all nodes of the cluster know. Listen needs it, or TLS.
	Secret string
	// TLS, if set, is used beneath, in both directions: its certificate is shown as server and as client, and a peer's has
	// to come from RootCAs (ClientCAs, where a peer dials). Names in certificates count only if ServerName is set.
	TLS *tls.Config

	// NodeID names this node, up to 255 bytes.
	NodeID func() string
	// ClusterID names its cluster, up to 255 bytes; empty while it is not a member yet.
	ClusterID func() string

	// HandshakeTimeout bounds a handshake, that of TLS included.
	HandshakeTimeout time.Duration
	// MaxHandshakes bounds the handshakes under way; beyond it somebody is hung up on (strangers.go).
	MaxHandshakes int
	// KeepAlive is after what time of silence the system probes a connection; after three probes, each a third of it apart,
	// the connection is given up.
	KeepAlive time.Duration

	// Clock is the wall clock, for deadlines.
	Clock func() time.Time
	// Random is the source of nonces; it has to be fit for cryptography.
	Random io.Reader
	Logger *slog.Logger
}

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	if len(o.Bind) == 0 {
		o.Bind = []string{"*"}
	}
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = 3 * time.Second
	}
	if o.MaxHandshakes == 0 {
		o.MaxHandshakes = 256
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 5 * time.Second
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate reports every fault at once.
func (o *Options) Validate() error {
	var faults []error
	need := func(ok bool, what string) {
		if !ok {
			faults = append(faults, fmt.Errorf("peer options: %s", what))
		}
	}
	need(o.NodeID != nil, "no NodeID")
	need(o.ClusterID != nil, "no ClusterID")
	need(o.Port >= 0 && o.Port <= 65535, "Port is not within 0 … 65535")
	need(o.HandshakeTimeout > 0 && o.KeepAlive > 0, "a time-out is negative")
	need(o.MaxHandshakes > 0, "MaxHandshakes is negative")
	need(o.Secret != "" || o.TLS != nil, "neither a secret nor TLS: whoever connects would have to prove nothing")
	return errors.Join(faults...)
}

func (o *Options) keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: o.KeepAlive, Interval: max(o.KeepAlive/3, time.Second), Count: 3}
}
