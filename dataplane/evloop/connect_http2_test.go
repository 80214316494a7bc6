//go:build linux

package evloop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// target is a server that a CONNECT leads to.
func target(t *testing.T, serve func(*net.TCPConn)) *table.Route {
	t.Helper()
	return connects(newUpstream("u", rawServer(t, func(c net.Conn) { serve(c.(*net.TCPConn)) })), table.ConnectTarget{Host: "a.test", Port: 443})
}

// connect opens a tunnel by a CONNECT on an HTTP/2 stream.
func (n *node) connectTo(t *testing.T, client http.RoundTripper, authority string) (duplex, *http.Response) {
	t.Helper()
	in, out := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "http://"+n.address, in)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = authority
	resp, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return duplex{resp.Body, out, resp.Body.Close}, resp
}

// TestCONNECTOnAnHTTP2StreamIsATunnelWithHalves ends each side first, once.
func TestCONNECTOnAnHTTP2StreamIsATunnelWithHalves(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, target(t, func(c *net.TCPConn) {
		got, _ := io.ReadAll(c)
		fmt.Fprintf(c, "%d bytes, and then the end", len(got))
	}))
	client := n.h2()
	tunnel, resp := n.connectTo(t, client, "a.test:443")
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	if _, err := tunnel.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	tunnel.PipeWriter.Close()
	if got, err := io.ReadAll(tunnel.Reader); err != nil || string(got) != "1048576 bytes, and then the end" {
		t.Errorf("%q, %v", got, err)
	}
	wantTunnel(t, n.records.wait(t, 1), 200, 20)

	heard := make(chan string, 1)
	n.apply(nil, target(t, func(c *net.TCPConn) {
		_, _ = c.Write(make([]byte, 1<<20))
		_ = c.CloseWrite()
		got, err := io.ReadAll(c)
		heard <- fmt.Sprint(string(got), " ", err)
	}))
	tunnel, _ = n.connectTo(t, client, "a.test:443")
	if got, err := io.ReadAll(tunnel.Reader); err != nil || len(got) != 1<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	fmt.Fprint(tunnel, "still here")
	tunnel.PipeWriter.Close()
	if got := <-heard; got != "still here <nil>" {
		t.Errorf("%s", got)
	}
	wantTunnel(t, n.records.wait(t, 2), 200, 10)

	if _, resp := n.connectTo(t, client, "b.test:443"); resp.StatusCode != 403 {
		t.Errorf("another target: %d", resp.StatusCode)
	}
}

// TestAResetOfOneSideOfATunnelIsOneOfTheOther (RFC 9113 section 8.5).
func TestAResetOfOneSideOfATunnelIsOneOfTheOther(t *testing.T) {
	n := startNode(t, 1)
	reset, heard := make(chan struct{}), make(chan error, 1)
	n.apply(nil, target(t, func(c *net.TCPConn) {
		fmt.Fprint(c, "hello")
		select {
		case <-reset:
			_, _ = c.Read(make([]byte, 1))
			_ = c.SetLinger(0)
		default:
			_, err := io.ReadAll(c)
			heard <- err
		}
	}))
	client := n.h2()
	tunnel, _ := n.connectTo(t, client, "a.test:443")
	_, _ = io.ReadFull(tunnel.Reader, make([]byte, 5))
	tunnel.Reader.(io.Closer).Close() // the client resets its stream
	if err := <-heard; err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("the endpoint heard %v", err)
	}
	close(reset)
	tunnel, _ = n.connectTo(t, client, "a.test:443")
	fmt.Fprint(tunnel, "x")
	_, err := io.ReadAll(tunnel.Reader)
	var code http2.StreamError
	if !errors.As(err, &code) && (err == nil || !strings.Contains(err.Error(), "CONNECT_ERROR")) {
		t.Errorf("the client heard %v", err)
	}
	if r := n.records.wait(t, 2); r.Reason != exchange.ReasonUpstreamReset {
		t.Errorf("%s", r.Reason)
	}
	tunnel.PipeWriter.Close()
}

