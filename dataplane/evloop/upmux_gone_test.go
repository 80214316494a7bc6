//go:build linux

package evloop

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// TestAnHTTP2EndpointThatResetsWithMuchUnsentIsNoticed at once: what waits for its
// socket does not keep the end from being read.
func TestAnHTTP2EndpointThatResetsWithMuchUnsentIsNoticed(t *testing.T) {
	n := startNode(t, 1)
	reset := make(chan struct{})
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(http2.Preface)))
		f := xhttp2.NewFramer(c, c)
		_ = f.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1<<31 - 1})
		_ = f.WriteWindowUpdate(0, 1<<30)
		<-reset
		_ = c.(*net.TCPConn).SetLinger(0)
	}))
	u.HTTP2 = true
	n.apply(nil, forwardAll(u))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.address+"/", io.LimitReader(zeros{}, 1<<30))
	go func() {
		if resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req); err == nil {
			resp.Body.Close()
		}
	}()
	eventually(t, "much unsent", func() bool { return n.engine.loops[0].held.Load() > highWater })
	time.Sleep(50 * time.Millisecond) // until nothing moves any more
	close(reset)
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonUpstreamReset && r.Reason != exchange.ReasonUpstreamClosed {
		t.Errorf("%d %s %s", r.Status, r.Reason, r.Detail)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
