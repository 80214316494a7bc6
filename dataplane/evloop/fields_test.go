//go:build linux

package evloop

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/balance"
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// Tests that settings reach what they are about.

func TestAConnectionServesNoMoreRequestsThanItMay(t *testing.T) {
	_, address := startGuests(t, false)
	n := startNode(t, 1)
	u := newUpstream("u", address)
	u.Pool.MaxRequests = 3
	n.apply(nil, forwardAll(u))
	served := map[string]int{}
	for i := range 9 {
		from, _ := io.ReadAll(n.get("/").Body)
		served[string(from)]++
		n.records.wait(t, i+1)
	}
	for from, requests := range served {
		if requests != 3 {
			t.Errorf("%s served %d", from, requests)
		}
	}
}

// ours finds this process's sockets by what they are connected to; an invalid peer
// stands for a listening socket.
func ours(local, peer netip.AddrPort) (fds []int) {
	for fd := range 1024 {
		if at := sysLocal(fd); !at.IsValid() || local.IsValid() && at != local {
			continue
		}
		sa, err := unix.Getpeername(fd)
		if v4, ok := sa.(*unix.SockaddrInet4); ok && netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), uint16(v4.Port)) == peer ||
			err != nil && !peer.IsValid() {
			fds = append(fds, fd)
		}
	}
	return fds
}

