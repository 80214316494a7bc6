//go:build linux

package evloop

import (
	"bufio"
	"crypto/tls"
	"io"
	"math"
	"net"
	"net/http"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"golang.org/x/sys/unix"
)

// segments is how many a connection has got, and how many of them had bytes.
func segments(t *testing.T, c net.Conn) (all, filled uint32) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			t.Error(err)
			return
		}
		all, filled = info.Segs_in, info.Data_segs_in
	}); err != nil {
		t.Fatal(err)
	}
	return all, filled
}

// TestTheLastWordsOfAConnectionAreOneSegment: GOAWAY, close_notify and the end. Another one may
// acknowledge the frame that they answer, but not each time.
func TestTheLastWordsOfAConnectionAreOneSegment(t *testing.T) {
	n := startTLS(t, 1)
	n.serve(nil, respondAll())
	least := uint32(math.MaxUint32)
	for range 20 {
		all, filled := lastWords(t, n)
		if least = min(least, all); filled != 1 || all > 2 {
			t.Errorf("the end came in %d segments, %d of them with bytes", all, filled)
		}
	}
	if least != 1 {
		t.Errorf("the end came in %d segments at least", least)
	}
}

// lastWords has a connection end by a frame of no stream, and says in how many segments it ended.
func lastWords(t *testing.T, n *tlsNode) (all, filled uint32) {
	t.Helper()
	raw := n.raw()
	config := n.config()
	config.NextProtos = []string{"h2"}
	c := tls.Client(raw, config)
	if _, err := io.WriteString(c, http2.Preface); err != nil {
		t.Fatal(err)
	}
	f := xhttp2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for settled := false; !settled; { // the node has sent what it sends at first
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		s, is := frame.(*xhttp2.SettingsFrame)
		settled = is && s.IsAck()
	}
	before, filledBefore := segments(t, raw)
	if err := f.WriteRawFrame(xhttp2.FrameData, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	if goAway, _, err := endOf(f); err != nil || goAway != int(xhttp2.ErrCodeProtocol) {
		t.Fatalf("GOAWAY %d, %v", goAway, err)
	}
	if _, err := io.Copy(io.Discard, raw); err != nil { // close_notify may be there before the end is
		t.Fatal(err)
	}
	all, filled = segments(t, raw)
	return all - before, filled - filledBefore
}

// TestLastWordsAreNotLostWhereTheClientGoesOn: what it sends behind the request that ends its connection
// is unread when that is closed.
func TestLastWordsAreNotLostWhereTheClientGoesOn(t *testing.T) {
	const clients = 200
	n := startTLS(t, 1)
	n.serve(nil, respond("last words"))
	resumed := n.config()
	resumed.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for i := range clients {
		c, err := tls.Dial("tcp", n.address, resumed)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		}()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "last words" {
			t.Fatalf("client %d: %q, %v", i, body, err)
		}
		c.Close()
	}
}

// TestNothingGoesOutBehindLastWords: an answer that waited for the socket stays where it is.
func TestNothingGoesOutBehindLastWords(t *testing.T) {
	s := newFar(t)
	l, d, k := s.l, s.d, s.d.link
	window := func(n uint32) {
		var all wireBuffer
		_ = xhttp2.NewFramer(&all, nil).WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: n})
		s.send(all)
	}
	s.serve()
	window(0)
	s.send(s.heads(1, 0))
	s.serve()
	m := d.mux
	if m.blocked != 1 {
		t.Fatalf("%d answers wait for their windows", m.blocked)
	}
	k.writable = false
	k.out.add(&l.buffers, make([]byte, highWater+1))
	window(100)
	k.readable = true
	if l.turnMux(d); m.blocked != 1 || !m.stalled {
		t.Fatalf("%d answers wait for the socket: %t", m.blocked, m.stalled)
	}
	k.out.drop(&l.buffers, highWater)
	d.closing = true
	before := m.out.len()
	if l.turnMux(d); m.out.len() > before {
		t.Errorf("%d bytes are gathered", m.out.len()-before)
	}
}
