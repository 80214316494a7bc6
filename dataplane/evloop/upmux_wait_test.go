//go:build linux

package evloop

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
)

// TestAllThatWaitForAnHTTP2EndpointAreToldThatItIsGone: connecting fails at once, for
// each of them.
func TestAllThatWaitForAnHTTP2EndpointAreToldThatItIsGone(t *testing.T) {
	const waiting = 3
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			close(begun)
			<-r.Context().Done()
		}
	})}
	speaksHTTP2(server, 1)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	n := startNode(t, 1)
	u := newUpstream("u", "unix:"+path)
	u.HTTP2, u.ConnectTimeout, u.Pool.MaxConnections = true, time.Minute, 1
	route := forwardAll(u)
	route.Timeout, route.Retry.Attempts = time.Minute, 1
	n.apply(nil, route)
	ask := func(path string) { fmt.Fprintf(n.dial(), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path) }
	ask("/")
	n.records.wait(t, 1)
	ask("/held")
	<-begun
	for range waiting {
		ask("/")
	}
	eventually(t, "all to wait", func() bool { _, _, w := n.engine.EndpointLoad(0); return w == waiting })
	server.Close()
	for i := range waiting {
		if r := n.records.wait(t, 3+i); r.Reason != exchange.ReasonConnectFailure {
			t.Errorf("%s %s", r.Reason, r.Detail)
		}
	}
}
