//go:build linux

package evloop

import (
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
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

// acquireCall gives the attempt at hand a place on a connection: on one that has
// room, on a new one, or in the queue while one is on its way or all are full.
func (l *Loop) acquireCall(s *stream, p *endpointPool) {
	if s.x.Method() == message.MethodConnect {
		l.step(s, exchange.Event{Kind: exchange.EventAcquireFailed, Failure: exchange.Failure{
			Reason: exchange.ReasonConnectDenied, Detail: "http2_upstream",
		}})
		return
	}
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
	if !p.Wait(s.id) {
		l.step(s, exchange.Event{Kind: exchange.EventAcquireFailed, Failure: exchange.Failure{Reason: exchange.ReasonPoolOverflow}})
		return
	}
	s.wait = p
	if p.connecting > 0 {
		return
	}
	if p.full() { // it waits for other loops too
		l.pools.want(p)
	}
	l.serveCalls(p) // a connection may have closed between TryOpen and Wait
}

// takes says that another call may begin.
func (m *upMux) takes() bool { return !m.leaving && m.conn.Open() }

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
	if c.client != p.client || !p.http2 { // opened by other settings: for who asked, and nobody else
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
	l.step(s, exchange.Event{Kind: exchange.EventAcquired, Reused: reused})
}

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
	m.idleUntil = l.now + int64(c.pool.config.IdleTimeout)
	if c.expires > 0 {
		m.idleUntil = min(m.idleUntil, c.expires)
	}
	l.wheel.arm(c.link, m.idleUntil-c.pool.lead())
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
		l.warmer.beginAging(c, m.idleUntil, l.now)
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
