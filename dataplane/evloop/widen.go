//go:build linux

package evloop

import (
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// This file is about endpoints that may have more connections than before: those who wait get
// them when the table comes, in the order in which they have come.
//
// A loop's pool is listed when it learns of the table: by the change that brings it, or by the
// request that sees it first. At the end of each turn a few connections are opened, until nobody
// waits, or as many are open as may be.

// widenedMost is how many connections a loop begins in one turn for those who wait at pools that
// have become wider: some 300 µs.
const widenedMost = 16

// widened are the upstreams of a new table whose endpoints may have more connections than by the
// one before.
func widened(old, t *table.Table) (all []*table.Upstream) {
	for _, before := range old.Upstreams {
		if u := t.Upstream(before.Name); u != nil && u.Pool.MaxConnections > before.Pool.MaxConnections {
			all = append(all, u)
		}
	}
	return all
}

// widenUp brings the pools at which streams wait to what a new table allows.
func (l *Loop) widenUp(upstreams []*table.Upstream) {
	for _, u := range upstreams {
		for i := range u.Endpoints {
			if p := l.pools.at(u.Endpoints[i].Slot); p != nil && p.Queued() > 0 {
				l.pool(u, &u.Endpoints[i])
			}
		}
	}
}

// widen lists a pool.
func (ps *pools) widen(p *endpointPool) {
	if !p.widened {
		p.widened = true
		ps.widened = append(ps.widened, p)
	}
}

// serveWidened opens some connections for those who wait at pools that have become wider.
func (l *Loop) serveWidened() {
	ps := &l.pools
	for left := widenedMost; left > 0 && len(ps.widened) > 0; {
		at := len(ps.widened) - 1
		p := ps.widened[at]
		switch {
		case p.retired: // nobody waits there
		case p.http2: // one at a time, and it takes many
			left--
			l.serveCalls(p)
		default:
			if left = l.openWaiting(p, left); left == 0 && p.Queued() > 0 {
				return
			}
		}
		p.widened = false
		ps.widened = slices.Delete(ps.widened, at, at+1) // others may have come behind it
	}
}
