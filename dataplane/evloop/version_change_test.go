//go:build linux

package evloop

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
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

// bothVersions is a server of HTTP/1.1, and of HTTP/2 by prior knowledge with one stream
// at a time. It keeps who asks for "/held", and agrees to every upgrade of HTTP/1.1.
func bothVersions(t *testing.T) (address string, begun, goOn chan struct{}) {
	t.Helper()
	begun, goOn = make(chan struct{}), make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/held":
			close(begun)
			<-goOn
		case r.Header.Get("Upgrade") != "":
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nagreed")
			c.Close()
		}
	}))
	speaksHTTP2(s.Config, 1)
	s.Config.Protocols.SetHTTP1(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), begun, goOn
}

// TestWhoWaitsForATunnelIsMetByTheVersionThatTheEndpointSpeaksNow: it is asked for in
// other ways.
func TestWhoWaitsForATunnelIsMetByTheVersionThatTheEndpointSpeaksNow(t *testing.T) {
	for _, c := range []struct {
		name, asks, gets, end string
		before                bool // HTTP/2 is spoken
	}{
		{"HTTP/2 no more", "GET / HTTP/1.1\r\nHost: a:1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n", "HTTP/1.1 101", "\r\n\r\nagreed", true},
		{"HTTP/2 from now on", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "HTTP/1.1 403", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			address, begun, goOn := bothVersions(t)
			defer close(goOn)
			n := startNode(t, 1)
			apply := func(connections int, http2 bool) {
				u := newUpstream("u", address)
				u.HTTP2, u.Pool.MaxConnections = http2, connections
				n.apply(nil, connects(u, table.ConnectTarget{Host: "a", Port: 1}))
			}
			apply(1, c.before)
			n.talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			_, _ = io.WriteString(n.dial(), "GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
			<-begun
			k := dialKept(t, netip.MustParseAddrPort(n.address))
			_, _ = io.WriteString(k, c.asks)
			eventually(t, "one that waits", func() bool { _, _, w := n.engine.EndpointLoad(0); return w == 1 })
			apply(2, !c.before)
			n.talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			if got, err := io.ReadAll(k.r); err != nil || !strings.HasPrefix(string(got), c.gets) || !strings.HasSuffix(string(got), c.end) {
				t.Errorf("%q %v, want %s", got, err, c.gets)
			}
		})
	}
}
