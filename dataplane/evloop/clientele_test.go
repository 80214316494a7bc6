//go:build linux

package evloop

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestOneClientIsAnIPv4AddressOrASlash64(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"0.0.0.0", "::1", false},
		{"192.0.2.1", "2001:db8::1", false},
	} {
		if same := clientKey(netip.MustParseAddr(c.a)) == clientKey(netip.MustParseAddr(c.b)); same != c.same {
			t.Errorf("%s and %s: same is %v", c.a, c.b, same)
		}
	}
}

// TestAClienteleHoldsNothingOfThoseWhoLeft lets many clients come and go from
// several goroutines.
func TestAClienteleHoldsNothingOfThoseWhoLeft(t *testing.T) {
	c := new(clientele)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			address := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(w), byte(i >> 8), byte(i)}) }
			for i := range 40_000 {
				for n := range 3 {
					if ok := c.enter(address(i), 2); ok != (n < 2) {
						t.Errorf("connection %d of %s: %v", n, address(i), ok)
					}
				}
			}
			for i := range 40_000 {
				c.leave(address(i))
				c.leave(address(i))
			}
		})
	}
	wg.Wait()
	if n := c.clients(); n != 0 {
		t.Errorf("%d clients are left", n)
	}
	for i := range c.shards {
		if c.shards[i].open != nil {
			t.Fatal("a map keeps the memory of those who left")
		}
	}
}

// from opens a connection from an address.
func (n *node) from(address string) net.Conn {
	n.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c, err := d.Dial("tcp", n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// statusOf makes a request on a connection, which is kept.
func statusOf(c net.Conn, before string) (int, error) {
	if _, err := io.WriteString(c, before+"GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func (n *node) wantStatus(what string, c net.Conn, before string, want int) {
	n.t.Helper()
	if got, err := statusOf(c, before); err != nil || got != want {
		n.t.Errorf("%s: %d %v, want %d", what, got, err, want)
	}
}

// TestAClientGetsAsManyConnectionsAsItMayHave changes the limit while connections
// are kept.
func TestAClientGetsAsManyConnectionsAsItMayHave(t *testing.T) {
	n := startNode(t, 2)
	u := newUpstream("u", startBackend(t, echo))
	limit := func(most int) {
		n.apply(func(l *table.Listener) { l.Limits.ConnectionsPerClient = most }, forwardAll(u))
	}
	limit(0)
	kept := make([]net.Conn, 4)
	for i := range kept {
		kept[i] = n.from("127.0.0.1")
		n.wantStatus("without a limit", kept[i], "", 200)
	}
	limit(4)
	n.wantStatus("one above a new limit", n.from("127.0.0.1"), "", 503)
	n.wantStatus("another client", n.from("127.0.0.2"), "", 200)
	for _, c := range kept {
		n.wantStatus("one that was there", c, "", 200)
	}
	if got := n.engine.stats.Counter(stats.ClientsOverShare); got != 1 {
		t.Errorf("%d were counted as refused", got)
	}
	kept[0].Close()
	eventually(t, "one to have left", func() bool { return clientsOpen(n) == 4 })
	kept[0] = n.from("127.0.0.1")
	n.wantStatus("in its place", kept[0], "", 200)
	limit(2)
	n.wantStatus("above a lower limit", n.from("127.0.0.1"), "", 503)
	n.wantStatus("one that was there", kept[3], "", 200)
	limit(5)
	more := n.from("127.0.0.1")
	n.wantStatus("within a higher limit", more, "", 200)
	n.wantStatus("above a higher limit", n.from("127.0.0.1"), "", 503)
	limit(0)
	n.wantStatus("without a limit again", n.from("127.0.0.1"), "", 200)
	for _, c := range append(kept, more) {
		c.Close()
	}
	eventually(t, "nobody of that client to be counted", func() bool { return n.engine.clienteles["web"].clients() <= 1 })
}

func TestWhoHasTooManyConnectionsIsToldByAnAlertWhereTLSIsSpoken(t *testing.T) {
	n := startTLS(t, 1)
	n.serve(func(l *table.Listener) { l.Limits.ConnectionsPerClient = 1 }, forwardAll(newUpstream("u", startBackend(t, echo))))
	n.ask(n.dial(n.config())) // stays
	if _, err := tls.Dial("tcp", n.address, n.config()); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("one too many: %v", err)
	}
}

// TestTheLimitOfConnectionsIsTheListenersNotAnAddresss has a listener on two addresses.
func TestTheLimitOfConnectionsIsTheListenersNotAnAddresss(t *testing.T) {
	n := startNode(t, 1)
	limit := func(most int) {
		n.apply(func(l *table.Listener) {
			l.Addresses = []table.Address{
				{Kind: table.AddressLiteral, IP: netip.MustParseAddr("127.0.0.1")},
				{Kind: table.AddressLiteral, IP: netip.MustParseAddr("127.0.0.2")},
			}
			l.Limits.Connections = most
		}, forwardAll(newUpstream("u", startBackend(t, echo))))
	}
	limit(2)
	second := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), n.port).String()
	open := func(address string) net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	first := open(n.address)
	n.wantStatus("the first", first, "", 200)
	n.wantStatus("the second, at the other address", open(second), "", 200)
	n.wantStatus("one too many", open(n.address), "", 503)
	n.wantStatus("one too many at the other address", open(second), "", 503)
	if got := n.engine.stats.Counter(stats.ClientsOverLimit); got != 2 {
		t.Errorf("%d were counted as refused", got)
	}
	first.Close()
	eventually(t, "one to have left", func() bool { return clientsOpen(n) == 1 })
	n.wantStatus("in its place, at the other address", open(second), "", 200)
	limit(3)
	n.wantStatus("within a higher limit", open(n.address), "", 200)
	n.wantStatus("above it", open(second), "", 503)
}

