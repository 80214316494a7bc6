//go:build linux

package evloop

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestFailuresOfTheEndpointAreToldApart(t *testing.T) {
	dead := refusing(t).String()
	silent := rawServer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	closes := rawServer(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) })
	garbage := rawServer(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\nbad\n\n")
		_, _ = io.Copy(io.Discard, c)
	})
	n := startNode(t, 1)
	for i, c := range []struct {
		name, address string
		status        int
		reason        exchange.Reason
	}{
		{"refused", dead, 502, exchange.ReasonConnectFailure},
		{"silent", silent, 504, exchange.ReasonRequestTimeout},
		{"closes", closes, 502, exchange.ReasonUpstreamClosed},
		{"garbage", garbage, 502, exchange.ReasonUpstreamMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			route := forwardAll(newUpstream(c.name, c.address))
			if c.reason == exchange.ReasonRequestTimeout {
				route.Timeout = 500 * time.Millisecond
			}
			n.apply(nil, route)
			resp := n.get("/")
			r := n.records.wait(t, i+1)
			if resp.StatusCode != c.status || r.Status != uint16(c.status) || r.Reason != c.reason {
				t.Errorf("status %d, record %d %s (%s)", resp.StatusCode, r.Status, r.Reason, r.Detail)
			}
		})
	}
}

// TestAnIdleTimeoutShorterThanTheConnectTimeoutIsKept has an endpoint that takes
// the request and says nothing.
func TestAnIdleTimeoutShorterThanTheConnectTimeoutIsKept(t *testing.T) {
	silent := rawServer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	n := startNode(t, 1)
	u := newUpstream("u", silent)
	n.apply(func(l *table.Listener) { l.Timeouts.StreamIdle = 200 * time.Millisecond }, forwardAll(u))
	if resp := n.get("/"); resp.StatusCode != 504 {
		t.Errorf("status %d", resp.StatusCode)
	}
	r := n.records.wait(t, 1)
	if r.Reason != exchange.ReasonStreamIdleTimeout || time.Duration(r.Duration) >= u.ConnectTimeout {
		t.Errorf("%s after %s", r.Reason, time.Duration(r.Duration))
	}
}

func TestWaitingInVainForAConnectionIsNoConnectTimeout(t *testing.T) {
	release := make(chan struct{})
	backend := startBackend(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	n := startNode(t, 1)
	u := newUpstream("u", backend)
	u.Pool.MaxConnections = 1
	u.ConnectTimeout = 100 * time.Millisecond
	n.apply(nil, forwardAll(u))
	c := n.dial()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "the connection to be taken", func() bool { f, _, _ := n.engine.EndpointLoad(0); return f == 1 })
	if resp := n.get("/"); resp.StatusCode != 503 {
		t.Errorf("status %d", resp.StatusCode)
	}
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonPoolTimeout {
		t.Errorf("reason %s", r.Reason)
	}
}

func TestABrokenAnswerIsCutAndNotEnded(t *testing.T) {
	backend := rawServer(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	resp := n.get("/")
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the client took a broken answer for a whole one")
	}
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonUpstreamTruncated || r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Reason)
	}
}

func TestAKeptConnectionThatDiesIsTriedAgainOnANewOne(t *testing.T) {
	// Each connection answers once and closes when the second request comes.
	backend := rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
			_, _ = r.ReadByte()
		}
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	for i := range 4 {
		resp := n.get("/")
		if resp.StatusCode != 200 {
			t.Fatalf("request %d: %d", i, resp.StatusCode)
		}
		_, _ = io.ReadAll(resp.Body)
	}
	if r := n.records.wait(t, 2); r.Attempts != 2 {
		t.Errorf("%d attempts", r.Attempts)
	}
	// A request with a body may have acted: it is not tried again.
	resp, err := http.Post("http://"+n.address+"/", "x/y", strings.NewReader("once"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 502 {
		t.Errorf("POST on a dead connection: %d", resp.StatusCode)
	}
}

func TestAClientThatLeavesEndsItsExchange(t *testing.T) {
	asked, gone := make(chan struct{}), make(chan struct{})
	backend := startBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
		close(gone)
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	c, err := net.Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-asked
	c.Close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("the endpoint was not told")
	}
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonClientGone || r.Status != 499 {
		t.Errorf("%d %s", r.Status, r.Reason)
	}
	if f := n.engine.registry.Endpoint(0).InFlight(); f != 0 {
		t.Errorf("%d in flight", f)
	}
}

