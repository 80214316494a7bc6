//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// duplex is a stream of HTTP/2 that became a tunnel.
type duplex struct {
	io.Reader
	*io.PipeWriter
	end func() error
}

// Close ends our half, and waits for the other: a client that closes the answer
// resets the stream.
func (d duplex) Close() error {
	d.PipeWriter.Close()
	_, err := io.Copy(io.Discard, d.Reader)
	return err
}

// open asks for a tunnel by an HTTP/2 stream: of a protocol (RFC 8441), or to a
// target where that is empty.
func open(ctx context.Context, client http.RoundTripper, url, protocol string, header http.Header) (duplex, *http.Response, error) {
	in, out := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodConnect, url, in)
	if err != nil {
		return duplex{}, nil, err
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if protocol != "" {
		req.Header[":protocol"] = []string{protocol}
	}
	resp, err := client.RoundTrip(req)
	if err != nil {
		return duplex{}, nil, err
	}
	return duplex{resp.Body, out, resp.Body.Close}, resp, nil
}

// upgrades lets a WebSocket client for HTTP/1.1 speak by RFC 8441.
type upgrades struct{ http.RoundTripper }

func (u upgrades) RoundTrip(req *http.Request) (*http.Response, error) {
	header, key := req.Header.Clone(), req.Header.Get("Sec-WebSocket-Key")
	for _, name := range []string{"Connection", "Upgrade", "Sec-WebSocket-Key"} {
		header.Del(name)
	}
	tunnel, resp, err := open(req.Context(), u.RoundTripper, req.URL.String(), "websocket", header)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	if resp.Header.Get("Sec-WebSocket-Accept") != "" || resp.Header.Get("Upgrade") != "" {
		return nil, fmt.Errorf("fields of HTTP/1.1: %v", resp.Header)
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	resp.StatusCode, resp.Body = http.StatusSwitchingProtocols, tunnel
	resp.Header.Set("Connection", "Upgrade")
	resp.Header.Set("Upgrade", "websocket")
	resp.Header.Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	return resp, nil
}

// chat opens a WebSocket.
func chat(t *testing.T, client http.RoundTripper, url string) *websocket.Conn {
	t.Helper()
	c, resp, err := websocket.Dial(t.Context(), url+"/chat?room=1", &websocket.DialOptions{
		Subprotocols: []string{"chat"}, HTTPClient: &http.Client{Transport: client},
	})
	if err != nil {
		t.Fatalf("%v %v", resp, err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	if c.Subprotocol() != "chat" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	return c
}

// talkAndLeave exchanges messages of all sizes and ends as it should.
func talkAndLeave(t *testing.T, c *websocket.Conn) {
	t.Helper()
	for _, size := range []int{0, 1, 125, 70_000, 1 << 20} {
		exchangeMessage(t, c, bytes.Repeat([]byte{'x'}, size))
	}
	if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Error(err)
	}
}

// wantTunnel checks the record of a tunnel that ended well.
func wantTunnel(t *testing.T, r exchange.Record, status uint16, least uint64) {
	t.Helper()
	if r.Status != status || r.Reason != exchange.ReasonNone || r.BytesIn < least || r.BytesOut < least {
		t.Errorf("%d %s %s, %d bytes in, %d out", r.Status, r.Reason, r.Detail, r.BytesIn, r.BytesOut)
	}
}

// h2 is a client that speaks HTTP/2, and RFC 8441.
func (n *node) h2() http.RoundTripper {
	//nolint:staticcheck // http.Transport sends no extended CONNECT
	transport := &http2.Transport{AllowHTTP: true, DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) {
		return n.connect()
	}}
	n.t.Cleanup(transport.CloseIdleConnections) //nolint:staticcheck // as above
	return transport
}

// h2 speaks it over TLS.
func (n *tlsNode) h2() http.RoundTripper {
	transport := &http2.Transport{TLSClientConfig: n.config()} //nolint:staticcheck // as above
	n.t.Cleanup(transport.CloseIdleConnections)                //nolint:staticcheck // as above
	return transport
}

func TestAWebSocketOverHTTP2ReachesAnHTTP1Endpoint(t *testing.T) {
	n := startNode(t, 2)
	n.apply(nil, tunnels(newUpstream("u", startBackend(t, echoSocket))))
	client := n.h2()
	var open sync.WaitGroup
	for range 3 { // on one connection
		open.Go(func() { talkAndLeave(t, chat(t, upgrades{client}, "http://"+n.address)) })
	}
	open.Wait()
	for i := range 3 {
		wantTunnel(t, n.records.wait(t, i+1), 200, 1<<20)
	}
	if open := clientsOpen(n); open != 1 {
		t.Errorf("%d connections", open)
	}
}

func TestAWebSocketOverHTTP2AndTLSReachesAnHTTP1Endpoint(t *testing.T) {
	n := startTLS(t, 1)
	n.serve(nil, tunnels(newUpstream("u", startBackend(t, echoSocket))))
	talkAndLeave(t, chat(t, upgrades{n.h2()}, "https://"+n.address))
	wantTunnel(t, n.records.wait(t, 1), 200, 1<<20)
}

// hijacked makes of a request by RFC 8441 what a WebSocket server for HTTP/1.1
// knows.
type hijacked struct {
	http.ResponseWriter
	body io.ReadCloser
}

func (h hijacked) WriteHeader(status int) {
	if status == http.StatusSwitchingProtocols {
		for _, name := range []string{"Connection", "Upgrade", "Sec-WebSocket-Accept"} {
			h.Header().Del(name)
		}
		status = http.StatusOK
	}
	h.ResponseWriter.WriteHeader(status)
	_ = http.NewResponseController(h.ResponseWriter).Flush()
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c := hijackedConn{h}
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}

// hijackedConn is the stream as a connection.
type hijackedConn struct{ hijacked }

func (c hijackedConn) Read(p []byte) (int, error) { return c.body.Read(p) }
func (c hijackedConn) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	return n, errors.Join(err, http.NewResponseController(c.ResponseWriter).Flush())
}
func (c hijackedConn) Close() error                     { return c.body.Close() }
func (c hijackedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c hijackedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c hijackedConn) SetDeadline(time.Time) error      { return nil }
func (c hijackedConn) SetReadDeadline(time.Time) error  { return nil }
func (c hijackedConn) SetWriteDeadline(time.Time) error { return nil }

