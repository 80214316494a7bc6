//go:build linux

package evloop

import (
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// upstreamConn is a connection to an endpoint: a link, a codec, and at most one
// stream, or with HTTP/2 a mux that has them.
//
//	connect, connectWarm ─▶ connectDone ─▶ (beginShakeUp, shakenUp) ─▶ opened
//	opened ─▶ a stream that waits for it, openedMux, or passOn
//	releaseUp ─▶ passOn ─▶ the next stream, or idle in the pool
//	abortUp, releaseUp, checkIdle, expireUp, retire ─▶ closeUp
type upstreamConn struct {
	link      *link
	reader    http1.Reader
	pool      *endpointPool
	stream    *stream
	mux       *upMux         // of HTTP/2: it has the streams; nil: HTTP/1.1, or not connected
	client    *secure.Client // that opened it; nil: it is without TLS
	connected bool
	idle      bool
	http2     bool  // it speaks HTTP/2 once it is connected
	warming   bool  // no stream has asked for it, and it is not there yet: see warm.go
	aging     bool  // idle, and not for long any more
	private   bool  // it belongs to one client, whom its PROXY header named
	expires   int64 // when it is not used again; 0: never
	served    int   // requests
	idleFor   int64 // after so long without a request the endpoint ends it, as its last answer said; 0: it did not
	series    stats.Slot
	idleUntil int64 // while idle; while warming, when the attempt is over
}

// acquire gets a connection for the attempt at hand: a kept one, a new one, or a
// place in the queue.
func (l *Loop) acquire(s *stream) {
	u, to := s.x.Upstream()
	p := l.pool(u, to)
	l.wheel.arm(s.down.link, s.x.NextDeadline()) // of this attempt
	p.Endpoint().Begin()
	s.at, s.upSeries, s.epSeries = p, u.Series, to.Series
	if l.postponed.add(s) {
		return
	}
	l.acquireFrom(s, p)
}

// acquireFrom is the rest of acquire: its attempt is counted at the endpoint. That may
// have left the table meanwhile, or speak the other version.
func (l *Loop) acquireFrom(s *stream, p *endpointPool) {
	if p.retired || !s.x.Suits(p.http2) {
		l.step(s, endpointGone)
		return
	}
	if p.http2 {
		l.acquireCall(s, p)
		return
	}
	kept := !s.x.Fresh() && p.header == table.ProxyHeaderNone
	if kept {
		if c := l.takeIdle(p); c != nil {
			served := c.served > 0
			l.assign(s, c)
			l.warmer.fine(p, l.now)
			l.warmer.list(p, l.now)
			l.stats.EndpointReused(c.series)
			l.step(s, exchange.Event{Kind: exchange.EventAcquired, Reused: true, Served: served})
			return
		}
	}
	first := p.Queued() == 0 // else others have waited longer
	// An idle one may be in its way.
	if first && p.tryOpen() || !kept && l.closeIdle(p) && first && p.tryOpen() {
		l.connect(s, p)
		return
	}
	if !l.enqueue(s, p) {
		return
	}
	l.pools.want(p)
	l.serveWaiting(p) // a connection may have closed between tryOpen and Wait
}

// takeIdle takes a kept connection out of its pool; nil: there is none. One whose turn is still
// to come since it has ended, since its endpoint has said what it was not asked, or since its time
// is over, is closed.
// With TLS bytes may be a session ticket: they are not read here, where the loop's buffer may hold
// what the client has sent.
func (l *Loop) takeIdle(p *endpointPool) *upstreamConn {
	for {
		id, ok := p.TakeIdle()
		if !ok {
			return nil
		}
		c := l.links[id].up
		c.idle = false
		c.endAging()
		if k := c.link; !k.broken && !k.readHup && (!k.readable || k.tls != nil) && l.now < c.idleUntil {
			return c
		}
		l.closeUp(c)
	}
}

// enqueue has a stream wait for a connection of a pool, or end where too many do.
func (l *Loop) enqueue(s *stream, p *endpointPool) bool {
	if !p.Wait(s.id) {
		l.step(s, exchange.Event{Kind: exchange.EventAcquireFailed, Failure: exchange.Failure{Reason: exchange.ReasonPoolOverflow}})
		return false
	}
	s.wait = p
	return true
}

// assign binds a stream to a connection.
func (l *Loop) assign(s *stream, c *upstreamConn) {
	s.up, c.stream = c, s
	s.wait = nil
	c.served++
}

// turnUp serves a connection to an endpoint.
func (l *Loop) turnUp(c *upstreamConn) {
	k := c.link
	if !c.connected {
		switch {
		case k.shake != nil:
			l.turnShake(k)
		case k.writable || k.broken:
			l.connectDone(c)
		}
		return
	}
	if c.mux != nil {
		l.turnUpMux(c)
		return
	}
	if c.idle {
		l.checkIdle(c)
		return
	}
	if c.stream != nil && c.stream.tunnel() {
		l.turnTunnel(c.stream, k)
		return
	}
	l.roomAgain(c.stream, k)
	if k.writable && k.out.len() > 0 {
		moved, empty := l.flushOut(k)
		if s := c.stream; s != nil && moved > 0 {
			s.x.Touch(l.now)
			if empty && !s.x.RequestDone() {
				l.makeReady(s.down.link)
			}
		}
	}
	l.readUp(c)
}

// checkIdle ends an idle connection on which bytes came that nobody asked for, or
// the end: it cannot serve again.
func (l *Loop) checkIdle(c *upstreamConn) {
	if k := c.link; k.broken || !l.readsNothing(k) || k.readHup {
		l.endedIdle(c)
	}
}

// readUp reads and parses for one turn.
func (l *Loop) readUp(c *upstreamConn) {
	k := c.link
	l.events = maxEvents
	// First what is kept; a body's End may follow without further bytes.
	if c.wantsAnswer() {
		l.consumeUp(c, k.in.bytes())
		if k.closed || c.stream == nil {
			return
		}
	}
	for budget := readSize; c.wantsAnswer() && l.events >= 0 && k.readable; {
		if budget <= 0 {
			l.makeReady(k)
			return
		}
		n, state, result := l.spliceAnswer(c)
		if result == spliceNot {
			var data []byte
			if data, n, state = l.fill(k); n > 0 {
				l.consumeUp(c, data)
			}
		}
		budget -= n
		if k.closed || c.stream == nil || c.stream.tunnel() {
			return
		}
		if state == readEnd || state == readReset {
			l.endUp(c, state)
			return
		}
		if result == spliceStop {
			break
		}
	}
	// What came before it broke may be all: it is handled first, once the client takes it.
	if k.broken && !k.readable && l.events >= 0 && c.wantsAnswer() {
		l.endUp(c, readReset)
	}
}

// consumeUp gives bytes to the codec until it wants more or the answer is
// complete, and keeps the rest.
func (l *Loop) consumeUp(c *upstreamConn, data []byte) {
	k := c.link
	used := 0
	for c.stream != nil && !c.stream.tunnel() {
		if l.events--; l.events < 0 {
			l.makeReady(k)
			break
		}
		ev := c.reader.Next(data[used:], &l.head)
		if ev.Kind == http1.NeedMore {
			break
		}
		start := used
		used += ev.N
		l.eventUp(c, ev, data[start:], len(data)-used)
		if k.closed {
			return
		}
	}
	if k.closed {
		return
	}
	l.keep(k, data, used)
}

// eventUp handles one event of the endpoint's codec. in begins where the event
// does; rest is how many bytes follow it.
func (l *Loop) eventUp(c *upstreamConn, ev http1.Event, in []byte, rest int) {
	s := c.stream
	switch ev.Kind {
	case http1.Interim:
		s.resp = &l.head
		l.step(s, exchange.Event{Kind: exchange.EventInterim, Head: s.resp})
	case http1.Head:
		s.resp = &l.head
		c.idleFor = int64(l.head.IdleFor) * int64(time.Second)
		l.step(s, exchange.Event{Kind: exchange.EventResponseHead, Head: s.resp})
	case http1.Data:
		s.body = in[ev.Start:ev.End]
		l.step(s, exchange.Event{Kind: exchange.EventResponseData, N: len(s.body)})
	case http1.End:
		s.trailers = in[ev.Start:ev.End]
		l.step(s, exchange.Event{Kind: exchange.EventResponseEnd, Reusable: c.reader.Idle() && rest == 0})
	case http1.Failed:
		l.step(s, exchange.Event{Kind: exchange.EventUpstreamFailed, Failure: exchange.Failure{
			Reason: exchange.ReasonUpstreamMalformed, Detail: ev.Reason.String(),
		}})
	case http1.Closed:
		l.failUp(c, exchange.ReasonUpstreamClosed, "")
	}
}

// endUp handles the end of a connection in the middle of an exchange.
func (l *Loop) endUp(c *upstreamConn, state readState) {
	if state == readReset {
		l.failUp(c, exchange.ReasonUpstreamReset, "")
		return
	}
	switch ev := c.reader.EOF(); ev.Kind {
	case http1.End:
		if c.link.truncated() {
			l.failUp(c, exchange.ReasonUpstreamTruncated, noCloseNotify)
			return
		}
		c.stream.trailers = nil
		l.step(c.stream, exchange.Event{Kind: exchange.EventResponseEnd})
	case http1.Failed:
		l.failUp(c, exchange.ReasonUpstreamClosed, ev.Reason.String())
	default:
		l.failUp(c, exchange.ReasonUpstreamClosed, "")
	}
}

// failUp tells the exchange that its connection died, and whether a byte of the
// answer had come.
func (l *Loop) failUp(c *upstreamConn, reason exchange.Reason, detail string) {
	f := exchange.Failure{Reason: reason, Detail: detail}
	if c.link.in.len() == 0 && detail == "" {
		f.Retry = exchange.RetryUnanswered
	}
	l.step(c.stream, exchange.Event{Kind: exchange.EventUpstreamFailed, Failure: f})
}
