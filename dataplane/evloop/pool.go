//go:build linux

package evloop

import (
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/dataplane/upstream"
)

// This file is about a loop's pools: how one follows the table, and how it ends.

// endpointPool is this loop's pool for one endpoint, with the settings of the
// table that used it last.
type endpointPool struct {
	upstream.Pool
	address string // whose pool it is
	retired bool   // no table has the endpoint any more
	config  table.Pool
	series  uint32
	to      *table.Endpoint
	socket  table.UpstreamSocket
	ping    table.Ping
	// client meets the endpoint by TLS; nil: without. Another one has other
	// settings, and connections of the one before are not used again.
	client *secure.Client
	header table.ProxyHeader
	// connectTimeout is of connections that no stream asks for.
	connectTimeout time.Duration
	warm           warmth

	wants bool // it is on pools.wanting
	asked int  // loops that have not answered yet whether they made room: see room.go
	gave  bool // a connection of it ended while other loops were short: theirs is the next

	widened bool // it is on pools.widened

	// Of endpoints that speak HTTP/2.
	http2      bool
	muxes      []*upMux // that take calls
	connecting int      // connections on their way
}

// pools are those of one loop.
type pools struct {
	all     []*endpointPool // by the endpoint's slot; nil: there is none
	wanting []*endpointPool // those for which other loops are asked when the turn ends: see places.go
	widened []*endpointPool // those that may have more connections than when streams came to wait: see widen.go
}

// at is the pool of an endpoint's slot; nil: there is none.
func (ps *pools) at(slot uint32) *endpointPool {
	if int(slot) >= len(ps.all) {
		return nil
	}
	return ps.all[slot]
}

// take takes the pool of a slot out; nil: there is none.
func (ps *pools) take(slot uint32) *endpointPool {
	p := ps.at(slot)
	if p != nil {
		ps.all[slot] = nil
	}
	return p
}

// put gives a slot its pool.
func (ps *pools) put(slot uint32, p *endpointPool) {
	for int(slot) >= len(ps.all) {
		ps.all = append(ps.all, nil)
	}
	ps.all[slot] = p
}

// pool finds the pool of an endpoint of the current table.
func (l *Loop) pool(u *table.Upstream, to *table.Endpoint) *endpointPool {
	p := l.pools.at(to.Slot)
	if p != nil && p.address != to.Address {
		// The slot had another owner, whom this loop was not told to let go: what is
		// kept leads elsewhere. Whoever waited for it may make the next one's pool at once.
		l.letGo(l.pools.take(to.Slot))
		p = l.pools.at(to.Slot)
	}
	if p == nil {
		p = &endpointPool{Pool: *upstream.NewPool(l.engine.registry.Endpoint(to.Slot)), address: to.Address}
		l.pools.put(to.Slot, p)
	}
	if p.to != to { // another table: the settings may have changed
		wider := u.Pool.MaxConnections > p.config.MaxConnections
		p.to, p.config, p.socket, p.header, p.series = to, u.Pool, u.Socket, u.ProxyProtocol, to.Series
		p.connectTimeout = u.ConnectTimeout
		p.ping = u.Ping
		p.SetPart(max(p.config.MaxConnections/len(l.engine.loops), 1))
		l.meetBy(p, u.HTTP2, u.TLS)
		if wider && p.Queued() > 0 {
			l.pools.widen(p)
		}
	}
	return p
}

// retire lets go of endpoints that no table has any more.
func (l *Loop) retire(r upstream.Retired) {
	for _, slot := range r.Endpoints {
		if p := l.pools.take(slot); p != nil {
			l.letGo(p)
		}
	}
}

// letGo ends a pool: idle connections have their time now, and are closed as timers
// allow, since there may be thousands of them; busy ones are when their exchange
// has ended, and whoever waits looks for another endpoint.
func (l *Loop) letGo(p *endpointPool) {
	p.retired = true
	for id, ok := p.TakeIdle(); ok; id, ok = p.TakeIdle() {
		c := l.links[id].up
		c.idleUntil = l.now
		l.wheel.arm(c.link, l.now)
	}
	l.retireMuxes(p)
	for s := l.nextWaiting(p); s != nil; s = l.nextWaiting(p) {
		l.step(s, endpointGone)
	}
}

// endpointGone is the event of an attempt at what the table does not have any more: its
// exchange looks in the table of now.
var endpointGone = exchange.Event{Kind: exchange.EventAcquireFailed, Failure: exchange.Failure{
	Reason: exchange.ReasonNoEndpoint, Retry: exchange.RetryNothingSent,
}}

// reviewWaiting refuses those who wait and do not suit the protocol that a pool's endpoint is
// met by now; the others wait on.
func (l *Loop) reviewWaiting(p *endpointPool) {
	for range p.Queued() {
		s := l.nextWaiting(p)
		if s == nil { // one before it has ended some
			return
		}
		if s.x.Suits(p.http2) && p.Wait(s.id) { // as long as before: all have their turn
			s.wait = p
			continue
		}
		l.step(s, endpointGone)
	}
}

// closeIdle closes one idle connection of a pool; false: it has none.
func (l *Loop) closeIdle(p *endpointPool) bool {
	if id, ok := p.TakeIdle(); ok {
		c := l.links[id].up
		c.idle = false
		l.closeUp(c)
		return true
	}
	for _, m := range p.muxes {
		if m.open == 0 {
			l.closeUpMux(m.of)
			return true
		}
	}
	return false
}