// backendEnv makes the test's program a server for extendedBackend: Go's HTTP/2
// server takes RFC 8441 only if the process was started so.
const backendEnv = "EVLOOP_TEST_EXTENDED_BACKEND"

func TestMain(m *testing.M) {
	if os.Getenv(backendEnv) != "" {
		serveExtended()
		return
	}
	os.Exit(m.Run())
}

func serveExtended() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: p, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get(":protocol") != "websocket" || r.Header.Get("Sec-WebSocket-Key") != "" {
			http.Error(w, fmt.Sprintf("%s %v", r.Method, r.Header), http.StatusTeapot)
			return
		}
		var key [16]byte
		_, _ = rand.Read(key[:])
		r.Method = http.MethodGet
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key[:]))
		echoSocket(hijacked{w, r.Body}, r)
	})}
	go func() { // it ends with the test
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	panic(s.Serve(l))
}

// extendedBackend is an endpoint that speaks HTTP/2 and takes RFC 8441.
func extendedBackend(t *testing.T) *table.Upstream {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), backendEnv+"=1", "GODEBUG=http2xconnect=1")
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	u := newUpstream("u", strings.TrimSpace(address))
	u.HTTP2 = true
	return u
}

// TestAWebSocketReachesAnHTTP2Endpoint that takes RFC 8441, from clients of both
// versions.
func TestAWebSocketReachesAnHTTP2Endpoint(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, tunnels(extendedBackend(t)))
	talkAndLeave(t, chat(t, http.DefaultTransport, "http://"+n.address))
	wantTunnel(t, n.records.wait(t, 1), 101, 1<<20)
	client := n.h2()
	for i := range 3 {
		talkAndLeave(t, chat(t, upgrades{client}, "http://"+n.address))
		wantTunnel(t, n.records.wait(t, i+2), 200, 1<<20)
	}
	if got := n.begin("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: short\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("a key that is none: %q", got)
	}
}

func TestAnExtendedCONNECTIsRefusedWhereNobodyTakesIt(t *testing.T) {
	n := startNode(t, 1)
	plain, _ := h2backend(t, echo)
	client := n.h2()
	for i, c := range []struct {
		route    *table.Route
		protocol string
		status   int
		reason   exchange.Reason
	}{
		{forwardAll(newUpstream("u", startBackend(t, echoSocket))), "websocket", 403, exchange.ReasonConnectDenied},
		{tunnels(newUpstream("u", startBackend(t, echoSocket))), "connect-udp", 403, exchange.ReasonConnectDenied},
		{tunnels(plain), "websocket", 502, exchange.ReasonUpgradeFailed},
		{tunnels(newUpstream("u", startBackend(t, echo))), "websocket", 502, exchange.ReasonUpgradeFailed}, // it ignores the field,
	} {
		n.apply(nil, c.route)
		_, resp, err := open(t.Context(), client, "http://"+n.address+"/chat", c.protocol, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if r := n.records.wait(t, i+1); resp.StatusCode != c.status || r.Reason != c.reason {
			t.Errorf("%s: %d, %s %s", c.protocol, resp.StatusCode, r.Reason, r.Detail)
		}
	}
	n.apply(nil, tunnels(plain))
	if got := n.begin("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 502") {
		t.Errorf("HTTP/1.1 to an HTTP/2 endpoint that takes none: %q", got)
	}
	if open := clientsOpen(n); open > 2 {
		t.Errorf("%d connections", open)
	}
}

// TestAnAnswerThatDidNotReadTheKeyOpensNoWebSocket: something between may have
// answered.
func TestAnAnswerThatDidNotReadTheKeyOpensNoWebSocket(t *testing.T) {
	n := startNode(t, 1)
	address, _ := upgradeServer(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n")
	n.apply(nil, tunnels(newUpstream("u", address)))
	_, resp, err := open(t.Context(), n.h2(), "http://"+n.address+"/", "websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if r := n.records.wait(t, 1); resp.StatusCode != 502 || r.Detail != "websocket_accept" {
		t.Errorf("%d %s", resp.StatusCode, r.Detail)
	}
}

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
	nobody := newUpstream("nobody", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
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
