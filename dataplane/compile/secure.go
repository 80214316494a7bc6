package compile

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/certificate"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// listenerTLS converts the TLS of a listener; nil if it has none, or problems.
func (c *compiler) listenerTLS(key tree.Key, d *fleetv1.ListenerTLS) *table.ListenerTLS {
	if d == nil {
		return nil
	}
	told := len(c.problems)
	t := &table.ListenerTLS{MinVersion: tls.VersionTLS12}
	if d.GetMinVersion() == fleetv1.ListenerTLS_TLS1_3 {
		t.MinVersion = tls.VersionTLS13
	}
	for i, name := range d.GetCertificates() {
		cert := c.certificate(name)
		switch {
		case cert == nil: // it is missing or broken, which was told
			return nil
		case len(cert.Names) == 0:
			c.tell(key, fmt.Sprintf("spec.tls.certificates[%d]", i), name+", which names no host", "a certificate with a subject alternative name")
		}
		t.Certificates = append(t.Certificates, cert)
	}
	if a := d.GetClientAuth(); a != nil {
		t.ClientAuth = &table.ClientAuth{
			Required: a.GetRequired(), Forward: a.GetForward(), Class: sha256.Sum256([]byte(a.GetCa())),
			CAs: c.authorities(key, "spec.tls.clientAuth.ca", a.GetCa()),
		}
	}
	if len(c.problems) > told {
		return nil
	}
	t.Index()
	return t
}

// certificate is a certificate of the new table; nil: there is none of the name,
// or it has problems.
func (c *compiler) certificate(name string) *table.Certificate {
	pair, ok := c.built.certificates.Get(name)
	if !ok {
		return nil
	}
	return &table.Certificate{
		Name: name, Names: certificateNames(pair),
		Pair: tls.Certificate{Certificate: pair.Chain, PrivateKey: pair.Key, Leaf: pair.Leaf},
	}
}

func certificateNames(pair *certificate.Pair) (names []string) {
	for _, name := range pair.Leaf.DNSNames {
		names = append(names, strings.ToLower(name))
	}
	for _, ip := range pair.Leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// authorities reads the certificates that are trusted.
func (c *compiler) authorities(key tree.Key, field, text string) *x509.CertPool {
	pool := x509.NewCertPool()
	n := 0
	for rest := []byte(text); ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c.spend(costRead)
		authority, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			c.tell(key, field, fmt.Sprintf("a PEM block %d that is no certificate", n+1), "certificates of authorities, in PEM")
			return pool
		}
		pool.AddCert(authority)
	}
	if n == 0 {
		c.tell(key, field, "no certificate", "certificates of authorities, in PEM")
	}
	return pool
}

// upstreamTLS converts the TLS of an upstream; nil if it has none, or problems.
func (c *compiler) upstreamTLS(key tree.Key, d *fleetv1.UpstreamTLS) *table.UpstreamTLS {
	if d == nil {
		return nil
	}
	t := &table.UpstreamTLS{ServerName: d.GetServerName(), SkipVerify: d.GetSkipVerify()}
	class := sha256.New()
	fmt.Fprintf(class, "%q %q %v", t.ServerName, d.GetCa(), t.SkipVerify)
	if d.Ca != nil {
		t.CAs = c.authorities(key, "spec.tls.ca", d.GetCa())
	}
	if name := d.GetClientCertificate(); name != "" {
		if t.Certificate = c.certificate(name); t.Certificate == nil {
			return nil // which was told
		}
		fmt.Fprintf(class, " %q %x", name, t.Certificate.Pair.Certificate)
	}
	t.Class = [sha256.Size]byte(class.Sum(nil))
	return t
}

// sameTLS compares what was compiled.
func sameTLS(a, b *table.UpstreamTLS) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Class == b.Class)
}
