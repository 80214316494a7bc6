package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// speakerTimeout bounds everything that a speaker does at once.
const speakerTimeout = 20 * time.Second

// speakerDocuments are the listeners and routes of the speakers: an echo over
// HTTP, by HTTP/2 and behind PROXY headers, gRPC, and two of bytes and of TLS.
const speakerDocuments = httpsListener + `
kind: Listener
name: proxied
spec: {port: 8081, protocol: HTTP, trustedProxies: [127.0.0.0/8], proxyProtocol: REQUIRED}
---
kind: Listener
name: bytes
spec: {port: 8090, protocol: TCP}
---
kind: Listener
name: names
spec: {port: 8444, protocol: TLS_PASSTHROUGH}
---
{kind: Upstream, name: echo, spec: {endpoints: [{address: %[1]q}]}}
---
{kind: Upstream, name: echo-h2, spec: {protocol: HTTP2, endpoints: [{address: %[1]q}]}}
---
{kind: Upstream, name: grpc, spec: {protocol: HTTP2, endpoints: [{address: %[2]q}]}}
---
{kind: Upstream, name: bytes, spec: {endpoints: [{address: %[3]q}]}}
---
{kind: Upstream, name: tls, spec: {endpoints: [{address: %[4]q}]}}
---
{kind: Upstream, name: proxied, spec: {proxyProtocol: V1, endpoints: [{address: %[5]q}]}}
---
{kind: Route, name: echo, spec: {listeners: [web, https], hosts: [echo.test], forward: [{upstream: echo}]}}
---
{kind: Route, name: echo-h2, spec: {listeners: [web, https], hosts: [h2.test], forward: [{upstream: echo-h2}]}}
---
{kind: Route, name: grpc, spec: {listeners: [https], hosts: [grpc.test], forward: [{upstream: grpc}]}}
---
{kind: Route, name: proxied, spec: {listeners: [proxied], forward: [{upstream: proxied}]}}
---
{kind: Route, name: tunnel, spec: {listeners: [web], hosts: [db.test], connect: {targets: ["db.test:5432"]}, forward: [{upstream: bytes}]}}
---
{kind: Route, name: bytes, spec: {listeners: [bytes], forward: [{upstream: bytes}]}}
---
{kind: Route, name: names, spec: {listeners: [names], hosts: [tls.test], forward: [{upstream: tls}]}}
---
`

// speakers speak every protocol to a node, and expect every answer.
type speakers struct {
	node  *fleettest.Node
	root  *certificatetest.Pair
	pool  *x509.CertPool
	pairs [2]*certificatetest.Pair // of the HTTPS listener, in turn
	grpc  grpc_testing.TestServiceClient
	h2    *http.Client
	all   []speaker
	done  []atomic.Uint64 // by speaker
	fail  sync.Once
	first error // guarded by fail
}

type speaker struct {
	name string
	do   func(context.Context) error
}

// newSpeakers starts the servers behind a node; documents are what it is to serve.
func newSpeakers(t *testing.T, n *fleettest.Node) (s *speakers, documents string) {
	t.Helper()
	s = &speakers{node: n, root: certificatetest.Root(t, "root"), pool: x509.NewCertPool()}
	s.pool.AddCert(s.root.Certificate)
	names := []string{"echo.test", "h2.test", "grpc.test"}
	s.pairs[0] = s.root.Issue(t, certificatetest.Options{Names: names})
	s.pairs[1] = s.root.Issue(t, certificatetest.Options{Names: names, Key: certificatetest.RSA(t, 2048)})
	passed := s.root.Issue(t, certificatetest.Options{Names: []string{"tls.test"}})
	pair, err := tls.X509KeyPair([]byte(passed.Chain), []byte(passed.Key))
	if err != nil {
		t.Fatal(err)
	}
	documents = fmt.Sprintf(speakerDocuments, echoHTTP(t), interopServer(t), echoBytes(t, nil),
		echoBytes(t, &tls.Config{Certificates: []tls.Certificate{pair}}), echoProxied(t)) + s.certificate(t, 0)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.pool}, ForceAttemptHTTP2: true, IdleConnTimeout: time.Second,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := s.dial(ctx, 8443)
			if err == nil {
				err = c.SetDeadline(time.Time{}) // it is kept
			}
			return c, err
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	s.h2 = &http.Client{Transport: transport, Timeout: speakerTimeout}
	s.all = []speaker{
		{"HTTP/1.1 over TLS, resumed", s.overTLS(tls.NewLRUClientSessionCache(1))},
		{"HTTP/1.1 over TLS 1.2, new", s.overTLS(nil)},
		{"HTTP/2 to HTTP/1.1", s.overHTTP2("echo.test")},
		{"HTTP/2 to HTTP/2", s.overHTTP2("h2.test")},
		{"HTTP/1.1 to HTTP/2", s.toHTTP2},
		{"gRPC", s.overGRPC},
		{"WebSocket", s.webSocket},
		{"CONNECT", s.connect},
		{"TCP", s.bytes},
		{"TLS passthrough", s.passThrough},
		{"PROXY protocol", s.proxied},
	}
	s.done = make([]atomic.Uint64, len(s.all))
	return s, documents
}

