//go:build linux

package agent

import (
	"log/slog"
	"net/netip"
	"os"
	"testing"
)

// withCopy is a life of an agent, the agent's end of their pair, and the socket that it
// has a copy of, by a lease until then.
func withCopy(t *testing.T, until int64) (l *life, peer *os.File, fd int) {
	t.Helper()
	c, peer, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.close(); peer.Close() })
	if fd, err = openListening(netipLoopback, 1); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeFD(fd) })
	l = newLife(New(Config{Logger: slog.New(slog.DiscardHandler)}), c)
	l.copies[1] = &shared{address: netip.MustParseAddrPort("127.0.0.1:1"), fd: fd, until: until}
	return l, peer, fd
}

// TestALeaseThatWaitsToBeReadIsReadBeforeItsSocketIsEnded is for a main process that
// gets its turn late: what it knows ran out long ago, and more has come.
func TestALeaseThatWaitsToBeReadIsReadBeforeItsSocketIsEnded(t *testing.T) {
	l, peer, fd := withCopy(t, boottime()-300*ms)
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for range hearLooks {
		if next := l.cut(); next > 2*1e6 {
			t.Fatalf("looks again after %s only", next)
		}
	}
	if !listens(fd) {
		t.Fatal("the socket is ended, and what came was not read")
	}
	// It was a new lease.
	l.copies[1].until = boottime() + 10_000*ms
	if l.cut(); !listens(fd) || l.looks != 0 {
		t.Fatalf("ended with a lease, after %d looks", l.looks)
	}
	// That runs out, and nobody ever reads.
	l.copies[1].until = boottime() - 300*ms
	for range hearLooks + 1 {
		l.cut()
	}
	if listens(fd) || l.s.State().Cut != 1 {
		t.Error("it listens for ever")
	}
}

func TestALeaseThatRanOutLongAgoIsNotWaitedFor(t *testing.T) {
	l, peer, fd := withCopy(t, boottime()-hearAfter-cutAfter)
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if l.cut(); listens(fd) {
		t.Error("it listens")
	}
}

func TestASocketWhoseLeaseRanOutIsEndedAtOnceIfNothingCame(t *testing.T) {
	l, _, fd := withCopy(t, boottime()-cutAfter)
	if l.cut(); listens(fd) {
		t.Error("it listens")
	}
}
