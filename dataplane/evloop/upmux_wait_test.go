//go:build linux

package evloop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
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

// TestAnEndpointThatTakesNoStreamsIsWaitedFor: another connection would take none
// either.
func TestAnEndpointThatTakesNoStreamsIsWaitedFor(t *testing.T) {
	const waiting = 4
	var opened atomic.Int64
	var writing sync.Mutex
	var first *xhttp2.Framer // of the endpoint's first connection
	limit := func(streams uint32) {
		_ = first.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: streams})
	}
	n := startNode(t, 1)
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(http2.Preface)))
		f := xhttp2.NewFramer(c, c)
		_ = f.WriteSettings()
		opened.Add(1)
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			asked, ok := frame.(*xhttp2.HeadersFrame)
			if !ok {
				continue
			}
			writing.Lock()
			if first == nil {
				first = f
				limit(0)
			}
			_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: asked.StreamID, BlockFragment: []byte{0x88}, EndStream: true, EndHeaders: true})
			writing.Unlock()
		}
	}))
	u.HTTP2, u.Pool.IdleTimeout = true, time.Minute
	n.apply(nil, forwardAll(u))
	ask := func() { fmt.Fprint(n.dial(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }
	ask()
	n.records.wait(t, 1)
	for range waiting {
		ask()
	}
	eventually(t, "all to wait", func() bool { _, _, w := n.engine.EndpointLoad(0); return w == waiting })
	writing.Lock()
	limit(100)
	writing.Unlock()
	for i := range 1 + waiting {
		if r := n.records.wait(t, 1+i); r.Status != 200 {
			t.Errorf("%d %s", r.Status, r.Reason)
		}
	}
	if got := opened.Load(); got != 1 {
		t.Errorf("%d connections", got)
	}
}
