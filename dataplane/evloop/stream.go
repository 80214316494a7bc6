//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/dataplane/upstream"
)

// stream binds one exchange to its place on both connections. It owns the arena
// in which the request's head lives.
type stream struct {
	id   upstream.ID
	x    exchange.Exchange
	head message.Head
	// arena holds the bytes of the head.
	arena    []byte
	listener *table.Listener // of the exchange, until the answer's head: it holds its table's routes

	down    *downstream
	sub     *sub          // its HTTP/2 stream, where down speaks HTTP/2
	up      *upstreamConn // while the attempt has a connection
	call    *call         // its HTTP/2 stream, where up speaks HTTP/2
	wait    *endpointPool // while it waits in a pool's queue
	unready *upMux        // while it waits for an endpoint's SETTINGS
	at      *endpointPool // where the attempt is counted in flight
	body    []byte        // of this event, for the actions that forward it
	resp    *message.Head // of this event
	// kept is what went up of the request's body, to be sent again; empty once the
	// exchange keeps nothing.
	kept queue
	// trailers are the checked trailer lines of this event, which ends a body.
	trailers []byte

	// Slots of what the exchange met, in the metrics.
	listenerSeries, routeSeries, upSeries, epSeries stats.Slot
}

// maxArena is what a stream keeps of a large head's memory, and a sub or a call of large
// trailers'.
const maxArena = 8 << 10

// small is memory for its next owner; nil: it has grown large.
func small(b []byte) []byte {
	if cap(b) > maxArena {
		return nil
	}
	return b[:0]
}

// streamPool gives numbers and memory to streams.
type streamPool struct {
	all  []*stream
	free []*stream
}

func (p *streamPool) take() *stream {
	var s *stream
	if last := len(p.free) - 1; last >= 0 {
		s = p.free[last]
		p.free = p.free[:last]
	} else {
		s = &stream{id: upstream.ID(len(p.all))}
		p.all = append(p.all, s)
	}
	return s
}

func (p *streamPool) give(s *stream) {
	s.x.Reset()
	s.head.Reset()
	if cap(s.arena) > maxArena {
		s.arena = nil
	}
	s.down, s.sub, s.up, s.call, s.wait, s.at, s.listener = nil, nil, nil, nil, nil, nil, nil
	s.body, s.resp, s.trailers, s.unready = nil, nil, nil, nil
	s.listenerSeries, s.routeSeries, s.upSeries, s.epSeries = 0, 0, 0, 0
	p.free = append(p.free, s)
}

// step tells a stream's exchange what happened and carries out what it asks. The
// stream may be gone afterwards.
func (l *Loop) step(s *stream, ev exchange.Event) {
	l.act(s, s.x.Step(l.lend(s), l.now, ev))
}

// stepDeadline is step for a stream whose time has come.
func (l *Loop) stepDeadline(s *stream) {
	l.step(s, exchange.Event{Kind: exchange.EventDeadline, Queued: s.wait != nil, Stuck: stuck(s)})
}

// actFirst is act for what an exchange asks that has begun.
func (l *Loop) actFirst(s *stream, actions exchange.Actions) {
	if r := s.x.Route(); r != nil {
		s.routeSeries = l.routeSeries(r)
	}
	l.wheel.arm(s.down.link, s.x.NextDeadline())
	l.act(s, actions)
}

// act carries out actions in the order of their bits: what goes up, what goes down, what
// concerns tunnels, what becomes of the connections.
func (l *Loop) act(s *stream, actions exchange.Actions) {
	if actions == 0 {
		return
	}
	if actions&exchange.ActLeaveQueue != 0 {
		l.leaveQueue(s)
	}
	if s.call != nil {
		l.callActions(s, actions)
	} else if actions&asking != 0 {
		l.ask(s, actions)
	}
	if actions&exchange.ActForwardHead != 0 {
		s.kept.release(&l.buffers) // nothing is tried again from here on
	}
	if s.sub != nil {
		l.answerSub(s, actions)
	} else if actions&answering != 0 {
		l.answer(s, actions)
	}
	if actions&(exchange.ActJoin|exchange.ActShutUpstream|exchange.ActShutClient) != 0 {
		l.actTunnel(s, actions)
	}
	l.actAfter(s, actions)
}

// asking are the actions that send something to the endpoint.
const asking = exchange.ActSendHead | exchange.ActResend | exchange.ActForwardRequest | exchange.ActEndRequest

// ask carries them out for an endpoint that speaks HTTP/1.1.
func (l *Loop) ask(s *stream, actions exchange.Actions) {
	if actions&exchange.ActSendHead != 0 {
		l.sendRequestHead(s)
	}
	if actions&exchange.ActResend != 0 {
		l.resendBody(s)
	}
	if actions&exchange.ActForwardRequest != 0 {
		l.forwardBody(s)
	}
	if actions&exchange.ActEndRequest != 0 && s.up != nil && s.x.ChunkedUp() {
		l.sendLastChunk(s.up.link, l.trailersUp(s))
	}
}

// answering are the actions that send something to the client.
const answering = exchange.ActContinue | exchange.ActForwardInterim | exchange.ActForwardHead | exchange.ActForwardResponse |
	exchange.ActEndResponse | exchange.ActReply

