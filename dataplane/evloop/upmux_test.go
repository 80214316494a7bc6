//go:build linux

package evloop

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// speaksHTTP2 makes a server speak HTTP/2 with prior knowledge; streams: at most so
// many at a time, 0: as many as it would take.
func speaksHTTP2(s *http.Server, streams int) {
	s.Protocols = new(http.Protocols)
	s.Protocols.SetUnencryptedHTTP2(true)
	s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: streams}
}

// h2backend is a server that speaks HTTP/2 with prior knowledge; conns counts its
// connections.
func h2backend(t *testing.T, h http.HandlerFunc) (u *table.Upstream, conns *atomic.Int64) {
	t.Helper()
	return h2narrow(t, 0, h)
}

// h2narrow is one that serves so many requests of a connection at a time.
func h2narrow(t *testing.T, streams int, h http.HandlerFunc) (u *table.Upstream, conns *atomic.Int64) {
	t.Helper()
	conns = new(atomic.Int64)
	s := httptest.NewUnstartedServer(h)
	speaksHTTP2(s.Config, streams)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	u = newUpstream("u", s.Listener.Addr().String())
	u.HTTP2 = true
	return u, conns
}

// TestManyRequestsShareOneConnectionToAnHTTP2Endpoint has clients of both
// versions, with bodies beyond every window and trailers.
func TestManyRequestsShareOneConnectionToAnHTTP2Endpoint(t *testing.T) {
	n := startNode(t, 1)
	u, conns := h2backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Client")
		w.Header().Set("X-Proto", r.Proto)
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Client", r.URL.Path)
	})
	n.apply(nil, forwardAll(u))
	h1 := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer h1.CloseIdleConnections()
	for name, client := range map[string]*http.Client{"HTTP/2": h2client(t), "HTTP/1.1": h1} {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				sent := bytes.Repeat([]byte{byte(i)}, i*i*150)
				req, _ := http.NewRequest(http.MethodPost, fmt.Sprintf("http://%s/%d", n.address, i), io.MultiReader(bytes.NewReader(sent)))
				if i%2 == 0 {
					req.ContentLength = int64(len(sent))
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Errorf("%s: request %d: %v", name, i, err)
					return
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if err != nil || !bytes.Equal(got, sent) || resp.Header.Get("X-Proto") != "HTTP/2.0" {
					t.Errorf("%s: request %d: %d bytes of %d, %v, %v", name, i, len(got), len(sent), err, resp.Header)
				}
				// A short answer has a declared length, behind which HTTP/1.1 has no trailers.
				if (resp.ProtoMajor == 2 || i > 10) && resp.Trailer.Get("X-Client") != req.URL.Path {
					t.Errorf("%s: request %d: trailers %v", name, i, resp.Trailer)
				}
			})
		}
		wg.Wait()
	}
	n.records.wait(t, 100)
	if c := conns.Load(); c != 1 {
		t.Errorf("%d connections to the endpoint", c)
	}
}

func TestAnHTTP2EndpointThatIsNotThereIsToldAndTriedAgain(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", refusing(t).String())
	u.HTTP2 = true
	n.apply(nil, forwardAll(u))
	client := h2client(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, err := client.Get("http://" + n.address + "/")
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != 502 {
				t.Errorf("%d", resp.StatusCode)
			}
		})
	}
	wg.Wait()
}

