//go:build linux

package evloop

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// reset ends a connection so that its peer sees that it did not end well.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// TestAResetOfOneSideIsOneOfTheOther in tunnels between connections, for what was cut must not
// look whole: an upload, a dump.
func TestAResetOfOneSideIsOneOfTheOther(t *testing.T) {
	websocket := "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for _, c := range []struct {
		name  string
		route func(*table.Upstream) *table.Route
		to    func(*table.Listener)
		asks  string
		agree string
	}{
		{"TCP", func(u *table.Upstream) *table.Route { return passes("db", u) }, speaks(table.ProtocolTCP), "", ""},
		{
			"CONNECT", func(u *table.Upstream) *table.Route { return connects(u, table.ConnectTarget{Host: "a", Port: 1}) }, nil,
			"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "",
		},
		{"WebSocket", tunnels, nil, websocket, fmt.Sprintf(switching, "websocket")},
	} {
		for _, clientFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, by the client %t", c.name, clientFirst), func(t *testing.T) {
				heard := make(chan error, 1)
				n := startNode(t, 1)
				n.apply(c.to, c.route(newUpstream("u", rawServer(t, func(conn net.Conn) {
					_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
					r := bufio.NewReader(conn)
					if c.agree != "" {
						if _, err := http.ReadRequest(r); err != nil {
							heard <- err
							return
						}
					}
					_, _ = io.WriteString(conn, c.agree+"!")
					if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
						heard <- err
						return
					}
					if !clientFirst {
						reset(conn)
						return
					}
					_, err := r.ReadByte()
					heard <- err
				}))))
				client := n.dialNode()
				_, _ = io.WriteString(client, c.asks)
				r := bufio.NewReader(client)
				if _, err := r.ReadString('!'); err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(client, "x")
				if clientFirst {
					reset(client)
				} else {
					_, err := r.ReadByte()
					heard <- err
				}
				if err := <-heard; !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("the other side heard %v", err)
				}
				want := exchange.ReasonUpstreamReset
				if clientFirst {
					want = exchange.ReasonClientGone
				}
				if rec := n.records.wait(t, 1); rec.Reason != want {
					t.Errorf("the record says %s", rec.Reason)
				}
			})
		}
	}
}

// tcpPair is both ends of a connection: one for a loop, one for its peer.
func tcpPair(t *testing.T) (fd int, peer *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	raw, err := other.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if controlErr := raw.Control(func(from uintptr) { fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || controlErr != nil {
		t.Fatal(err, controlErr)
	}
	return fd, c.(*net.TCPConn)
}

// handTCP gives the loop a client that has come by TCP.
func (l *Loop) handTCP(t *testing.T) (client *net.TCPConn) {
	t.Helper()
	fd, client := tcpPair(t)
	s := &socket{fd: -1, binding: &binding{clientele: new(clientele)}, listener: &l.table.Listeners[0]}
	l.newDown(s, fd, netip.MustParseAddrPort("127.0.0.1:1"))
	return client
}

// turns gives the loop turns until something is so.
func (l *Loop) turns(t *testing.T, what string, until func() bool) {
	t.Helper()
	eventually(t, what, func() bool { return l.handTurn() != nil || until() })
}

// writeIntoReset writes to a link whose peer has reset it, before the loop has read that: the
// write is told, and then a read is told of an end.
func (l *Loop) writeIntoReset(t *testing.T, k *link) {
	t.Helper()
	var errno unix.Errno
	eventually(t, "the reset", func() bool {
		_, errno = sysWrite(k.fd, []byte("x"))
		return errno != 0
	})
	l.wrote(k, 1, 0, errno)
}

// TestAResetThatAWriteIsToldOfIsNoEnd: reading tells of it no more, and the other side of a tunnel
// must not take it for an end.
func TestAResetThatAWriteIsToldOfIsNoEnd(t *testing.T) {
	for _, clientFirst := range []bool{true, false} {
		accepting, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer accepting.Close()
		n := startNode(t, 1)
		n.apply(speaks(table.ProtocolTCP), passes("db", newUpstream("u", accepting.Addr().String())))
		l := handLoop(n)
		var client net.Conn = l.handTCP(t)
		l.turns(t, "the endpoint's connection", func() bool { return n.up(l) != nil && n.up(l).connected })
		endpoint, err := accepting.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer endpoint.Close()
		_ = endpoint.SetDeadline(time.Now().Add(10 * time.Second))
		up := n.up(l)
		down := up.stream.down
		first, other, link := client, endpoint, down.link
		if !clientFirst {
			first, other, link = endpoint, client, up.link
		}
		_, _ = io.WriteString(first, "a part")
		reset(first)
		l.writeIntoReset(t, link)
		l.turns(t, "the end", func() bool { return link.closed })
		if got, err := io.ReadAll(other); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("by the client %t: the other side heard %q, %v", clientFirst, got, err)
		}
	}
}
