//go:build linux

package evloop

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestTheFirstClientAfterAChangeIsMetAsTheListenerSays(t *testing.T) {
	n := startTLS(t, 1)
	all := forwardAll(newUpstream("u", startBackend(t, echo)))
	for range 2 {
		n.apply(nil, all)
		if resp := n.get("/"); resp.StatusCode != 200 {
			t.Errorf("without TLS: %d", resp.StatusCode)
		}
		n.serve(nil, all)
		if resp, _ := n.ask(n.dial(n.config())); resp.StatusCode != 200 {
			t.Errorf("with TLS: %d", resp.StatusCode)
		}
	}
}

func TestAClientThatHasSentNothingYetMeetsAListenerThatHasNoTLSAnyMore(t *testing.T) {
	n := startTLS(t, 1)
	all := forwardAll(newUpstream("u", startBackend(t, echo)))
	n.serve(nil, all)
	raw := n.raw()
	eventually(t, "the connection", func() bool { return n.engine.clients() == 1 })
	n.apply(nil, all)
	n.get("/")
	if err := tls.Client(raw, n.config()).Handshake(); err == nil {
		t.Error("a handshake without certificates succeeded")
	}
	n.handshakes(secure.ResultRefused, 1)
}

func TestAHandshakeOutlivesTheTLSOfItsListener(t *testing.T) {
	n := startTLS(t, 1)
	all := forwardAll(newUpstream("u", startBackend(t, echo)))
	n.serve(nil, all)
	c := n.config()
	c.VerifyConnection = func(tls.ConnectionState) error {
		n.apply(nil, all)
		n.get("/")
		return nil
	}
	if resp, _ := n.ask(n.dial(c)); resp.StatusCode != 200 || !resp.Close {
		t.Errorf("%d, the connection ends: %v", resp.StatusCode, resp.Close)
	}
}

func TestAKeptConnectionEndsWhenOtherCertificatesAreAskedFor(t *testing.T) {
	n := startTLS(t, 1)
	all := forwardAll(newUpstream("u", startBackend(t, echo)))
	n.serve(nil, all)
	conn := n.dial(n.config())
	if resp, _ := n.ask(conn); resp.Close {
		t.Error("the connection ends without a reason")
	}
	others := securetest.Listener(n.secure.Certificates...)
	others.ClientAuth = &table.ClientAuth{Required: true, CAs: n.ca.Pool(), Class: [32]byte{1}}
	n.secure = others
	n.serve(nil, all)
	if resp, _ := n.ask(conn); !resp.Close {
		t.Error("a client without a certificate is served for as long as it likes")
	}
}

// TestWhetherACertificateIsPassedOnIsTheListenersToSay now, and not when its client came: a
// connection from before tells the endpoint nothing any more, or ends, so that the next one
// tells it.
func TestWhetherACertificateIsPassedOnIsTheListenersToSay(t *testing.T) {
	n := startTLS(t, 1)
	clients := securetest.New(t)
	pair := clients.Pair(securetest.Config{Names: []string{"client"}})
	all := forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Client-Cert"))
	})))
	forward := func(on bool) {
		n.secure = securetest.Listener(n.secure.Certificates...)
		n.secure.ClientAuth = &table.ClientAuth{Required: true, CAs: clients.Pool(), Forward: on}
		n.serve(nil, all)
	}
	config := n.config()
	config.Certificates = []tls.Certificate{pair}
	shown := string(secure.AppendField(nil, pair.Leaf.Raw))
	ask := func(c *tls.Conn, want string, ends bool) {
		t.Helper()
		if resp, got := n.ask(c); got != want || resp.Close != ends {
			t.Errorf("the endpoint was told %.20q, want %.20q; the connection ends: %v", got, want, resp.Close)
		}
	}
	forward(true)
	first := n.dial(config)
	ask(first, shown, false)
	forward(false)
	ask(first, "", false)
	second := n.dial(config)
	ask(second, "", false)
	forward(true)
	ask(first, shown, false)
	ask(second, "", true)
	ask(n.dial(config), shown, false)
}

