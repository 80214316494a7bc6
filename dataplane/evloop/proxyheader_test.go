//go:build linux

package evloop

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	pires "github.com/pires/go-proxyproto"
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

const plainRequest = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

// expects makes a listener take PROXY headers of loopback peers, or of nobody.
func expects(p table.ProxyProtocol, trusted string) func(*table.Listener) {
	return func(l *table.Listener) {
		l.ProxyProtocol = p
		l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(trusted)}
	}
}

const (
	loopback = "127.0.0.0/8"
	nobody   = "192.0.2.99/32"
)

// header is what go-proxyproto sends for a connection.
func header(t *testing.T, version byte, from, to string) string {
	t.Helper()
	h := pires.HeaderProxyFromAddrs(version,
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to)))
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheAddressOfAPROXYHeaderIsThePeer(t *testing.T) {
	// A peer that speaks for itself is trusted in X-Forwarded-For; what the client
	// behind it says of itself is not its word.
	for _, c := range []struct{ name, header, client, forwarded string }{
		{"v1", header(t, 1, "192.0.2.7:4711", "198.51.100.1:443"), "192.0.2.7/32", "192.0.2.7"},
		{"v2", header(t, 2, "192.0.2.7:4711", "198.51.100.1:443"), "192.0.2.7/32", "192.0.2.7"},
		{"v2, IPv6", header(t, 2, "[2001:db8::7]:4711", "[2001:db8::1]:443"), "2001:db8::7/128", "2001:db8::7"},
		{"v1, unknown", "PROXY UNKNOWN\r\n", "203.0.113.1/32", "203.0.113.1, 127.0.0.1"},
		{"v2, local", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "203.0.113.1/32", "203.0.113.1, 127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startNode(t, 1)
			route := forwardAll(newUpstream("u", startBackend(t, echo)))
			route.Conditions = &table.Conditions{Clients: []netip.Prefix{netip.MustParsePrefix(c.client)}}
			n.apply(expects(table.ProxyRequired, loopback), route)
			request := "GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.1\r\nConnection: close\r\n\r\n"
			got := n.talk(c.header + request)
			if !strings.HasPrefix(got, "HTTP/1.1 200") || !strings.Contains(got, "X-For: "+c.forwarded+"\r\n") {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestAPROXYHeaderIsTakenFromTrustedPeersOnly(t *testing.T) {
	good := header(t, 1, "192.0.2.7:4711", "198.51.100.1:443")
	for _, c := range []struct {
		name    string
		expect  table.ProxyProtocol
		trusted string
		send    string
		reason  exchange.Reason
		detail  string
	}{
		{"required, untrusted", table.ProxyRequired, nobody, good + plainRequest, exchange.ReasonProxyUntrusted, ""},
		{"required, untrusted, without one", table.ProxyRequired, nobody, plainRequest, exchange.ReasonProxyUntrusted, ""},
		{"required, none", table.ProxyRequired, loopback, plainRequest, exchange.ReasonProxyMissing, ""},
		{"required, malformed", table.ProxyRequired, loopback, "PROXY TCP4 a b c d\r\n" + plainRequest, exchange.ReasonProxyMalformed, "bad_address"},
		{"optional, untrusted", table.ProxyOptional, nobody, good + plainRequest, exchange.ReasonProxyUntrusted, ""},
		{"optional, malformed", table.ProxyOptional, loopback, "PROXY TCP4\n" + plainRequest, exchange.ReasonProxyMalformed, "bare_lf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startNode(t, 1)
			n.apply(expects(c.expect, c.trusted), forwardAll(newUpstream("u", startBackend(t, echo))))
			if conn, err := net.Dial("tcp", n.address); err == nil { // it may be refused before that is told
				defer conn.Close()
				_, _ = io.WriteString(conn, c.send)
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				if answer, _ := io.ReadAll(conn); len(answer) > 0 {
					t.Errorf("answered %q", answer)
				}
			}
			if r := n.records.wait(t, 1); r.Reason != c.reason || r.Detail != c.detail || !r.Raw {
				t.Errorf("%s %q", r.Reason, r.Detail)
			}
			if counted := n.engine.stats.Reason(uint8(c.reason)); counted != 1 {
				t.Errorf("counted %d", counted)
			}
		})
	}
}

func TestAnOptionalPROXYHeaderMayBeLeftOut(t *testing.T) {
	for _, trusted := range []string{loopback, nobody} {
		n := startNode(t, 1)
		n.apply(expects(table.ProxyOptional, trusted), forwardAll(newUpstream("u", startBackend(t, echo))))
		if got := n.talk(plainRequest); !strings.HasPrefix(got, "HTTP/1.1 200") || !strings.Contains(got, "X-For: 127.0.0.1") {
			t.Errorf("%q", got)
		}
	}
}

func TestAPROXYHeaderMayComeByteByByteButNotForEver(t *testing.T) {
	n := startNode(t, 1)
	all := forwardAll(newUpstream("u", startBackend(t, echo)))
	n.apply(expects(table.ProxyRequired, loopback), all)
	conn := n.dial()
	for _, b := range []byte(header(t, 2, "192.0.2.7:4711", "198.51.100.1:443") + plainRequest) {
		if _, err := conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.Header.Get("X-For") != "192.0.2.7" {
		t.Fatalf("%v %v", resp, err)
	}
	n.apply(func(l *table.Listener) {
		expects(table.ProxyRequired, loopback)(l)
		l.Timeouts.RequestHead = 300 * time.Millisecond
	}, all)
	for i, begun := range []string{"", "PROXY TC"} {
		slow := n.dial()
		fmt.Fprint(slow, begun)
		_ = slow.SetReadDeadline(time.Now().Add(10 * time.Second))
		if got, err := io.ReadAll(slow); len(got) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%q: %q, %v", begun, got, err)
		}
		want := []exchange.Reason{exchange.ReasonProxyMissing, exchange.ReasonProxyMalformed}[i]
		if r := n.records.wait(t, 2+i); r.Reason != want || r.Detail != timedOut {
			t.Errorf("%q: %s %q", begun, r.Reason, r.Detail)
		}
	}
}

func TestAProbeThatSendsNothingIsNoRefusal(t *testing.T) {
	n := startNode(t, 1)
	n.apply(expects(table.ProxyRequired, loopback), forwardAll(newUpstream("u", startBackend(t, echo))))
	conn, err := net.Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	n.talk(header(t, 1, "192.0.2.7:1", "198.51.100.1:2") + plainRequest)
	if r := n.records.wait(t, 1); r.Status != 200 || r.Client != netip.MustParseAddrPort("192.0.2.7:1") {
		t.Errorf("%d %s of %s", r.Status, r.Reason, r.Client)
	}
}

// proxied is a backend behind go-proxyproto; it answers with the header's words
// and the number of the connection.
func proxied(t *testing.T) string {
	t.Helper()
	numbers := make(chan int, 1)
	numbers <- 0
	return rawServer(t, func(c net.Conn) {
		k := <-numbers
		numbers <- k + 1
		r := bufio.NewReader(c)
		h, err := pires.Read(r)
		if err != nil {
			fmt.Fprintf(c, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
			return
		}
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			body := fmt.Sprintf("%d v%d %s %s", k, h.Version, h.SourceAddr, h.DestinationAddr)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
}

func TestAProxyHeaderGoesOnceAConnectionOfOneClient(t *testing.T) {
	for version, kind := range map[string]table.ProxyHeader{"v1": table.ProxyHeaderV1, "v2": table.ProxyHeaderV2} {
		n := startNode(t, 1)
		u := newUpstream("u", proxied(t))
		u.ProxyProtocol = kind
		n.apply(nil, forwardAll(u))
		for client := range 2 {
			conn := n.dial()
			r := bufio.NewReader(conn)
			for request := range 2 {
				fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				want := fmt.Sprintf("%d %s %s %s", 2*client+request, version, conn.LocalAddr(), conn.RemoteAddr())
				if string(body) != want {
					t.Errorf("%q, want %q", body, want)
				}
			}
		}
	}
}

func TestAPROXYHeaderIsPassedOn(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", proxied(t))
	u.ProxyProtocol = table.ProxyHeaderV2
	n.apply(expects(table.ProxyRequired, loopback), forwardAll(u))
	got := n.talk(header(t, 1, "[2001:db8::7]:4711", "[2001:db8::1]:443") + plainRequest)
	if !strings.HasSuffix(got, "0 v2 [2001:db8::7]:4711 [2001:db8::1]:443") {
		t.Errorf("%q", got)
	}
}

func TestAPROXYHeaderStandsBeforeTLS(t *testing.T) {
	n := startTLS(t, 1)
	addresses := make(chan string, 4)
	up := &net.ListenConfig{}
	l, err := up.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	backend := &http.Server{
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			addresses <- r.RemoteAddr + " " + r.Header.Get("X-Forwarded-For")
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{n.ca.Pair(securetest.Config{Names: []string{"127.0.0.1"}})}},
	}
	go func() { _ = backend.ServeTLS(&pires.Listener{Listener: l}, "", "") }()
	t.Cleanup(func() { backend.Close() })
	u := newUpstream("u", l.Addr().String())
	u.TLS, u.ProxyProtocol = &table.UpstreamTLS{CAs: n.ca.Pool()}, table.ProxyHeaderV2
	n.serve(expects(table.ProxyRequired, loopback), forwardAll(u))
	for _, size := range []int{1, 40, 1 << 20} {
		conn := n.raw()
		cut := pieces{conn, size}
		if _, err := io.WriteString(cut, header(t, 2, "192.0.2.7:4711", "198.51.100.1:443")); err != nil {
			t.Fatal(err)
		}
		if resp, _ := n.ask(tls.Client(cut, n.config())); resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode)
		}
		if got := <-addresses; got != "192.0.2.7:4711 192.0.2.7" {
			t.Errorf("%q", got)
		}
	}
}

// TestAPROXYHeaderAndAHelloMayComeTogether sends both by one write.
func TestAPROXYHeaderAndAHelloMayComeTogether(t *testing.T) {
	n := startTLS(t, 1)
	n.serve(expects(table.ProxyRequired, loopback), forwardAll(newUpstream("u", startBackend(t, echo))))
	conn := tls.Client(&prefixed{Conn: n.raw(), prefix: header(t, 1, "192.0.2.7:4711", "198.51.100.1:443")}, n.config())
	if resp, _ := n.ask(conn); resp.Header.Get("X-For") != "192.0.2.7" {
		t.Error(resp.Header)
	}
}

// TestAPROXYHeaderStandsBeforeAHelloThatIsPassedOn, in pieces of all sizes, of which one may have
// the end of the header and the beginning of the hello, or all of both.
func TestAPROXYHeaderStandsBeforeAHelloThatIsPassedOn(t *testing.T) {
	ca := securetest.New(t)
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) {
		l.Protocol = table.ProtocolTLSPassthrough
		expects(table.ProxyRequired, loopback)(l)
	}, passes("a", newUpstream("a", secureServer(t, ca, "a.test")), "a.test"))
	begun := header(t, 1, "192.0.2.7:4711", "198.51.100.1:443")
	for i, c := range []struct {
		size     int
		together bool
	}{
		{1, false}, {1 << 20, false}, {len(begun) + 10, true}, {1 << 20, true},
	} {
		var under net.Conn = pieces{n.dialNode(), c.size}
		if c.together {
			under = &prefixed{Conn: under, prefix: begun}
		} else if _, err := io.WriteString(under, begun); err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(under, &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test"})
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "a.test" {
			t.Errorf("%+v: %q", c, body)
		}
		conn.Close()
		if r := n.records.wait(t, i+1); string(r.Host) != "a.test" || r.Client.String() != "192.0.2.7:4711" {
			t.Errorf("%+v: %s of %s", c, r.Host, r.Client)
		}
	}
}

// prefixed puts something before what is written first.
type prefixed struct {
	net.Conn
	prefix string
}

func (p *prefixed) Write(b []byte) (int, error) {
	whole := append([]byte(p.prefix), b...)
	p.prefix = ""
	if _, err := p.Conn.Write(whole); err != nil {
		return 0, err
	}
	return len(b), nil
}

// TestAnEndpointMaySpeakFirstToAClientWhoseHeaderWouldNotBeTaken: nothing is waited for.
func TestAnEndpointMaySpeakFirstToAClientWhoseHeaderWouldNotBeTaken(t *testing.T) {
	for _, c := range []struct {
		name, says, heard string
		refused           bool
	}{
		{"nothing", "", "220 ready\r\ngot 0", false},
		{"little", "P", "220 ready\r\ngot 1", false},
		{"much", strings.Repeat("PROXIMITY ", 10_000), "220 ready\r\ngot 100000", false},
		{"a header", header(t, 1, "192.0.2.7:4711", "198.51.100.1:443") + "hello", "220 ready\r\n", true},
		{"a header of version 2", header(t, 2, "192.0.2.7:4711", "198.51.100.1:443"), "220 ready\r\n", true},
		{"a malformed header", "PROXY TCP4 a b c d\r\n", "220 ready\r\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startNode(t, 1)
			n.apply(func(l *table.Listener) {
				l.Protocol = table.ProtocolTCP
				expects(table.ProxyOptional, nobody)(l)
			}, passes("mail", newUpstream("u", rawServer(t, func(c net.Conn) {
				fmt.Fprint(c, "220 ready\r\n")
				all, err := io.ReadAll(c)
				if err == nil {
					fmt.Fprintf(c, "got %d", len(all))
				}
			}))))
			conn := n.dialNode()
			r := bufio.NewReader(conn)
			first, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			var told error
			for _, b := range []byte(c.says[:min(len(c.says), 20)]) { // a header may come byte by byte
				if _, err := conn.Write([]byte{b}); err != nil {
					told = err
				}
			}
			if _, err := io.WriteString(conn, c.says[min(len(c.says), 20):]); err != nil {
				told = err
			}
			_ = conn.CloseWrite()
			rest, err := io.ReadAll(r)
			if err = errors.Join(told, err); first+string(rest) != c.heard || (err != nil) != c.refused {
				t.Errorf("%q, %v", first+string(rest), err)
			}
			want := exchange.ReasonNone
			if c.refused {
				want = exchange.ReasonProxyUntrusted
			}
			if rec := n.records.wait(t, 1); rec.Reason != want || !c.refused && rec.BytesIn != uint64(len(c.says)) {
				t.Errorf("%q, %d bytes", rec.Reason, rec.BytesIn)
			}
		})
	}
}
