package secure

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// The protocol names that ALPN agrees on (RFC 7301 section 6).
const (
	HTTP1 = "http/1.1"
	HTTP2 = "h2" // RFC 9113 section 3.1
)

// suites are those of TLS 1.2 that have forward secrecy and authenticate what
// they encrypt. TLS 1.3 has no others.
func suites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// Server meets the clients of one listener.
type Server struct {
	of     *table.ListenerTLS
	config *tls.Config
	// classes are what sessions say, by the certificate that their client saw.
	classes map[*tls.Certificate][]byte
}

// NewServer makes the server of t, whose sessions are sealed by tickets.
// protocols are offered to clients, the dearest first.
func NewServer(t *table.ListenerTLS, tickets *Tickets, protocols ...string) *Server {
	s := &Server{of: t, classes: make(map[*tls.Certificate][]byte)}
	for _, c := range t.Certificates {
		s.classes[&c.Pair] = s.newClass(c.Pair.Leaf)
	}
	s.config = &tls.Config{
		MinVersion:       t.MinVersion,
		CipherSuites:     suites(),
		CurvePreferences: curvePreferences(),
		NextProtos:       protocols,
		GetCertificate:   s.certificate,
		WrapSession:      s.wrap(tickets),
		UnwrapSession:    s.unwrap(tickets),
	}
	if a := t.ClientAuth; a != nil {
		s.config.ClientCAs = a.CAs
		s.config.ClientAuth = tls.VerifyClientCertIfGiven
		if a.Required {
			s.config.ClientAuth = tls.RequireAndVerifyClientCert
		}
		s.config.VerifyConnection = s.verify
	}
	return s
}

// Of is what s was made of.
func (s *Server) Of() *table.ListenerTLS { return s.of }

// Conn makes the connection of one client.
func (s *Server) Conn() *Conn {
	c := newConn(true, s.config)
	c.forward = s.of.ClientAuth != nil && s.of.ClientAuth.Forward
	return c
}

// certificate chooses among those of one name by what the client can verify: one
// with ECDSA and one with RSA serve old clients and new ones.
func (s *Server) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	of := s.of.Pick(hello.ServerName)
	if len(of) > 1 {
		for _, c := range of {
			if hello.SupportsCertificate(c) == nil {
				return c, nil
			}
		}
	}
	return of[0], nil
}

// class is what the session of a client says that asked for a name.
func (s *Server) class(serverName string) []byte { return s.classes[s.of.Pick(serverName)[0]] }

// newClass is what sessions say of the certificates of both sides: those that the
// client was asked for, and the names of the one that it saw when it asked for a
// name. A resumed session shows none: without this, whoever leads a client to
// another listener of the fleet would make it trust that listener.
func (s *Server) newClass(leaf *x509.Certificate) []byte {
	h := sha256.New()
	if a := s.of.ClientAuth; a != nil {
		h.Write(a.Class[:])
	}
	for _, name := range slices.Sorted(slices.Values(leaf.DNSNames)) {
		fmt.Fprintf(h, " %q", name)
	}
	for _, ip := range leaf.IPAddresses {
		fmt.Fprintf(h, " %s", ip)
	}
	return h.Sum([]byte(ticketMark))
}

func (s *Server) wrap(t *Tickets) func(tls.ConnectionState, *tls.SessionState) ([]byte, error) {
	return func(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
		state.Extra = append(state.Extra, s.class(cs.ServerName))
		return t.seal.EncryptTicket(cs, state)
	}
}

// ticketMark begins what this package adds to sessions.
const ticketMark = "proxyfleet class "

// unwrap opens a ticket. One that cannot be opened, or that comes from where
// other certificates are asked for or shown, is none: the handshake is a full one.
func (s *Server) unwrap(t *Tickets) func([]byte, tls.ConnectionState) (*tls.SessionState, error) {
	return func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		state, err := t.seal.DecryptTicket(ticket, cs)
		if err != nil || state == nil {
			return nil, nil //nolint:nilerr,nilnil // so crypto/tls wants it: an error would end the handshake
		}
		class := s.class(cs.ServerName)
		for _, extra := range state.Extra {
			if bytes.Equal(extra, class) {
				return state, nil
			}
		}
		return nil, nil //nolint:nilnil // likewise
	}
}

// verify looks at the certificate of a resumed session again: it may have run
// out since. A full handshake has verified it.
func (s *Server) verify(cs tls.ConnectionState) error {
	if !cs.DidResume {
		return nil
	}
	if len(cs.PeerCertificates) == 0 {
		if s.of.ClientAuth.Required {
			return errors.New("tls: the resumed session has no client certificate")
		}
		return nil
	}
	rest := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		rest.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: s.of.ClientAuth.CAs, Intermediates: rest, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
	return nil
}