// TestAnAddressThatGoesToAnotherListenerIsHeldToThatOnesLimits with the connections that
// are kept at it, and those alone.
func TestAnAddressThatGoesToAnotherListenerIsHeldToThatOnesLimits(t *testing.T) {
	n := startNode(t, 2)
	addresses := []table.Address{
		{Kind: table.AddressLiteral, IP: netip.MustParseAddr("127.0.0.1")},
		{Kind: table.AddressLiteral, IP: netip.MustParseAddr("127.0.0.2")},
	}
	second := netip.AddrPortFrom(addresses[1].IP, n.port).String()
	all := respondAll()
	n.apply(func(l *table.Listener) { l.Addresses = addresses }, all)
	for range 3 {
		n.wantStatus("before, at the first", n.from("127.0.0.1"), "", 200)
	}
	open := func() net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.1")}}
		c, err := d.Dial("tcp", second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	kept := open()
	n.wantStatus("before, at the second", kept, "", 200)
	web, api := n.listener(), n.listener()
	editor := web.Routes.Edit()
	editor.Add(all)
	web.Routes, web.Addresses = editor.Index(), addresses[:1]
	api.Name, api.Routes, api.Addresses = "api", web.Routes, addresses[1:]
	api.Limits.Connections, api.Limits.ConnectionsPerClient = 3, 2
	err := n.engine.Apply(context.Background(), &table.Table{
		Version: table.Version{Epoch: 1, Revision: 99}, Listeners: []table.Listener{api, web}, Routes: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.wantStatus("the one that was kept", kept, "", 200)
	next := open()
	n.wantStatus("the client's second", next, "", 200)
	n.wantStatus("the client's third", open(), "", 503)
	n.wantStatus("at the first", n.from("127.0.0.1"), "", 200)
	kept.Close()
	eventually(t, "it to have left", func() bool { return clientsOpen(n) == 5 })
	n.wantStatus("in its place", open(), "", 200)
	for _, c := range n.engine.clienteles {
		if open := c.open.Load(); open != 2 && open != 4 {
			t.Errorf("%d connections are counted", open)
		}
	}
}

// TestATrustedProxyIsNoClientButWhomItNamesIs has two clients behind one proxy.
func TestATrustedProxyIsNoClientButWhomItNamesIs(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", startBackend(t, echo))
	serve := func(p table.ProxyProtocol, most int) {
		n.apply(func(l *table.Listener) {
			l.Limits.ConnectionsPerClient, l.ProxyProtocol = most, p
			l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		}, forwardAll(u))
	}
	header := func(client string) string { return fmt.Sprintf("PROXY TCP4 %s 127.0.0.1 5000 80\r\n", client) }
	serve(table.ProxyOptional, 2)
	for range 4 {
		n.wantStatus("the proxy's own", n.from("127.0.0.1"), "", 200)
		n.wantStatus("the proxy's own", n.from("127.0.0.1"), "PROXY UNKNOWN\r\n", 200)
	}
	one := n.from("127.0.0.1")
	n.wantStatus("a client", one, header("192.0.2.1"), 200)
	n.wantStatus("its second", n.from("127.0.0.1"), header("192.0.2.1"), 200)
	n.wantStatus("its third", n.from("127.0.0.1"), header("192.0.2.1"), 503)
	n.wantStatus("another client", n.from("127.0.0.1"), header("192.0.2.2"), 200)
	for range 2 {
		n.wantStatus("who is no proxy", n.from("127.0.0.3"), "", 200)
	}
	n.wantStatus("its third", n.from("127.0.0.3"), "", 503)
	one.Close()
	eventually(t, "room for the client", func() bool {
		code, err := statusOf(n.from("127.0.0.1"), header("192.0.2.1"))
		return err == nil && code == 200
	})
	// A limit that begins counts those who were named before.
	serve(table.ProxyOff, 0)
	serve(table.ProxyRequired, 0)
	n.wantStatus("before the limit", n.from("127.0.0.1"), header("192.0.2.9"), 200)
	serve(table.ProxyRequired, 1)
	n.wantStatus("above the limit", n.from("127.0.0.1"), header("192.0.2.9"), 503)
}

// TestATCPListenerHoldsItsClientsToTheLimitToo refuses by an end.
func TestATCPListenerHoldsItsClientsToTheLimitToo(t *testing.T) {
	n := startNode(t, 1)
	backend := rawServer(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	n.apply(func(l *table.Listener) {
		l.Protocol, l.Limits.ConnectionsPerClient = table.ProtocolTCP, 1
	}, passes("all", newUpstream("u", backend)))
	first := n.from("127.0.0.1")
	if _, err := io.WriteString(first, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(n.from("127.0.0.1")); len(got) > 0 || err != nil {
		t.Errorf("one too many: %q %v", got, err)
	}
	if got := n.engine.stats.Counter(stats.ClientsOverShare); got != 1 {
		t.Errorf("%d were counted as refused", got)
	}
}
