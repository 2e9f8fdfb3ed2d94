package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/larder-db/larder/server/config"
)

// cipherSuites are the suites of TLS 1.2 that tls-ciphers may name, by OpenSSL's names for them, the better ones first.
// Those with RC4 and 3DES, which the library has too, are left out: they are broken.
var cipherSuites = []struct {
	name   string
	id     uint16
	chosen bool // one of DEFAULT and HIGH
}{
	{"ECDHE-ECDSA-AES128-GCM-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
	{"ECDHE-RSA-AES128-GCM-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, true},
	{"ECDHE-ECDSA-AES256-GCM-SHA384", tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, true},
	{"ECDHE-RSA-AES256-GCM-SHA384", tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, true},
	{"ECDHE-ECDSA-CHACHA20-POLY1305", tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, true},
	{"ECDHE-RSA-CHACHA20-POLY1305", tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, true},
	{"ECDHE-ECDSA-AES128-SHA", tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, true},
	{"ECDHE-RSA-AES128-SHA", tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, true},
	{"ECDHE-ECDSA-AES256-SHA", tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, true},
	{"ECDHE-RSA-AES256-SHA", tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, true},
	{"ECDHE-ECDSA-AES128-SHA256", tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, false},
	{"ECDHE-RSA-AES128-SHA256", tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, false},
	{"AES128-GCM-SHA256", tls.TLS_RSA_WITH_AES_128_GCM_SHA256, false},
	{"AES256-GCM-SHA384", tls.TLS_RSA_WITH_AES_256_GCM_SHA384, false},
	{"AES128-SHA256", tls.TLS_RSA_WITH_AES_128_CBC_SHA256, false},
	{"AES128-SHA", tls.TLS_RSA_WITH_AES_128_CBC_SHA, false},
	{"AES256-SHA", tls.TLS_RSA_WITH_AES_256_CBC_SHA, false},
}

// neverUsed are families of ciphers of which the chosen ones have none, so that excluding them says nothing.
var neverUsed = strings.Fields("aNULL eNULL NULL COMPLEMENTOFDEFAULT COMPLEMENTOFALL EXP EXPORT LOW MEDIUM MD5 RC2 RC4 DES 3DES IDEA SEED CAMELLIA ARIA DSS aDSS PSK SRP ADH AECDH DH DHE EDH kRSA")

// tlsCiphers reads tls-ciphers: OpenSSL's names, or DEFAULT or HIGH, with colons between, and what is excluded behind an
// exclamation mark. nil leaves the choice to the library.
func tlsCiphers(list string) ([]uint16, error) {
	words := strings.FieldsFunc(list, func(r rune) bool { return r == ':' || r == ',' || r == ' ' })
	if len(words) == 0 {
		return nil, nil
	}
	var ids, excluded []uint16
	for _, word := range words {
		name, exclude := strings.CutPrefix(word, "!")
		of := suitesNamed(name)
		switch {
		case exclude && (of != nil || slices.Contains(neverUsed, name)):
			excluded = append(excluded, of...)
		case !exclude && of != nil:
			ids = append(ids, of...)
		default:
			return nil, fmt.Errorf("tls-ciphers: there is no %q here: ciphers are named as OpenSSL names those of TLS 1.2 with ECDHE or RSA and AES or CHACHA20; DEFAULT and HIGH stand for the recommended ones", word)
		}
	}
	ids = slices.DeleteFunc(ids, func(id uint16) bool { return slices.Contains(excluded, id) })
	if len(ids) == 0 {
		return nil, fmt.Errorf("tls-ciphers: %q leaves no cipher", list)
	}
	return ids, nil
}

// suitesNamed are the suites that a word of tls-ciphers stands for.
func suitesNamed(name string) (ids []uint16) {
	for _, s := range cipherSuites {
		if s.name == name || s.chosen && (name == "DEFAULT" || name == "HIGH") {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// checkCipherSuites refuses a choice among the suites of TLS 1.3: the library offers all three and lets nobody choose.
func checkCipherSuites(t config.TLS, newest uint16) error {
	words := strings.FieldsFunc(t.CipherSuites, func(r rune) bool { return r == ':' || r == ',' || r == ' ' })
	if len(words) == 0 || newest != 0 && newest < tls.VersionTLS13 {
		return nil
	}
	all := []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
	for _, word := range words {
		if !slices.Contains(all, word) {
			return fmt.Errorf("tls-ciphersuites: there is no %q here, only %s", word, strings.Join(all, ", "))
		}
	}
	for _, name := range all {
		if !slices.Contains(words, name) {
			return fmt.Errorf("tls-ciphersuites: %s is always offered with TLS 1.3 and cannot be left out: name all three or none, or set tls-protocols TLSv1.2", name)
		}
	}
	return nil
}

// tlsVersions reads tls-protocols; 0 is the library's choice.
func tlsVersions(t config.TLS) (oldest, newest uint16, err error) {
	versions := map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}
	var named []uint16
	for _, name := range t.Versions() {
		named = append(named, versions[name])
	}
	if len(named) == 0 {
		return tls.VersionTLS12, 0, nil
	}
	oldest, newest = slices.Min(named), slices.Max(named)
	for v := oldest; v <= newest; v++ {
		if !slices.Contains(named, v) {
			return 0, 0, errors.New("tls-protocols: versions between two that are allowed cannot be left out")
		}
	}
	return oldest, newest, nil
}
