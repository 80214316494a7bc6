//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// shop is the name that the tests' certificates have.
const shop = "shop.test"

// tlsNode is a node whose listener speaks HTTPS.
type tlsNode struct {
	*node
	ca     *securetest.Authority
	secure *table.ListenerTLS
}

func startTLS(t *testing.T, loops int) *tlsNode {
	t.Helper()
	return startTLSChanged(t, loops, func(*Engine) {})
}

// byLoopAndByCrew runs a test with a node whose loops do short handshakes themselves, whomever they
// serve, and with one whose crew does all.
func byLoopAndByCrew(t *testing.T, loops int, test func(*testing.T, *tlsNode)) {
	for by, quiet := range map[string]int64{"loop": -1, "crew": math.MaxInt64} {
		t.Run("by the "+by, func(t *testing.T) {
			test(t, startTLSChanged(t, loops, func(e *Engine) {
				for _, l := range e.loops {
					l.shaker.quiet = quiet
				}
			}))
		})
	}
}

// startTLSChanged is startTLS with an engine that is changed before it runs.
func startTLSChanged(t *testing.T, loops int, change func(*Engine)) *tlsNode {
	t.Helper()
	n := &tlsNode{node: startChanged(t, loops, change), ca: securetest.New(t)}
	n.secure = securetest.Listener(n.ca.Certificate(securetest.Config{Names: []string{shop}}))
	return n
}

// serve makes routes live on the listener, with TLS.
func (n *tlsNode) serve(change func(*table.Listener), routes ...*table.Route) {
	n.t.Helper()
	n.apply(func(l *table.Listener) {
		l.Protocol, l.TLS = table.ProtocolHTTPS, n.secure
		if change != nil {
			change(l)
		}
	}, routes...)
}

// config is that of a client who trusts the node's authority.
func (n *tlsNode) config() *tls.Config {
	return &tls.Config{RootCAs: n.ca.Pool(), ServerName: shop}
}

// dial opens a connection and shakes hands.
func (n *tlsNode) dial(c *tls.Config) *tls.Conn {
	n.t.Helper()
	conn, err := tls.Dial("tcp", n.address, c)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// ask sends a GET on a connection and reads the whole answer.
func (n *tlsNode) ask(c net.Conn) (*http.Response, string) {
	n.t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
		n.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp, string(body)
}

// handshakes waits until so many ended with a result.
func (n *node) handshakes(r secure.Result, want uint64) {
	n.t.Helper()
	eventually(n.t, fmt.Sprintf("%d handshakes that end %s", want, r), func() bool {
		return n.engine.stats.Handshakes(false, uint8(r)) >= want
	})
}

func TestARequestOverTLSReachesTheEndpoint(t *testing.T) {
	n := startTLS(t, 2)
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Forwarded-Proto"))
	}))))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := n.config()
		c.MinVersion, c.MaxVersion = version, version
		conn := n.dial(c)
		for range 3 {
			if resp, body := n.ask(conn); resp.StatusCode != 200 || body != "https" {
				t.Errorf("%s: %d %q", tls.VersionName(version), resp.StatusCode, body)
			}
		}
	}
}

func TestBigBodiesOverTLSGoBothWays(t *testing.T) {
	n := startTLS(t, 1)
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: n.config()}}
	defer client.CloseIdleConnections()
	body := make([]byte, 8<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(body)
	resp, err := client.Post("https://"+n.address+"/", "x/y", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d of %d bytes, %v", len(got), len(body), err)
	}
}

func TestASessionIsResumedOnAnotherNodeWithTheSameKeys(t *testing.T) {
	keys := [][32]byte{{1}, {2}}
	byLoopAndByCrew(t, 1, func(t *testing.T, a *tlsNode) { resumesOn(t, a, startTLS(t, 1), keys) })
}