// run lets all of them speak until ctx ends.
func (s *speakers) run(ctx context.Context, t *testing.T) {
	conn := dialGRPC(t, s.node, "grpc.test", s.root, true)
	s.grpc = grpc_testing.NewTestServiceClient(conn)
	var wg sync.WaitGroup
	for i, one := range s.all {
		wg.Go(func() {
			for wakeup.After(ctx, 30*time.Millisecond) {
				each, cancel := context.WithTimeout(context.WithoutCancel(ctx), speakerTimeout)
				err := one.do(each)
				cancel()
				if err != nil {
					s.fail.Do(func() { s.first = fmt.Errorf("%s, after %d: %w", one.name, s.done[i].Load(), err) })
					return
				}
				s.done[i].Add(1)
			}
		})
	}
	wg.Wait()
	s.h2.CloseIdleConnections()
	conn.Close()
}

// check wants all of them to have been answered, and often.
func (s *speakers) check(t *testing.T) {
	t.Helper()
	s.fail.Do(func() {})
	if s.first != nil {
		t.Error(s.first)
	}
	var b strings.Builder
	for i, one := range s.all {
		n := s.done[i].Load()
		fmt.Fprintf(&b, ", %s %d", one.name, n)
		if n < 10 && s.first == nil {
			t.Errorf("%s: %d times only", one.name, n)
		}
	}
	t.Log(b.String()[2:])
}

func (s *speakers) certificate(t *testing.T, generation int) string {
	return certificateDocument(t, "site", s.pairs[generation%2])
}

func (s *speakers) dial(ctx context.Context, port int) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", s.node.Address, port))
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(speakerTimeout))
	}
	return c, err
}

// request sends a body on a connection and wants it back.
func request(c net.Conn, before, host, path string) error {
	body := strings.Repeat(host, 500)
	if _, err := fmt.Fprintf(c, "%sPOST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", before, path, host, len(body), body); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	return sameBody(resp, body)
}

func sameBody(resp *http.Response, want string) error {
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || string(got) != want) {
		err = fmt.Errorf("status %d, %d bytes of %d", resp.StatusCode, len(got), len(want))
	}
	return err
}

func (s *speakers) overTLS(cache tls.ClientSessionCache) func(context.Context) error {
	config := &tls.Config{RootCAs: s.pool, ServerName: "echo.test", ClientSessionCache: cache}
	if cache == nil {
		config.MaxVersion = tls.VersionTLS12
	}
	return func(ctx context.Context) error {
		c, err := s.dial(ctx, 8443)
		if err != nil {
			return err
		}
		defer c.Close()
		return request(tls.Client(c, config), "", "echo.test", "/")
	}
}

func (s *speakers) overHTTP2(host string) func(context.Context) error {
	return func(ctx context.Context) error {
		body := strings.Repeat("0123456789", 3000)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+host+"/", strings.NewReader(body))
		if err != nil {
			return err
		}
		resp, err := s.h2.Do(r)
		if err != nil {
			return err
		}
		if resp.ProtoMajor != 2 {
			return errors.New(resp.Proto)
		}
		return sameBody(resp, body)
	}
}

