//go:build linux

package evloop

import (
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNoTurnClosesAllConnectionsToAnEndpointThatIsGone of which there may be thousands, and
// none is used again.
func TestNoTurnClosesAllConnectionsToAnEndpointThatIsGone(t *testing.T) {
	const idle = mostExpired + 10
	u := newUpstream("u", "127.0.0.1:9")
	u.Pool.MaxIdle, u.Pool.IdleTimeout = idle, time.Hour
	l, p := poolOf(t, u)
	links := make([]*link, idle)
	for i := range links {
		if i > 0 {
			p.TryOpen(math.MaxInt)
		}
		c, far := pairedUp(t, l, p)
		t.Cleanup(func() { unix.Close(far) })
		l.opened(c)
		links[i] = c.link
	}
	open := func() (n int) {
		for _, k := range links {
			if !k.closed {
				n++
			}
		}
		return n
	}
	if p.Idle() != idle {
		t.Fatalf("%d are idle", p.Idle())
	}
	l.letGo(p)
	if p.Idle() != 0 {
		t.Errorf("%d may be used again", p.Idle())
	}
	for before := idle; before > 0; before = open() {
		if closed := before - open(); closed > mostExpired {
			t.Fatalf("%d were closed in a turn", closed)
		}
		if l.now > int64(time.Minute) {
			t.Fatalf("%d are left", before)
		}
		l.now += wheelTick
		l.expire()
		if closed := before - open(); closed > mostExpired {
			t.Fatalf("%d were closed in a turn", closed)
		}
		l.endTurn(l.now)
	}
	if p.Open() != 0 || p.Endpoint().Connections() != 0 {
		t.Errorf("%d connections are counted, %d of the node", p.Open(), p.Endpoint().Connections())
	}
}

// TestWhoWaitsForAnUpstreamThatIsGoneGoesWhereItsRouteLeadsNow: one push takes the upstream away and
// has its route lead to another.
func TestWhoWaitsForAnUpstreamThatIsGoneGoesWhereItsRouteLeadsNow(t *testing.T) {
	const waiting = 5
	begun, goOn := make(chan struct{}), make(chan struct{})
	u := newUpstream("u", startBackend(t, func(http.ResponseWriter, *http.Request) { close(begun); <-goOn }))
	u.Pool.MaxConnections, u.ConnectTimeout = 1, time.Minute
	n := startNode(t, 1)
	n.apply(nil, forwardAll(u))
	ask := func() { fmt.Fprint(n.dial(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }
	ask()
	<-begun
	defer close(goOn)
	for range waiting {
		ask()
	}
	eventually(t, "all to wait", func() bool { _, _, w := n.engine.EndpointLoad(0); return w == waiting })
	n.apply(nil, forwardAll(newUpstream("v", startBackend(t, echo))))
	for i := range waiting {
		if r := n.records.wait(t, i+1); r.Status != 200 || r.Upstream != "v" {
			t.Errorf("%d %s from upstream %q", r.Status, r.Reason, r.Upstream)
		}
	}
}
