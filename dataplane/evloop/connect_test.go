//go:build linux

package evloop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// connects makes a route that opens tunnels to the given targets.
func connects(u *table.Upstream, targets ...table.ConnectTarget) *table.Route {
	r := tunnels(u)
	r.Tunnel.Connect = targets
	return r
}

// upper sends back what it gets in upper case, and ends when its client does.
func upper(c net.Conn) {
	b := make([]byte, 4096)
	for {
		k, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, strings.ToUpper(string(b[:k]))); err != nil {
			return
		}
	}
}

func TestCONNECTOpensATunnelToATargetThatIsAllowed(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, connects(newUpstream("u", rawServer(t, upper)), table.ConnectTarget{Host: "db.test", Port: 5432}))
	conn := n.dial()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, "CONNECT DB.test:5432 HTTP/1.1\r\nHost: db.test:5432\r\n\r\nfirst") // bytes may follow at once
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Length") != "" || resp.Header.Get("Connection") != "" {
		t.Fatalf("%v %v", resp, err)
	}
	fmt.Fprint(conn, " second")
	_ = conn.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(r); err != nil || string(got) != "FIRST SECOND" {
		t.Errorf("%q, %v", got, err)
	}
	if rec := n.records.wait(t, 1); rec.Status != 200 || rec.Reason != exchange.ReasonNone || rec.BytesIn != 12 || rec.BytesOut != 12 || rec.Upstream != "u" {
		t.Errorf("%+v", rec)
	}
}

func TestCONNECTElsewhereIsDenied(t *testing.T) {
	n := startNode(t, 1)
	allowed := table.ConnectTarget{Host: "shop.test", Wild: true, Port: 443}
	u := newUpstream("u", startBackend(t, echo))
	for i, c := range []struct {
		target string
		route  *table.Route
		status string
		reason exchange.Reason
	}{
		{"a.shop.test:80", connects(u, allowed), "403", exchange.ReasonConnectDenied},
		{"shop.test:443", connects(u, allowed), "403", exchange.ReasonConnectDenied},
		{"evil.test:443", connects(u, allowed), "403", exchange.ReasonConnectDenied},
		{"127.0.0.1:22", tunnels(u), "403", exchange.ReasonConnectDenied},
		{"a.shop.test:443", forwardAll(u), "403", exchange.ReasonConnectDenied},
		{"a.shop.test:443", func() *table.Route {
			r := connects(u, allowed)
			r.Hosts = []string{"other.test"}
			return r
		}(), "404", exchange.ReasonNoRoute},
	} {
		n.apply(nil, c.route)
		got := n.talk("CONNECT " + c.target + " HTTP/1.1\r\nHost: " + c.target + "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 "+c.status) || strings.Count(got, "HTTP/1.1") != 1 {
			t.Errorf("%s: %q", c.target, got)
		}
		if r := n.records.wait(t, i+1); r.Reason != c.reason {
			t.Errorf("%s: %s", c.target, r.Reason)
		}
	}
}

// TestCONNECTNeverUsesAConnectionOfRequests: a kept connection could have bytes
// of another's answer in it.
func TestCONNECTNeverUsesAConnectionOfRequests(t *testing.T) {
	n := startNode(t, 1)
	opened := make(chan struct{}, 8)
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		opened <- struct{}{}
		b := make([]byte, 4096)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}))
	n.apply(nil, connects(u, table.ConnectTarget{Host: "a", Port: 1}))
	_, _ = io.ReadAll(n.get("/").Body)
	if got := n.begin("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("%q", got)
	}
	<-opened
	<-opened
}

// TestAnIdleConnectionIsNotInTheWayOfANewOne where the endpoint takes no more: a tunnel cannot use it.
func TestAnIdleConnectionIsNotInTheWayOfANewOne(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", startBackend(t, echo))
	u.Pool.MaxConnections, u.Pool.IdleTimeout, u.ConnectTimeout = 1, time.Hour, time.Second
	n.apply(nil, connects(u, table.ConnectTarget{Host: "a", Port: 1}))
	_, _ = io.ReadAll(n.get("/").Body)
	if got := n.begin("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("%q", got)
	}
}

// begin sends raw bytes and returns what comes first.
func (n *node) begin(raw string) string {
	n.t.Helper()
	c, err := net.Dial("tcp", n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 4096)
	_, _ = io.WriteString(c, raw)
	k, err := c.Read(b)
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b[:k])
}
