//go:build linux

package evloop

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// wider is u as another table has it.
func wider(u *table.Upstream, connections int) *table.Upstream {
	next := *u
	next.Endpoints = append([]table.Endpoint(nil), u.Endpoints...)
	next.Pool.MaxConnections = connections
	return &next
}

// TestThoseWhoWaitAreServedWhenATableAllowsMoreConnections: what is busy ends only when all of
// them have been.
func TestThoseWhoWaitAreServedWhenATableAllowsMoreConnections(t *testing.T) {
	for _, c := range []struct {
		http2          bool
		loops, waiting int // to an endpoint of HTTP/2 each loop may have a connection of its own
	}{{false, 1, 5}, {false, 2, 5}, {true, 1, 1}} {
		t.Run(fmt.Sprintf("HTTP/2 %t, %d loops", c.http2, c.loops), func(t *testing.T) {
			begun, goOn := make(chan struct{}, 1), make(chan struct{})
			hold := func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/held" {
					begun <- struct{}{}
					<-goOn
				}
			}
			var u *table.Upstream
			if c.http2 {
				u, _ = h2narrow(t, 1, hold)
			} else {
				u = newUpstream("u", startBackend(t, hold))
			}
			u.ConnectTimeout, u.Pool.MaxConnections = time.Minute, 1
			n := startNode(t, c.loops)
			n.apply(nil, forwardAll(u))
			ask := func(path string) { fmt.Fprintf(n.dial(), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path) }
			ask("/held")
			<-begun
			defer close(goOn)
			for range c.waiting {
				ask("/")
			}
			eventually(t, "all to wait", func() bool { _, _, w := n.engine.EndpointLoad(0); return w == c.waiting })
			n.apply(nil, forwardAll(wider(u, 3)))
			for i := range c.waiting {
				if r := n.records.wait(t, i+1); r.Status != 200 {
					t.Errorf("%d %s", r.Status, r.Reason)
				}
			}
		})
	}
}

// TestTheRequestThatSeesAWiderPoolFirstIsNotServedFirst: others have waited longer.
func TestTheRequestThatSeesAWiderPoolFirstIsNotServedFirst(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		u := newUpstream("u", "127.0.0.1:9")
		u.HTTP2, u.Pool.MaxConnections = http2, 1
		l, p := poolOf(t, u)
		c, far := pairedUp(t, l, p)
		t.Cleanup(func() { unix.Close(far) })
		if http2 { // it takes no calls
			l.opened(c)
			c.mux.leave()
		}
		before, after := l.streams.take(), l.streams.take()
		env := exchange.Env{Table: new(table.Table), Listener: new(table.Listener), Random: l.random}
		after.x.BeginFailed(&env, &after.head, exchange.Arrival{}, exchange.Failure{Reason: exchange.ReasonOverload}) // it has a head
		p.Wait(before.id)
		before.wait = p
		u = wider(u, 2)
		if _, err := l.engine.registry.Bind(&table.Table{Upstreams: []*table.Upstream{u}}); err != nil {
			t.Fatal(err)
		}
		l.acquireFrom(after, l.pool(u, &u.Endpoints[0]))
		l.endTurn(l.now)
		if before.up == nil || after.up != nil || after.wait != p {
			t.Errorf("HTTP/2 %t: the older has one: %t, the younger: %t", http2, before.up != nil, after.up != nil)
		}
	}
}

// TestOfManyWhoWaitSomeAreServedInEachTurn and those that come meanwhile are served behind them.
func TestOfManyWhoWaitSomeAreServedInEachTurn(t *testing.T) {
	const many = 3 * widenedMost
	u := newUpstream("u", "127.0.0.1:9")
	u.Pool.MaxConnections = 1
	l, p := poolOf(t, u)
	_, far := pairedUp(t, l, p)
	t.Cleanup(func() { unix.Close(far) })
	var all []*stream
	come := func(p *endpointPool) {
		all = append(all, l.streams.take())
		l.acquireFrom(all[len(all)-1], p)
	}
	for range many {
		come(p)
	}
	u = wider(u, 2*many)
	if _, err := l.engine.registry.Bind(&table.Table{Upstreams: []*table.Upstream{u}}); err != nil {
		t.Fatal(err)
	}
	l.widenUp([]*table.Upstream{u})
	for turn := 1; turn <= 4; turn++ {
		if l.patience() != 0 {
			t.Fatalf("turn %d: the loop sleeps", turn)
		}
		if turn == 1 {
			come(l.pool(u, &u.Endpoints[0]))
		}
		l.endTurn(l.now)
		for i, s := range all {
			if is, want := s.up != nil, i < turn*widenedMost; is != want {
				t.Errorf("turn %d: request %d has a connection: %t", turn, i, is)
			}
		}
	}
	if l.patience() == 0 || p.widened {
		t.Error("the loop spins")
	}
}
