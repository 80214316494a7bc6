//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// This file brings the requests of a client that speaks HTTP/2 to their
// exchanges.

// newSub makes the sub of a stream that has begun.
func (l *Loop) newSub(m *mux, id uint32) *sub {
	b := l.old.subs.take()
	*b = sub{id: id, tag: m.subs.add(b), of: m, rest: -1, touched: l.now, cutCode: http2.InternalError, lines: b.lines[:0], trailers: b.trailers[:0]}
	m.open++
	l.counts.subs++
	if m.of.socket.listener.Ping.Interval > 0 {
		l.wheel.arm(m.link, m.pingDeadline(m.of.socket.listener.Ping))
	}
	m.conn.Tag(id, b.tag)
	return b
}

// beginSub starts the exchange of the head in l.muxHead.
func (l *Loop) beginSub(d *downstream, ev http2.Event) {
	s := l.muxStream(d, ev.Stream)
	if l.overloaded() {
		l.act(s, s.x.BeginFailed(l.lend(s), &s.head, l.arrival(d), exchange.Failure{Reason: exchange.ReasonOverload}))
		return
	}
	actions := s.x.Begin(l.lend(s), &s.head, l.arrival(d))
	l.actFirst(s, actions)
}

// muxStream makes a stream with its sub, and moves the head there.
func (l *Loop) muxStream(d *downstream, id uint32) *stream {
	l.look()
	d.since = l.now
	s := l.newStream(d)
	s.sub = l.newSub(d.mux, id)
	s.sub.s = s
	s.head, l.muxHead = l.muxHead, s.head
	s.arena, l.muxHead.Arena = s.head.Arena, s.arena[:0]
	return s
}

// startPostponed begins what was put off, and is still wanted.
func (l *Loop) startPostponed() {
	ps := &l.postponed
	for i := 0; i < len(ps.subs); i++ {
		b := ps.subs[i]
		ps.subs[i] = nil
		l.startSub(b)
	}
	ps.subs = ps.subs[:0]
}

// startSub begins the attempt of a request that was put off.
func (l *Loop) startSub(b *sub) {
	if b.waits {
		b.waits = false
		if b.s != nil && b.s.at != nil {
			l.acquireFrom(b.s, b.s.at)
		}
	}
}

// refuseSub writes the record of a request that the codec refused, and answers it
// if the stream still is.
func (l *Loop) refuseSub(d *downstream, ev http2.Event) {
	l.stats.RefusedHTTP2(d.socket.listener.Series, uint8(ev.Reason))
	switch {
	case ev.Code == http2.RefusedStream:
		return // not its request's fault; the client may send it again
	case ev.Code == http2.EnhanceYourCalm && !ev.Answer:
		return // the client was told why by answers, and so was the log
	}
	// The loop keeps the memory of the head, which may have been a large one.
	arena := l.muxHead.Arena
	method, name := l.muxHead.Method, l.muxHead.Bytes(l.muxHead.MethodName)
	if !ev.Answer { // that may be of an earlier one
		method, name = message.MethodOther, nil
	}
	l.muxHead.Reset()
	l.muxHead.HTTP2, l.muxHead.Minor = true, 1
	s := l.muxStream(d, ev.Stream)
	s.arena = append(l.muxHead.Arena[:0], name...)
	s.head.Arena, s.head.Method, s.head.MethodName = s.arena, method, message.Span{End: uint32(len(name))}
	l.muxHead.Arena = arena[:0]
	f := exchange.Failure{Reason: exchange.ReasonMalformedRequest, Detail: ev.Reason.String(), Status: ev.Reason.Status()}
	l.act(s, s.x.BeginFailed(l.lend(s), &s.head, l.arrival(d), f))
}

// subData takes a piece of a request's body: on to the endpoint, or into the sub
// until that is ready. Nobody wants it when the exchange is over.
func (l *Loop) subData(b *sub, p []byte) {
	l.startSub(b)
	switch {
	case b.s == nil:
		l.subConsumed(b, len(p))
	case b.in.len() == 0 && takesRequest(b.s):
		l.forwardUp(b, p)
	default:
		if b.in.len() == 0 && !b.inEnd {
			b.of.held++
		}
		b.in.add(&l.buffers, p)
	}
}

// forwardUp gives a piece of a body to the exchange.
func (l *Loop) forwardUp(b *sub, p []byte) {
	s := b.s
	s.body = p
	l.step(s, exchange.Event{Kind: exchange.EventRequestData, N: len(p)})
	l.subConsumed(b, len(p))
}

