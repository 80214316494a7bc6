//go:build linux

package evloop

import (
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// This file carries out what an exchange asks of its endpoint when that speaks
// HTTP/2, and brings answers to their exchanges.

var (
	nameTE        = []byte("te")
	valueTrailers = []byte("trailers")
)

// callActions carries out the actions that send a request.
func (l *Loop) callActions(s *stream, actions exchange.Actions) {
	b := s.call
	if actions&exchange.ActSendHead != 0 {
		l.callHead(s, b, s.x.RequestDone() && !s.x.Upgrades() && actions&exchange.ActResend == 0)
	}
	if actions&exchange.ActResend != 0 {
		s.trailers = nil // of an earlier event
		l.callBody(b, s.kept.bytes())
	}
	if actions&exchange.ActForwardRequest != 0 {
		l.keepBody(s)
		l.callBody(b, s.body)
	}
	if actions&exchange.ActEndRequest != 0 {
		l.callDone(s, b)
	}
}

// callHead sends the request's head. The client's word that it takes trailers goes
// along: gRPC asks for it, and it belongs to one hop only in name.
func (l *Loop) callHead(s *stream, b *call, end bool) {
	l.wheel.arm(s.down.link, s.x.NextDeadline())
	s.x.RequestHead(l.lend(s), &l.out)
	if s.head.TakesTrailers() {
		l.out.Add(nameTE, valueTrailers)
	}
	m := b.of
	b.sendEnd = end
	made, id, ok := m.conn.AppendRequest(l.frame[:0], &l.out, b.sendEnd, b.tag)
	b.id = id
	l.gather(&m.frames, made)
	if !ok { // takes was asked in this turn; a codec that failed since says so
		m.leave()
		l.makeReady(m.link)
	}
}

// callBody sends a piece of the request's body, or keeps what the endpoint's
// windows have no room for.
func (l *Loop) callBody(b *call, p []byte) {
	m := b.of
	if len(p) == 0 {
		return
	}
	if b.out.len() == 0 && !m.congested() {
		n := l.gatherData(&m.frames, b.id, p, false)
		if p = p[n:]; len(p) == 0 {
			return
		}
	}
	if b.out.len() == 0 {
		m.blocked++
	}
	b.out.add(&l.buffers, p)
}

// callDone ends the request.
func (l *Loop) callDone(s *stream, b *call) {
	if b == nil || b.of == nil || b.sendEnd || b.outEnd {
		return
	}
	lines := l.trailersUp(s)
	if b.out.len() == 0 {
		l.callTrailers(b, lines)
		return
	}
	b.outEnd = true
	b.trailers = append(b.trailers[:0], lines...)
}

// callTrailers ends the request.
func (l *Loop) callTrailers(b *call, lines []byte) {
	l.gatherTrailers(&b.of.frames, b.id, lines)
	b.sendEnd = true
}

// pumpCalls sends what waits for the endpoint, a share of each call in turn.
func (l *Loop) pumpCalls(m *upMux) {
	for moved := true; moved && m.blocked > 0; {
		moved = false
		for i := 0; i < len(m.calls.all); i++ {
			b := m.calls.all[i]
			if b == nil || b.out.len() == 0 {
				continue
			}
			if m.congested() {
				return
			}
			p := b.out.bytes()
			n := l.gatherData(&m.frames, b.id, p[:min(len(p), muxShare)], false)
			if n == 0 {
				continue
			}
			moved = true
			b.out.drop(&l.buffers, n)
			b.s.x.Touch(l.now)
			if b.out.len() > 0 {
				continue
			}
			m.blocked--
			if b.outEnd {
				l.callTrailers(b, b.trailers)
			}
			l.makeReady(b.s.down.link) // for more of the body
		}
	}
}

// callData takes a piece of an answer: to the client, or into the call until that
// is ready.
func (l *Loop) callData(b *call, p []byte) {
	if b.in.len() == 0 && takesAnswer(b.s) {
		l.forwardDown(b, p)
		return
	}
	if b.in.len() == 0 && !b.inEnd {
		b.of.held++
	}
	b.in.add(&l.buffers, p)
}

// forwardDown gives a piece of an answer to the exchange, and opens the endpoint's
// window again.
func (l *Loop) forwardDown(b *call, p []byte) {
	s, m, id := b.s, b.of, b.id
	s.body = p
	l.step(s, exchange.Event{Kind: exchange.EventResponseData, N: len(p)})
	l.gather(&m.frames, m.conn.AppendConsumed(l.frame[:0], id, len(p)))
}

// callEnd takes the end of an answer.
func (l *Loop) callEnd(b *call, trailers bool) {
	b.lines, b.ended = b.lines[:0], true
	if trailers {
		b.lines = appendLines(b.lines, &l.muxHead)
	}
	if b.in.len() == 0 && l.takesAnswerEnd(b.s) {
		l.endCall(b)
		return
	}
	if b.in.len() == 0 {
		b.of.held++
	}
	b.inEnd = true
}

// endCall gives the end of an answer to the exchange.
func (l *Loop) endCall(b *call) {
	s := b.s
	s.trailers = b.lines
	l.step(s, exchange.Event{Kind: exchange.EventResponseEnd, Reusable: true})
	if b.over && b.of != nil {
		l.step(s, exchange.Event{Kind: exchange.EventRequestEnd})
	}
}

// feedCalls goes on with answers whose clients were not ready.
func (l *Loop) feedCalls(m *upMux) {
	for i := 0; i < len(m.calls.all) && m.held > 0; i++ {
		b := m.calls.all[i]
		if b == nil || b.in.len() == 0 && !b.inEnd {
			continue
		}
		for b.of != nil && b.in.len() > 0 && takesAnswer(b.s) {
			p := b.in.bytes()
			p = p[:min(len(p), muxShare)]
			l.forwardDown(b, p)
			if b.of == nil {
				break // the attempt is over
			}
			b.in.drop(&l.buffers, len(p))
			if b.in.len() == 0 && !b.inEnd {
				m.held--
			}
		}
		if b.of != nil && b.in.len() == 0 && b.inEnd && l.takesAnswerEnd(b.s) {
			b.inEnd = false
			m.held--
			l.endCall(b)
		}
	}
}

// callReset ends an attempt whose stream the endpoint has reset, will not serve, or
// answered wrongly.
func (l *Loop) callReset(b *call, ev http2.Event) {
	s := b.s
	if b.whole() {
		return
	}
	if s.tunnel() && b.ended && ev.Code == http2.NoError {
		// It has said all and reads no more (RFC 9113 section 8.1): what the client
		// still says leads nowhere.
		if b.over = true; !b.inEnd {
			l.step(s, exchange.Event{Kind: exchange.EventRequestEnd})
		}
		return
	}
	f := exchange.Failure{Reason: exchange.ReasonUpstreamReset, Detail: ev.Code.String()}
	switch {
	case ev.Reason != http2.NoReason:
		f = exchange.Failure{Reason: exchange.ReasonUpstreamMalformed, Detail: ev.Reason.String()}
	case ev.Unserved:
		f.Retry = exchange.RetryDeparted
	case ev.Code == http2.RefusedStream:
		f.Retry = exchange.RetryRefused
	case ev.Code == http2.InternalError: // where an endpoint of HTTP/1.1 closes its connection
		f.Retry = exchange.RetryGivenUp
	case ev.Code == http2.Cancel:
		f.Canceled = true
		if s.sub != nil {
			s.sub.cutCode = http2.Cancel
		}
	}
	l.step(s, exchange.Event{Kind: exchange.EventUpstreamFailed, Failure: f})
}

// dropCall ends a call with its attempt. abort says that it did not end well: its
// stream is reset, and a connection on which nothing came since it began takes no
// more, since there may be nobody at its other end.
func (l *Loop) dropCall(s *stream, abort bool) {
	b := s.call
	s.call, s.up = nil, nil
	s.endInFlight()
	m := b.of
	if !m.link.closed {
		l.gather(&m.frames, m.conn.AppendReset(l.frame[:0], b.id, http2.Cancel))
	}
	if abort && m.heard < b.begun && l.now-b.begun > silentTime {
		m.leave()
	}
	if b.out.len() > 0 {
		m.blocked--
	}
	if b.in.len() > 0 || b.inEnd {
		m.held--
	}
	b.out.release(&l.buffers)
	b.in.release(&l.buffers)
	m.calls.drop(b.tag)
	m.open--
	b.of, b.s = nil, nil
	b.lines, b.trailers = small(b.lines), small(b.trailers)
	l.old.calls.give(b)
	if m.link.closed {
		return
	}
	if m.open == 0 {
		l.idleMux(m.of)
	}
	if m.of.pool.Queued() > 0 {
		l.makeReady(m.link) // serves those who wait
	}
}

// silentTime is how long nothing may come on a connection before an attempt that is
// given up speaks against it.
const silentTime = int64(time.Second)
