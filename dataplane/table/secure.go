package table

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"strings"
)

// Certificate is a chain with its key. Immutable.
type Certificate struct {
	Name string
	// Names are the host names of the leaf, in lower case, and its addresses.
	Names []string
	Pair  tls.Certificate // with Leaf
}

// ListenerTLS is how a listener's clients are met. Immutable.
type ListenerTLS struct {
	Certificates []*Certificate // at least one; the first is the default
	MinVersion   uint16         // as crypto/tls numbers versions
	// ClientAuth is nil where clients are not asked for certificates.
	ClientAuth *ClientAuth

	byName map[string][]*tls.Certificate
	first  []*tls.Certificate // what has the names of the first certificate
}

// ClientAuth asks clients for certificates.
type ClientAuth struct {
	Required bool // otherwise a client may come without one
	CAs      *x509.CertPool
	// Class tells those apart who ask for different certificates: sessions of one
	// are no good in another.
	Class [sha256.Size]byte
	// Forward: the certificate goes to the endpoint, as RFC 9440 says.
	Forward bool
}

// Index makes t ready for Pick. It is part of making t.
func (t *ListenerTLS) Index() {
	t.byName = make(map[string][]*tls.Certificate)
	for _, c := range t.Certificates {
		for _, name := range c.Names {
			t.byName[name] = append(t.byName[name], &c.Pair)
		}
	}
	t.first = []*tls.Certificate{&t.Certificates[0].Pair}
	for _, c := range t.Certificates[1:] {
		if sameNames(c.Names, t.Certificates[0].Names) {
			t.first = append(t.first, &c.Pair)
		}
	}
}

func sameNames(a, b []string) bool {
	has := make(map[string]bool, len(a))
	for _, name := range a {
		has[name] = true
	}
	for _, name := range b {
		if !has[name] {
			return false
		}
	}
	return len(a) == len(b)
}

// Pick gives the certificates for the name that a client asks for, those of one
// name in the order in which the listener has them: the exact name over a
// wildcard, which stands for one label (RFC 9525 section 6.3), over the
// listener's first certificate and its twins. A client that sends no name gets
// the latter too.
func (t *ListenerTLS) Pick(name string) []*tls.Certificate {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if of := t.named(name); of != nil {
		return of
	}
	return t.first
}

// named are the certificates that have the name, in lower case, or a wildcard for it.
func (t *ListenerTLS) named(name string) []*tls.Certificate {
	if of := t.byName[name]; of != nil {
		return of
	}
	if dot := strings.IndexByte(name, '.'); dot > 0 {
		return t.byName["*"+name[dot:]]
	}
	return nil
}

// Covers tells whether clients who ask for a host, in lower case, or for any right below a
// wildcard, are shown a certificate that has the name.
func (t *ListenerTLS) Covers(host string) bool { return t.named(host) != nil }

// UpstreamTLS is how an upstream's endpoints are met. Immutable.
type UpstreamTLS struct {
	ServerName  string         // empty: the endpoint's address
	CAs         *x509.CertPool // nil: those of the system
	Certificate *Certificate   // shown to endpoints that ask; nil: none
	SkipVerify  bool
	// Class tells settings apart.
	Class [sha256.Size]byte
}
