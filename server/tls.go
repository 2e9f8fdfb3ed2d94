package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/larder-db/larder/server/config"
)

// tlsSettings is what new TLS connections get. It can be replaced while the server runs.
type tlsSettings struct{ current atomic.Pointer[tls.Config] }

// load makes the settings of the configuration the current ones, or changes nothing.
func (t *tlsSettings) load(v *config.Values) error {
	c, err := tlsConfig(v)
	if err != nil {
		return err
	}
	t.current.Store(c)
	return nil
}

// listening is the configuration for a listener: each handshake takes the current settings.
func (t *tlsSettings) listening() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12, // the settings decide
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current.Load(), nil },
	}
}

// tlsConfig makes the TLS side of the configuration, with Redis's directives.
func tlsConfig(v *config.Values) (*tls.Config, error) {
	t := v.TLS
	if t.CertFile == "" || t.KeyFile == "" {
		return nil, errors.New("tls-port needs tls-cert-file and tls-key-file")
	}
	cert, err := serverCertificate(t)
	if err != nil {
		return nil, fmt.Errorf("tls-cert-file and tls-key-file cannot be used: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: !t.SessionCaching}
	if c.MinVersion, c.MaxVersion, err = tlsVersions(t); err != nil {
		return nil, err
	}
	if c.CipherSuites, err = tlsCiphers(t.Ciphers); err != nil {
		return nil, err
	}
	if err := checkCipherSuites(t, c.MaxVersion); err != nil {
		return nil, err
	}
	if t.AuthClients == config.TLSAuthNo {
		return c, nil
	}
	if c.ClientCAs, err = clientCAs(t); err != nil {
		return nil, err
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if t.AuthClients == config.TLSAuthOptional {
		c.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return c, nil
}

// peerTLS is how nodes talk to each other; nil: without TLS. Both sides show the certificate, which an authority of
// tls-ca-cert-file or tls-ca-cert-dir has to have signed.
func peerTLS(v *config.Values) (*tls.Config, error) {
	if !v.Cluster.TLS {
		return nil, nil
	}
	if v.TLS.CertFile == "" || v.TLS.KeyFile == "" || v.TLS.CACertFile == "" && v.TLS.CACertDir == "" {
		return nil, errors.New("tls-cluster needs tls-cert-file, tls-key-file and tls-ca-cert-file or tls-ca-cert-dir")
	}
	cert, err := serverCertificate(v.TLS)
	if err != nil {
		return nil, fmt.Errorf("tls-cert-file and tls-key-file cannot be used: %w", err)
	}
	authorities, err := clientCAs(v.TLS)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: authorities, ClientCAs: authorities,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}, nil
}

// clientCAs reads the authorities that client certificates must come from.
func clientCAs(t config.TLS) (*x509.CertPool, error) {
	var files []string
	if t.CACertFile != "" {
		files = append(files, t.CACertFile)
	}
	if t.CACertDir != "" {
		list, err := filepath.Glob(filepath.Join(t.CACertDir, "*"))
		if err != nil {
			return nil, err
		}
		files = append(files, list...)
	}
	if len(files) == 0 {
		return nil, errors.New("tls-auth-clients needs tls-ca-cert-file or tls-ca-cert-dir; or set tls-auth-clients no")
	}
	pool := x509.NewCertPool()
	for _, f := range files {
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("a CA certificate cannot be read: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) && t.CACertDir == "" {
			return nil, fmt.Errorf("%s holds no certificate", f)
		}
	}
	return pool, nil
}
