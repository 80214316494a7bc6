//go:build linux

package evloop

import (
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// This file gives attempts their places on connections that speak HTTP/2.

// acquireCall gives the attempt at hand a place on a connection: on one that has
// room, on a new one, or in the queue while one is on its way, all are full, or others wait.
func (l *Loop) acquireCall(s *stream, p *endpointPool) {
	if s.x.Method() == message.MethodConnect {
		l.step(s, exchange.Event{Kind: exchange.EventAcquireFailed, Failure: exchange.Failure{
			Reason: exchange.ReasonConnectDenied, Detail: "http2_upstream",
		}})
		return
	}
	if p.Queued() == 0 { // else others have waited longer
		for _, m := range p.muxes {
			if m.takes() {
				l.offerCall(s, m, true)
				return
			}
		}
		if p.tryOpenMux() {
			l.connect(s, p)
			return
		}
	}
	if !l.enqueue(s, p) {
		return
	}
	if p.connecting == 0 && p.full() { // it waits for other loops too
		l.pools.want(p)
	}
	l.serveCalls(p) // what was tried for the others, or a connection that has closed since
}

// takes says that another call may begin. An end whose turn is still to come counts.
func (m *upMux) takes() bool {
	return !m.leaving && m.conn.Open() && !m.link.readHup && !m.link.broken
}

// anyTakesNone says that the endpoint wants no calls for now, on whatever connection.
func (p *endpointPool) anyTakesNone() bool {
	return slices.ContainsFunc(p.muxes, func(m *upMux) bool { return m.conn.PeerStreams() == 0 })
}

// openedMux turns a new connection to HTTP/2 and gives it to those who wait.
func (l *Loop) openedMux(c *upstreamConn) {
	p, s := c.pool, c.stream
	p.connecting-- // c.connected is set: closeUp will not
	m := &upMux{frames: frames{link: c.link, heard: l.now}, of: c, begun: l.now}
	m.conn.Init(http2.Client, http2.Options{Secure: c.client != nil, Spare: &l.spareBlock})
	c.mux, c.stream = m, nil
	p.muxes = append(p.muxes, m)
	l.gather(&m.frames, m.conn.AppendPreface(l.frame[:0]))
	if s != nil {
		s.up = nil
		l.offerCall(s, m, false)
	}
	if c.client != p.client || !p.http2 { // opened by other settings: for the stream that asked, and no other
		m.leave()
	}
	l.serveWaiting(p)
	if s == nil && m.open == 0 && !c.link.closed {
		l.idleMux(c)
	}
}

// offerCall is beginCall for an attempt of any kind. One that asks for a tunnel
// waits until the endpoint's SETTINGS say whether it opens any (RFC 8441 section
// 3).
func (l *Loop) offerCall(s *stream, m *upMux, reused bool) {
	switch {
	case !s.x.Upgrades() || m.conn.ExtendedConnect():
		l.beginCall(s, m, reused)
	case m.conn.Ready():
		l.step(s, exchange.Event{Kind: exchange.EventAcquireFailed, Failure: exchange.Failure{Reason: exchange.ReasonUpgradeFailed}})
		if m.open == 0 {
			l.idleMux(m.of)
		}
	case len(m.unready) >= maxUnready:
		l.step(s, exchange.Event{Kind: exchange.EventAcquireFailed, Failure: exchange.Failure{Reason: exchange.ReasonPoolOverflow}})
	default:
		m.unready = append(m.unready, s)
		m.open++
		s.wait, s.unready = nil, m
	}
}

// maxUnready bounds them as a pool bounds those that wait for a connection.
const maxUnready = 1024

// settleCalls goes on with attempts that waited for an endpoint's SETTINGS.
func (l *Loop) settleCalls(m *upMux) {
	for _, s := range m.takeUnready() {
		if s.unready == m { // else one before it has ended it
			s.leaveUnready()
			l.acquireFrom(s, m.of.pool)
		}
	}
	if m.open == 0 && !m.link.closed { // they went elsewhere
		l.idleMux(m.of)
	}
}

// takeUnready empties the list of those that wait, so that each of them leaves it at
// no cost. None begins to wait any more: the SETTINGS are there, or will not come.
func (m *upMux) takeUnready() []*stream {
	waiting := m.unready
	m.unready = nil
	return waiting
}

// leaveUnready takes an attempt out of those that wait for SETTINGS.
func (s *stream) leaveUnready() {
	m := s.unready
	s.unready = nil
	m.unready = slices.DeleteFunc(m.unready, func(other *stream) bool { return other == s })
	m.open--
}

// serveCalls begins the calls that wait as long as there is room, and opens
// another connection if there is none. Where that fails at once the next one tries: no
// other end would serve it.
func (l *Loop) serveCalls(p *endpointPool) {
	for i := 0; i < len(p.muxes); {
		m := p.muxes[i]
		if p.Queued() == 0 {
			return
		}
		if !m.takes() {
			i++
			continue
		}
		l.offerCall(l.nextWaiting(p), m, true)
	}
	for p.Queued() > 0 && p.tryOpenMux() {
		if !l.connect(l.nextWaiting(p), p) {
			return
		}
	}
}

// beginCall binds an attempt to a connection and lets it send its request.
func (l *Loop) beginCall(s *stream, m *upMux, reused bool) {
	b := l.old.calls.take()
	*b = call{tag: m.calls.add(b), of: m, s: s, begun: l.now, trailers: b.trailers[:0], lines: b.lines[:0]}
	m.open++
	c := m.of
	served := c.served > 0 && m.open == 1
	c.endAging()
	s.up, s.call, s.wait = c, b, nil
	c.served++
	l.warmer.fine(c.pool, l.now)
	if most := c.pool.config.MaxRequests; most > 0 && c.served >= most || c.expired(l.now) {
		m.leave()
	}
	if c.pool.ping.Interval > 0 {
		l.wheel.arm(c.link, m.pingDeadline(c.pool.ping))
	}
	if reused {
		l.stats.EndpointReused(c.series)
	}
	l.step(s, exchange.Event{Kind: exchange.EventAcquired, Reused: reused, Served: served})
}
