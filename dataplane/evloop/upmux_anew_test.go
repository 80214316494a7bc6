//go:build linux

package evloop

import (
	"io"
	"net"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// TestAKeptHTTP2ConnectionThatHadEndedIsNoAttempt: the endpoint takes leave of each when it is used
// again, and the route allows one attempt.
func TestAKeptHTTP2ConnectionThatHadEndedIsNoAttempt(t *testing.T) {
	for _, c := range []struct {
		name, method string
		end          func(net.Conn, *xhttp2.Framer)
	}{
		{"GOAWAY", "POST", func(c net.Conn, f *xhttp2.Framer) {
			_ = f.WriteGoAway(1, xhttp2.ErrCodeNo, nil)
			_, _ = io.Copy(io.Discard, c)
		}},
		{"the end", "GET", func(net.Conn, *xhttp2.Framer) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUpstream("u", rawServer(t, func(conn net.Conn) {
				_, _ = io.ReadFull(conn, make([]byte, len(http2.Preface)))
				f := xhttp2.NewFramer(conn, conn)
				_ = f.WriteSettings()
				for {
					frame, err := f.ReadFrame()
					if err != nil {
						return
					}
					if frame.Header().StreamID > 1 {
						c.end(conn, f)
						return
					}
					if frame.Header().StreamID == 1 && frame.Header().Flags.Has(xhttp2.FlagDataEndStream) {
						_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}, EndStream: true, EndHeaders: true})
					}
				}
			}))
			u.HTTP2 = true
			route := forwardAll(u)
			route.Retry.Attempts, route.Retry.On = 1, 0
			n := startNode(t, 1)
			n.apply(nil, route)
			var body []byte
			if c.method == "POST" {
				body = make([]byte, 10)
			}
			for i := range 3 {
				if status, _ := n.send(c.method, body, false); status != 200 {
					t.Errorf("request %d: %d", i, status)
				}
				if r := n.records.wait(t, i+1); r.Attempts != uint8(1+min(i, 1)) {
					t.Errorf("request %d: %d connections", i, r.Attempts)
				}
			}
		})
	}
}
