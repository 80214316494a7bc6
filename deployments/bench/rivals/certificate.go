package rivals

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Certificate is what every proxy of a run shows: ECDSA on P-256, signed by
// itself, as one link is the least that a handshake can send.
type Certificate struct {
	// Files in PEM; Both has the key behind the chain, as HAProxy wants it.
	Chain, Key, Both string
}

// ServerName is what the certificate is for.
const ServerName = "bench.test"

// NewCertificate makes a certificate and writes its files into dir. It is valid
// from an hour before now, for a day.
func NewCertificate(dir string, now time.Time) (*Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: ServerName},
		DNSNames:  []string{ServerName, "*.test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	c := &Certificate{
		Chain: filepath.Join(dir, "chain.pem"), Key: filepath.Join(dir, "key.pem"), Both: filepath.Join(dir, "both.pem"),
	}
	return c, errors.Join(
		os.WriteFile(c.Chain, chain, 0o600),
		os.WriteFile(c.Key, private, 0o600),
		os.WriteFile(c.Both, append(append([]byte(nil), chain...), private...), 0o600),
	)
}
