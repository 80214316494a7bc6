//go:build linux

package evloop

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestAllThatWaitForSETTINGSGoOnTogether: with them, or when the connection ends
// without any. Some leave before that.
func TestAllThatWaitForSETTINGSGoOnTogether(t *testing.T) {
	const conns, streams, left = 3, 90, 5 // of each connection
	for _, c := range []struct {
		name   string
		then   func(net.Conn)
		reason exchange.Reason
	}{
		{"SETTINGS of an endpoint that opens no tunnels", func(c net.Conn) {
			_ = xhttp2.NewFramer(c, c).WriteSettings()
			_, _ = io.Copy(io.Discard, c)
		}, exchange.ReasonUpgradeFailed},
		{"the end", func(net.Conn) {}, exchange.ReasonConnectFailure},
	} {
		n := startNode(t, 1)
		goOn := make(chan struct{})
		u := newUpstream("u", rawServer(t, func(conn net.Conn) {
			_, _ = io.ReadFull(conn, make([]byte, len(http2.Preface)))
			<-goOn
			c.then(conn)
		}))
		u.HTTP2 = true
		route := tunnels(u)
		route.Retry.Attempts = 0
		n.apply(nil, route)
		framers := make([]*xhttp2.Framer, conns)
		for i := range framers {
			conn, f := n.framesTo()
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			framers[i] = f
			for k := range uint32(streams + left) {
				if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1 + 2*k, BlockFragment: connectBlock("websocket"), EndHeaders: true}); err != nil {
					t.Fatal(err)
				}
			}
			for k := range uint32(left) {
				_ = f.WriteRSTStream(1+8*k, xhttp2.ErrCodeCancel)
			}
		}
		n.records.wait(t, conns*left) // those that left, behind which all others have begun
		close(goOn)
		for _, f := range framers {
			ends := 0
			for ends < streams {
				frame, err := f.ReadFrame()
				if err != nil {
					t.Fatalf("%s: %v after %d", c.name, err, ends)
				}
				if frame, ok := frame.(*xhttp2.RSTStreamFrame); ok && frame.ErrCode == xhttp2.ErrCodeNo {
					ends++
				}
			}
		}
		n.records.wait(t, conns*(streams+left))
		n.records.mu.Lock()
		for i, r := range n.records.all[conns*left:] {
			if r.Reason != c.reason {
				t.Fatalf("%s: record %d says %s %s", c.name, i, r.Reason, r.Detail)
			}
		}
		n.records.mu.Unlock()
		eventually(t, "the end of all attempts", func() bool { return n.engine.registry.Endpoint(u.Endpoints[0].Slot).InFlight() == 0 })
	}
}

// TestAConnectionWhoseTunnelsWentElsewhereIsIdle: they wait for one that takes streams, since
// its SETTINGS say that it takes none.
func TestAConnectionWhoseTunnelsWentElsewhereIsIdle(t *testing.T) {
	u := newUpstream("u", "127.0.0.1:9")
	u.HTTP2 = true
	l, p := poolOf(t, u)
	c, far := pairedUp(t, l, p)
	defer unix.Close(far)
	l.opened(c)
	m, s := c.mux, l.streams.take()
	env := exchange.Env{Table: new(table.Table), Listener: new(table.Listener), Random: l.random}
	s.x.BeginFailed(&env, &s.head, exchange.Arrival{}, exchange.Failure{Reason: exchange.ReasonOverload}) // it has a head
	m.unready, s.unready, m.open, m.idleUntil = []*stream{s}, m, 1, 0
	var settings bytes.Buffer
	_ = xhttp2.NewFramer(&settings, nil).WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: 0})
	if _, err := unix.Write(far, settings.Bytes()); err != nil {
		t.Fatal(err)
	}
	c.link.readable = true
	if l.turn(c.link); s.wait != p || m.open != 0 {
		t.Fatalf("%d calls, who asks for a tunnel waits: %t", m.open, s.wait == p)
	}
	if m.idleUntil == 0 {
		t.Error("a connection without calls has no end")
	}
}
