//go:build linux

package evloop

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// TestNoLoopKeepsAnEndpointsConnectionsFromTheOthers where its own requests wait, and
// those that it has are not answered before the other loop's is.
func TestNoLoopKeepsAnEndpointsConnectionsFromTheOthers(t *testing.T) {
	const own = 20
	for _, connections := range []int{1, 2, 3} {
		t.Run(strconv.Itoa(connections), func(t *testing.T) {
			begun, goOn, served := make(chan struct{}, connections), make(chan struct{}), make(chan struct{})
			u := newUpstream("u", startBackend(t, func(_ http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/held":
					begun <- struct{}{}
					<-goOn
				case "/own":
					select {
					case <-served:
					case <-r.Context().Done():
					}
				case "/other":
					close(served)
				}
			}))
			u.ConnectTimeout, u.Pool.MaxConnections, u.Pool.IdleTimeout = time.Minute, connections, time.Minute
			n, ask := twoLoops(t, u)
			var asked sync.WaitGroup
			waiting := func(w int) func() bool {
				return func() bool { _, _, waits := n.engine.EndpointLoad(0); return waits == w }
			}
			for range connections {
				asked.Go(func() { ask(0, "/held") })
				<-begun
			}
			for range own {
				asked.Go(func() { ask(0, "/own") })
			}
			eventually(t, "its own to wait", waiting(own))
			asked.Go(func() { ask(1, "/other") })
			eventually(t, "another's to wait", waiting(own+1))
			close(goOn)
			asked.Wait()
		})
	}
}

// twoStill are two loops that do not run, with a pool of u's first endpoint each. The
// first has the only connection that there may be.
func twoStill(t *testing.T) (l, other *Loop, c *upstreamConn, p *endpointPool) {
	t.Helper()
	u := newUpstream("u", "127.0.0.1:9")
	u.Pool.MaxConnections = 1
	n := startNode(t, 2)
	n.stop()
	for i := range n.engine.loops {
		l, err := newLoop(n.engine, i)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.poller.Close(); l.sockets.reserve.close() })
		l.wheel.start(l.now)
		n.engine.loops[i] = l
	}
	if _, err := n.engine.registry.Bind(&table.Table{Upstreams: []*table.Upstream{u}}); err != nil {
		t.Fatal(err)
	}
	l, other = n.engine.loops[0], n.engine.loops[1]
	c, far := pairedUp(t, l, l.pool(u, &u.Endpoints[0]))
	t.Cleanup(func() { unix.Close(far) })
	return l, other, c, other.pool(u, &u.Endpoints[0])
}

// TestOtherLoopsAreAskedOnceATurn however many requests come to wait in it: each of them
// cost every other loop a wake-up.
func TestOtherLoopsAreAskedOnceATurn(t *testing.T) {
	l, other, _, p := twoStill(t)
	for range 5 {
		other.acquireFrom(other.streams.take(), p)
	}
	if other.endTurn(other.now); len(l.mail.box) != 1 || p.Queued() != 5 {
		t.Errorf("asked %d times for %d that wait", len(l.mail.box), p.Queued())
	}
}

// TestAHintIsNotLostInAFullBox: who waited for it would wait until its time is over.
func TestAHintIsNotLostInAFullBox(t *testing.T) {
	l, other, c, p := twoStill(t)
	s := other.streams.take()
	other.acquireFrom(s, p)
	for other.mail.post(mail{kind: mailMakePlaces, slot: 1 << 20}) {
	}
	l.closeUp(c)
	if other.readMail(); s.up == nil {
		t.Error("the stream waits for the connection that another loop closed")
	}
}

// TestAPlaceThatWasLeftToALoopWhichNeedsItNoMoreIsTheOthers: its stream has got a connection
// that was used before, or has left.
func TestAPlaceThatWasLeftToALoopWhichNeedsItNoMoreIsTheOthers(t *testing.T) {
	for name, ends := range map[string]func(*Loop, *endpointPool, *stream){
		"served": func(l *Loop, p *endpointPool, _ *stream) { l.nextWaiting(p) },
		"left":   func(l *Loop, _ *endpointPool, s *stream) { l.leaveQueue(s) },
	} {
		l, other, c, p := twoStill(t)
		own := c.pool
		own.config.MaxConnections, p.config.MaxConnections = 2, 2
		short, waits := other.streams.take(), l.streams.take()
		p.Wait(short.id)
		short.wait = p
		own.Wait(waits.id)
		waits.wait = own
		if l.serveWaiting(own); waits.up != nil {
			t.Fatalf("%s: the place of another loop was taken", name)
		}
		ends(other, p, short)
		if l.readMail(); waits.up == nil {
			t.Errorf("%s: the place stays empty, and a request waits", name)
		}
	}
}