// TestWhatAnHTTP2EndpointResetsEndsOneExchange leaves the connection to the others.
func TestWhatAnHTTP2EndpointResetsEndsOneExchange(t *testing.T) {
	n := startNode(t, 1)
	u, conns := h2backend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/late":
			_, _ = w.Write(make([]byte, 10_000))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/slow":
			<-r.Context().Done()
		}
		fmt.Fprint(w, "fine")
	})
	n.apply(nil, &table.Route{
		Name: "slow", Path: table.PathMatch{Kind: table.PathExact, Text: "/slow"}, Action: table.ActionForward,
		Targets: forwardAll(u).Targets, Split: forwardAll(u).Split, Timeout: 200 * time.Millisecond,
	}, forwardAll(u))
	client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for path, want := range map[string]int{"/": 200, "/abort": 502, "/slow": 504} {
		resp, err := client.Get("http://" + n.address + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	resp, err := client.Get("http://" + n.address + "/late")
	if err == nil {
		if _, err = io.ReadAll(resp.Body); err == nil {
			t.Error("a cut answer looks whole")
		}
		resp.Body.Close()
	}
	if resp, err := client.Get("http://" + n.address + "/"); err != nil || resp.StatusCode != 200 {
		t.Errorf("afterwards: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	if c := conns.Load(); c != 1 {
		t.Errorf("%d connections to the endpoint", c)
	}
}

// TestARequestThatAnEndpointGivesUpMayBeTriedAgain on the same connection.
func TestARequestThatAnEndpointGivesUpMayBeTriedAgain(t *testing.T) {
	n := startNode(t, 1)
	var asked atomic.Int64
	u, conns := h2backend(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, "fine")
	})
	r := forwardAll(u)
	r.Retry = &table.Retry{Attempts: 2, On: table.RetryOnReset, Budget: 10_000}
	n.apply(nil, r)
	if resp := n.get("/"); resp.StatusCode != 200 {
		t.Errorf("%d", resp.StatusCode)
	}
	if a, c := asked.Load(), conns.Load(); a != 2 || c != 1 {
		t.Errorf("%d requests on %d connections", a, c)
	}
}

func TestAnIdleHTTP2ConnectionToAnEndpointIsClosed(t *testing.T) {
	n := startNode(t, 1)
	u, conns := h2backend(t, echo)
	u.Pool.IdleTimeout = 50 * time.Millisecond
	n.apply(nil, forwardAll(u))
	for range 2 {
		if resp := n.get("/"); resp.StatusCode != 200 {
			t.Error(resp.StatusCode)
		}
		eventually(t, "no connection", func() bool { return n.engine.registry.Endpoint(u.Endpoints[0].Slot).Connections() == 0 })
	}
	if c := conns.Load(); c != 2 {
		t.Errorf("%d connections to the endpoint", c)
	}
}

func TestHTTP2ToEndpointsByALPN(t *testing.T) {
	ca := securetest.New(t)
	n := startNode(t, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Pair(securetest.Config{Names: []string{"127.0.0.1"}})}}
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	u := newUpstream("u", s.Listener.Addr().String())
	u.HTTP2, u.TLS = true, &table.UpstreamTLS{CAs: ca.Pool()}
	n.apply(nil, forwardAll(u))
	if body, err := io.ReadAll(n.get("/").Body); err != nil || string(body) != "HTTP/2.0" {
		t.Errorf("%q, %v", body, err)
	}
	plain := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	plain.TLS = &tls.Config{Certificates: s.TLS.Certificates, NextProtos: []string{"http/1.1"}}
	plain.StartTLS()
	defer plain.Close()
	other := newUpstream("other", plain.Listener.Addr().String())
	other.HTTP2, other.TLS = true, u.TLS
	n.apply(nil, forwardAll(other))
	if resp := n.get("/"); resp.StatusCode != 502 {
		t.Errorf("an endpoint without HTTP/2: %d", resp.StatusCode)
	}
	if r := n.records.wait(t, 2); r.Reason != exchange.ReasonUpstreamTLS {
		t.Errorf("%v %s", r.Reason, r.Detail)
	}
}

// TestClientsThatDoNotReadStopNoOtherAtTheSameEndpoint has as many of them as can
// share the endpoint's one connection with another request.
func TestClientsThatDoNotReadStopNoOtherAtTheSameEndpoint(t *testing.T) {
	n := startNode(t, 1)
	u, conns := h2backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/long" {
			fmt.Fprint(w, "short")
			return
		}
		for piece := make([]byte, 64<<10); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	u.Pool.MaxConnections = 1
	n.apply(func(l *table.Listener) { l.SendBuffer = 16 << 10 }, forwardAll(u))
	for range http2.DefaultStreams - 1 {
		c, err := (&net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) })
		}}).Dial("tcp", n.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprint(c, "GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	// All that the endpoint may send has come when what the node holds grows no more.
	held := func() int64 { return n.engine.loops[0].counts.bufferBytes.Load() }
	eventually(t, "every answer fills what it may", func() bool {
		before := held()
		time.Sleep(50 * time.Millisecond)
		return before > 0 && held() == before
	})
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	for range 3 {
		resp, err := client.Get("http://" + n.address + "/short")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err != nil || string(got) != "short" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if got := conns.Load(); got != 1 {
		t.Errorf("%d connections to the endpoint", got)
	}
}
