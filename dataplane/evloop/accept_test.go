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

// TestWithoutDescriptorsASelfProbeIsAnswered, and not refused as a client: it asks whether
// connections are accepted, which they will be again.
func TestWithoutDescriptorsASelfProbeIsAnswered(t *testing.T) {
	l := startedLoop(t)
	_, address := listeningAt(t, l)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	mark := &probeMark{from: netip.MustParseAddrPort(c.LocalAddr().String()), answer: [16]byte{1, 2, 3}}
	l.engine.probing.Store(mark)
	free := withoutDescriptors(t, l.sockets.reserve.fd)
	l.takeTurns()
	free()
	if got, err := io.ReadAll(c); err != nil || string(got) != string(mark.answer[:]) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestASocketThatTakesNothingIsNotAskedAgain at once, which would be for ever.
func TestASocketThatTakesNothingIsNotAskedAgain(t *testing.T) {
	l := startedLoop(t)
	s, _ := listeningAt(t, l)
	s.close()
	if l.takeTurns(); s.readable || l.patience() == 0 {
		t.Errorf("to be asked %t, after %s", s.readable, l.patience())
	}
}

// TestASocketThatCannotBeWatchedIsClosed and stands on no list.
func TestASocketThatCannotBeWatchedIsClosed(t *testing.T) {
	l := startedLoop(t)
	s, _ := listeningAt(t, l)
	l.sockets.drop(s)
	l.poller.Close()
	if err := l.addSocket(s); err == nil || s.fd >= 0 || l.sockets.at(s.binding.address) != nil {
		t.Errorf("%v; its descriptor is %d, of its address there is %v", err, s.fd, l.sockets.at(s.binding.address))
	}
}

// TestARemovedSocketGetsOutOfTheWay of one that takes its connections: its filter would drop what
// the kernel gives it of them. All that it was given before are accepted.
func TestARemovedSocketGetsOutOfTheWay(t *testing.T) {
	const came = acceptBurst + 3 // more than one turn takes
	for name, c := range map[string]struct {
		before, after bool // another socket is there before it is removed, or comes after that
		closed        bool
	}{
		"nobody takes them":                {false, false, false},
		"another one has taken them":       {true, false, true},
		"another one takes them from then": {false, true, true},
	} {
		l := startedLoop(t)
		s, address := listeningAt(t, l)
		for range came {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		other := socketOn("0.0.0.0:0")
		other.listener = s.listener
		if c.before {
			l.sockets.put(other)
		}
		l.removeSocket(s.binding.address)
		if c.after {
			_ = l.addSocket(other) // there is nothing to be watched
		}
		if closed := s.fd < 0; closed != c.closed || closed && l.counts.downs != came || !s.removed {
			t.Errorf("%s: closed %t, and of %d that came %d are kept", name, closed, came, l.counts.downs)
		}
		closeClients(l)
	}
}

// TestASocketThatIsLeftToAnotherProcessIsNotHeardOfAgain: that one has a copy, by which it stays
// open, and in the epoll set.
func TestASocketThatIsLeftToAnotherProcessIsNotHeardOfAgain(t *testing.T) {
	l := startedLoop(t)
	s, address := listeningAt(t, l)
	copied, err := unix.Dup(s.fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(copied)
	d, _ := pairedDown(t, l)
	d.socket = s
	if l.releaseSocket(s.binding.address); s.fd >= 0 || !s.removed || l.sockets.at(s.binding.address) != nil {
		t.Errorf("its descriptor is %d; removed %t, of its address there is %v", s.fd, s.removed, l.sockets.at(s.binding.address))
	}
	if l.sweep.left == 0 {
		t.Error("nobody looks for those of its connections that are idle")
	}
	if _, err := l.poller.Wait(0); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if events, err := l.poller.Wait(0); err != nil || len(events) > 0 {
		t.Errorf("%d events tell of another process's connection, %v", len(events), err)
	}
}
