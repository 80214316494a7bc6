//go:build linux

package evloop

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/poll"
	"golang.org/x/sys/unix"
)

// withRing gives a loop that nobody runs its ring, and the test its thread.
func withRing(t *testing.T, l *Loop) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	if l.openRing(); l.ring == nil {
		t.Skip("this system refuses io_uring")
	}
	t.Cleanup(l.closeRing)
}

// withForeignRing gives it one that refuses to be used by the test's thread.
func withForeignRing(t *testing.T, l *Loop) {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	made := make(chan struct{})
	go func() {
		defer close(made)
		runtime.LockOSThread() // the thread ends with the goroutine
		l.openRing()
	}()
	if <-made; l.ring == nil {
		t.Skip("this system refuses io_uring")
	}
	t.Cleanup(l.closeRing)
}

// newClients are links of clients that wait for requests.
func newClients(t *testing.T, l *Loop, n int) *staged {
	s := newStaged(t, l, n)
	for _, k := range s.links {
		k.down = &downstream{link: k, phase: phaseHead}
	}
	return s
}

func (s *staged) write(t *testing.T, i int, p []byte) {
	t.Helper()
	if n, err := unix.Write(s.peers[i], p); n != len(p) || err != nil {
		t.Fatal(n, err)
	}
}

// edges are what the poller says when bytes have come for all.
func (s *staged) edges() []poll.Event {
	var events []poll.Event
	for _, k := range s.links {
		k.readable = true
		events = append(events, poll.Event{Token: k.token(), Readable: true})
	}
	return events
}

