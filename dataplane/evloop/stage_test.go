//go:build linux

package evloop

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// staged are links whose other ends a test reads.
type staged struct {
	l     *Loop
	links []*link
	peers []int
}

func newStaged(t *testing.T, l *Loop, links int) *staged {
	s := &staged{l: l}
	for range links {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.links = append(s.links, l.newLink(fds[0], true))
		s.peers = append(s.peers, fds[1])
	}
	return s
}

func (s *staged) close() {
	for i, k := range s.links {
		s.l.closeLink(k)
		unix.Close(s.peers[i])
	}
	s.l.old.turn()
}

// read is all that has come at the other end of a link.
func (s *staged) read(t *testing.T, i int) (got []byte) {
	buf := make([]byte, readSize)
	for {
		n, err := unix.Read(s.peers[i], buf)
		if n <= 0 {
			if err != nil && !errors.Is(err, unix.EAGAIN) {
				t.Fatal(err)
			}
			return got
		}
		got = append(got, buf[:n]...)
	}
}

// byRingAndByCalls runs a test with a loop that has a ring, and with one that has none.
func byRingAndByCalls(t *testing.T, test func(*testing.T, *Loop)) {
	t.Run("ring", func(t *testing.T) {
		l := oneLoop(t)
		withRing(t, l)
		test(t, l)
	})
	t.Run("calls", func(t *testing.T) { test(t, oneLoop(t)) })
}

func TestSmallPiecesOfAllLinksAreWrittenWhenTheTurnsAreOver(t *testing.T) {
	byRingAndByCalls(t, smallPiecesOfAllLinksAreWrittenWhenTheTurnsAreOver)
}

func smallPiecesOfAllLinksAreWrittenWhenTheTurnsAreOver(t *testing.T, l *Loop) {
	s := newStaged(t, l, 3)
	defer s.close()
	s.l.send(s.links[0], []byte("a"))
	s.l.send(s.links[0], []byte("b"))
	s.l.send(s.links[1], []byte("c"))
	s.l.send(s.links[2], []byte("d"))
	for i := range s.links {
		if got := s.read(t, i); got != nil {
			t.Errorf("link %d got %q at once", i, got)
		}
	}
	s.l.flushStage()
	for i, want := range []string{"ab", "c", "d"} {
		if got := s.read(t, i); string(got) != want {
			t.Errorf("link %d got %q", i, got)
		}
	}
}

// TestEachLinkGetsItsBytesInOrder whatever is sent to whom, however much, and what
// else writes, fills the socket or ends a link meanwhile.
func TestEachLinkGetsItsBytesInOrder(t *testing.T) {
	byRingAndByCalls(t, eachLinkGetsItsBytesInOrder)
}

func eachLinkGetsItsBytesInOrder(t *testing.T, l *Loop) {
	const links = 4
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		s := newStaged(t, l, links)
		var sent, got [links][]byte
		next := byte(0)
		for range 60 {
			i := random.IntN(links)
			k := s.links[i]
			switch random.IntN(12) {
			case 0:
				s.l.flushStage()
			case 1:
				s.l.unstage(k)
			case 2:
				got[i] = append(got[i], s.read(t, i)...)
				k.writable = true
				s.l.unstage(k)
				s.l.flushOut(k)
			case 3:
				if random.IntN(4) == 0 {
					s.l.closeLink(k)
				}
			default:
				p := make([]byte, []int{1, 40, 900, pieceSize, 3 * pieceSize, 2 * stageSize}[random.IntN(6)])
				for j := range p {
					next++
					p[j] = next
				}
				if !k.closed {
					sent[i] = append(sent[i], p...)
				}
				s.l.send(k, p)
			}
		}
		for i, k := range s.links {
			if k.closed {
				got[i] = append(got[i], s.read(t, i)...)
				if !bytes.HasPrefix(sent[i], got[i]) {
					t.Fatalf("a link that was closed: %d of %d bytes, and others", len(got[i]), len(sent[i]))
				}
				continue
			}
			s.l.flushStage()
			for drained := false; !drained; {
				got[i] = append(got[i], s.read(t, i)...)
				k.writable = true
				_, drained = s.l.flushOut(k)
			}
			if got[i] = append(got[i], s.read(t, i)...); !bytes.Equal(got[i], sent[i]) {
				t.Fatalf("%d bytes came of %d, or others", len(got[i]), len(sent[i]))
			}
		}
		s.close()
	}
}

// TestAConnectionWhoseRequestHasNotGoneIsNotKept: of one that is idle nobody would send
// the rest.
func TestAConnectionWhoseRequestHasNotGoneIsNotKept(t *testing.T) {
	u := newUpstream("u", "127.0.0.1:9")
	l, p := poolOf(t, u)
	c, far := pairedUp(t, l, p)
	defer unix.Close(far)
	c.connected, c.link.writable = true, true
	for full := false; !full; { // which the link does not know
		_, err := unix.Write(c.link.fd, make([]byte, 1<<10))
		full = err != nil
	}
	s := l.streams.take()
	l.assign(s, c)
	l.send(c.link, []byte("the end of a body"))
	l.releaseUp(s)
	if l.flushStage(); c.idle || !c.link.closed {
		t.Errorf("idle %t, closed %t, %d bytes unsent", c.idle, c.link.closed, c.link.out.len())
	}
}
