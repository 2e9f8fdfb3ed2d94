package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// identity is a certificate that signs itself, in two files.
type identity struct {
	certFile, keyFile string
	pair              tls.Certificate
}

func newIdentity(t *testing.T, name string) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	id := identity{certFile: filepath.Join(folder, "cert.pem"), keyFile: filepath.Join(folder, "key.pem")}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	for file, text := range map[string][]byte{id.certFile: certPEM, id.keyFile: keyPEM} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if id.pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return id
}

// trust is a client that trusts the identity alone, and shows one of its own if given.
func (id identity) trust(t *testing.T, own ...tls.Certificate) *tls.Config {
	t.Helper()
	cert, err := x509.ParseCertificate(id.pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{RootCAs: pool, Certificates: own}
}

func dialTLS(t *testing.T, port int, c *tls.Config) (*testClient, error) {
	t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: c}
	conn, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	return newTestClient(t, conn), nil
}

func TestTLS(t *testing.T) {
	t.Parallel()
	first, second := newIdentity(t, "first"), newIdentity(t, "second")
	port := tcpPort(t)
	ts := start(t, fmt.Sprintf("tls-port %d", port), "tls-auth-clients no", "tls-cert-file "+first.certFile, "tls-key-file "+first.keyFile)
	c, err := dialTLS(t, port, first.trust(t))
	if err != nil {
		t.Fatal(err)
	}
	c.send(strings.Repeat(line("INCR n")+line("GET n"), 500))
	for i := range 500 {
		c.want(fmt.Sprintf(":%d\r\n", i+1))
		c.want(bulk(fmt.Sprint(i + 1)))
	}
	big := strings.Repeat("x", 5<<20)
	c.send(encode("SET", "big", big) + line("GET big") + line("QUIT"))
	c.want("+OK\r\n")
	c.want(bulk(big))
	c.want("+OK\r\n")
	c.wantEnd()

	// Other certificates, while the server runs.
	plain := ts.dial()
	got := plain.do("CONFIG", "SET", "tls-cert-file", second.certFile, "tls-key-file", first.keyFile)
	if !strings.Contains(got, "Unable to update TLS configuration") {
		t.Errorf("a key that does not fit: %q", got)
	}
	if _, err := dialTLS(t, port, first.trust(t)); err != nil {
		t.Errorf("the old certificate is not in use any more: %v", err)
	}
	plain.must("CONFIG SET tls-cert-file "+second.certFile+" tls-key-file "+second.keyFile, "+OK\r\n")
	if _, err := dialTLS(t, port, first.trust(t)); err == nil {
		t.Error("the old certificate is still in use")
	}
	if _, err := dialTLS(t, port, second.trust(t)); err != nil {
		t.Errorf("the new certificate is not in use: %v", err)
	}
}

func TestTLSClientsMustShowCertificates(t *testing.T) {
	t.Parallel()
	id, stranger := newIdentity(t, "server"), newIdentity(t, "stranger")
	port := tcpPort(t)
	start(t, fmt.Sprintf("tls-port %d", port), "tls-cert-file "+id.certFile, "tls-key-file "+id.keyFile, "tls-ca-cert-file "+id.certFile)
	known, err := dialTLS(t, port, id.trust(t, id.pair))
	if err != nil {
		t.Fatal(err)
	}
	known.must("PING", "+PONG\r\n")
	for _, own := range [][]tls.Certificate{nil, {stranger.pair}} {
		c, err := dialTLS(t, port, id.trust(t, own...))
		if err != nil {
			continue
		}
		if _, err := c.in.ReadByte(); err == nil {
			t.Error("a client without a certificate that is trusted is let in")
		}
	}
}
