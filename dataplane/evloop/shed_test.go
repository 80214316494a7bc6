//go:build linux

package evloop

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
)

// pairedDown is a client of l, which does not run, and the descriptor of its other end.
func pairedDown(t *testing.T, l *Loop) (d *downstream, far int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	listener := (&node{}).listener()
	l.newDown(&socket{fd: -1, binding: &binding{clientele: new(clientele)}, listener: &listener}, fds[0], netip.MustParseAddrPort("192.0.2.1:9"))
	for _, k := range l.links {
		if !k.closed && k.fd == fds[0] {
			t.Cleanup(func() { l.closeLink(k) })
			return k.down, fds[1]
		}
	}
	t.Fatal("no connection")
	return nil, -1
}

// startedLoop is a loop that does not run, at a time that is not its first.
func startedLoop(t *testing.T) *Loop {
	l := oneLoop(t)
	l.now = int64(time.Minute)
	l.wheel.start(l.now)
	return l
}

// TestAnHTTP2ClientIsToldWhatWasTakenWhenItMakesRoom: it may send the rest to others
// (RFC 9113 section 6.8).
func TestAnHTTP2ClientIsToldWhatWasTakenWhenItMakesRoom(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, respondAll())
	v := leavingFrom(n)
	v.get(1, "/")
	v.expect("END 1")
	n.engine.SetPressure(pressure.High)
	v.expect("GOAWAY 1 NO_ERROR", "EOF")
	v.c.Close()
	eventually(t, "the end of the connection", func() bool { return n.engine.clients() == 0 })
}

// TestWhoMakesRoomGetsTheAnswerThatEndedInThisTurn also where its socket is full.
func TestWhoMakesRoomGetsTheAnswerThatEndedInThisTurn(t *testing.T) {
	answer := bytes.Repeat([]byte("answer"), 1<<10)
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		l := startedLoop(t)
		d, far := pairedDown(t, l)
		k := d.link
		if version == "HTTP/2" {
			l.beginMux(d)
			d.headStart = 0
			l.endTurn(l.now)
		}
		fill(k)
		if version == "HTTP/2" {
			l.gather(&d.mux.frames, append(l.frame[:0], answer...))
		} else {
			l.send(k, answer)
		}
		l.now += shedFresh
		l.engine.SetPressure(pressure.High)
		l.shed()
		if !d.closing {
			t.Errorf("%s: it makes no room", version)
		}
		if has := time.Duration(d.deadline() - l.now); has != d.socket.listener.Timeouts.StreamIdle {
			t.Errorf("%s: it has %s to read its answer", version, has)
		}
		l.endTurn(l.now)
		var got []byte
		for buf := make([]byte, 1<<20); ; { // a read makes room, and a writable edge
			n, err := unix.Read(far, buf)
			if err != nil || n == 0 {
				break
			}
			if got = append(got, buf[:n]...); !k.closed {
				k.writable = true
				l.turn(k)
			}
		}
		if !bytes.Contains(got, answer) {
			t.Errorf("%s: %d bytes came, without the answer", version, len(got))
		}
	}
}

// TestAClientThatReadsNothingMakesRoomInTime: its socket does not even take the GOAWAY.
func TestAClientThatReadsNothingMakesRoomInTime(t *testing.T) {
	l := startedLoop(t)
	d, _ := pairedDown(t, l)
	k := d.link
	l.beginMux(d)
	d.headStart = 0
	l.endTurn(l.now)
	fill(k)
	l.now += shedFresh
	l.engine.SetPressure(pressure.High)
	if l.shed(); k.closed || k.out.len() == 0 {
		t.Fatalf("closed %t, %d bytes wait", k.closed, k.out.len())
	}
	l.now += lingerTime + wheelTick
	if l.expire(); !k.closed {
		t.Error("it is kept for as long as a slow reader of an answer")
	}
}

