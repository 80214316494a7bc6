//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// This file carries out what an exchange asks for its client when that speaks
// HTTP/2: act for subs. A sub whose stream was reset takes everything and sends
// nothing.

// answerSub carries out the actions that make an answer.
func (l *Loop) answerSub(s *stream, actions exchange.Actions) {
	b := s.sub
	if actions&exchange.ActContinue != 0 && takesInterim(s) {
		s.x.ContinueHead(&l.out)
		l.subHead(b, false)
	}
	if actions&exchange.ActForwardInterim != 0 && takesInterim(s) {
		s.x.InterimHead(s.resp, &l.out)
		l.subHead(b, false)
	}
	if actions&exchange.ActForwardHead != 0 {
		bodiless := s.resp.Framing == message.FramingNone || s.resp.Ended ||
			s.call == nil && s.resp.Framing == message.FramingLength && s.resp.Length == 0
		s.x.ResponseHead(l.lend(s), s.resp, &l.out)
		l.subHead(b, bodiless && !s.tunnel())
		s.listener = nil
	}
	if actions&exchange.ActForwardResponse != 0 {
		l.subBody(b, s.body)
	}
	if actions&exchange.ActEndResponse != 0 {
		l.subAnswered(s)
	}
	if actions&exchange.ActReply != 0 {
		body := s.x.Reply(l.lend(s), &l.out)
		l.subHead(b, len(body) == 0 && !s.tunnel())
		l.subBody(b, body)
		if !s.tunnel() {
			// The call of a failed attempt may still be there. Then subBody, which expects
			// its trailers, has not ended the stream.
			s.trailers = nil
			l.subAnswered(s)
		}
		s.listener = nil
	}
}

// subHead sends the head in l.out.
func (l *Loop) subHead(b *sub, end bool) {
	if b.of == nil {
		return
	}
	l.gather(&b.of.frames, b.of.conn.AppendResponse(l.frame[:0], b.id, &l.out, end))
	if l.out.Framing == message.FramingLength && l.out.Status >= 200 {
		b.rest = l.out.Length
	}
	b.sendEnd = end
}

// subBody sends a piece of an answer's body, or keeps what the client does not
// take. The last piece of a declared length ends the stream.
func (l *Loop) subBody(b *sub, p []byte) {
	m := b.of
	if m == nil || len(p) == 0 || b.sendEnd {
		return
	}
	end := false
	if b.rest >= 0 {
		b.rest -= int64(len(p))
		end = b.rest == 0 && (b.s == nil || b.s.call == nil) // trailers may follow from HTTP/2
	}
	if b.out.len() == 0 && !m.congested() {
		n := l.subFrames(b, p, end)
		if p = p[n:]; len(p) == 0 {
			return
		}
	}
	if b.out.len() == 0 {
		m.blocked++
	}
	m.ahead += len(p)
	b.out.add(&l.buffers, p)
	b.outEnd = end
}

// subFrames sends as much of p as the windows take, straight into what is
// gathered.
func (l *Loop) subFrames(b *sub, p []byte, end bool) (n int) {
	m := b.of
	n = l.gatherData(&m.frames, b.id, p, end)
	if n > 0 {
		l.touchSub(b)
	}
	b.sendEnd = end && n == len(p)
	return n
}

// touchSub notes that the client took bytes.
func (l *Loop) touchSub(b *sub) {
	b.touched = l.now
	if b.s != nil {
		b.s.x.Touch(l.now)
	}
}

// subAnswered ends an answer, with trailers if it has any.
func (l *Loop) subAnswered(s *stream) {
	b := s.sub
	if b.of == nil || b.sendEnd || b.outEnd {
		return
	}
	lines := l.trailersDown(s)
	if b.out.len() == 0 {
		l.sendTrailers(b, lines)
		return
	}
	b.outEnd = true
	b.trailers = append(b.trailers[:0], lines...)
}

// sendTrailers ends an answer.
func (l *Loop) sendTrailers(b *sub, lines []byte) {
	l.gatherTrailers(&b.of.frames, b.id, lines)
	b.sendEnd = true
}

// pumpMux sends what waits for the client, a share of each sub in turn, as far as
// windows and socket go, and as many shares as a turn may.
func (l *Loop) pumpMux(m *mux) {
	m.opened = false
	left := muxShares
	for moved := true; moved; {
		moved = false
		for range m.subs.all {
			switch { // the last share may have ended the connection
			case m.blocked == 0 || m.of.closing || m.of.link.closed || m.congested():
				return
			case left == 0:
				m.opened = true
				l.readOn(m.link)
				return
			}
			if m.turn >= len(m.subs.all) {
				m.turn = 0
			}
			b := m.subs.all[m.turn]
			m.turn++
			if b != nil && (b.out.len() > 0 || b.outEnd) && l.pumpSub(b) {
				moved = true
				left--
			}
		}
	}
}

// pumpSub sends a share of what waits. False: the windows take nothing.
func (l *Loop) pumpSub(b *sub) (moved bool) {
	m := b.of
	p := b.out.bytes()
	share := p[:min(len(p), muxShare)]
	// Without trailers the last bytes end the stream.
	end := b.outEnd && len(share) == len(p) && len(b.trailers) == 0
	n := l.subFrames(b, share, end)
	if n == 0 && len(share) > 0 {
		return false
	}
	m.ahead -= n
	if n > 0 {
		b.out.drop(&l.buffers, n)
	}
	if b.out.len() > 0 {
		return true
	}
	if b.outEnd && !b.sendEnd {
		l.sendTrailers(b, b.trailers)
	}
	b.outEnd = false
	m.blocked--
	if b.s != nil && b.s.up != nil {
		l.makeReady(b.s.up.link)
	}
	l.endSub(b)
	return true
}

