package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/larder-db/larder/server/config"
)

// testKeys are one private key in the forms that openssl writes, all with the password "secret": plain, PBES2 with three
// ciphers, the old form, and then two that are refused, scrypt and PBES1.
func testKeys(t *testing.T) (forms [][]byte) {
	t.Helper()
	rest, err := os.ReadFile("testdata/keys.pem")
	if err != nil {
		t.Fatal(err)
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		forms = append(forms, pem.EncodeToMemory(block))
	}
	if len(forms) != 7 {
		t.Fatalf("%d keys", len(forms))
	}
	return forms
}

func TestEncryptedKeys(t *testing.T) {
	forms := testKeys(t)
	plain, _ := pem.Decode(forms[0])
	parsed, err := x509.ParsePKCS8PrivateKey(plain.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	want := parsed.(*ecdsa.PrivateKey)
	for i, form := range forms[:5] {
		got, err := plainKey(form, "secret")
		if err != nil {
			t.Errorf("form %d: %v", i, err)
			continue
		}
		block, _ := pem.Decode(got)
		var key any
		if block.Type == "PRIVATE KEY" {
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		} else {
			key, err = x509.ParseECPrivateKey(block.Bytes)
		}
		if err != nil || !want.Equal(key) {
			t.Errorf("form %d is another key: %v", i, err)
		}
	}
	for i, form := range forms[1:] {
		if _, err := plainKey(form, ""); err == nil || !strings.Contains(err.Error(), "set tls-key-file-pass") {
			t.Errorf("form %d without a password: %v", i+1, err)
		}
	}
	for i, form := range forms[5:] {
		if _, err := plainKey(form, "secret"); err == nil || !strings.Contains(err.Error(), "openssl pkcs8 -topk8") {
			t.Errorf("form %d: %v", i+5, err)
		}
	}
	if got, err := plainKey(forms[0], "not used"); err != nil || !bytes.Equal(got, forms[0]) {
		t.Errorf("a plain key: %v", err)
	}
}

// FuzzEncryptedKeys takes any file for a key.
func FuzzEncryptedKeys(f *testing.F) {
	text, err := os.ReadFile("testdata/keys.pem")
	if err != nil {
		f.Fatal(err)
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if len(der) > 4096 || bytes.Count(der, []byte{2, 4})+bytes.Count(der, []byte{2, 3}) > 0 {
			return // many iterations take long, as they are to
		}
		_, _ = decryptPKCS8(der, "secret") // it is not to panic
	})
}

func TestTLSKeyWithPassword(t *testing.T) {
	t.Parallel()
	id := newIdentity(t, "server")
	keyPEM, err := os.ReadFile(id.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(keyPEM)
	//lint:ignore SA1019 it is what is tested
	sealed, err := x509.EncryptPEMBlock(zeros{}, block.Type, block.Bytes, []byte("secret"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "sealed.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(sealed), 0o600); err != nil {
		t.Fatal(err)
	}
	port := tcpPort(t)
	with := func(password string) (*testServer, error) {
		return tryStart(t, fmt.Sprintf("tls-port %d", port), "tls-auth-clients no", "tls-cert-file "+id.certFile, "tls-key-file "+file, "tls-key-file-pass "+password)
	}
	if _, err := with("wrong"); err == nil {
		t.Error("a wrong password is taken")
	}
	if _, err := with("secret"); err != nil {
		t.Fatal(err)
	}
	c, err := dialTLS(t, port, id.trust(t))
	if err != nil {
		t.Fatal(err)
	}
	c.must("PING", "+PONG\r\n")
}

// zeros is no source of random numbers.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestTLSCiphers(t *testing.T) {
	t.Parallel()
	id := newIdentity(t, "server")
	port := tcpPort(t)
	ts := start(t, fmt.Sprintf("tls-port %d", port), "tls-auth-clients no", "tls-cert-file "+id.certFile, "tls-key-file "+id.keyFile,
		"tls-protocols TLSv1.2", "tls-ciphers ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384")
	trust := id.trust(t)
	used := func() uint16 {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), trust)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().CipherSuite
	}
	if got := used(); got != tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 {
		t.Errorf("%s is used", tls.CipherSuiteName(got))
	}
	plain := ts.dial()
	plain.must("CONFIG SET tls-ciphers ECDHE-ECDSA-CHACHA20-POLY1305", "+OK\r\n")
	if got := used(); got != tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 {
		t.Errorf("%s is used", tls.CipherSuiteName(got))
	}
	if got := plain.do("CONFIG", "SET", "tls-ciphers", "NOSUCH"); !strings.Contains(got, "Unable to update TLS") {
		t.Errorf("a cipher that is not there: %q", got)
	}
}

func TestTLSSettingsThatCannotBe(t *testing.T) {
	id := newIdentity(t, "server")
	base := config.TLS{CertFile: id.certFile, KeyFile: id.keyFile, AuthClients: config.TLSAuthNo}
	for _, c := range []struct {
		change func(t *config.TLS)
		want   string // in the error; "": none
	}{
		{func(t *config.TLS) { t.Ciphers = "DEFAULT:!MEDIUM" }, ""},
		{func(t *config.TLS) { t.Ciphers = "HIGH:!aNULL:!MD5:!ECDHE-RSA-AES128-SHA" }, ""},
		{func(t *config.TLS) { t.Ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256" }, `"DHE-RSA-AES128-GCM-SHA256"`},
		{func(t *config.TLS) { t.Ciphers = "DEFAULT:!nosuch" }, `"!nosuch"`},
		{func(t *config.TLS) { t.Ciphers = "DEFAULT:@STRENGTH" }, `"@STRENGTH"`},
		{func(t *config.TLS) { t.Ciphers = "AES128-SHA:!AES128-SHA" }, "leaves no cipher"},
		{func(t *config.TLS) { t.CipherSuites = "TLS_CHACHA20_POLY1305_SHA256" }, "TLS_AES_128_GCM_SHA256 is always offered"},
		{func(t *config.TLS) { t.CipherSuites = "TLS_AES_128_CCM_SHA256" }, `"TLS_AES_128_CCM_SHA256"`},
		{func(t *config.TLS) {
			t.CipherSuites = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
		}, ""},
		{func(t *config.TLS) { t.CipherSuites, t.Protocols = "TLS_CHACHA20_POLY1305_SHA256", "TLSv1.2" }, ""},
		{func(t *config.TLS) { t.Protocols = "TLSv1.1 TLSv1.3" }, "tls-protocols"},
		{func(t *config.TLS) { t.Protocols = "TLSv1.2 TLSv1.3" }, ""},
	} {
		v := &config.Values{TLS: base}
		c.change(&v.TLS)
		_, err := tlsConfig(v)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v", v.TLS, err)
		}
	}
	weak, err := tlsCiphers("DEFAULT")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range tls.InsecureCipherSuites() {
		if slices.Contains(weak, s.ID) {
			t.Errorf("DEFAULT has %s", s.Name)
		}
	}
}
