//go:build linux

package evloop

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"golang.org/x/sys/unix"
)

// listeningAt is a listening socket of a loop that does not run, and its address.
func listeningAt(t *testing.T, l *Loop) (s *socket, address string) {
	t.Helper()
	listener := (&node{}).listener()
	b := &binding{address: netip.MustParseAddrPort("127.0.0.1:0"), clientele: new(clientele)}
	if err := openSockets(b, &listener, 1, nil, false); err != nil {
		t.Fatal(err)
	}
	s = b.sockets[0]
	t.Cleanup(s.close)
	if err := l.addSocket(s); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(s.fd)
	if err != nil {
		t.Fatal(err)
	}
	return s, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(at.(*unix.SockaddrInet4).Port)).String()
}

// closeClients ends the clients that a loop has.
func closeClients(l *Loop) {
	for _, k := range l.links {
		if k.down != nil && !k.closed {
			l.closeDown(k.down)
		}
	}
}

// withoutDescriptors is what a process is like that has opened as many as it may.
func withoutDescriptors(t *testing.T, last int) (free func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(last) + 1, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	var filled []int
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			break
		}
		filled = append(filled, fd)
	}
	return func() {
		t.Helper()
		for _, fd := range filled {
			unix.Close(fd)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWithoutDescriptorsOneClientIsAnsweredAndTheOthersAreTakenLater: the edge that told of them
// is gone for good, so a timer asks again, each time by one client less.
func TestWithoutDescriptorsOneClientIsAnsweredAndTheOthersAreTakenLater(t *testing.T) {
	l := startedLoop(t)
	s, address := listeningAt(t, l)
	defer closeClients(l)
	var clients [3]net.Conn
	for i := range clients {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, plainRequest); err != nil {
			t.Fatal(err)
		}
		clients[i] = c
	}
	free := withoutDescriptors(t, l.sockets.reserve.fd)
	var exhausted [2]uint64
	var patience [2]time.Duration
	for i := range exhausted {
		l.takeTurns()
		exhausted[i] = l.engine.stats.Counter(stats.AcceptExhausted)
		patience[i] = l.patience()
		if l.now += acceptPause - 1; i == 0 {
			l.takeTurns() // not before the time
		}
		l.now++
	}
	reserve, kept := l.sockets.reserve.fd, l.counts.downs
	free()
	for i, c := range clients[:2] {
		answer, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") {
			t.Errorf("client %d: %q, %v", i, answer, err)
		}
	}
	for i, want := range []uint64{1, 2} {
		if exhausted[i] != want || patience[i] != time.Duration(acceptPause) {
			t.Errorf("turn %d: %d times without descriptors; the loop sleeps for %s", i, exhausted[i], patience[i])
		}
	}
	if reserve < 0 || kept != 0 {
		t.Errorf("the reserve is %d, and %d clients are kept", reserve, kept)
	}
	if l.takeTurns(); l.counts.downs != 1 || s.readable || l.sockets.acceptAgain != 0 {
		t.Errorf("with descriptors again %d clients are kept; to be asked %t, at %d", l.counts.downs, s.readable, l.sockets.acceptAgain)
	}
}

// TestATurnAcceptsABoundedNumberOfClients and the next one goes on without an edge.
func TestATurnAcceptsABoundedNumberOfClients(t *testing.T) {
	const more = 3
	l := startedLoop(t)
	s, address := listeningAt(t, l)
	defer closeClients(l)
	for range acceptBurst + more {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	for i, want := range []int{acceptBurst, acceptBurst + more} {
		last := i == 1
		if l.takeTurns(); l.counts.downs != want || s.readable == last || (l.patience() == 0) == last {
			t.Errorf("turn %d: %d clients, want %d; to be asked again %t, after %s", i, l.counts.downs, want, s.readable, l.patience())
		}
	}
}
