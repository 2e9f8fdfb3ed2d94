package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"
)

// authority signs certificates of nodes.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a := &authority{}
	der, key := sign(t, template, nil)
	a.certificate, _ = x509.ParseCertificate(der)
	a.key = key
	return a
}

func sign(t *testing.T, template *x509.Certificate, by *authority) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// config is that of a node that trusts the authority and is signed by signer.
func (a *authority) config(t *testing.T, signer *authority) *tls.Config {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour),
		DNSNames:    []string{"node.invalid"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, key := sign(t, template, signer)
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestMutualTLS(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	s := Service{Raft, 1}
	try := func(change func(a, b *Options)) error {
		oa, ob := options("a"), options("b")
		oa.TLS, ob.TLS = ours.config(t, ours), ours.config(t, ours)
		change(&oa, &ob)
		a, b := listen(t, oa), listen(t, ob)
		l := b.Serve(s)
		dialled, err := dial(t, a, b, s)
		if err != nil {
			return err
		}
		accepted, err := l.Accept()
		if err != nil {
			return err
		}
		talk(t, dialled, accepted)
		return nil
	}
	if err := try(func(_, _ *Options) {}); err != nil {
		t.Fatal(err)
	}
	if err := try(func(a, b *Options) { a.Secret, b.Secret = "", ""; a.Bind = nil }); err != nil {
		t.Fatal(err)
	}
	if err := try(func(a, _ *Options) { a.TLS.ServerName = "node.invalid" }); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(a, b *Options){
		"a dialler signed by another": func(a, _ *Options) { a.TLS = ours.config(t, other) },
		"an acceptor of another":      func(_, b *Options) { b.TLS = ours.config(t, other) },
		"a dialler without any":       func(a, _ *Options) { a.TLS.Certificates = nil },
		"another name":                func(a, _ *Options) { a.TLS.ServerName = "other.invalid" },
		"plain to TLS":                func(a, _ *Options) { a.TLS = nil },
		"TLS to plain":                func(_, b *Options) { b.TLS = nil },
	} {
		if err := try(change); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := try(func(a, _ *Options) { a.Secret = "guess" }); !errors.Is(err, ErrSecret) {
		t.Error(err)
	}
}
