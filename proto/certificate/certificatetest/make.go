package certificatetest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// Pair is a certificate with its key and, in PEM, its chain and key.
type Pair struct {
	Certificate *x509.Certificate
	Signer      crypto.Signer
	// Chain is the certificate and its issuers without the root.
	Chain, Key string

	root bool
}

// Options say what a certificate is like. Zero: P-256, from an hour ago to 90 days
// from now.
type Options struct {
	Names     []string // DNS names or addresses
	Key       crypto.Signer
	NotBefore time.Time
	NotAfter  time.Time
}

// Root makes a certificate authority.
func Root(t testing.TB, name string) *Pair { return issue(t, nil, true, name, Options{}) }

// Authority makes an authority under p.
func (p *Pair) Authority(t testing.TB, name string) *Pair { return issue(t, p, true, name, Options{}) }

// Issue makes a server's certificate under p.
func (p *Pair) Issue(t testing.TB, o Options) *Pair {
	name := "server"
	if len(o.Names) > 0 {
		name = o.Names[0]
	}
	return issue(t, p, false, name, o)
}

// SelfSigned makes a server's certificate that nobody issued.
func SelfSigned(t testing.TB, o Options) *Pair {
	name := "server"
	if len(o.Names) > 0 {
		name = o.Names[0]
	}
	return issue(t, nil, false, name, o)
}

func issue(t testing.TB, by *Pair, authority bool, name string, o Options) *Pair {
	t.Helper()
	if o.Key == nil {
		o.Key = ECDSA(t, elliptic.P256())
	}
	if o.NotBefore.IsZero() {
		o.NotBefore = time.Now().Add(-time.Hour)
	}
	if o.NotAfter.IsZero() {
		o.NotAfter = time.Now().Add(90 * 24 * time.Hour)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: o.NotBefore, NotAfter: o.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	if authority {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	}
	for _, n := range o.Names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	parent, signer := template, o.Key
	if by != nil {
		parent, signer = by.Certificate, by.Signer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, o.Key.Public(), signer)
	must(t, err)
	c, err := x509.ParseCertificate(der)
	must(t, err)
	p := &Pair{Certificate: c, Signer: o.Key, Chain: PEM("CERTIFICATE", der), root: by == nil}
	if by != nil && !by.root {
		p.Chain += by.Chain
	}
	key, err := x509.MarshalPKCS8PrivateKey(o.Key)
	must(t, err)
	p.Key = PEM("PRIVATE KEY", key)
	return p
}

// PEM is one block.
func PEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// ECDSA makes a key.
func ECDSA(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(t, err)
	return k
}

// RSA makes a key.
func RSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return k
}

// Ed25519 makes a key.
func Ed25519(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return k
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Leaks says whether data holds a part of the private key of p, a P-256 one, in
// PEM or in binary.
func (p *Pair) Leaks(data []byte) bool {
	lines := strings.Split(p.Key, "\n")
	// In PKCS #8 the secret number begins after 36 bytes: 48 characters. Two pieces
	// of it, since whoever wraps lines anew tears one of them at most.
	if bytes.Contains(data, []byte(lines[1][48:64])) || bytes.Contains(data, []byte(lines[2][:20])) {
		return true
	}
	key, ok := p.Signer.(*ecdsa.PrivateKey)
	if !ok {
		return false
	}
	number, err := key.Bytes()
	return err != nil || bytes.Contains(data, number)
}
