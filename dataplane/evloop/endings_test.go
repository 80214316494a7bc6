//go:build linux

package evloop

import (
	"math"
	"net/http"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/sys/unix"
)

// givenUp are so many connections of a loop that does not run, whose attempts were given up in one
// turn. stands counts those of them that are open.
func givenUp(t *testing.T, many int) (l *Loop, p *endpointPool, stands func() int) {
	t.Helper()
	u := newUpstream("u", "127.0.0.1:9")
	l, p = poolOf(t, u)
	var links []*link
	var all []*stream
	for i := range many {
		if i > 0 {
			p.TryOpen(math.MaxInt)
		}
		c, far := pairedUp(t, l, p)
		t.Cleanup(func() { unix.Close(far) })
		c.connected = true
		s := l.streams.take()
		l.assign(s, c)
		links, all = append(links, c.link), append(all, s)
	}
	for _, s := range all {
		l.abortUp(s)
	}
	return l, p, func() (n int) {
		for _, k := range links {
			if !k.closed {
				n++
			}
		}
		return n
	}
}

// TestNoTurnEndsAllConnectionsThatWereGivenUpInOne of which a client that leaves may have a hundred;
// those that are left do not become more where each turn gives up many.
func TestNoTurnEndsAllConnectionsThatWereGivenUpInOne(t *testing.T) {
	for _, many := range []int{1, endingsMost, 100, 1000} {
		l, p, stands := givenUp(t, many)
		if got := many - stands(); got != min(many, endingsMost) {
			t.Fatalf("%d of %d were ended at once", got, many)
		}
		for before := many; before > 0; before = stands() {
			if left := stands(); left > 0 && l.patience() != 0 {
				t.Fatalf("%d of %d are left, and the loop sleeps", left, many)
			}
			for _, k := range l.links { // whatever edges tell of them
				k.readable, k.writable, k.broken = true, true, true
				if !k.closed {
					l.turn(k)
				}
			}
			l.ready = l.ready[:0]
			l.endTurn(l.now)
			if n := before - stands(); n < min(before, endingsMost) || n > endingsMost+many/endingsShare {
				t.Fatalf("%d of %d were ended in a turn", n, many)
			}
		}
		if p.Open() != 0 || p.Endpoint().Connections() != 0 || l.counts.descriptors.Load() != 0 || l.patience() == 0 {
			t.Errorf("%d connections and %d descriptors are counted after the end of %d", p.Open(), l.counts.descriptors.Load(), many)
		}
	}
}

// TestWhoWaitsHasThePlaceOfAConnectionThatEndsLater when it ends, and not before.
func TestWhoWaitsHasThePlaceOfAConnectionThatEndsLater(t *testing.T) {
	const many = endingsMost + 1
	l, p, stands := givenUp(t, many)
	p.config.MaxConnections = 1
	s := l.streams.take()
	if l.acquireFrom(s, p); s.wait != p || stands() != 1 {
		t.Fatalf("it waits: %t, %d are open", s.wait == p, stands())
	}
	l.endTurn(l.now)
	l.endTurn(l.now)
	if s.up == nil || p.Open() != 1 {
		t.Errorf("it has a connection: %t, %d are open", s.up != nil, p.Open())
	}
}

// TestADescriptorThatIsToBeClosedIsThereForWhoWantsOne at once.
func TestADescriptorThatIsToBeClosedIsThereForWhoWantsOne(t *testing.T) {
	l, p, stands := givenUp(t, 2*endingsMost)
	waits := l.streams.take()
	p.Wait(waits.id)
	waits.wait = p
	if !l.freeDescriptor() || stands() != endingsMost-1 || waits.up != nil {
		t.Errorf("%d are open, and who waits for one has it: %t", stands(), waits.up != nil)
	}
	if l.endTurn(l.now); waits.up == nil {
		t.Error("who waits has none when the turn has ended")
	}
}

// TestALoopThatEndsClosesWhatItHadPutOff and what it gives up then.
func TestALoopThatEndsClosesWhatItHadPutOff(t *testing.T) {
	l, p, stands := givenUp(t, 3*endingsMost)
	l.endAll()
	if stands() != 0 || p.Open() != 0 {
		t.Errorf("%d are open, %d are counted", stands(), p.Open())
	}
	for range 2 * endingsMost {
		p.TryOpen(math.MaxInt)
		s, c := l.streams.take(), l.newUp(mustSocket(t), p)
		c.connected = true
		l.assign(s, c)
		l.abortUp(s)
	}
	if p.Open() != 0 || l.counts.descriptors.Load() != 0 {
		t.Errorf("%d connections and %d descriptors are counted after the end", p.Open(), l.counts.descriptors.Load())
	}
}

func mustSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestAClientOfManyStreamsThatLeavesEndsAllItsConnections to endpoints of HTTP/1.1, also where the
// loop ends meanwhile.
func TestAClientOfManyStreamsThatLeavesEndsAllItsConnections(t *testing.T) {
	const streams = 100
	for name, stops := range map[string]bool{"it leaves": false, "the node stops": true} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream("u", startBackend(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
			u.ConnectTimeout = time.Minute
			n := startNode(t, 1)
			n.apply(nil, forwardAll(u))
			c, f := n.framesTo()
			for i := range uint32(streams) {
				if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1 + 2*i, BlockFragment: requestBlock("GET"), EndStream: true, EndHeaders: true}); err != nil {
					t.Fatal(err)
				}
			}
			load := func(want int) func() bool {
				return func() bool { _, open, _ := n.engine.EndpointLoad(0); return open == want }
			}
			eventually(t, "all to be on their way", load(streams))
			c.Close()
			n.records.wait(t, streams)
			if stops {
				n.stop()
			}
			eventually(t, "the end of all", load(0))
			if got := n.engine.loops[0].counts.descriptors.Load(); stops && got != 0 {
				t.Errorf("%d descriptors are left", got)
			}
		})
	}
}