// TestAClientThatLingersEndsInTime, and later if it goes on reading what the kernel has for it:
// else whoever neither reads nor closes would keep a connection for ever.
func TestAClientThatLingersEndsInTime(t *testing.T) {
	for _, c := range []struct {
		name          string
		unread, reads bool
		times         int // of lingerTime
	}{
		{"nothing to read", false, false, 1},
		{"who reads nothing", true, false, 2}, // whether something moves is known at the second look
		{"who reads a part", true, true, 3},
	} {
		l := startedLoop(t)
		d, far := pairedDown(t, l)
		k := d.link
		if c.unread {
			fill(k)
		}
		d.refused = true // who may send more
		l.closeDownAfter(d)
		for i := range c.times {
			if k.closed {
				t.Errorf("%s: closed after %d times", c.name, i)
				break
			}
			if l.now += lingerTime - wheelTick; i == 0 {
				if l.expire(); k.closed {
					t.Errorf("%s: closed before its time", c.name)
				}
			}
			if i == 1 && c.reads {
				_, _ = unix.Read(far, make([]byte, 10))
			}
			l.now += 3 * wheelTick
			l.expire()
		}
		if !k.closed {
			t.Errorf("%s: kept after %d times", c.name, c.times)
		}
	}
}

// fill fills a link's socket, which the link does not know.
func fill(k *link) {
	for full := false; !full; {
		_, err := unix.Write(k.fd, []byte("x"))
		full = err != nil
	}
}

// TestNoMoreClientsMakeRoomThanNeeded while those that were asked to are still leaving:
// by the clock of a loop that does not run.
func TestNoMoreClientsMakeRoomThanNeeded(t *testing.T) {
	const clients = 4 * shedLeast
	l := startedLoop(t)
	l.engine.ceilings.clients.Store(clients)
	downs, links := make([]*downstream, clients), make([]*link, clients)
	for i := range downs {
		downs[i], _ = pairedDown(t, l)
		links[i] = downs[i].link
		l.beginMux(downs[i])
		downs[i].headStart = 0
	}
	leaving := func() (n int) {
		for i, d := range downs {
			if links[i].closed || d.closing {
				n++
			}
		}
		return n
	}
	l.now += shedIdle
	l.shedder.crowded = true
	for range 3 {
		l.shed()
		l.endTurn(l.now)
		l.now += shedEvery
	}
	if got := leaving(); got != shedLeast {
		t.Errorf("%d of %d clients leave, want %d", got, clients, shedLeast)
	}
	l.now += shedIdle // these have not left
	if l.shed(); leaving() != 2*shedLeast {
		t.Errorf("%d of %d clients leave later", leaving(), clients)
	}
}

// TestNoTurnLooksForRoomForLong however many clients there are, and all are looked at.
func TestNoTurnLooksForRoomForLong(t *testing.T) {
	const clients = 3 * shedLook
	l := startedLoop(t)
	listener := (&node{}).listener()
	s := &socket{fd: -1, binding: &binding{clientele: new(clientele)}, listener: &listener}
	for i := range clients {
		k := &link{fd: -1, index: uint32(len(l.links))}
		k.down = &downstream{link: k, socket: s, clientele: s.binding.clientele, since: int64(i)}
		l.links = append(l.links, k)
	}
	l.counts.clientsChanged(clients)
	l.counts.descriptors.Add(clients)
	l.engine.SetPressure(pressure.High)
	for rounds := 0; l.counts.downs > 0; rounds++ {
		before := l.counts.downs
		l.shed()
		if closed := before - l.counts.downs; closed > shedLook/shedShare || rounds > clients {
			t.Fatalf("round %d closed %d clients, %d are left", rounds, closed, l.counts.downs)
		}
		if gap := l.shedder.again - l.now; gap != shedEvery*shedLook/clients {
			t.Fatalf("round %d: the next third is looked at after %s", rounds, time.Duration(gap))
		}
		l.endTurn(l.now)
		l.now = l.shedder.again
	}
}