func resumesOn(t *testing.T, a, b *tlsNode, keys [][32]byte) {
	t.Helper()
	b.ca, b.secure = a.ca, a.secure
	for _, n := range []*tlsNode{a, b} {
		n.serve(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
		n.engine.SetTicketKeys(keys)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := a.config()
		c.MinVersion, c.MaxVersion = version, version
		c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for i, n := range []*tlsNode{a, b, a} {
			conn := n.dial(c)
			n.ask(conn)
			if got := conn.ConnectionState().DidResume; got != (i > 0) {
				t.Errorf("%s: connection %d: resumed %v", tls.VersionName(version), i, got)
			}
			conn.Close()
		}
		a.engine.SetTicketKeys([][32]byte{{3}, {1}}) // rotated: the old key still opens
		conn := a.dial(c)
		if !conn.ConnectionState().DidResume {
			t.Errorf("%s: not resumed after the keys were rotated", tls.VersionName(version))
		}
		a.engine.SetTicketKeys(keys)
	}
}

func TestTheCertificateFollowsTheNameAndTheTable(t *testing.T) {
	n := startTLS(t, 1)
	ec := n.ca.Certificate(securetest.Config{Names: []string{shop}})
	rsa := n.ca.Certificate(securetest.Config{Names: []string{shop}, RSA: true})
	wild := n.ca.Certificate(securetest.Config{Names: []string{"*.shop.test"}})
	exact := n.ca.Certificate(securetest.Config{Names: []string{"api.shop.test"}})
	n.secure = securetest.Listener(ec, rsa, wild, exact)
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	shown := func(name string, suites ...uint16) []byte {
		c := &tls.Config{InsecureSkipVerify: true, ServerName: name, CipherSuites: suites}
		if len(suites) > 0 {
			c.MaxVersion = tls.VersionTLS12
		}
		return n.dial(c).ConnectionState().PeerCertificates[0].Raw
	}
	for _, c := range []struct {
		name string
		want *table.Certificate
		got  []byte
	}{
		{"exact", ec, shown(shop)},
		{"upper case", ec, shown("SHOP.test")},
		{"exact before wildcard", exact, shown("api.shop.test")},
		{"wildcard", wild, shown("www.shop.test")},
		{"a wildcard is one label", ec, shown("a.b.shop.test")},
		{"unknown", ec, shown("other.test")},
		{"no name", ec, shown("")},
		{"a client that knows RSA alone", rsa, shown(shop, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)},
		{"no name, RSA alone", rsa, shown("", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)},
	} {
		if !bytes.Equal(c.got, c.want.Pair.Leaf.Raw) {
			t.Errorf("%s: another certificate", c.name)
		}
	}
	// A new table's certificates are for new connections; those that live go on.
	kept := n.dial(n.config())
	next := n.ca.Certificate(securetest.Config{Names: []string{shop}})
	n.secure = securetest.Listener(next)
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	if !bytes.Equal(shown(shop), next.Pair.Leaf.Raw) {
		t.Error("the old certificate is shown")
	}
	for range 2 {
		if resp, _ := n.ask(kept); resp.StatusCode != 200 || resp.Close {
			t.Error("a living connection was disturbed")
		}
	}
}

func TestAListenerMayBeginAndCeaseToSpeakTLS(t *testing.T) {
	n := startTLS(t, 1)
	route := forwardAll(newUpstream("u", startBackend(t, echo)))
	n.serve(nil, route)
	kept := n.dial(n.config())
	n.ask(kept)
	begun := n.raw()
	_, _ = io.WriteString(begun, "\x16\x03\x01\x00\x08\x01\x00\x00\x04")
	eventually(t, "both connections", func() bool { return clientsOpen(n.node) == 2 })
	n.apply(nil, route)
	_, _ = io.WriteString(begun, "1234")
	if got, _ := io.ReadAll(begun); string(got) != alertRefused {
		t.Errorf("a handshake that is not wanted any more: %q", got)
	}
	if resp, _ := n.ask(kept); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("a kept connection: %d, close %v", resp.StatusCode, resp.Close)
	}
	plain := n.raw()
	n.ask(plain)
	n.serve(nil, route)
	if resp, _ := n.ask(plain); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("a kept connection without TLS: %d, close %v", resp.StatusCode, resp.Close)
	}
}

func TestAListenerTakesTheClientCertificatesThatItAsksFor(t *testing.T) {
	n := startTLS(t, 1)
	clients := securetest.New(t)
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Client-Cert"))
	}))))
	good := clients.Pair(securetest.Config{Names: []string{"client"}})
	strange := securetest.New(t).Pair(securetest.Config{Names: []string{"client"}})
	ask := func(pair *tls.Certificate, version uint16) string {
		c := n.config()
		c.MaxVersion = version
		if pair != nil {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
		}
		conn, err := tls.Dial("tcp", n.address, c)
		if err != nil {
			return "refused"
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: :forged:\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return "refused" // TLS 1.3: the client is done before the server has looked
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	value := string(secure.AppendField(nil, good.Leaf.Raw))
	for _, c := range []struct {
		name string
		auth *table.ClientAuth
		pair *tls.Certificate
		want string
	}{
		{"not asked for, forged", nil, nil, ""},
		{"required, good, forwarded", &table.ClientAuth{Required: true, Forward: true}, &good, value},
		{"required, good, not forwarded", &table.ClientAuth{Required: true}, &good, ""},
		{"required, none", &table.ClientAuth{Required: true}, nil, "refused"},
		{"required, of another authority", &table.ClientAuth{Required: true}, &strange, "refused"},
		{"optional, none", &table.ClientAuth{Forward: true}, nil, ""},
		{"optional, good", &table.ClientAuth{Forward: true}, &good, value},
		{"optional, of another authority", &table.ClientAuth{}, &strange, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.secure = securetest.Listener(n.secure.Certificates...)
			if c.auth != nil {
				c.auth.CAs = clients.Pool()
				n.secure.ClientAuth = c.auth
			}
			n.serve(nil, forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, r.Header.Get("Client-Cert"))
			}))))
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				if got := ask(c.pair, version); got != c.want {
					t.Errorf("%s: got %.40q, want %.40q", tls.VersionName(version), got, c.want)
				}
			}
		})
	}
}

