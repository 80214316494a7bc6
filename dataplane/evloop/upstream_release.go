//go:build linux

package evloop

import (
	"math"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/dataplane/upstream"
	"golang.org/x/sys/unix"
)

// This file says what becomes of a connection to an endpoint behind an attempt: it goes to
// the next one, to the pool, or ends.

// releaseUp gives a connection back after a complete exchange.
func (l *Loop) releaseUp(s *stream) {
	if s.call != nil {
		l.dropCall(s, false)
		return
	}
	c := s.up
	s.up, c.stream = nil, nil
	s.endInFlight()
	p := c.pool
	if !l.reusable(c) {
		l.closeUp(c)
		l.serveWaiting(p)
		return
	}
	l.passOn(c)
}

// reusable says that a connection may serve another request. It writes what still waits to
// be sent, and looks whether the endpoint said more than it was asked.
func (l *Loop) reusable(c *upstreamConn) bool {
	p, k := c.pool, c.link
	switch {
	case l.draining, p.retired:
		return false
	case c.client != p.client, c.http2 != p.http2: // the endpoint is met in another way now
		return false
	case c.private, p.header != table.ProxyHeaderNone: // it is one client's
		return false
	case p.config.MaxRequests > 0 && c.served >= p.config.MaxRequests, c.expired(l.now):
		return false
	case k.broken, k.readHup:
		return false
	}
	return l.flushed(k) && l.readsNothing(k)
}

// passOn gives a connection to the stream that waits longest, or to the pool; or its
// place to another loop.
func (l *Loop) passOn(c *upstreamConn) {
	p := c.pool
	if l.yields(p) {
		l.closeUp(c)
		return
	}
	if id, ok := p.FirstWaiting(); ok && l.streams.all[id].x.Fresh() {
		l.closeUp(c) // whoever waits longest wants one that served nobody
		l.serveWaiting(p)
		return
	}
	if s := l.nextWaiting(p); s != nil {
		served := c.served > 0
		l.assign(s, c)
		l.step(s, exchange.Event{Kind: exchange.EventAcquired, Reused: served, Served: served})
		return
	}
	// Where a stream of another loop waits it is closed too: it cannot change
	// loops, and the endpoint takes no more connections. Those that end soon have
	// their place for a moment beside those that replace them.
	most := p.config.MaxIdle + min(p.warm.aging, p.config.MinIdle)
	if p.retired || p.Endpoint().Waiting() > 0 || !p.Put(upstream.ID(c.link.index), most) {
		l.closeUp(c)
		return
	}
	c.idle = true
	c.idleUntil = l.now + c.idleTime()
	if c.expires > 0 {
		c.idleUntil = min(c.idleUntil, c.expires)
	}
	l.wheel.arm(c.link, c.idleUntil-p.lead(c.idleTime()))
}

// idleMargin is how long before its endpoint an idle connection is ended, at most half of the time
// that there is: what the endpoint ended meanwhile would be found by a request.
const idleMargin = int64(time.Second)

// idleTime is how long a connection may be idle.
func (c *upstreamConn) idleTime() int64 {
	most := int64(c.pool.config.IdleTimeout)
	if c.idleFor == 0 {
		return most
	}
	return min(most, c.idleFor-min(idleMargin, c.idleFor/2))
}

func (l *Loop) nextWaiting(p *endpointPool) *stream {
	short := p.Short()
	id, ok := p.NextWaiting()
	if !ok {
		return nil
	}
	l.leavePlace(p, short)
	s := l.streams.all[id]
	s.wait = nil
	return s
}

// serveWaiting opens a connection for the stream that waits longest, now that
// one has closed.
func (l *Loop) serveWaiting(p *endpointPool) {
	switch {
	case p.retired: // whoever waits is about to be told
	case p.http2:
		l.serveCalls(p)
	case p.widened: // the turn ends with that
	default:
		l.openWaiting(p, math.MaxInt)
	}
}

// openWaiting opens connections for the streams that wait longest, at most so many. left is how
// many of these it did not come to: there may be no more connections, or nobody waits.
func (l *Loop) openWaiting(p *endpointPool, most int) (left int) {
	for left = most; left > 0 && p.Queued() > 0 && p.tryOpen(); left-- {
		if !l.connect(l.nextWaiting(p), p) {
			break
		}
	}
	return left
}

// abortUp ends the connection of an attempt that did not end well.
func (l *Loop) abortUp(s *stream) {
	if s.call != nil {
		l.dropCall(s, true)
		return
	}
	c := s.up
	s.endInFlight()
	if c == nil {
		return
	}
	s.up, c.stream = nil, nil
	if rl := c.link.tls; rl != nil {
		rl.told = true // a request that is cut has not ended
	}
	if s.x.CutTunnel() { // what one side was cut off from must not look whole to the other (RFC 9113 section 8.5)
		_ = unix.SetsockoptLinger(c.link.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	l.endSoon(c)
}

// leaveQueue ends an attempt that has no connection yet.
func (l *Loop) leaveQueue(s *stream) {
	s.endInFlight()
	if m := s.unready; m != nil {
		if s.leaveUnready(); m.open == 0 && !m.link.closed {
			l.idleMux(m.of)
		}
	}
	if p := s.wait; p != nil {
		short := p.Short()
		p.Leave(s.id)
		s.wait = nil
		l.leavePlace(p, short)
	}
	if c := s.up; c != nil {
		s.up, c.stream = nil, nil
		p := c.pool
		if s.x.TimedOut() {
			l.stats.ConnectFailed(p.series, true)
		}
		l.closeUp(c)
		l.serveWaiting(p)
	}
}

func (s *stream) endInFlight() {
	if s.at != nil {
		s.at.Endpoint().End()
		s.at = nil
	}
}

// dropIdle closes an idle connection.
func (l *Loop) dropIdle(c *upstreamConn) {
	c.pool.RemoveIdle(upstream.ID(c.link.index))
	c.idle = false
	l.closeUp(c)
}

// closeUp ends a connection that is not idle and has no stream.
func (l *Loop) closeUp(c *upstreamConn) {
	c.pool.Closed()
	c.warmOver()
	c.endAging()
	if c.http2 && !c.connected {
		c.pool.connecting--
	}
	if c.connected {
		l.stats.EndpointClosed(c.series)
	}
	l.tellPlace(c.pool)
	l.sayLast(c.link)
	l.closeLink(c.link)
	l.old.ups.give(c)
	l.warmer.list(c.pool, l.now)
}

// expireUp closes an idle connection that was idle for long enough.
func (l *Loop) expireUp(c *upstreamConn) {
	if c.mux != nil {
		l.expireUpMux(c)
		return
	}
	if c.warming {
		l.expireWarming(c)
		return
	}
	if !c.idle {
		return // the exchange's deadline is armed on the client's link
	}
	if l.now < c.idleUntil {
		l.warmer.beginAging(c, c.idleUntil-c.pool.lead(c.idleTime()), l.now)
		l.wheel.arm(c.link, c.idleUntil)
		return
	}
	l.dropIdle(c)
}
