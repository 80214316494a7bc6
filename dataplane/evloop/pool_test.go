//go:build linux

package evloop

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"golang.org/x/sys/unix"
)

// TestASlotHasTheLastPoolThatWasPut and other slots have none.
func TestASlotHasTheLastPoolThatWasPut(t *testing.T) {
	var ps pools
	if ps.at(3) != nil || ps.take(3) != nil {
		t.Error("there is a pool before any was put")
	}
	first, second := new(endpointPool), new(endpointPool)
	ps.put(3, first)
	ps.put(3, second)
	if ps.at(2) != nil || ps.at(4) != nil || ps.at(3) != second {
		t.Error("a pool stands in another slot, or an earlier one in this")
	}
	if ps.take(3) != second || ps.at(3) != nil {
		t.Error("a pool that was taken out is still there")
	}
}

// TestAPoolIsAskedForOnce however many streams come to wait for it in a turn.
func TestAPoolIsAskedForOnce(t *testing.T) {
	var ps pools
	p := new(endpointPool)
	ps.want(p)
	if ps.want(p); len(ps.wanting) != 1 {
		t.Errorf("%d times", len(ps.wanting))
	}
}

// TestASlotThatHasAnotherOwnerLeadsToThatOne, though the loop was not told to let go of the one
// before: what is kept leads elsewhere.
func TestASlotThatHasAnotherOwnerLeadsToThatOne(t *testing.T) {
	u := newUpstream("u", "127.0.0.1:9")
	l, before := poolOf(t, u)
	c, far := pairedUp(t, l, before)
	defer unix.Close(far)
	if l.opened(c); before.Idle() != 1 {
		t.Fatalf("%d are idle", before.Idle())
	}
	other := newUpstream("other", "127.0.0.1:10")
	other.Endpoints[0].Slot = u.Endpoints[0].Slot
	p := l.pool(other, &other.Endpoints[0])
	if p == before || p.address != "127.0.0.1:10" || p.Idle() != 0 || l.pools.at(p.to.Slot) != p {
		t.Errorf("its pool is of %s, and has %d that are idle", p.address, p.Idle())
	}
	if !before.retired || before.Idle() != 0 {
		t.Errorf("the one before is retired: %t, and has %d that are idle", before.retired, before.Idle())
	}
	l.now += 2 * wheelTick
	if l.expire(); !c.link.closed {
		t.Error("what was kept stays open")
	}
}

// countedOf has what is counted of a pool's endpoint stand under a name, and says how much that is.
func countedOf(t *testing.T, l *Loop, p *endpointPool) func() stats.ConnectionTotals {
	set, key := l.engine.stats, stats.Key{Parent: "u", Name: "e"}
	p.series = set.Endpoints.Acquire(key)
	return func() stats.ConnectionTotals {
		t.Helper()
		for c := range set.ServerConnections() {
			if c.Key == key {
				return c
			}
		}
		t.Fatal("nothing is counted of it")
		return stats.ConnectionTotals{}
	}
}

// TestAConnectionToAnEndpointCountsWhileItStands and not while it is on its way.
func TestAConnectionToAnEndpointCountsWhileItStands(t *testing.T) {
	l, p := poolOf(t, newUpstream("u", "127.0.0.1:9"))
	counted := countedOf(t, l, p)
	want := func(what string, open uint64) {
		t.Helper()
		if ofNode, of := l.engine.stats.Counter(stats.ServersOpen), counted().Open; ofNode != open || of != open {
			t.Errorf("%s: %d of the endpoint are open, %d of the node", what, of, ofNode)
		}
	}
	for _, stands := range []bool{false, true} {
		c, far := pairedUp(t, l, p)
		want("on its way", 0)
		if stands {
			l.opened(c)
			want("there", 1)
			l.dropIdle(c)
		} else {
			l.closeUp(c)
		}
		want("closed", 0)
		unix.Close(far)
	}
}

// TestWhoWaitsAndMayBeMetByEitherVersionKeepsItsPlace where an endpoint changes it.
func TestWhoWaitsAndMayBeMetByEitherVersionKeepsItsPlace(t *testing.T) {
	l, p := poolOf(t, newUpstream("u", "127.0.0.1:9"))
	var waiting [3]*stream
	for i := range waiting {
		s := l.streams.take()
		p.Wait(s.id)
		s.wait = p
		waiting[i] = s
	}
	p.http2 = true
	l.reviewWaiting(p)
	for i, s := range waiting {
		if got := l.nextWaiting(p); got != s {
			t.Errorf("place %d is another one's", i)
		}
	}
}