func TestConnectionsHaveTheSettingsOfTheirListenerAndTheirUpstream(t *testing.T) {
	n := startNode(t, 1)
	address := startBackend(t, echo)
	u := newUpstream("u", address)
	u.Socket = table.UpstreamSocket{KeepAlive: table.KeepAlive{Idle: 7 * time.Second, Interval: 3 * time.Second, Probes: 2}, UserTimeout: 9 * time.Second}
	here := netip.MustParseAddrPort(n.address)
	for i := 1; i <= 2; i++ { // a listener that opens, and a change of it
		n.apply(func(l *table.Listener) {
			l.Backlog = 70 + i
			l.KeepAlive = table.KeepAlive{Idle: time.Duration(10+i) * time.Second, Interval: 4 * time.Second, Probes: 5}
			l.UserTimeout = time.Duration(20+i) * time.Second
			l.ReceiveBuffer, l.SendBuffer = 20_000+i, 30_000+i
		}, forwardAll(u))
		n.ask() // a loop follows a table with the next exchange
		c := n.dialNode()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Fatal(err)
		}
		listening := ours(here, netip.AddrPort{})
		if len(listening) != 1 {
			t.Fatalf("%d listening sockets", len(listening))
		}
		if info, err := unix.GetsockoptTCPInfo(listening[0], unix.IPPROTO_TCP, unix.TCP_INFO); err != nil || info.Sacked != uint32(70+i) {
			t.Errorf("a backlog of %d, %v", info.Sacked, err)
		}
		client := ours(here, c.LocalAddr().(*net.TCPAddr).AddrPort())
		endpoint := ours(netip.AddrPort{}, netip.MustParseAddrPort(address))
		if len(client) != 1 || len(endpoint) == 0 {
			t.Fatalf("sockets %v, %v", client, endpoint)
		}
		for _, c := range []struct {
			fd                  int
			name                string
			level, option, want int
		}{
			{client[0], "SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, 2 * (20_000 + i)}, // the kernel doubles it
			{client[0], "SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, 2 * (30_000 + i)},
			{client[0], "SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{client[0], "TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10 + i},
			{client[0], "TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 4},
			{client[0], "TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 5},
			{client[0], "TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, (20 + i) * 1000},
			{client[0], "TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{endpoint[0], "SO_KEEPALIVE to the endpoint", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{endpoint[0], "TCP_KEEPIDLE to the endpoint", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 7},
			{endpoint[0], "TCP_KEEPINTVL to the endpoint", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 3},
			{endpoint[0], "TCP_KEEPCNT to the endpoint", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 2},
			{endpoint[0], "TCP_USER_TIMEOUT to the endpoint", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 9000},
		} {
			if got, err := unix.GetsockoptInt(c.fd, c.level, c.option); err != nil || got != c.want {
				t.Errorf("table %d: %s: %d instead of %d, %v", i, c.name, got, c.want, err)
			}
		}
	}
}

// ask makes a request on a connection of its own.
func (n *node) ask() {
	n.t.Helper()
	n.talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

// weighted is an upstream of two endpoints with weights.
func weighted(u *table.Upstream, a, b uint32) *table.Upstream {
	u.Endpoints[0].Weight, u.Endpoints[1].Weight = a, b
	u.RoundRobin = balance.NewRoundRobin([]uint32{a, b})
	return u
}

func TestWholeConnectionsAreBalancedByWeight(t *testing.T) {
	name := func(name string) string { return rawServer(t, func(c net.Conn) { fmt.Fprint(c, name) }) }
	n := startNode(t, 1)
	n.apply(speaks(table.ProtocolTCP), passes("db", weighted(newUpstream("u", name("a"), name("b")), 3, 1)))
	met := map[string]int{}
	for range 16 {
		got, err := io.ReadAll(n.dialNode())
		if err != nil {
			t.Fatal(err)
		}
		met[string(got)]++
	}
	if met["a"] != 12 || met["b"] != 4 {
		t.Errorf("%v", met)
	}
	// Of TLS that is passed on the same.
	ca := securetest.New(t)
	m := startNode(t, 1)
	m.apply(speaks(table.ProtocolTLSPassthrough),
		passes("shop", weighted(newUpstream("u", secureServer(t, ca, "a.test"), secureServer(t, ca, "b.test")), 1, 3), "shop.test"))
	clear(met)
	for range 16 {
		c := tls.Client(m.dialNode(), &tls.Config{ServerName: "shop.test", InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		met[c.ConnectionState().PeerCertificates[0].DNSNames[0]]++
		c.Close()
	}
	if met["a.test"] != 4 || met["b.test"] != 12 {
		t.Errorf("%v", met)
	}
}

// TestTLSWithoutANameGoesWhereNoNameIsAskedFor: a client that sends no SNI is taken by
// a route without hosts, and by no other.
func TestTLSWithoutANameGoesWhereNoNameIsAskedFor(t *testing.T) {
	ca := securetest.New(t)
	n := startNode(t, 1)
	named := passes("named", newUpstream("a", secureServer(t, ca, "a.test")), "a.test")
	n.apply(speaks(table.ProtocolTLSPassthrough), named, passes("rest", newUpstream("b", secureServer(t, ca, "b.test"))))
	nameless := func() *tls.Conn { return tls.Client(n.dialNode(), &tls.Config{InsecureSkipVerify: true}) }
	c := nameless()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if got := c.ConnectionState().PeerCertificates[0].DNSNames[0]; got != "b.test" {
		t.Errorf("it met %s", got)
	}
	c.Close()
	if r := n.records.wait(t, 1); r.Route != "rest" || len(r.Host) != 0 {
		t.Errorf("route %q, host %q", r.Route, r.Host)
	}
	n.apply(speaks(table.ProtocolTLSPassthrough), named)
	if err := nameless().Handshake(); err == nil {
		t.Error("it met a server of another's name")
	}
	if r := n.records.wait(t, 2); r.Reason != exchange.ReasonNoRoute {
		t.Errorf("%s", r.Reason)
	}
}

// TestCONNECTKnowsAddressesInEverySpelling: the target is held against the list in its
// normal form, and is never looked up.
func TestCONNECTKnowsAddressesInEverySpelling(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, connects(newUpstream("u", rawServer(t, upper)),
		table.ConnectTarget{Host: "[2001:db8::1]", Port: 443}, table.ConnectTarget{Host: "10.0.0.1", Port: 443}, table.ConnectTarget{Host: "localhost", Port: 22}))
	for target, want := range map[string]string{
		"[2001:db8::1]:443":       "200",
		"[2001:DB8::1]:443":       "200",
		"[2001:db8:0:0::1]:443":   "200",
		"[2001:db8::1]:80":        "403",
		"[2001:db8::2]:443":       "403",
		"[::ffff:10.0.0.1]:443":   "403",
		"10.0.0.1:443":            "200",
		"10.0.0.2:443":            "403",
		"LOCALHOST:22":            "200",
		"localhost.:22":           "200",
		"127.0.0.1:22":            "403", // what the name stands for is not asked
		"localhost:0022":          "200",
		"localhost:65558":         "400", // not 22 beyond 16 bits
		"localhost:":              "400",
		"localhost":               "400",
		"sub.localhost:22":        "403",
		"localhost:22@evil.test:": "400",
	} {
		got := n.begin("CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("%s: %q", target, got[:min(len(got), 30)])
		}
	}
}
