//go:build linux

package evloop

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestAnAnswerThatHasEndedGoesOnWhileItsClientReads by the clock of a loop that does not
// run: bytes that wait for a client have timeouts.streamIdle each time some of them went,
// whether its connection is kept or ends.
func TestAnAnswerThatHasEndedGoesOnWhileItsClientReads(t *testing.T) {
	answer := make([]byte, 2<<20)
	for name, end := range map[string]func(*Loop, *downstream){
		"HTTP/1.1, kept":    func(l *Loop, d *downstream) { l.send(d.link, answer); l.nextRequest(d) },
		"HTTP/1.1, at last": func(l *Loop, d *downstream) { l.send(d.link, answer); l.closeDownAfter(d) },
		"HTTP/2, at last": func(l *Loop, d *downstream) {
			l.beginMux(d)
			l.gather(&d.mux.frames, append(l.frame[:0], answer...))
			l.closeDownAfter(d)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := startedLoop(t)
			d, far := pairedDown(t, l)
			k := d.link
			d.socket.listener.Timeouts = table.ListenerTimeouts{RequestHead: time.Second, Idle: 10 * time.Second, StreamIdle: time.Minute}
			fill(k)
			end(l, d)
			l.endTurn(l.now)
			for round := range 6 {
				l.now += int64(45 * time.Second)
				if l.expire(); k.closed {
					t.Fatalf("the connection ended in round %d", round)
				}
				if n, err := unix.Read(far, make([]byte, 256<<10)); n <= 0 {
					t.Fatal(n, err)
				}
				k.writable = true
				if l.turn(k); k.out.len() == 0 {
					t.Fatal("all is sent")
				}
			}
			l.now += int64(time.Minute) + 2*wheelTick
			if l.expire(); !k.closed {
				t.Error("a client that reads nothing is kept")
			}
		})
	}
}

// TestAnAnswerGoesOnWhileItsClientReads though nothing is read of the endpoint meanwhile, since so
// much waits for the client: by the clock of a loop that does not run.
func TestAnAnswerGoesOnWhileItsClientReads(t *testing.T) {
	u := newUpstream("u", "127.0.0.1:9")
	route := forwardAll(u)
	route.Timeout = time.Hour
	b := newBetween(t, u, route)
	l, down, up := b.l, b.down.link, b.up.link
	b.down.socket.listener.Timeouts.StreamIdle = time.Minute
	_ = unix.SetsockoptInt(down.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10)
	b.send(t, b.client, keptRequest)
	b.turn(down)
	b.read(t, b.server)
	b.send(t, b.server, []byte("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"))
	piece := make([]byte, 16<<10)
	for sent, stuck := 0, 0; stuck < 10; stuck++ { // until the loop reads no more
		n, err := unix.Write(b.server, piece)
		if sent += max(n, 0); err == nil {
			stuck = 0
		}
		if b.turn(up); sent > 64<<20 {
			t.Fatal("all is read")
		}
	}
	if down.out.len() == 0 || b.down.stream == nil {
		t.Fatal("nothing waits for the client")
	}
	for round := range 6 {
		l.now += int64(45 * time.Second)
		if l.expire(); down.closed {
			t.Fatalf("the connection ended in round %d", round)
		}
		before := down.out.len()
		for down.out.len() == before { // the socket has room again once a whole piece of what it took is read
			if _, err := unix.Read(b.client, piece); err != nil {
				t.Fatal(err)
			}
			down.writable = true
			l.turn(down)
			l.endTurn(l.now)
		}
	}
	l.now += int64(time.Minute) + 2*wheelTick
	if l.expire(); !down.closed {
		t.Error("a client that reads nothing is kept")
	}
}

// TestAnAnswerThatIsCutBehindItsEndIsSeenToBe where its end is that of the connection.
func TestAnAnswerThatIsCutBehindItsEndIsSeenToBe(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	file, err := accepted.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	accepted.Close()
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	l := startedLoop(t)
	l.newDown(socketOf(l), fd, netip.MustParseAddrPort("192.0.2.1:9"))
	d := l.links[0].down
	l.send(d.link, make([]byte, 32<<20))
	l.closeDownAfter(d)
	l.endTurn(l.now)
	l.now += int64(d.socket.listener.Timeouts.StreamIdle) + 2*wheelTick
	if l.expire(); l.counts.downs != 0 {
		t.Fatal("it is kept")
	}
	if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the rest ended by %v", err)
	}
}
