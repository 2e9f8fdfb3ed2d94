package server

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"os"

	"github.com/larder-db/larder/server/config"
)

// serverCertificate reads tls-cert-file and tls-key-file.
func serverCertificate(t config.TLS) (tls.Certificate, error) {
	var cert tls.Certificate
	certPEM, err := os.ReadFile(t.CertFile)
	if err != nil {
		return cert, err
	}
	keyPEM, err := os.ReadFile(t.KeyFile)
	if err != nil {
		return cert, err
	}
	if keyPEM, err = plainKey(keyPEM, t.KeyFilePass); err != nil {
		return cert, fmt.Errorf("%s: %w", t.KeyFile, err)
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// plainKey decrypts a private key if it is encrypted, in either of the ways that OpenSSL does it: the old one with a
// DEK-Info header, and PKCS #8. A password is not used for a key that is not encrypted.
func plainKey(text []byte, password string) ([]byte, error) {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return text, nil
		}
		//lint:ignore SA1019 the format is weak, but keys are kept in it
		old := x509.IsEncryptedPEMBlock(block)
		if !old && block.Type != "ENCRYPTED PRIVATE KEY" {
			continue
		}
		if password == "" {
			return nil, errors.New("the private key is encrypted: set tls-key-file-pass")
		}
		var der []byte
		var err error
		if old {
			//lint:ignore SA1019 see above
			der, err = x509.DecryptPEMBlock(block, []byte(password))
		} else {
			block.Type = "PRIVATE KEY"
			der, err = decryptPKCS8(block.Bytes, password)
		}
		if err != nil {
			return nil, fmt.Errorf("the private key cannot be decrypted with tls-key-file-pass: %w", err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
	}
}

// algorithm is an AlgorithmIdentifier.
type algorithm struct {
	ID     asn1.ObjectIdentifier
	Params asn1.RawValue `asn1:"optional"`
}

// What follows are the structures of PKCS #5, version 2.1 (RFC 8018, appendix A), and PKCS #8 (RFC 5958, section 3).
type (
	encryptedKey struct {
		Algorithm algorithm
		Data      []byte
	}
	pbes2 struct{ KDF, Cipher algorithm }
	kdf2  struct {
		Salt       []byte
		Iterations int
		KeyLength  int       `asn1:"optional"`
		PRF        algorithm `asn1:"optional"`
	}
)

var (
	idPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	idPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// keyHashes are what PBKDF2 may be built on; SHA-1 where nothing is said.
var keyHashes = map[string]func() hash.Hash{
	"":                    sha1.New,
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
}

// keyCiphers are what a key may be encrypted with, all in CBC mode.
var keyCiphers = map[string]struct {
	keyLength int
	block     func([]byte) (cipher.Block, error)
}{
	"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
	"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
}

// mostIterations bounds how long a key file can keep the start busy.
const mostIterations = 100_000_000

// decryptPKCS8 decrypts an EncryptedPrivateKeyInfo.
func decryptPKCS8(der []byte, password string) ([]byte, error) {
	var e encryptedKey
	if err := decodeAll(der, &e); err != nil {
		return nil, err
	}
	if !e.Algorithm.ID.Equal(idPBES2) {
		return nil, fmt.Errorf("its scheme %v is not PBES2: encrypt it anew with openssl pkcs8 -topk8", e.Algorithm.ID)
	}
	var p pbes2
	if err := decodeAll(e.Algorithm.Params.FullBytes, &p); err != nil {
		return nil, err
	}
	if !p.KDF.ID.Equal(idPBKDF2) {
		return nil, fmt.Errorf("its key derivation %v is not PBKDF2: encrypt it anew with openssl pkcs8 -topk8", p.KDF.ID)
	}
	var k kdf2
	if err := decodeAll(p.KDF.Params.FullBytes, &k); err != nil {
		return nil, err
	}
	prf, ok := keyHashes[k.PRF.ID.String()]
	c, known := keyCiphers[p.Cipher.ID.String()]
	if !ok || !known {
		return nil, fmt.Errorf("its hash %v or cipher %v is not known here", k.PRF.ID, p.Cipher.ID)
	}
	if k.Iterations < 1 || k.Iterations > mostIterations {
		return nil, fmt.Errorf("%d iterations of its key derivation", k.Iterations)
	}
	var iv []byte
	if err := decodeAll(p.Cipher.Params.FullBytes, &iv); err != nil {
		return nil, err
	}
	key, err := pbkdf2.Key(prf, password, k.Salt, k.Iterations, c.keyLength)
	if err != nil {
		return nil, err
	}
	block, err := c.block(key)
	if err != nil {
		return nil, err
	}
	return decryptCBC(block, iv, e.Data)
}

// decodeAll decodes DER that holds one value and nothing behind it.
func decodeAll(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes too many", len(rest))
	}
	return err
}

// decryptCBC decrypts and takes the padding off (RFC 8018, section 6.1.1, step 4).
func decryptCBC(block cipher.Block, iv, data []byte) ([]byte, error) {
	size := block.BlockSize()
	if len(iv) != size || len(data) == 0 || len(data)%size != 0 {
		return nil, errors.New("it is damaged")
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > size {
		return nil, errors.New("the password is wrong")
	}
	for _, b := range plain[len(plain)-padding:] {
		if int(b) != padding {
			return nil, errors.New("the password is wrong")
		}
	}
	return plain[:len(plain)-padding], nil
}
