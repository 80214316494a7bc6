// Package securetest makes authorities and certificates for tests.
package securetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// Authority signs certificates.
type Authority struct {
	tb   testing.TB
	cert *x509.Certificate
	key  crypto.Signer
}

// New makes an authority of its own.
func New(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb, key: ecKey(tb)}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = a.sign(template, template, a.key.Public(), a.key)
	return a
}

// Pool is the authority as roots.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// PEM is the authority's certificate.
func (a *Authority) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// Config is one certificate that is asked for.
type Config struct {
	RSA     bool
	Expired bool
	Names   []string // host names and addresses
}

// Pair makes a certificate for servers and clients.
func (a *Authority) Pair(c Config) tls.Certificate {
	a.tb.Helper()
	key := ecKey(a.tb)
	if c.RSA {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			a.tb.Fatal(err)
		}
		key = k
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "test"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range c.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if c.Expired {
		template.NotBefore, template.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	}
	leaf := a.sign(template, a.cert, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
}

// Certificate makes a certificate as tables have them.
func (a *Authority) Certificate(c Config) *table.Certificate {
	a.tb.Helper()
	return &table.Certificate{Name: c.Names[0], Names: c.Names, Pair: a.Pair(c)}
}

// PairPEM makes a certificate as resources have them.
func (a *Authority) PairPEM(c Config) (chain, key string) {
	a.tb.Helper()
	pair := a.Pair(c)
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		a.tb.Fatal(err)
	}
	for _, c := range pair.Certificate {
		chain += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c}))
	}
	return chain, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// Listener is the TLS of a listener with certificates.
func Listener(certificates ...*table.Certificate) *table.ListenerTLS {
	t := &table.ListenerTLS{MinVersion: tls.VersionTLS12, Certificates: certificates}
	t.Index()
	return t
}

func ecKey(tb testing.TB) crypto.Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func (a *Authority) sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	a.tb.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		a.tb.Fatal(err)
	}
	template.SerialNumber = serial
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		a.tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.tb.Fatal(err)
	}
	return cert
}
