//go:build linux

package evloop

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// helloTo is a loop that does not run and whose crew does not either, and clients whose hellos have come.
type helloTo struct {
	*staged
	ca       *securetest.Authority
	listener *table.Listener
	hello    []byte
}

func newHelloTo(t *testing.T, clients int) *helloTo {
	t.Helper()
	l := startedLoop(t)
	l.engine.crew = idleCrew()
	l.shaker.crew = l.engine.crew
	f := &helloTo{
		staged:   newStaged(t, l, clients),
		ca:       securetest.New(t),
		listener: new(table.Listener),
		hello:    helloBytes(),
	}
	f.listener.TLS = f.certificate(securetest.Config{Names: []string{shop}})
	t.Cleanup(func() {
		f.close()
		for h := l.engine.crew.fresh.take(); h != nil; h = l.engine.crew.fresh.take() {
			h.conn.GiveUp()
			h.conn.Handshake(nil)
			l.shaker.settle(h)
		}
		if l.shaker.end(); l.shaker.underWay != 0 || len(l.shaker.clients) != 0 || l.shaker.shakings.underWay != 0 || len(l.shaker.shakings.idle) != 0 {
			t.Errorf("at the end %d are under way, and %d coroutines idle", l.shaker.underWay, len(l.shaker.shakings.idle))
		}
	})
	return f
}

// certificate is the TLS of a listener with certificates.
func (f *helloTo) certificate(all ...securetest.Config) *table.ListenerTLS {
	var made []*table.Certificate
	for _, c := range all {
		made = append(made, f.ca.Certificate(c))
	}
	return securetest.Listener(made...)
}

// begin begins the handshake of a client.
func (f *helloTo) begin(t *testing.T, i int) *handshake {
	t.Helper()
	k := f.links[i]
	k.down = &downstream{
		link: k, peer: netip.MustParseAddrPort("192.0.2.1:1000"), phase: phaseShake,
		socket: &socket{listener: f.listener}, clientele: new(clientele),
	}
	hello, why, whole := peekHello(f.hello)
	if !whole {
		t.Fatal(why)
	}
	f.l.beginShake(k.down, f.hello, &hello)
	if k.shake == nil {
		t.Fatal("it was not begun")
	}
	return k.shake
}

// TestALoopDoesShortHandshakesItselfWhileItServesNobody: the crew does all others.
func TestALoopDoesShortHandshakesItselfWhileItServesNobody(t *testing.T) {
	quiet := time.Duration(shakeQuiet) + 1
	for _, c := range []struct {
		name   string
		served time.Duration // before
		change func(*helloTo)
		own    bool
	}{
		{"it serves nobody", quiet, func(*helloTo) {}, true},
		{"it serves somebody", quiet - 1, func(*helloTo) {}, false},
		{"a signature is long", quiet, func(f *helloTo) { f.listener.TLS = f.certificate(securetest.Config{Names: []string{shop}, RSA: true}) }, false},
		{"another name's is", quiet, func(f *helloTo) {
			f.listener.TLS = f.certificate(securetest.Config{Names: []string{"other.test"}, RSA: true}, securetest.Config{Names: []string{shop}})
		}, true},
		{"the hello is long", quiet, func(f *helloTo) { f.hello = append(f.hello, make([]byte, ownHello+1-len(f.hello))...) }, false},
		{"as many wait as may", quiet, func(f *helloTo) { f.l.shaker.own.number = maxOwn }, false},
		{"one less waits", quiet, func(f *helloTo) { f.l.shaker.own.number = maxOwn - 1 }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newHelloTo(t, 1)
			l := f.l
			l.shaker.served = l.now - int64(c.served)
			c.change(f)
			h := f.begin(t, 0)
			l.shaker.own.number = 0
			if c.own {
				l.shaker.own.number = 1
			}
			if h.own != c.own || (l.shaker.own.next != nil) != c.own || (l.engine.crew.fresh.next == nil) != c.own {
				t.Errorf("its own: %v", h.own)
			}
			if c.own && l.patience() != 0 {
				t.Error("the loop sleeps though it has something to compute")
			}
			l.shakeHands()
			if answer := f.read(t, 0); (len(answer) > 0) != c.own || h.waiting != c.own {
				t.Errorf("the hello has %d bytes of an answer, and waits for the client: %v", len(answer), h.waiting)
			}
		})
	}
}

