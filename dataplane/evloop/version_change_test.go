//go:build linux

package evloop

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// changed is an upstream of the next table.
func changed(u *table.Upstream, change func(*table.Upstream)) *table.Upstream {
	next := *u
	next.Endpoints = slices.Clone(u.Endpoints)
	change(&next)
	return &next
}

// TestAnEndpointWithTLSIsNeverMetWithoutIt: a push has it speak HTTP/1.1 in place of
// HTTP/2, while one waits and a connection has nothing to do.
func TestAnEndpointWithTLSIsNeverMetWithoutIt(t *testing.T) {
	u := newUpstream("u", "127.0.0.1:9")
	u.HTTP2, u.Pool.MaxConnections = true, 1
	u.TLS = &table.UpstreamTLS{ServerName: "a.test", CAs: securetest.New(t).Pool()}
	l, p := poolOf(t, u)
	c, far := pairedUp(t, l, p)
	defer unix.Close(far)
	l.opened(c)
	s := l.streams.take()
	p.Wait(s.id)
	s.wait = p
	next := changed(u, func(u *table.Upstream) { u.HTTP2 = false })
	l.pool(next, &next.Endpoints[0])
	if !c.link.closed || s.up == nil {
		t.Fatalf("the connection before is closed: %t; who waits has another: %t", c.link.closed, s.up != nil)
	}
	if s.up.http2 || s.up.client == nil || s.up.client != p.client {
		t.Errorf("met with HTTP/2: %t, with TLS: %t", s.up.http2, s.up.client != nil)
	}
}
