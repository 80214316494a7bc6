//go:build linux

package evloop

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
)

func TestASessionIsNotResumedWhereTheClientWouldSeeAnotherName(t *testing.T) {
	keys := [][32]byte{{1}}
	a, b := startTLS(t, 1), startTLS(t, 1)
	b.secure = securetest.Listener(a.ca.Certificate(securetest.Config{Names: []string{"other.test"}}))
	for _, n := range []*tlsNode{a, b} {
		n.serve(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
		n.engine.SetTicketKeys(keys)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := a.config()
		c.MinVersion, c.MaxVersion = version, version
		c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		a.ask(a.dial(c))
		var name x509.HostnameError
		conn, err := tls.Dial("tcp", b.address, c)
		if !errors.As(err, &name) {
			t.Errorf("%s: whoever leads the client to another listener makes it trust that: %v", tls.VersionName(version), err)
			conn.Close()
		}
	}
}