// finishedSub does what is left when the exchange of a sub is over.
func (l *Loop) finishedSub(d *downstream, b *sub, actions exchange.Actions) {
	b.s = nil
	b.touched = l.now // from here on the client has its time to read
	m := b.of
	if m == nil {
		return
	}
	l.discardIn(b)
	switch {
	case actions&exchange.ActAbortClient != 0 && b.slow:
		l.resetSub(b, http2.SlowReader)
	case actions&exchange.ActAbortClient != 0:
		l.gather(&m.frames, m.conn.AppendReset(l.frame[:0], b.id, b.cutCode))
		l.dropSub(b)
	case actions&exchange.ActCloseClient != 0:
		b.cut = true
		fallthrough
	default:
		l.endSub(b)
	}
	if !d.link.closed && l.drains(d) {
		l.leaveMux(d)
	}
}

// leaveMux tells the client to begin no more streams, the first of the two steps
// of RFC 9113 section 6.8. The second is due soon after it has answered a PING, or has
// had the time to.
func (l *Loop) leaveMux(d *downstream) {
	m := d.mux
	if m.leaveBy > 0 {
		return
	}
	m.leaveBy = l.now + lastChance
	d.since = l.now
	l.gather(&m.frames, m.conn.AppendShutdown(l.frame[:0]))
	ping, _ := m.conn.AppendPing(l.frame[:0], 0)
	l.gather(&m.frames, ping)
	l.wheel.arm(d.link, d.deadline())
}

// leaveHeard takes note that the client has read the first step.
func (l *Loop) leaveHeard(d *downstream) {
	m := d.mux
	if m.leaveBy == 0 || m.left {
		return
	}
	m.leaveBy = min(m.leaveBy, l.now+leaveSettle)
	l.wheel.arm(d.link, d.deadline())
}

// leaveSecond says which streams were taken. When they are over the connection
// ends.
func (l *Loop) leaveSecond(d *downstream) {
	m := d.mux
	m.left = true
	l.gather(&m.frames, m.conn.AppendGoAway(l.frame[:0], http2.NoError))
	if m.open == 0 {
		l.closeDownAfter(d)
	}
}

// muxDeadline is when expireMux has something to do.
func (d *downstream) muxDeadline() int64 {
	m, t := d.mux, &d.socket.listener.Timeouts
	due := d.since + int64(t.Idle)
	if m.open > 0 {
		due = m.pingDeadline(d.socket.listener.Ping)
	}
	if d.headStart > 0 {
		due = min(due, d.headStart+int64(t.RequestHead))
	}
	switch outlives := d.outlives(); {
	case m.left:
	case m.leaveBy > 0:
		due = min(due, m.leaveBy)
	case outlives > 0:
		due = min(due, outlives)
	}
	if m.paused > 0 {
		due = min(due, m.paused)
	}
	for _, b := range m.subs.all {
		if b != nil {
			due = min(due, b.deadline(int64(t.StreamIdle)))
		}
	}
	return due
}

// deadline is that of the exchange, and behind it of a client that does not read.
func (b *sub) deadline(idle int64) int64 {
	if b.s != nil {
		return b.s.x.NextDeadline()
	}
	return b.touched + idle
}

// expireMux does what is due.
func (l *Loop) expireMux(d *downstream) {
	m, t := d.mux, &d.socket.listener.Timeouts
	if m.paused > 0 {
		l.goOn(d)
	}
	if m.unread { // which is our doing: nothing is judged before
		l.wheel.arm(d.link, l.now)
		return
	}
	for i := 0; i < len(m.subs.all); i++ {
		b := m.subs.all[i]
		switch {
		case b == nil || l.now < b.deadline(int64(t.StreamIdle)):
		case b.s != nil:
			b.slow = b.out.len() > 0
			l.stepDeadline(b.s)
			b.slow = false
		case b.out.len() > 0 || b.outEnd:
			l.resetSub(b, http2.SlowReader)
		default:
			l.resetSub(b, http2.SlowBody)
		}
	}
	if m.open > 0 && !d.link.closed && !d.closing && l.turnPing(&m.frames, d.socket.listener.Ping) {
		l.goneDown(d)
	}
	switch {
	case d.link.closed || d.closing:
		return
	case m.leaveBy == 0 && d.outlived(l.now):
		l.leaveMux(d)
	case m.leaveBy > 0 && !m.left && l.now >= m.leaveBy:
		l.leaveSecond(d)
	case d.headStart > 0 && l.now >= d.headStart+int64(t.RequestHead):
		l.stats.RefusedHTTP2(d.socket.listener.Series, uint8(http2.SlowHead))
		l.endMuxBy(d, http2.SlowHead.Code())
	case m.open == 0 && l.now >= d.since+int64(t.Idle):
		l.endMuxBy(d, http2.NoError)
	}
	if !d.link.closed && !d.closing {
		l.wheel.arm(d.link, d.deadline())
	}
}

// resetSub ends a stream whose client has taken too long.
func (l *Loop) resetSub(b *sub, why http2.Reason) {
	m := b.of
	l.stats.RefusedHTTP2(m.of.socket.listener.Series, uint8(why))
	l.gather(&m.frames, m.conn.AppendReset(l.frame[:0], b.id, why.Code()))
	l.dropSub(b)
}

// endMuxBy ends a connection that has taken too long, and says why.
func (l *Loop) endMuxBy(d *downstream, code http2.Code) {
	l.gather(&d.mux.frames, d.mux.conn.AppendGoAway(l.frame[:0], code))
	l.stepMux(d, exchange.Event{Kind: exchange.EventClientGone})
	l.closeDownAfter(d)
}