func TestWhatWasReadEarlyComesFirst(t *testing.T) {
	l := oneLoop(t)
	withRing(t, l)
	s := newClients(t, l, 4)
	defer s.close()
	const taken, kept, closed, ended = 0, 1, 2, 3
	for i := range s.links[:ended] {
		s.write(t, i, []byte("early"))
	}
	if err := unix.Shutdown(s.peers[ended], unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	l.readEarly(s.edges())
	for i := range s.links[:ended] {
		s.write(t, i, []byte(" and late"))
	}
	if data, n, state := l.fill(s.links[taken]); string(data) != "early" || n != 5 || state != readEmpty {
		t.Errorf("first: %q, %d, %d", data, n, state)
	}
	l.closeLink(s.links[closed])
	l.keepEarly()
	for _, i := range []int{taken, kept} {
		s.links[i].readable = true // the edge of what came late
	}
	if data, _, _ := l.fill(s.links[taken]); string(data) != " and late" {
		t.Errorf("then: %q", data)
	}
	if data, _, _ := l.fill(s.links[kept]); string(data) != "early and late" {
		t.Errorf("of one that was not read in its turn: %q", data)
	}
	if n := s.links[closed].in.len(); n > 0 {
		t.Errorf("of one that was closed %d bytes are kept", n)
	}
	if _, _, state := l.fill(s.links[ended]); state != readEnd {
		t.Errorf("an end that was seen early is not seen again: %d", state)
	}
}

// TestAResetThatWasSeenEarlyIsNotTakenForAnEnd whether or not the link had its turn.
func TestAResetThatWasSeenEarlyIsNotTakenForAnEnd(t *testing.T) {
	l := oneLoop(t)
	withRing(t, l)
	for _, turn := range []bool{true, false} {
		s := newClients(t, l, 1)
		k := s.links[0]
		if _, err := unix.Write(k.fd, []byte("an answer that it never reads")); err != nil {
			t.Fatal(err)
		}
		unix.Close(s.peers[0])
		l.readEarly(s.edges())
		if turn {
			if _, _, state := l.fill(k); state != readReset {
				t.Errorf("state %d", state)
			}
		}
		l.keepEarly()
		if !k.broken {
			t.Errorf("with a turn %t: nothing says that it is broken", turn)
		}
		if k.readable = true; !turn { // the edge of the reset, which the socket has told already
			if _, _, state := l.fill(k); state != readReset {
				t.Errorf("in its next turn: state %d", state)
			}
		}
		l.closeLink(k)
	}
}

func TestLinksThatSendMuchAreNotReadEarly(t *testing.T) {
	l := oneLoop(t)
	withRing(t, l)
	s := newClients(t, l, 1)
	defer s.close()
	k := s.links[0]
	long, short := make([]byte, earlySize+10), make([]byte, earlySize)
	s.write(t, 0, long)
	l.readEarly(s.edges())
	if _, n, state := l.fill(k); n != earlySize || state != readMore || k.readsNext() {
		t.Errorf("early: %d bytes, %d; read early again %t", n, state, k.readsNext())
	}
	if _, n, state := l.fill(k); n != 10 || state != readEmpty || !k.readsNext() {
		t.Errorf("the rest: %d bytes, %d; read early again %t", n, state, k.readsNext())
	}
	for _, c := range []struct {
		sent  []byte
		early bool
	}{{long, false}, {short, true}} {
		s.write(t, 0, c.sent)
		k.readable = true
		if _, n, _ := l.fill(k); n != len(c.sent) || k.readsNext() != c.early {
			t.Errorf("after %d of %d bytes at once: read early %t", n, len(c.sent), k.readsNext())
		}
	}
}

// TestAReadAsLongAsItAskedForIsNoWordTooMuch: behind an answer of just that size the
// connection serves again, and not with a byte more.
func TestAReadAsLongAsItAskedForIsNoWordTooMuch(t *testing.T) {
	l := oneLoop(t)
	withRing(t, l)
	s := newClients(t, l, 1)
	defer s.close()
	k := s.links[0]
	for _, c := range []struct {
		more    string
		nothing bool
	}{{"", true}, {"x", false}} {
		s.write(t, 0, make([]byte, earlySize))
		l.readEarly(s.edges())
		s.write(t, 0, []byte(c.more))
		if _, n, state := l.fill(k); n != earlySize || state != readMore {
			t.Fatalf("%d bytes, %d", n, state)
		}
		if nothing := l.readsNothing(k); nothing != c.nothing {
			t.Errorf("with %q behind: nothing has come %t", c.more, nothing)
		}
	}
}

// TestAWordTooMuchThatWasReadEarlyIsOne also before the link's turn tells of it.
func TestAWordTooMuchThatWasReadEarlyIsOne(t *testing.T) {
	l := oneLoop(t)
	withRing(t, l)
	s := newClients(t, l, 2)
	defer s.close()
	s.write(t, 0, []byte("x"))
	l.readEarly(s.edges())
	for i, nothing := range []bool{false, true} {
		k := s.links[i]
		if k.readable = false; l.readsNothing(k) != nothing {
			t.Errorf("link %d: nothing has come %t", i, !nothing)
		}
	}
}

// TestALostRingLosesNothing: what it did not take is read and written by calls, once.
func TestALostRingLosesNothing(t *testing.T) {
	l := oneLoop(t)
	withForeignRing(t, l)
	s := newClients(t, l, 3)
	defer s.close()
	for i := range s.links {
		s.write(t, i, []byte("request"))
	}
	l.readEarly(s.edges())
	l.keepEarly()
	if l.ring != nil {
		t.Fatal("the ring is still used")
	}
	for _, k := range s.links {
		if data, _, _ := l.fill(k); string(data) != "request" {
			t.Errorf("read %q", data)
		}
	}

	withForeignRing(t, l)
	for i, k := range s.links {
		l.send(k, bytes.Repeat([]byte{'a' + byte(i)}, 3))
	}
	l.flushStage()
	if l.ring != nil {
		t.Fatal("the ring is still used")
	}
	for i, want := range []string{"aaa", "bbb", "ccc"} {
		if got := s.read(t, i); string(got) != want {
			t.Errorf("link %d got %q", i, got)
		}
	}
}

// TestWhatCameBehindAnEarlyReadAndBeforeAResetIsRead: a write was told of the reset.
func TestWhatCameBehindAnEarlyReadAndBeforeAResetIsRead(t *testing.T) {
	l := oneLoop(t)
	withRing(t, l)
	s := newClients(t, l, 1)
	defer s.close()
	k := s.links[0]
	l.readEarly(s.edges())
	s.write(t, 0, []byte("the last word"))
	l.wrote(k, 1, 0, unix.ECONNRESET)
	if data, n, state := l.fill(k); string(data) != "the last word" || state == readReset {
		t.Errorf("%q, %d, %d", data, n, state)
	}
	if unix.Shutdown(s.peers[0], unix.SHUT_WR); k.readable {
		t.Error("the read has emptied the socket")
	}
	if _, _, state := l.fill(k); state != readReset {
		t.Errorf("then: %d", state)
	}
}