// TestAnEndpointsHandshakeIsTheCrews, whomever the loop serves: to verify its certificates is long.
func TestAnEndpointsHandshakeIsTheCrews(t *testing.T) {
	f := newHelloTo(t, 1)
	f.l.shaker.served = -1 - shakeQuiet
	k := f.links[0]
	k.up = &upstreamConn{link: k, stream: new(stream), client: secure.NewClient(new(table.UpstreamTLS), "192.0.2.1", secure.HTTP1)}
	if f.l.beginShakeUp(k.up); k.shake == nil || k.shake.own || f.l.shaker.computes() || f.l.engine.crew.fresh.next == nil {
		t.Error("the loop does it")
	}
}

// TestWhoSendsMuchInAHandshakeOfALoopIsEnded: how long it computes depends on that.
func TestWhoSendsMuchInAHandshakeOfALoopIsEnded(t *testing.T) {
	f := newHelloTo(t, 1)
	f.l.shaker.served = -1 - shakeQuiet
	h := f.begin(t, 0)
	f.l.shakeHands()
	k := f.links[0]
	long := append([]byte("\x17\x03\x03\x40\x00"), make([]byte, 2*ownFed)...) // the beginning of a record
	sent := 0
	for ; !k.closed && sent+ownHello/4 <= len(long); sent += ownHello / 4 {
		if h.fed != sent || f.l.engine.stats.Handshakes(false, uint8(secure.ResultHelloTooLarge)) != 0 {
			t.Fatalf("%d bytes are counted of %d", h.fed, sent)
		}
		if _, err := unix.Write(f.peers[0], long[sent:][:ownHello/4]); err != nil {
			t.Fatal(err)
		}
		k.readable = true
		f.l.turn(k)
		f.l.shakeHands()
	}
	if !k.closed || sent != ownFed+ownHello/4 {
		t.Fatalf("it has sent %d bytes, and is ended: %v", sent, k.closed)
	}
	f.links, f.peers = nil, nil
}

// TestOnlyWhoWasThereBeforeIsSomebodyToServe, and not whoever has just cost a handshake.
func TestOnlyWhoWasThereBeforeIsSomebodyToServe(t *testing.T) {
	l := startedLoop(t)
	l.table = l.engine.live.Load()
	d, _ := pairedDown(t, l)
	s := &stream{down: d, listener: d.socket.listener}
	for age, counts := range map[int64]bool{0: false, shakeNew - 1: false, shakeNew: true} {
		l.shaker.served, d.born = 0, l.now-age
		if l.lend(s); (l.shaker.served == l.now) != counts {
			t.Errorf("a client of %s counts: %v", time.Duration(age), !counts)
		}
	}
}

// TestHandshakesOfALoopLeaveRoomForOthers: few have their turn before the loop looks for events again.
func TestHandshakesOfALoopLeaveRoomForOthers(t *testing.T) {
	const clients = maxOwn
	f := newHelloTo(t, clients)
	f.l.shaker.served = -1 - shakeQuiet
	for i := range clients {
		f.begin(t, i)
	}
	turns := 0
	for ; f.l.shaker.computes(); turns++ {
		f.l.shakeHands()
	}
	if turns < clients/4 {
		t.Errorf("%d handshakes in %d turns", clients, turns)
	}
	for i := range clients {
		if len(f.read(t, i)) == 0 {
			t.Errorf("client %d has no answer", i)
		}
	}
	if n := f.l.shaker.shakings.underWay; n != clients {
		t.Errorf("%d coroutines wait for clients", n)
	}
}

// TestAHandshakeOfALoopEndsWithItsLink, begun or not, and computes nothing more.
func TestAHandshakeOfALoopEndsWithItsLink(t *testing.T) {
	for _, begun := range []bool{false, true} {
		t.Run(fmt.Sprintf("begun %v", begun), func(t *testing.T) {
			f := newHelloTo(t, 1)
			f.l.shaker.served = -1 - shakeQuiet
			h := f.begin(t, 0)
			if begun {
				f.l.shakeHands()
				f.read(t, 0)
			}
			f.l.closeLink(f.links[0])
			for f.l.shaker.computes() {
				f.l.shakeHands()
			}
			if f.l.shaker.underWay != 0 || h.shaking != nil || h.conn.Waiting() {
				t.Errorf("%d handshakes are under way", f.l.shaker.underWay)
			}
			if out := h.conn.TakeOut(); len(out) > 5+2 {
				t.Errorf("it has %d bytes to send", len(out))
			}
			f.links = nil
		})
	}
}