// answer carries them out for a client that speaks HTTP/1.1.
func (l *Loop) answer(s *stream, actions exchange.Actions) {
	if actions&exchange.ActContinue != 0 && takesInterim(s) {
		s.x.ContinueHead(&l.out)
		l.sendResponse(s.down.link)
	}
	if actions&exchange.ActForwardInterim != 0 && takesInterim(s) {
		s.x.InterimHead(s.resp, &l.out)
		l.sendResponse(s.down.link)
	}
	if actions&exchange.ActForwardHead != 0 {
		s.x.ResponseHead(l.lend(s), s.resp, &l.out)
		l.sendResponse(s.down.link)
		s.listener = nil
	}
	if actions&exchange.ActForwardResponse != 0 {
		l.sendBody(s.down.link, s.body, s.x.ChunkedDown())
	}
	if actions&exchange.ActEndResponse != 0 && s.x.ChunkedDown() {
		l.sendLastChunk(s.down.link, l.trailersDown(s))
	}
	if actions&exchange.ActReply != 0 {
		body := s.x.Reply(l.lend(s), &l.out)
		l.sendResponse(s.down.link)
		l.send(s.down.link, body)
		s.listener = nil
	}
}

// actTunnel carries out what concerns tunnels.
func (l *Loop) actTunnel(s *stream, actions exchange.Actions) {
	switch {
	case actions&exchange.ActJoin != 0:
		l.join(s)
	case actions&exchange.ActShutUpstream != 0:
		l.shutUpstream(s)
	case actions&exchange.ActShutClient != 0:
		l.shutClient(s)
	}
}

// actAfter carries out what moves the connections on. Acquire stands last of
// those that keep the exchange alive: it may step the exchange again at once.
func (l *Loop) actAfter(s *stream, actions exchange.Actions) {
	d, b := s.down, s.sub
	if actions&exchange.ActReleaseUpstream != 0 {
		l.releaseUp(s)
	}
	if actions&exchange.ActAbortUpstream != 0 {
		l.abortUp(s)
	}
	if actions&exchange.ActReadRequest != 0 {
		l.makeReady(d.link)
	}
	if actions&exchange.ActWait != 0 {
		l.wheel.arm(d.link, s.x.NextDeadline())
		return
	}
	if actions&exchange.ActAcquire != 0 {
		l.acquire(s)
		return
	}
	if actions&exchange.ActFinish != 0 {
		l.finish(s)
	}
	switch {
	case b != nil:
		if actions&exchange.ActFinish != 0 {
			l.finishedSub(d, b, actions)
		}
	case actions&exchange.ActAbortClient != 0:
		l.abortDown(d)
	case actions&exchange.ActCloseClient != 0:
		l.closeDownAfter(d)
	case actions&exchange.ActFinish != 0:
		l.nextRequest(d)
	}
}

// sendLastChunk ends a body that goes in chunks, with the trailers that the other side ended
// it with: they have no other place (RFC 9110 section 6.5).
func (l *Loop) sendLastChunk(k *link, trailers []byte) {
	l.frame = http1.AppendLastChunk(l.frame[:0], trailers)
	l.send(k, l.frame)
}

// sendResponse encodes l.out for a client.
func (l *Loop) sendResponse(k *link) {
	l.frame = http1.AppendResponse(l.frame[:0], &l.out)
	l.send(k, l.frame)
}

// sendRequestHead encodes the request for the endpoint.
func (l *Loop) sendRequestHead(s *stream) {
	// From here on the stream's idle timeout counts, and may be the shorter one.
	l.wheel.arm(s.down.link, s.x.NextDeadline())
	s.x.RequestHead(l.lend(s), &l.out)
	s.up.reader.ExpectResponseTo(s.x.Method())
	l.frame = http1.AppendRequest(l.frame[:0], &l.out)
	l.send(s.up.link, l.frame)
}

// forwardBody sends a piece of the request's body, and keeps it while it may have
// to be sent again.
func (l *Loop) forwardBody(s *stream) {
	l.keepBody(s)
	l.sendBody(s.up.link, s.body, s.x.ChunkedUp())
}

// keepBody keeps a piece of the request's body as long as another attempt may want
// it.
func (l *Loop) keepBody(s *stream) {
	if s.x.Keeps() {
		s.kept.add(&l.buffers, s.body)
	} else {
		s.kept.release(&l.buffers)
	}
}

// resendBody sends what is kept of the request's body to another endpoint.
func (l *Loop) resendBody(s *stream) {
	s.trailers = nil // of an earlier event
	if s.kept.len() > 0 {
		l.sendBody(s.up.link, s.kept.bytes(), s.x.ChunkedUp())
	}
}

// sendBody sends a piece of a body, as a chunk if need be.
func (l *Loop) sendBody(k *link, p []byte, chunked bool) {
	if !chunked {
		l.send(k, p)
		return
	}
	l.frame = http1.AppendChunkHeader(l.frame[:0], len(p))
	l.send(k, l.frame)
	l.send(k, p)
	l.send(k, chunkEnd)
}

var chunkEnd = http1.AppendChunkEnd(nil)

// finish writes the record and gives the stream back.
func (l *Loop) finish(s *stream) {
	r := &l.records.record
	s.x.Record(l.now, r)
	l.count(s, r)
	l.records.finish(l.now)
	l.stats.Sub(stats.ExchangesOpen, 1)
	s.kept.release(&l.buffers)
	if d := s.down; d.stream == s {
		d.stream = nil
	}
	l.streams.give(s)
}

// count adds the exchange to the loop's series.
func (l *Loop) count(s *stream, r *exchange.Record) {
	l.stats.Finished(&stats.Finish{
		Listener:  s.listenerSeries,
		Route:     s.routeSeries,
		Upstream:  s.upSeries,
		Endpoint:  s.epSeries,
		NoRoute:   r.Route == "",
		Forwarded: r.Endpoint != "",
		Answered:  r.FirstByte > 0,
		Status:    r.Status,
		Reason:    uint8(r.Reason),
		Retries:   max(r.Attempts, 1) - 1,
		Stopped:   r.OverBudget,
		Duration:  r.Duration,
		Acquire:   r.Acquire,
		FirstByte: r.FirstByte,
		BytesIn:   r.BytesIn,
		BytesOut:  r.BytesOut,
	})
}
