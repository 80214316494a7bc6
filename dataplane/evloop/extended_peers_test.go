//go:build linux

package evloop

import (
	"bufio"
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
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/net/http2"
)

// Clients and endpoints of extended CONNECT (RFC 8441).

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

// serveExtended speaks RFC 8441: Go's HTTP/2 does when the environment says so as the process
// starts.
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
	context.AfterFunc(ended(), func() { s.Close() })
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		panic(err)
	}
}

// extendedBackend is an endpoint that speaks HTTP/2 and takes RFC 8441.
func extendedBackend(t *testing.T) *table.Upstream {
	t.Helper()
	cmd := inRole(t, roleExtended, "GODEBUG=http2xconnect=1")
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
