//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// upMux is what a connection to an endpoint that speaks HTTP/2 has beside its
// link: the codec, and a call for each request. It is in its pool's list as long
// as it takes calls.
type upMux struct {
	frames
	of *upstreamConn

	calls   tagged[call]
	open    int // calls, and attempts in unready
	blocked int // calls whose request waits for the endpoint's windows
	held    int // calls whose answer waits for its client

	// unready are attempts that ask for a tunnel, before the endpoint has said
	// whether it opens any.
	unready []*stream

	begun     int64 // when it was opened
	failed    bool  // it ended at once, which is counted
	leaving   bool  // it takes no more calls, and closes behind the last
	over      bool  // nothing more is read: the calls that are left have whole answers; it is leaving too
	idleUntil int64 // without calls
}

// call is one HTTP/2 stream to an endpoint: the attempt of an exchange. It ends
// with the attempt; a stream that has not ended then is reset.
type call struct {
	id, tag uint32
	of      *upMux // nil: it is over
	s       *stream
	begun   int64

	out      queue // of the request's body, for which the windows have no room
	outEnd   bool  // the end waits behind it, with trailers
	trailers []byte
	sendEnd  bool

	in    queue // of the answer's body, for which the client is not ready
	inEnd bool  // the end waits behind it
	ended bool  // the endpoint has sent all
	over  bool  // the endpoint reads no more of the request
	lines []byte
}

// whole says that all of the answer is here, and its client still has to take some. So
// nothing that the endpoint says or does behind it matters (RFC 9113 section 8.1).
func (b *call) whole() bool { return b.ended && !b.s.tunnel() }

// leave takes a connection out of its pool: it ends behind its last call.
func (m *upMux) leave() {
	if m.leaving {
		return
	}
	m.leaving = true
	m.of.endAging()
	p := m.of.pool
	for i, other := range p.muxes {
		if other == m {
			p.muxes = append(p.muxes[:i], p.muxes[i+1:]...)
			return
		}
	}
}

// turnUpMux serves a connection to an endpoint.
func (l *Loop) turnUpMux(c *upstreamConn) {
	k, m := c.link, c.mux
	if k.writable && k.out.len() > 0 {
		l.flushOut(k)
	}
	if m.stalled && !m.congested() { // bodies may have stopped for it
		m.stalled = false
		for _, b := range m.calls.all {
			if b != nil && (!b.s.x.RequestDone() || b.s.tunnel()) {
				l.makeReady(b.s.down.link)
			}
		}
	}
	if m.blocked > 0 {
		l.pumpCalls(m)
	}
	if m.held > 0 {
		l.feedCalls(m)
	}
	l.readUpMux(c)
}

// readUpMux reads and parses for one turn. Answers for clients that are not ready
// wait in their calls, within the windows that we gave.
func (l *Loop) readUpMux(c *upstreamConn) {
	k, m := c.link, c.mux
	l.events = upMuxFrames
	if k.broken { // nothing goes out any more, and must not keep us from reading that it is over
		k.out.release(&l.buffers)
		m.out.release(&l.buffers)
	}
	if m.over {
		if m.open == 0 {
			l.closeUpMux(c)
		}
		return
	}
	if !k.closed && !m.deaf() {
		l.consumeUpMux(c, k.in.bytes())
	}
	for budget := readSize; !k.closed && !m.over && k.readable && l.events > 0 && !m.deaf(); {
		if budget <= 0 {
			l.makeReady(k)
			return
		}
		data, n, state := l.fill(k)
		budget -= n
		if n > 0 {
			m.hear(l.now)
			l.consumeUpMux(c, data)
		}
		if !k.closed && (state == readEnd || state == readReset) {
			l.failCalls(c, exchange.ReasonUpstreamClosed, "")
			return
		}
	}
	switch {
	case k.closed || m.over:
	case l.events <= 0 || k.broken && k.readable:
		l.makeReady(k)
	case k.broken: // and all that came before is handled
		l.failCalls(c, exchange.ReasonUpstreamReset, "")
	case m.leaving && m.open == 0:
		l.closeUpMux(c)
	default:
		l.serveWaiting(c.pool) // room may have come
	}
}

// upMuxFrames is how many frames of an endpoint are handled in one turn: more than
// a client's, since an answer has two or three, of requests that we chose to send.
const upMuxFrames = 64

// consumeUpMux gives bytes to the codec, and keeps those that it does not take.
func (l *Loop) consumeUpMux(c *upstreamConn, data []byte) {
	k, m := c.link, c.mux
	used := 0
	for l.events > 0 && !m.over && !m.deaf() {
		ev, made := m.conn.Next(l.now, data[used:], &l.muxHead, l.frame[:0])
		l.gather(&m.frames, made)
		if ev.Kind == http2.NeedMore {
			break
		}
		if ev.N > 0 {
			l.events--
		}
		start := used
		used += ev.N
		l.eventUpMux(c, ev, data[start:used])
		if k.closed {
			return
		}
	}
	l.keep(k, data, used)
}

