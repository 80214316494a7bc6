//go:build linux

package evloop

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// TestEveryTimeoutOfAClientIsKept lets clients be slow in each way that has a
// timeout.
func TestEveryTimeoutOfAClientIsKept(t *testing.T) {
	const short = 500 * time.Millisecond
	for _, c := range []struct {
		name   string
		set    func(*table.ListenerTimeouts)
		send   string
		answer string // begins so; empty: the connection ends without one
		reason exchange.Reason
	}{
		{"head", func(l *table.ListenerTimeouts) { l.RequestHead = short }, "GET / HTTP/1.1\r\nHo", "HTTP/1.1 408 ", exchange.ReasonRequestHeadTimeout},
		{"body", func(l *table.ListenerTimeouts) { l.StreamIdle = short }, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", "HTTP/1.1 408 ", exchange.ReasonRequestBodyTimeout},
		{"nothing", func(l *table.ListenerTimeouts) { l.Idle = short }, "", "", exchange.ReasonNone},
		{"kept", func(l *table.ListenerTimeouts) { l.Idle = short }, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 ", exchange.ReasonNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, 1)
			n.apply(func(l *table.Listener) { c.set(&l.Timeouts) }, forwardAll(newUpstream("u", startBackend(t, echo))))
			begin := time.Now()
			got := n.talk(c.send)
			if took := time.Since(begin); took < short || took > 8*time.Second { // of 10 that talk waits for
				t.Errorf("ended after %s", took)
			}
			if !strings.HasPrefix(got, c.answer) || c.answer == "" && got != "" {
				t.Errorf("%q", got)
			}
			if c.send == "" {
				return
			}
			if r := n.records.wait(t, 1); r.Reason != c.reason {
				t.Errorf("reason %s", r.Reason)
			}
		})
	}
}

// fullQueue is the address of a socket that takes no connection: whoever connects
// gets no answer.
func fullQueue(t *testing.T) string {
	t.Helper()
	fd, at := bound(t)
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	filler, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { filler.Close() })
	return at.String()
}

func TestAConnectThatTakesTooLongIsTriedElsewhere(t *testing.T) {
	full := fullQueue(t)
	n := startNode(t, 1)
	u := newUpstream("u", full)
	u.ConnectTimeout = 100 * time.Millisecond
	n.apply(nil, forwardAll(u))
	if resp := n.get("/"); resp.StatusCode != 504 {
		t.Errorf("alone: %d", resp.StatusCode)
	}
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonConnectTimeout || r.Attempts != 2 {
		t.Errorf("%s after %d attempts", r.Reason, r.Attempts)
	}
	u = newUpstream("u", full, startBackend(t, echo))
	u.ConnectTimeout = 100 * time.Millisecond
	n.apply(nil, forwardAll(u))
	for i := range 4 {
		if resp := n.get("/"); resp.StatusCode != 200 {
			t.Errorf("beside another, request %d: %d", i, resp.StatusCode)
		}
	}
}

// TestARefusedConnectionIsTriedElsewhereWhateverTheMethod sends bodies too: they
// are not read before a connection stands.
func TestARefusedConnectionIsTriedElsewhereWhateverTheMethod(t *testing.T) {
	dead := refusing(t).String()
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", dead, startBackend(t, echo))))
	for i := range 6 {
		resp, err := http.Post("http://"+n.address+"/", "x/y", strings.NewReader("once"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || string(body) != "once" {
			t.Errorf("request %d: %d %q", i, resp.StatusCode, body)
		}
	}
	n.records.wait(t, 6)
	tried := 0
	for _, r := range n.records.all {
		tried += int(r.Attempts)
	}
	if tried != 9 {
		t.Errorf("%d attempts for 6 requests, of which every other one meets the dead endpoint first", tried)
	}
}

// TestAnIdleConnectionToAnEndpointIsClosedByUsFirst has a server that would keep
// it.
func TestAnIdleConnectionToAnEndpointIsClosedByUsFirst(t *testing.T) {
	ended := make(chan error, 1)
	backend := rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
		_, err := r.ReadByte()
		ended <- err
	})
	n := startNode(t, 1)
	u := newUpstream("u", backend)
	u.Pool.IdleTimeout = 100 * time.Millisecond
	n.apply(nil, forwardAll(u))
	if resp := n.get("/"); resp.StatusCode != 200 {
		t.Fatal(resp.StatusCode)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, io.EOF) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it stayed open")
	}
	eventually(t, "no connection", func() bool { _, c, _ := n.engine.EndpointLoad(0); return c == 0 })
}

func TestRequestsBeyondTheLimitsAreRefused(t *testing.T) {
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) { l.Limits.BodyBytes = 10 }, forwardAll(newUpstream("u", startBackend(t, echo))))
	for _, c := range []struct{ name, request, answer string }{
		{"a head of 64 KiB", "GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("b", 64<<10) + "\r\n\r\n", "HTTP/1.1 431 "},
		{"101 fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: b\r\n", 100) + "\r\n", "HTTP/1.1 431 "},
		{"100 fields", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + strings.Repeat("A: b\r\n", 98) + "\r\n", "HTTP/1.1 200 "},
		{"a body by its length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", "HTTP/1.1 413 "},
		{"a body by its chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n", "HTTP/1.1 413 "},
		{"malformed", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "HTTP/1.1 400 "},
	} {
		if got := n.talk(c.request); !strings.HasPrefix(got, c.answer) {
			t.Errorf("%s: %.60q, want %q", c.name, got, c.answer)
		}
	}
}