func (s *speakers) toHTTP2(ctx context.Context) error {
	c, err := s.dial(ctx, 8080)
	if err != nil {
		return err
	}
	defer c.Close()
	return request(c, "", "h2.test", "/")
}

// overGRPC has a stream on which each side waits for the other.
func (s *speakers) overGRPC(ctx context.Context) error {
	stream, err := s.grpc.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	for range 3 {
		if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{
			ResponseParameters: []*grpc_testing.ResponseParameters{{Size: 1000}},
			Payload:            &grpc_testing.Payload{Body: make([]byte, 500)},
		}); err != nil {
			return err
		}
		if answer, err := stream.Recv(); err != nil || len(answer.GetPayload().GetBody()) != 1000 {
			return fmt.Errorf("%d bytes, %w", len(answer.GetPayload().GetBody()), err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the end: %w", err)
	}
	return nil
}

// switched wants an answer with a status, and then an echo on the same connection.
func switched(c net.Conn, head string, status int) error {
	if _, err := io.WriteString(c, head); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect}) // no body, whatever it says
	if err != nil {
		return err
	}
	if resp.StatusCode != status {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return echoed(c, r)
}

// echoed sends pieces and wants each back.
func echoed(w io.Writer, r io.Reader) error {
	for size := 1; size < 50_000; size *= 7 {
		piece := bytes.Repeat([]byte{byte(size)}, size)
		if _, err := w.Write(piece); err != nil {
			return err
		}
		got := make([]byte, size)
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, piece) {
			return fmt.Errorf("a piece of %d bytes: %w", size, err)
		}
	}
	return nil
}

func (s *speakers) webSocket(ctx context.Context) error {
	c, err := s.dial(ctx, 8080)
	if err != nil {
		return err
	}
	defer c.Close()
	return switched(c, "GET /ws HTTP/1.1\r\nHost: echo.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", http.StatusSwitchingProtocols)
}

func (s *speakers) connect(ctx context.Context) error {
	c, err := s.dial(ctx, 8080)
	if err != nil {
		return err
	}
	defer c.Close()
	return switched(c, "CONNECT db.test:5432 HTTP/1.1\r\nHost: db.test:5432\r\n\r\n", http.StatusOK)
}

func (s *speakers) bytes(ctx context.Context) error {
	c, err := s.dial(ctx, 8090)
	if err != nil {
		return err
	}
	defer c.Close()
	return echoed(c, c)
}

func (s *speakers) passThrough(ctx context.Context) error {
	c, err := s.dial(ctx, 8444)
	if err != nil {
		return err
	}
	defer c.Close()
	inside := tls.Client(c, &tls.Config{RootCAs: s.pool, ServerName: "tls.test"})
	return echoed(inside, inside)
}

func (s *speakers) proxied(ctx context.Context) error {
	c, err := s.dial(ctx, 8081)
	if err != nil {
		return err
	}
	defer c.Close()
	return request(c, "PROXY TCP4 192.0.2.7 192.0.2.8 1234 80\r\n", "proxied.test", "/")
}

// echoHTTP is a server of HTTP/1.1 and of HTTP/2 without TLS that gives bodies back,
// and on /ws bytes.
func echoHTTP(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ws" {
			if body, err := io.ReadAll(r.Body); err == nil {
				_, _ = w.Write(body)
			}
			return
		}
		c, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		_, _ = io.Copy(c, buffered)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// serveEach has each connection to an address served until the test ends.
func serveEach(t *testing.T, address string, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

// echoBytes gives back what comes, over TLS if there is a configuration.
func echoBytes(t *testing.T, config *tls.Config) string {
	t.Helper()
	return serveEach(t, "127.0.0.1:0", func(c net.Conn) {
		if config != nil {
			c = tls.Server(c, config)
		}
		_, _ = io.Copy(c, c)
	})
}

// echoProxied gives the body back if the connection's header names the client.
func echoProxied(t *testing.T) string {
	t.Helper()
	return serveEach(t, "127.0.0.1:0", func(c net.Conn) {
		r := bufio.NewReader(c)
		line, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "PROXY TCP4 192.0.2.7 ") {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	})
}