// subConsumed opens the client's window again.
func (l *Loop) subConsumed(b *sub, n int) {
	if m := b.of; m != nil {
		l.gather(&m.frames, m.conn.AppendConsumed(l.frame[:0], b.id, n))
	}
}

// subEnd takes the end of a request.
func (l *Loop) subEnd(b *sub, trailers bool) {
	b.recvEnd = true
	switch {
	case b.s == nil:
		l.endSub(b)
		return
	case b.s.x.RequestDone() && !b.s.x.Tunnels(): // said with the head already
		return
	case b.waits && !trailers && !b.s.x.Tunnels(): // by an empty frame behind the head: it goes up as one without a body
		l.requestEnded(b, false)
		return
	}
	l.startSub(b)
	switch {
	case b.s == nil: // what was put off has failed at once
	case b.in.len() == 0 && l.takesEnd(b.s):
		l.requestEnded(b, trailers)
	default:
		if b.in.len() == 0 {
			b.of.held++
		}
		b.inEnd = true
		if trailers {
			b.lines = appendLines(b.lines[:0], &l.muxHead)
		}
	}
}

// requestEnded gives the end of a request to the exchange. trailers: they are in l.muxHead,
// and not in the sub.
func (l *Loop) requestEnded(b *sub, trailers bool) {
	if trailers {
		b.lines = appendLines(b.lines[:0], &l.muxHead)
	}
	b.s.trailers = b.lines
	l.step(b.s, exchange.Event{Kind: exchange.EventRequestEnd, N: len(b.lines)})
}

// appendLines writes fields as HTTP/1.1 has them. Behind the colon of one that no hop may keep in
// a table (RFC 7541 section 7.1.3) is a tab, which tells gatherTrailers; HTTP/1.1, which has no
// such mark, takes it for a space.
func appendLines(dst []byte, h *message.Head) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		space := byte(' ')
		if f.Sensitive {
			space = sensitiveSpace
		}
		dst = append(append(dst, h.Bytes(f.Name)...), ':', space)
		dst = append(append(dst, h.Bytes(f.Value)...), "\r\n"...)
	}
	return dst
}

const sensitiveSpace = '\t'

// feedMux goes on with requests whose endpoints were not ready.
func (l *Loop) feedMux(m *mux) {
	for i := 0; i < len(m.subs.all) && m.held > 0; i++ {
		b := m.subs.all[i]
		if b == nil || b.in.len() == 0 && !b.inEnd {
			continue
		}
		for b.s != nil && b.in.len() > 0 && takesRequest(b.s) {
			p := b.in.bytes()
			p = p[:min(len(p), muxShare)]
			l.forwardUp(b, p)
			if b.s == nil {
				break // what was left is thrown away
			}
			b.in.drop(&l.buffers, len(p))
			if b.in.len() == 0 && !b.inEnd {
				m.held--
			}
		}
		if b.s != nil && b.inEnd && b.in.len() == 0 && l.takesEnd(b.s) {
			b.inEnd = false
			m.held--
			l.requestEnded(b, false)
		}
	}
}

// discardIn throws away what waits of a request, when nobody wants it any more.
func (l *Loop) discardIn(b *sub) {
	if n := b.in.len(); n > 0 || b.inEnd {
		b.of.held--
		b.inEnd = false
		b.in.release(&l.buffers)
		l.subConsumed(b, n)
	}
}

// subReset ends a stream that the client has reset, or that broke a rule.
func (l *Loop) subReset(b *sub, ev http2.Event) {
	s := b.s
	switch {
	case s == nil:
	case s.tunnel() && b.sendEnd && ev.Code == http2.NoError && b.of.open <= http2.DefaultStreams:
		// The endpoint has said all, and its client says no more: so Go's takes leave. What it
		// has said still goes up. The codec does not count such streams any more.
		l.subEnd(b, false)
		return
	case ev.Reason != http2.NoReason:
		l.stats.RefusedHTTP2(s.listenerSeries, uint8(ev.Reason))
		l.step(s, exchange.Event{Kind: exchange.EventRequestFailed, Failure: exchange.Failure{
			Reason: exchange.ReasonMalformedRequest, Detail: ev.Reason.String(),
		}})
	default:
		l.step(s, exchange.Event{Kind: exchange.EventClientGone})
	}
	if b.of != nil {
		l.dropSub(b)
	}
}
