//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// speaks makes a listener pass connections on.
func speaks(p table.Protocol) func(*table.Listener) {
	return func(l *table.Listener) { l.Protocol = p }
}

// passes makes a route for whole connections.
func passes(name string, u *table.Upstream, hosts ...string) *table.Route {
	r := tunnels(u)
	r.Name, r.Hosts, r.Path = name, hosts, table.PathMatch{}
	return r
}

// dialNode opens a connection that does not wait for ever.
func (n *node) dialNode() *net.TCPConn {
	n.t.Helper()
	c, err := net.Dial("tcp", n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// TestAKeptConnectionEndsWhenItsListenerSpeaksHTTPNoMore behind its next answer.
func TestAKeptConnectionEndsWhenItsListenerSpeaksHTTPNoMore(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", startBackend(t, echo))
	n.apply(nil, forwardAll(u))
	k := dialKept(t, netip.MustParseAddrPort(n.address))
	for _, ends := range []bool{false, true} {
		_, _ = io.WriteString(k, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(k.r, nil)
		if err != nil || resp.Close != ends {
			t.Fatalf("%v %v; it should end: %t", resp, err, ends)
		}
		n.apply(speaks(table.ProtocolTCP), passes("all", u))
	}
}

func TestATCPConnectionIsPassedOnWithOneRecord(t *testing.T) {
	n := startNode(t, 2)
	n.apply(speaks(table.ProtocolTCP), passes("db", newUpstream("u", rawServer(t, upper))))
	big := bytes.Repeat([]byte("abcdefgh"), 1<<17)
	c := n.dialNode()
	go func() {
		_, _ = c.Write(big)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, bytes.ToUpper(big)) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	r := n.records.wait(t, 1)
	if !r.Raw || r.Status != 200 || r.Reason != exchange.ReasonNone || r.Route != "db" || r.Upstream != "u" ||
		r.BytesIn != uint64(len(big)) || r.BytesOut != uint64(len(big)) || r.Client.Port() != c.LocalAddr().(*net.TCPAddr).AddrPort().Port() {
		t.Errorf("%+v", r)
	}
}

func TestAServerMaySpeakFirstAndAClientMayEndFirst(t *testing.T) {
	n := startNode(t, 1)
	n.apply(speaks(table.ProtocolTCP), passes("db", newUpstream("u", rawServer(t, func(c net.Conn) {
		fmt.Fprint(c, "220 ready\r\n")
		all, _ := io.ReadAll(c)
		fmt.Fprintf(c, "got %d", len(all))
	}))))
	c := n.dialNode()
	fmt.Fprint(c, "at once") // before an endpoint is there
	_ = c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "220 ready\r\ngot 7" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAConnectionIsTriedElsewhereBeforeAByteWent(t *testing.T) {
	n := startNode(t, 1)
	n.apply(speaks(table.ProtocolTCP), passes("db", newUpstream("u", refusing(t).String(), rawServer(t, upper))))
	for i := range 4 {
		c := n.dialNode()
		fmt.Fprint(c, "hello")
		_ = c.CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "HELLO" {
			t.Errorf("connection %d: %q, %v", i, got, err)
		}
	}
	n.apply(speaks(table.ProtocolTCP), passes("db", newUpstream("dead", refusing(t).String())))
	if c, err := net.Dial("tcp", n.address); err == nil { // it may be over before that is told
		defer c.Close()
		if got, _ := io.ReadAll(c); len(got) > 0 {
			t.Errorf("without an endpoint %q", got)
		}
	}
	if r := n.records.wait(t, 5); r.Reason != exchange.ReasonConnectFailure || r.Status != 502 || r.Attempts != 2 {
		t.Errorf("%d %s after %d", r.Status, r.Reason, r.Attempts)
	}
}

func TestAConnectionMayBeRoutedByItsClient(t *testing.T) {
	n := startNode(t, 1)
	r := passes("db", newUpstream("u", rawServer(t, upper)))
	r.Conditions = &table.Conditions{Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	n.apply(func(l *table.Listener) {
		l.Protocol = table.ProtocolTCP
		expects(table.ProxyOptional, loopback)(l)
	}, r)
	if c, err := net.Dial("tcp", n.address); err == nil {
		defer c.Close()
		fmt.Fprint(c, "not from there")
	}
	if rec := n.records.wait(t, 1); rec.Reason != exchange.ReasonNoRoute {
		t.Errorf("%s", rec.Reason)
	}
	c := n.dialNode()
	fmt.Fprint(c, header(t, 2, "10.1.2.3:4711", "198.51.100.1:443")+"hello")
	_ = c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "HELLO" {
		t.Errorf("%q, %v", got, err)
	}
	if rec := n.records.wait(t, 2); rec.Client.String() != "10.1.2.3:4711" {
		t.Errorf("%s", rec.Client)
	}
}

func TestAListenerOfConnectionsKeepsItsLimitInSilence(t *testing.T) {
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) {
		l.Protocol = table.ProtocolTCP
		l.Limits.Connections = 1
	}, passes("db", newUpstream("u", rawServer(t, upper))))
	first := n.dialNode()
	fmt.Fprint(first, "x")
	if _, err := first.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(n.dialNode()); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

// secureServer answers HTTPS requests with its name.
func secureServer(t *testing.T, ca *securetest.Authority, name string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{ca.Pair(securetest.Config{Names: []string{name, "*." + name}})}},
	}
	go func() { _ = s.ServeTLS(l, "", "") }()
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

func TestTLSIsPassedOnByTheNameThatTheClientAsksFor(t *testing.T) {
	ca := securetest.New(t)
	n := startNode(t, 1)
	n.apply(speaks(table.ProtocolTLSPassthrough),
		passes("a", newUpstream("a", secureServer(t, ca, "a.test")), "a.test"),
		passes("b", newUpstream("b", secureServer(t, ca, "b.test")), "b.test", "*.b.test"))
	for i, c := range []struct {
		name, host, want string
		size             int // of the pieces that the client sends
	}{
		{"a.test", "a.test", "a.test", 1 << 20},
		{"B.Test", "b.test", "b.test", 1 << 20},
		{"x.b.test", "x.b.test", "b.test", 1},
	} {
		conn := tls.Client(pieces{n.dialNode(), c.size}, &tls.Config{RootCAs: ca.Pool(), ServerName: c.name})
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", c.host)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != c.want {
			t.Errorf("%s: %q", c.name, body)
		}
		conn.Close()
		if r := n.records.wait(t, i+1); !r.Raw || string(r.Host) != c.host || r.Route != c.want[:1] || r.BytesIn < 200 || r.BytesOut < 200 {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	if err := tls.Client(n.dialNode(), &tls.Config{RootCAs: ca.Pool(), ServerName: "c.test"}).Handshake(); err == nil {
		t.Error("a name without a route is passed on")
	}
	if r := n.records.wait(t, 4); r.Reason != exchange.ReasonNoRoute || string(r.Host) != "c.test" {
		t.Errorf("%s %s", r.Reason, r.Host)
	}
}

func TestWhatIsNoClientHelloIsNotPassedOn(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", rawServer(t, upper))
	const half = "\x16\x03\x01\x02"
	for i, c := range []struct{ send, detail string }{
		{"GET / HTTP/1.1\r\n\r\n", "not_tls"},
		{"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "not_client_hello"},
		{half, "truncated"},
		{half, timedOut},
	} {
		n.apply(func(l *table.Listener) {
			l.Protocol = table.ProtocolTLSPassthrough
			if c.detail == timedOut {
				l.Timeouts.RequestHead = 300 * time.Millisecond
			}
		}, passes("all", u))
		conn := n.dialNode()
		fmt.Fprint(conn, c.send)
		if c.detail == "truncated" {
			_ = conn.CloseWrite()
		}
		if got, err := io.ReadAll(conn); len(got) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%q got %q, %v", c.send, got, err)
		}
		if r := n.records.wait(t, i+1); r.Reason != exchange.ReasonHelloMalformed || r.Detail != c.detail {
			t.Errorf("%q: %s %s", c.send, r.Reason, r.Detail)
		}
	}
}

// TestAClientThatSaysNothingToAListenerOfTLSLeavesNoTrace: it was a probe, or has changed its mind.
func TestAClientThatSaysNothingToAListenerOfTLSLeavesNoTrace(t *testing.T) {
	n := startNode(t, 1)
	n.apply(speaks(table.ProtocolTLSPassthrough), passes("all", newUpstream("u", rawServer(t, upper))))
	conn := n.dialNode()
	_ = conn.CloseWrite()
	if got, err := io.ReadAll(conn); len(got) > 0 || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	n.stop()
	if all := n.records.all; len(all) > 0 {
		t.Errorf("%d records, of %s", len(all), all[0].Reason)
	}
}

// TestUnderCriticalPressureNoConnectionIsPassedOn, and none is when it is over.
func TestUnderCriticalPressureNoConnectionIsPassedOn(t *testing.T) {
	n := startNode(t, 1)
	n.apply(speaks(table.ProtocolTCP), passes("all", newUpstream("u", rawServer(t, upper))))
	for i, c := range []struct {
		level  pressure.Level
		want   string
		reason exchange.Reason
	}{
		{pressure.Critical, "", exchange.ReasonOverload},
		{pressure.Calm, "HELLO", exchange.ReasonNone},
	} {
		n.engine.SetPressure(c.level)
		conn, err := net.Dial("tcp", n.address)
		if err == nil { // it may be over before that is told
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprint(conn, "hello")
			_ = conn.(*net.TCPConn).CloseWrite()
			var got []byte
			if got, err = io.ReadAll(conn); string(got) != c.want {
				t.Errorf("%s: %q", c.level, got)
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) || (err != nil && c.want != "") {
			t.Errorf("%s: %v", c.level, err)
		}
		if r := n.records.wait(t, i+1); r.Reason != c.reason {
			t.Errorf("%s: %s", c.level, r.Reason)
		}
	}
}

// TestAClientThatResetsIsNoticedWhileItsEndpointTakesNothing: so nothing is read of it.
func TestAClientThatResetsIsNoticedWhileItsEndpointTakesNothing(t *testing.T) {
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) { l.Protocol, l.ReceiveBuffer = table.ProtocolTCP, 64<<10 },
		passes("db", newUpstream("u", rawServer(t, func(net.Conn) { <-t.Context().Done() }))))
	c := n.dialNode()
	for err := error(nil); err == nil; {
		_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		_, err = c.Write(make([]byte, 64<<10))
	}
	_ = c.SetLinger(0)
	c.Close()
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonClientGone {
		t.Errorf("%s %s", r.Reason, r.Detail)
	}
	eventually(t, "no connection to the endpoint", func() bool { _, open, _ := n.engine.EndpointLoad(0); return open == 0 })
}