// eventUpMux handles one event of the codec, whose bytes are in.
func (l *Loop) eventUpMux(c *upstreamConn, ev http2.Event, in []byte) {
	m := c.mux
	switch ev.Kind {
	case http2.Head, http2.Interim:
		s := m.calls.all[ev.Tag].s
		s.resp = &l.muxHead
		kind := exchange.EventResponseHead
		if ev.Kind == http2.Interim {
			kind = exchange.EventInterim
		}
		l.step(s, exchange.Event{Kind: kind, Head: s.resp})
	case http2.Data:
		l.callData(m.calls.all[ev.Tag], in[ev.Start:ev.End])
	case http2.End:
		l.callEnd(m.calls.all[ev.Tag], ev.Trailers)
	case http2.Reset:
		l.callReset(m.calls.all[ev.Tag], ev)
	case http2.Writable, http2.Settings:
		if m.blocked > 0 {
			l.pumpCalls(m)
		}
		if len(m.unready) > 0 && m.conn.Ready() {
			l.settleCalls(m)
		}
	case http2.GoAway:
		m.leave()
		l.noteEarlyEnd(c)
		l.warmer.list(c.pool, l.now)
	case http2.Failed:
		l.flushFrames(&m.frames)
		l.failCalls(c, exchange.ReasonUpstreamMalformed, ev.Reason.String())
	}
}

// failCalls ends a connection that is over, and with it all its calls but for those
// whose answers are whole: it closes behind them.
func (l *Loop) failCalls(c *upstreamConn, reason exchange.Reason, detail string) {
	m := c.mux
	m.over = true
	m.leave()
	l.noteEarlyEnd(c)
	for _, s := range m.takeUnready() {
		if s.unready != m { // one before it has ended it
			continue
		}
		s.leaveUnready()
		l.step(s, exchange.Event{Kind: exchange.EventAcquireFailed, Failure: exchange.Failure{
			Reason: exchange.ReasonConnectFailure, Detail: detail, Retry: exchange.RetryNothingSent,
		}})
	}
	for i := 0; i < len(m.calls.all); i++ {
		if b := m.calls.all[i]; b != nil && !b.whole() {
			f := exchange.Failure{Reason: reason, Detail: detail}
			if reason != exchange.ReasonUpstreamMalformed {
				f.Retry = exchange.RetryUnanswered
			}
			l.step(b.s, exchange.Event{Kind: exchange.EventUpstreamFailed, Failure: f})
		}
	}
	switch {
	case c.link.closed:
	case m.open == 0:
		l.closeUpMux(c)
	default:
		l.serveWaiting(c.pool)
	}
}

// closeUpMux ends a connection without calls.
func (l *Loop) closeUpMux(c *upstreamConn) {
	m, p := c.mux, c.pool
	m.leave()
	l.gather(&m.frames, m.conn.AppendGoAway(l.frame[:0], http2.NoError))
	l.flushFrames(&m.frames)
	m.out.release(&l.buffers)
	l.closeUp(c)
	l.serveWaiting(p)
}

// idleMux is called when a connection has no more calls.
func (l *Loop) idleMux(c *upstreamConn) {
	m := c.mux
	if p := c.pool; l.draining || p.retired || c.client != p.client || c.expired(l.now) || p.othersLack() {
		m.leave()
	}
	if m.leaving {
		l.makeReady(c.link) // it is closed there: callers up the stack may still use it
		return
	}
	m.pinged = 0
	m.idleUntil = l.now + c.idleTime()
	if c.expires > 0 {
		m.idleUntil = min(m.idleUntil, c.expires)
	}
	l.wheel.arm(c.link, m.idleUntil-c.pool.lead(c.idleTime()))
}

// expireUpMux closes a connection that had no calls for long enough.
func (l *Loop) expireUpMux(c *upstreamConn) {
	switch m := c.mux; {
	case m.over: // it closes behind its last call
	case m.open > 0:
		if l.turnPing(&m.frames, c.pool.ping) {
			l.failCalls(c, exchange.ReasonUpstreamClosed, "ping_timeout")
			return
		}
		if c.pool.ping.Interval > 0 {
			l.wheel.arm(c.link, m.pingDeadline(c.pool.ping))
		}
	case l.now < m.idleUntil:
		l.warmer.beginAging(c, m.idleUntil-c.pool.lead(c.idleTime()), l.now)
		l.wheel.arm(c.link, m.idleUntil)
	default:
		l.closeUpMux(c)
	}
}

// retireMuxes lets go of a pool's connections: they end behind their last calls.
func (l *Loop) retireMuxes(p *endpointPool) {
	for len(p.muxes) > 0 {
		m := p.muxes[0]
		m.leave()
		if m.open == 0 {
			l.closeUpMux(m.of)
		}
	}
}