func TestATunnelOnAnHTTP2StreamEndsWhenNothingMoves(t *testing.T) {
	n := startNode(t, 1)
	route := target(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	route.Tunnel.Idle = 100 * time.Millisecond
	n.apply(nil, route)
	tunnel, _ := n.connectTo(t, n.h2(), "a.test:443")
	if _, err := io.ReadAll(tunnel.Reader); err == nil {
		t.Error("it ended well")
	}
	tunnel.PipeWriter.Close()
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonStreamIdleTimeout {
		t.Errorf("%s", r.Reason)
	}
}

// TestATunnelThatNobodyReadsStopsNoOtherStream of its connection, and holds a
// bounded number of bytes.
func TestATunnelThatNobodyReadsStopsNoOtherStream(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, target(t, func(c *net.TCPConn) {
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}))
	client := n.h2()
	idle, _ := n.connectTo(t, client, "a.test:443")
	busy, _ := n.connectTo(t, client, "a.test:443")
	if _, err := io.CopyN(io.Discard, busy.Reader, 32<<20); err != nil {
		t.Error(err)
	}
	if held := n.engine.loops[0].counts.bufferBytes.Load(); held > 4<<20 {
		t.Errorf("%d bytes are held", held)
	}
	for _, d := range []duplex{idle, busy} {
		d.PipeWriter.Close()
		_ = d.end()
	}
	n.records.wait(t, 2)
}

// connectBlock is the field block of an extended CONNECT for "/" at "a".
func connectBlock(protocol string) []byte {
	block := append(requestBlock("CONNECT"), 0x00, 9)
	block = append(append(block, ":protocol"...), byte(len(protocol)))
	return append(block, protocol...)
}

// TestACONNECTThatIsRefusedIsOverWithItsAnswer though its client has not ended its
// half: the stream is reset without an error (RFC 9113 section 8.1). The answer is of
// the endpoint, with a body for which the client has no window at first; of the node,
// since nobody is there; and of the route.
func TestACONNECTThatIsRefusedIsOverWithItsAnswer(t *testing.T) {
	n := startNode(t, 1)
	nobody := newUpstream("nobody", refusing(t).String())
	for i, c := range []struct {
		route  *table.Route
		status string
		body   int
	}{
		{tunnels(newUpstream("u", startBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write(make([]byte, 100_000))
		}))), "404", 100_000},
		{tunnels(nobody), "502", -1},
		{&table.Route{
			Name: "none", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionRespond,
			Respond: &table.Respond{Status: 404, Body: []byte("none")},
		}, "404", 4},
	} {
		n.apply(nil, c.route)
		conn, f := n.framesTo()
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: connectBlock("websocket"), EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
		status, body, ended := "", 0, false
		for reset := false; !reset; {
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatalf("%d: %v, after status %s, %d bytes, end %t", i, err, status, body, ended)
			}
			switch frame := frame.(type) {
			case *http2.MetaHeadersFrame:
				status, ended = frame.PseudoValue("status"), frame.StreamEnded()
			case *http2.DataFrame:
				body += len(frame.Data())
				ended = frame.StreamEnded()
				if len(frame.Data()) > 0 {
					_ = f.WriteWindowUpdate(0, uint32(len(frame.Data())))
					_ = f.WriteWindowUpdate(1, uint32(len(frame.Data())))
				}
			case *http2.RSTStreamFrame:
				if reset = true; frame.ErrCode != http2.ErrCodeNo {
					t.Errorf("%d: reset with %s", i, frame.ErrCode)
				}
			}
		}
		if status != c.status || c.body >= 0 && body != c.body || !ended {
			t.Errorf("%d: status %s, %d bytes, end %t", i, status, body, ended)
		}
		eventually(t, "the stream's place", func() bool { return n.engine.loops[0].counts.carried.Load() == clientsOpen(n) })
	}
	// The connection of HTTP/1.1 ends likewise: what comes behind is no request.
	n.apply(nil, connects(nobody, table.ConnectTarget{Host: "a", Port: 443}))
	if got := n.talk("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"); strings.Count(got, "HTTP/1.1 ") != 1 ||
		!strings.HasPrefix(got, "HTTP/1.1 502") {
		t.Errorf("HTTP/1.1: %q", got)
	}
}
