//go:build linux

package evloop

import (
	"crypto/tls"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestTheFirstClientAfterAChangeIsMetAsTheListenerSays(t *testing.T) {
	n := startTLS(t, 1)
	all := forwardAll(newUpstream("u", startBackend(t, echo)))
	for range 2 {
		n.apply(nil, all)
		if resp := n.get("/"); resp.StatusCode != 200 {
			t.Errorf("without TLS: %d", resp.StatusCode)
		}
		n.serve(nil, all)
		if resp, _ := n.ask(n.dial(n.config())); resp.StatusCode != 200 {
			t.Errorf("with TLS: %d", resp.StatusCode)
		}
	}
}

func TestAClientThatHasSentNothingYetMeetsAListenerThatHasNoTLSAnyMore(t *testing.T) {
	n := startTLS(t, 1)
	all := forwardAll(newUpstream("u", startBackend(t, echo)))
	n.serve(nil, all)
	raw := n.raw()
	eventually(t, "the connection", func() bool { return n.engine.clients() == 1 })
	n.apply(nil, all)
	n.get("/")
	if err := tls.Client(raw, n.config()).Handshake(); err == nil {
		t.Error("a handshake without certificates succeeded")
	}
	n.handshakes(secure.ResultRefused, 1)
}

func TestAHandshakeOutlivesTheTLSOfItsListener(t *testing.T) {
	n := startTLS(t, 1)
	all := forwardAll(newUpstream("u", startBackend(t, echo)))
	n.serve(nil, all)
	c := n.config()
	c.VerifyConnection = func(tls.ConnectionState) error {
		n.apply(nil, all)
		n.get("/")
		return nil
	}
	if resp, _ := n.ask(n.dial(c)); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("%d, the connection ends: %v", resp.StatusCode, resp.Close)
	}
}

func TestAKeptConnectionEndsWhenOtherCertificatesAreAskedFor(t *testing.T) {
	n := startTLS(t, 1)
	all := forwardAll(newUpstream("u", startBackend(t, echo)))
	n.serve(nil, all)
	conn := n.dial(n.config())
	if resp, _ := n.ask(conn); resp.Close {
		t.Error("the connection ends without a reason")
	}
	others := securetest.Listener(n.secure.Certificates...)
	others.ClientAuth = &table.ClientAuth{Required: true, CAs: n.ca.Pool(), Class: [32]byte{1}}
	n.secure = others
	n.serve(nil, all)
	if resp, _ := n.ask(conn); !resp.Close {
		t.Error("a client without a certificate is served for as long as it likes")
	}
}
