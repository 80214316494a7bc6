//go:build linux

package evloop

import (
	"math"
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