// TestARetryOfAnOlderTableTakesNobodyBackToIt changes the TLS of an upstream while
// a request that came before waits for its second attempt.
func TestARetryOfAnOlderTableTakesNobodyBackToIt(t *testing.T) {
	ca := securetest.New(t)
	var mu sync.Mutex
	var names []string
	config := &tls.Config{
		Certificates: []tls.Certificate{ca.Pair(securetest.Config{Names: []string{"old.test", "new.test"}})},
		VerifyConnection: func(s tls.ConnectionState) error {
			mu.Lock()
			defer mu.Unlock()
			names = append(names, s.ServerName)
			return nil
		},
	}
	failed := make(chan struct{})
	tell := sync.OnceFunc(func() { close(failed) })
	address := rawServer(t, func(c net.Conn) {
		conn := tls.Server(c, config)
		for r := bufio.NewReader(conn); ; {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			select {
			case <-failed:
			default:
				if req.URL.Path == "/retried" {
					_, _ = io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
					tell()
					continue
				}
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
		}
	})
	n := startNode(t, 1)
	apply := func(name string) {
		u := newUpstream("u", address)
		u.TLS = &table.UpstreamTLS{ServerName: name, CAs: ca.Pool()}
		all := forwardAll(u)
		all.Retry.Statuses.Add(503)
		all.Retry.Backoff = time.Second
		n.apply(nil, all)
	}
	apply("old.test")
	old := dialKept(t, netip.MustParseAddrPort(n.address))
	_, _ = io.WriteString(old, "GET /retried HTTP/1.1\r\nHost: a\r\n\r\n")
	<-failed
	apply("new.test")
	if resp := n.get("/"); resp.StatusCode != 200 {
		t.Errorf("after the change: %d", resp.StatusCode)
	}
	if resp, err := http.ReadResponse(old.r, nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("the retry: %+v %v", resp, err)
	}
	if resp := n.get("/"); resp.StatusCode != 200 {
		t.Errorf("after the retry: %d", resp.StatusCode)
	}
	mu.Lock()
	defer mu.Unlock()
	if first := slices.Index(names, "new.test"); first < 0 || slices.Contains(names[first:], "old.test") {
		t.Errorf("handshakes for %q", names)
	}
}

// TestAnHTTP2EndpointIsMetAsItsUpstreamSaysNow: also where a connection of the
// settings before is open, idle, busy, or on its way.
func TestAnHTTP2EndpointIsMetAsItsUpstreamSaysNow(t *testing.T) {
	ca := securetest.New(t)
	pair := ca.Pair(securetest.Config{Names: []string{"old.test", "new.test"}})
	for _, open := range []string{"idle", "busy", "on its way"} {
		t.Run(open, func(t *testing.T) {
			begun, goOn := make(chan struct{}), make(chan struct{})
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if open == "busy" && r.URL.Path == "/busy" {
					close(begun)
					<-goOn
				}
				_, _ = io.WriteString(w, r.TLS.ServerName)
			}))
			s.EnableHTTP2 = true
			s.TLS = &tls.Config{
				Certificates: []tls.Certificate{pair},
				VerifyConnection: func(state tls.ConnectionState) error {
					if open == "on its way" && state.ServerName == "old.test" {
						close(begun)
						<-goOn
					}
					return nil
				},
			}
			s.StartTLS()
			defer s.Close()
			n := startNode(t, 1)
			apply := func(name string) {
				u := newUpstream("u", s.Listener.Addr().String())
				u.TLS, u.HTTP2 = &table.UpstreamTLS{ServerName: name, CAs: ca.Pool()}, true
				n.apply(nil, forwardAll(u))
			}
			ask := func(path string) string {
				resp, err := http.Get("http://" + n.address + path)
				if err != nil {
					t.Error(err)
					return ""
				}
				defer resp.Body.Close()
				name, _ := io.ReadAll(resp.Body)
				return string(name)
			}
			apply("old.test")
			first := make(chan string, 1)
			if open == "idle" {
				first <- ask("/")
				close(goOn)
			} else {
				go func() { first <- ask("/busy") }()
				<-begun
			}
			apply("new.test")
			if open == "on its way" {
				close(goOn)
			}
			if got := ask("/"); got != "new.test" {
				t.Errorf("met as %q", got)
			}
			if open == "busy" {
				close(goOn)
			}
			if got := <-first; got != "old.test" {
				t.Errorf("the first was met as %q", got)
			}
			if got := ask("/"); got != "new.test" {
				t.Errorf("then met as %q", got)
			}
		})
	}
}