func TestUpstreamTLSIsVerified(t *testing.T) {
	ca, other := securetest.New(t), securetest.New(t)
	clients := securetest.New(t)
	var asked tls.ConnectionState
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked = *r.TLS; echo(w, r) }))
	backend.TLS = &tls.Config{
		Certificates: []tls.Certificate{ca.Pair(securetest.Config{Names: []string{"backend.test"}})},
		ClientCAs:    clients.Pool(), ClientAuth: tls.VerifyClientCertIfGiven,
	}
	speechless := &tls.Config{Certificates: backend.TLS.Certificates} // knows nothing of ALPN
	backend.TLS.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, "h2") {
			return speechless, nil
		}
		return nil, nil //nolint:nilnil // so crypto/tls has it: the server's own
	}
	backend.StartTLS()
	defer backend.Close()
	address := strings.TrimPrefix(backend.URL, "https://")
	n := startNode(t, 1)
	for i, c := range []struct {
		name   string
		tls    *table.UpstreamTLS
		status int
		detail string
	}{
		{"good", &table.UpstreamTLS{ServerName: "backend.test", CAs: ca.Pool()}, 200, ""},
		{"HTTP/2 that it does not agree to", &table.UpstreamTLS{ServerName: "backend.test", CAs: ca.Pool()}, 502, "no_http2"},
		{"another authority", &table.UpstreamTLS{ServerName: "backend.test", CAs: other.Pool()}, 502, "peer_certificate"},
		{"another name", &table.UpstreamTLS{ServerName: "wrong.test", CAs: ca.Pool()}, 502, "peer_certificate"},
		{"by address", &table.UpstreamTLS{CAs: ca.Pool()}, 502, "peer_certificate"},
		{"not verified", &table.UpstreamTLS{SkipVerify: true}, 200, ""},
		{"client certificate", &table.UpstreamTLS{
			ServerName: "backend.test", CAs: ca.Pool(), Certificate: clients.Certificate(securetest.Config{Names: []string{"node"}}),
		}, 200, ""},
	} {
		u := newUpstream("u", address)
		u.TLS, u.HTTP2 = c.tls, c.detail == "no_http2"
		n.apply(nil, forwardAll(u))
		resp := n.get("/")
		r := n.records.wait(t, i+1)
		if resp.StatusCode != c.status || r.Detail != c.detail || (c.status == 502) != (r.Reason == exchange.ReasonUpstreamTLS) {
			t.Errorf("%s: %d, %s %s", c.name, resp.StatusCode, r.Reason, r.Detail)
		}
		if c.tls.Certificate != nil && len(asked.PeerCertificates) == 0 {
			t.Errorf("%s: %d certificates were shown", c.name, len(asked.PeerCertificates))
		}
	}
}

func TestConnectionsToASecureEndpointAreKeptAndSessionsResumed(t *testing.T) {
	ca := securetest.New(t)
	resumed := make(chan bool, 16)
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resumed <- r.TLS.DidResume
		echo(w, r)
	}))
	backend.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Pair(securetest.Config{Names: []string{"127.0.0.1"}})}}
	backend.StartTLS()
	defer backend.Close()
	n := startNode(t, 1)
	u := newUpstream("u", strings.TrimPrefix(backend.URL, "https://"))
	u.TLS = &table.UpstreamTLS{CAs: ca.Pool()}
	n.apply(nil, forwardAll(u))
	for range 3 {
		if resp := n.get("/"); resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode)
		}
		if <-resumed {
			t.Error("a kept connection was expected")
		}
	}
	if got := n.engine.stats.Handshakes(true, uint8(secure.ResultFull)); got != 1 {
		t.Errorf("%d handshakes for three requests", got)
	}
	backend.CloseClientConnections()
	n.get("/")
	if !<-resumed {
		t.Error("the session was not resumed")
	}
}

// TestARequestThatCameWithItsHandshakeIsReadWhateverElseTheTurnDid: a body of tiny
// chunks uses up what one connection may have handled in a turn, again and again, and
// is the last to have one.
func TestARequestThatCameWithItsHandshakeIsReadWhateverElseTheTurnDid(t *testing.T) {
	byLoopAndByCrew(t, 1, aRequestThatCameWithItsHandshakeIsReadWhateverElseTheTurnDid)
}

func aRequestThatCameWithItsHandshakeIsReadWhateverElseTheTurnDid(t *testing.T, n *tlsNode) {
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))))
	busy := n.dial(n.config())
	fmt.Fprint(busy, "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n")
	chunks := bytes.Repeat([]byte("1\r\na\r\n"), 2_000)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for _, err := busy.Write(chunks); err == nil; _, err = busy.Write(chunks) {
		}
	}()
	for range 20 {
		conn := n.dial(n.config())
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		n.ask(conn)
		conn.Close()
	}
	busy.NetConn().Close()
	<-over
}
