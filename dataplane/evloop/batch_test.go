//go:build linux

package evloop

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"golang.org/x/sys/unix"
)

// newSecured are links with TLS whose handshakes are over, and their peers.
func newSecured(t *testing.T, l *Loop, n int) (*staged, []*tls.Conn) {
	t.Helper()
	ca := securetest.New(t)
	server := secure.NewServer(securetest.Listener(ca.Certificate(securetest.Config{Names: []string{shop}})), l.engine.tickets, secure.HTTP1)
	s := newStaged(t, l, n)
	var peers []*tls.Conn
	for i, k := range s.links {
		file := os.NewFile(uintptr(s.peers[i]), "peer")
		raw, err := net.FileConn(file) // a descriptor of its own
		if err != nil {
			t.Fatal(err)
		}
		if s.peers[i], err = unix.Dup(s.peers[i]); err != nil {
			t.Fatal(err)
		}
		file.Close()
		peer := tls.Client(raw, &tls.Config{RootCAs: ca.Pool(), ServerName: shop, DynamicRecordSizingDisabled: true})
		t.Cleanup(func() { peer.Close() })
		_ = peer.SetDeadline(time.Now().Add(20 * time.Second))
		shaken := make(chan error, 1)
		go func() { shaken <- peer.Handshake() }()
		k.tls = &recordLayer{conn: shake(t, k.fd, server.Conn())}
		if err := <-shaken; err != nil {
			t.Fatal(err)
		}
		peers = append(peers, peer)
	}
	return s, peers
}

// shake is the server's handshake on a socket.
func shake(t *testing.T, fd int, conn *secure.Conn) *secure.Conn {
	t.Helper()
	reports, resume := make(chan struct{}, 1), make(chan struct{})
	go func() {
		conn.Handshake(func() {
			reports <- struct{}{}
			<-resume
		})
		reports <- struct{}{}
	}()
	buf := make([]byte, 16<<10)
	for {
		select {
		case <-reports:
		case <-time.After(20 * time.Second):
			t.Fatal("no report of the handshake")
		}
		if out := conn.TakeOut(); len(out) > 0 {
			if _, err := unix.Write(fd, out); err != nil {
				t.Fatal(err)
			}
		}
		if !conn.Waiting() {
			if err := conn.Failed(); err != nil {
				t.Fatal(err)
			}
			return conn
		}
		n := 0
		eventually(t, "the peer's part of the handshake", func() bool { n, _ = unix.Read(fd, buf); return n > 0 })
		conn.Feed(buf[:n])
		resume <- struct{}{}
	}
}

// TestALostRingLosesNoRecords: what was encrypted for it goes as it is, also where another
// link's bytes are encrypted behind it.
func TestALostRingLosesNoRecords(t *testing.T) {
	l := oneLoop(t)
	withForeignRing(t, l)
	s, peers := newSecured(t, l, 4)
	defer s.close()
	l.wire = make([]byte, 0, 1<<10) // as it is after some turns
	const full = 1                  // its socket: what is sent to it waits
	s.links[full].writable = false
	var want [][]byte
	for i, k := range s.links {
		want = append(want, bytes.Repeat([]byte{'a' + byte(i)}, 100*(1+i)))
		l.send(k, want[i])
	}
	l.flushStage()
	if l.ring != nil {
		t.Fatal("the ring is still used")
	}
	s.links[full].writable = true
	l.flushOut(s.links[full])
	for i, peer := range peers {
		got := make([]byte, len(want[i]))
		if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want[i]) {
			t.Errorf("link %d: %v, %.10q", i, err, got)
		}
	}
}

// TestALoopWithoutARingIsToldOfOnce, whichever loop it is: some may have got theirs before
// what the system allows was used up.
func TestALoopWithoutARingIsToldOfOnce(t *testing.T) {
	l := oneLoop(t)
	var said bytes.Buffer
	l.id, l.log = 3, slog.New(slog.NewTextHandler(&said, nil))
	l.engine.ringless = sync.Once{}
	asIfNoneWereLeft(t, func() {
		l.openRing()
		l.openRing()
	})
	if l.ring != nil || strings.Count(said.String(), "\n") != 1 || !strings.Contains(said.String(), "reason=") {
		t.Errorf("ring %v; said %q", l.ring != nil, said.String())
	}
}

// TestALostRingIsReplacedInTime, and each time later while that fails.
func TestALostRingIsReplacedInTime(t *testing.T) {
	l := oneLoop(t)
	withForeignRing(t, l)
	var said bytes.Buffer
	l.log = slog.New(slog.NewTextHandler(&said, nil))
	s := newStaged(t, l, 2)
	defer s.close()
	flush := func() {
		for _, k := range s.links {
			l.send(k, []byte("x"))
		}
		l.flushStage()
	}
	if flush(); l.ring != nil {
		t.Fatal("the ring is still used")
	}
	lost := l.now
	asIfNoneWereLeft(t, func() {
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			l.now = lost + int64(pause*time.Second) - 1
			l.endTurn(l.now)
			if at := l.ringless.at; at != l.now+1 {
				t.Fatalf("the next try is %s later, want %d s", time.Duration(at-lost), pause)
			}
			l.now++
			l.endTurn(l.now)
			lost = l.now
		}
	})
	l.now = l.ringless.at
	l.endTurn(l.now)
	if l.ring == nil || l.ringless.at != 0 || strings.Count(said.String(), "\n") != 2 {
		t.Fatalf("ring %t; said %q", l.ring != nil, said.String())
	}
	if flush(); l.ring == nil {
		t.Error("the new one is lost too")
	}
}

// TestARingThatIsLostSoonIsReplacedLater than one that was good for long.
func TestARingThatIsLostSoonIsReplacedLater(t *testing.T) {
	var r ringless
	for _, c := range []struct{ after, want int64 }{{ringLast + 1, ringFirst}, {1, 2 * ringFirst}, {ringLast, 4 * ringFirst}, {ringLast + 1, ringFirst}} {
		now := r.since + c.after
		if r.begin(now); r.at != now+c.want || r.over(r.at-1) || !r.over(r.at) {
			t.Errorf("lost after %s: replaced after %s", time.Duration(c.after), time.Duration(r.at-now))
		}
		if r.end(r.at); r.over(r.since) {
			t.Error("it is tried although there is one")
		}
	}
}

// asIfNoneWereLeft does something while the process gets no descriptor, and so no ring.
func asIfNoneWereLeft(t *testing.T, do func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}()
	do()
}