func TestMaxConnectionsMakesRequestsWait(t *testing.T) {
	var mu sync.Mutex
	open, most := 0, 0
	backend := startBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		open++
		most = max(most, open)
		mu.Unlock()
		<-time.After(2 * time.Millisecond) // work that takes time
		mu.Lock()
		open--
		mu.Unlock()
		fmt.Fprint(w, "ok")
	})
	n := startNode(t, 2)
	u := newUpstream("u", backend)
	u.Pool.MaxConnections = 3
	n.apply(nil, forwardAll(u))
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for range 5 {
				resp, err := http.Get("http://" + n.address + "/")
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
		})
	}
	wg.Wait()
	if most > 3 {
		t.Errorf("%d connections at once", most)
	}
}

func TestUnderPressureIdleConnectionsGoFirstAndThenWorkIsRefused(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	var conns []net.Conn
	for i := range 20 {
		c := n.dial()
		fmt.Fprintf(c, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	n.engine.SetPressure(pressure.High)
	for i, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("idle connection %d: %v", i, err)
		}
	}
	if resp := n.get("/"); resp.StatusCode != 200 {
		t.Errorf("work under high pressure: %d", resp.StatusCode)
	}
	n.engine.SetPressure(pressure.Critical)
	resp := n.get("/")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("work under critical pressure: %d %v", resp.StatusCode, resp.Header)
	}
	if r := n.records.wait(t, 22); r.Reason != exchange.ReasonOverload {
		t.Errorf("reason %s", r.Reason)
	}
	n.engine.SetPressure(pressure.Calm)
	if resp := n.get("/"); resp.StatusCode != 200 {
		t.Errorf("work after it: %d", resp.StatusCode)
	}
}

// TestUnderPressureABusyHTTP2ConnectionBeginsNothingNew, and what it has begun goes on.
func TestUnderPressureABusyHTTP2ConnectionBeginsNothingNew(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-goOn
	}))))
	client := n.h2()
	ask := func(want int) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "http://"+n.address+"/", nil)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := client.RoundTrip(req)
		if err != nil {
			t.Error(err)
			return
		}
		if resp.Body.Close(); resp.StatusCode != want || (resp.Header.Get("Retry-After") != "") != (want == 503) {
			t.Errorf("%d %v, want %d", resp.StatusCode, resp.Header, want)
		}
	}
	var held sync.WaitGroup
	held.Go(func() { ask(200) })
	<-begun
	n.engine.SetPressure(pressure.Critical)
	ask(503)
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonOverload {
		t.Errorf("reason %s", r.Reason)
	}
	close(goOn)
	held.Wait()
}

// heldSink lets a test keep a loop from its next turn.
type heldSink struct {
	Sink
	hold atomic.Pointer[func()]
}

func (s *heldSink) Finish(r *exchange.Record) {
	s.Sink.Finish(r)
	if hold := s.hold.Swap(nil); hold != nil {
		(*hold)()
	}
}

// TestAnAnswerThatCameWithTheConnectionIsRead: the edge that tells that there is one
// tells of the answer too, and no other comes.
func TestAnAnswerThatCameWithTheConnectionIsRead(t *testing.T) {
	sink := &heldSink{}
	n := startChanged(t, 1, func(e *Engine) {
		sink.Sink = e.loops[0].records.sink
		e.loops[0].records.sink = sink
	})
	answered := make(chan struct{})
	busy := rawServer(t, func(c net.Conn) {
		fmt.Fprint(c, "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbusy")
		_ = c.(*net.TCPConn).CloseWrite()
		close(answered)
		_, _ = io.Copy(io.Discard, c)
	})
	here := &table.Route{
		Name: "here", Path: table.PathMatch{Kind: table.PathExact, Text: "/here"}, Action: table.ActionRespond, Respond: &table.Respond{Status: 200},
	}
	n.apply(nil, forwardAll(newUpstream("u", busy)), here)
	first, asks, last := n.dial(), n.dial(), n.dial()
	eventually(t, "three clients", func() bool { return n.engine.clients() == 3 })
	held, sent := make(chan struct{}), make(chan struct{})
	untilAnswered := func() { <-answered }
	untilSent := func() { sink.hold.Store(&untilAnswered); close(held); <-sent }
	sink.hold.Store(&untilSent)
	// The first one holds the loop until both others have asked, and the last one, whose
	// turn comes behind the connect, until its peer has answered.
	fmt.Fprint(first, "GET /here HTTP/1.1\r\nHost: a\r\n\r\n")
	<-held
	fmt.Fprint(asks, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	fmt.Fprint(last, "GET /here HTTP/1.1\r\nHost: a\r\n\r\n")
	close(sent)
	_ = asks.SetReadDeadline(time.Now().Add(5 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(asks), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 503 || string(body) != "busy" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}
