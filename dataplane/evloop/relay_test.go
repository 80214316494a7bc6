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
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// handLoop is a loop of a node that has stopped: the test gives it its turns.
func handLoop(n *node) *Loop {
	n.t.Helper()
	n.stop()
	l, err := newLoop(n.engine, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(l.close)
	n.engine.loops[0] = l
	l.tick()
	l.wheel.start(l.now)
	l.look()
	return l
}

// handTurn serves the links that have an edge, or are ready.
func (l *Loop) handTurn() error {
	events, err := l.poller.Wait(time.Millisecond)
	l.tick()
	l.serveEdges(events)
	l.takeTurns()
	l.endTurn(l.now)
	return err
}

// handDown gives the loop a client, whose end of the connection is returned.
func (l *Loop) handDown(t *testing.T) (client int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[1]) })
	s := &socket{fd: -1, binding: &binding{clientele: new(clientele)}, listener: &l.table.Listeners[0]}
	l.newDown(s, pair[0], netip.MustParseAddrPort("127.0.0.1:1"))
	return pair[1]
}

// TestTheEndOfBothSidesCutsNothing that one of them has said: the other takes it as slowly as
// it likes. When both have ended the kernel says that the connection is over.
func TestTheEndOfBothSidesCutsNothing(t *testing.T) {
	said := bytes.Repeat([]byte("said"), 6<<10) // does not fit into the socket, and is too little for a splice
	for _, first := range []string{"client", "endpoint"} {
		t.Run(first+" first", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			accepting, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer accepting.Close()
			n := startNode(t, 1)
			n.apply(speaks(table.ProtocolTCP), passes("db", newUpstream("u", "unix:"+path)))
			l := handLoop(n)
			client := l.handDown(t)
			turns := func(what string, until func() bool) {
				t.Helper()
				eventually(t, what, func() bool { return l.handTurn() != nil || until() })
			}
			turns("the endpoint's connection", func() bool { return n.up(l) != nil && n.up(l).connected })
			conn, err := accepting.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			up := n.up(l)
			down := up.stream.down

			slow, says := down.link, up.link
			if first == "endpoint" {
				slow, says = says, slow
			}
			_ = unix.SetsockoptInt(slow.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10)
			var read func([]byte) (int, error)
			if first == "client" {
				_ = unix.Shutdown(client, unix.SHUT_WR)
				turns("the client's end", func() bool { return down.link.endTold })
				if _, err := conn.Write(said); err != nil {
					t.Fatal(err)
				}
				_ = conn.(*net.UnixConn).CloseWrite()
				read = func(p []byte) (int, error) { return unix.Read(client, p) }
			} else {
				_ = conn.(*net.UnixConn).CloseWrite()
				turns("the endpoint's end", func() bool { return up.link.endTold })
				if _, err := unix.Write(client, said); err != nil {
					t.Fatal(err)
				}
				_ = unix.Shutdown(client, unix.SHUT_WR)
				read = conn.Read
			}
			turns("its end", func() bool { return says.ended && says.broken })
			if slow.out.len() == 0 {
				t.Fatal("the socket took all")
			}
			got, piece, end := 0, make([]byte, 4<<10), false
			turns("all that it said", func() bool {
				_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
				k, err := read(piece)
				if k > 0 {
					got += k
				} else {
					end = err == nil || errors.Is(err, io.EOF)
				}
				return end
			})
			if r := n.records.wait(t, 1); got != len(said) || r.Reason != exchange.ReasonNone || r.BytesIn+r.BytesOut != uint64(len(said)) {
				t.Errorf("%d of %d bytes, and the record says %q, %d and %d bytes", got, len(said), r.Reason, r.BytesIn, r.BytesOut)
			}
		})
	}
}

// up is the only connection of a loop to an endpoint; nil: there is none.
func (n *node) up(l *Loop) *upstreamConn {
	for _, k := range l.links {
		if k.up != nil {
			return k.up
		}
	}
	return nil
}

// cutNoted notes that the connection below ended, which close_notify makes nobody wait for.
type cutNoted struct {
	net.Conn
	cut bool
}

func (c *cutNoted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.cut = c.cut || err != nil
	return n, err
}

// TestAnEndpointWithTLSHearsWhereItsClientEnds, which may be behind its own end: it could not
// tell a cut from that else (RFC 8446 section 6.1).
func TestAnEndpointWithTLSHearsWhereItsClientEnds(t *testing.T) {
	ca := securetest.New(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.Pair(securetest.Config{Names: []string{"127.0.0.1"}})}}
	type end struct {
		heard string
		err   error
		cut   bool
	}
	ends := make(chan end, 1)
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		below := &cutNoted{Conn: c}
		conn := tls.Server(below, config)
		_, _ = io.WriteString(conn, "ready")
		_ = conn.CloseWrite()
		heard, err := io.ReadAll(conn)
		ends <- end{string(heard), err, below.cut}
	}))
	u.TLS = &table.UpstreamTLS{CAs: ca.Pool()}
	n := startNode(t, 1)
	n.apply(speaks(table.ProtocolTCP), passes("db", u))
	c := n.dialNode()
	if got, err := io.ReadAll(c); err != nil || string(got) != "ready" {
		t.Fatalf("%q, %v", got, err)
	}
	_, _ = io.WriteString(c, "bye")
	_ = c.CloseWrite()
	if e := <-ends; e != (end{heard: "bye"}) {
		t.Errorf("the endpoint: %+v", e)
	}
}

// TestATunnelsClientWithTLSMayEndWithoutSayingSo: its endpoint gets all that it has said, and an end;
// the log tells (ADR 25).
func TestATunnelsClientWithTLSMayEndWithoutSayingSo(t *testing.T) {
	for _, c := range []struct {
		name   string
		end    func(*tls.Conn)
		detail string
	}{
		{"close_notify", func(c *tls.Conn) { _ = c.CloseWrite() }, ""},
		{"a bare FIN", func(c *tls.Conn) { _ = c.NetConn().(*net.TCPConn).CloseWrite() }, "no_close_notify"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startTLS(t, 1)
			heard := make(chan string, 1)
			n.serve(nil, tunnels(newUpstream("u", rawServer(t, func(conn net.Conn) {
				r := bufio.NewReader(conn)
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				fmt.Fprintf(conn, switching, "websocket")
				got, err := io.ReadAll(r)
				heard <- fmt.Sprint(string(got), err)
				_, _ = io.WriteString(conn, "bye")
			}))))
			client := n.dial(n.config())
			_, _ = io.WriteString(client, "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			r := bufio.NewReader(client)
			if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 101 {
				t.Fatal(resp, err)
			}
			_, _ = io.WriteString(client, "the last word")
			c.end(client)
			if got := <-heard; got != "the last word<nil>" {
				t.Errorf("the endpoint heard %q", got)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != "bye" {
				t.Errorf("the client heard %q, %v", got, err)
			}
			if rec := n.records.wait(t, 1); rec.Reason != exchange.ReasonNone || rec.Detail != c.detail {
				t.Errorf("the record says %q, %q", rec.Reason, rec.Detail)
			}
		})
	}
}
