//go:build linux

package evloop

import (
	"net/netip"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// downstream is a client's connection: a link, a codec, and at most one stream.
type downstream struct {
	link   *link
	reader http1.Reader
	socket *socket // where it was accepted
	// clientele counts it: that of socket.binding, when it was looked at last.
	clientele *clientele
	peer      netip.AddrPort // the client, as the connection or its PROXY header says
	local     netip.AddrPort // our end, as the client sees it; invalid until somebody asks
	stream    *stream
	mux       *mux // of HTTP/2: it has the streams; nil: HTTP/1.1
	phase     phase
	series    stats.Slot

	born      int64  // when it was accepted
	since     int64  // when the phase began, for its timeout
	headStart int64  // first byte of the head at hand; 0: none came
	fresh     bool   // no byte came, so it may turn out to be HTTP/2
	refused   bool   // the codec gave up: what follows is not understood
	faulty    bool   // it ends by its client's fault, and that is counted
	closing   bool   // closes when everything queued has gone
	answered  bool   // and nothing of an answer is queued
	counted   bool   // peer's connections are counted, with this one
	named     bool   // a PROXY header said who peer is
	doubtful  bool   // its first bytes must not be such a header, and are not read yet
	chance    uint16 // its part in the spread of maxLifetime
	lingered  int    // bytes thrown away while lingering
	unsent    int    // bytes that the kernel had for it at the last look while lingering

	tls         *table.ListenerTLS // by which it shook hands; nil: it did not
	certificate []byte             // what the client showed, for the endpoint; nil: nothing, or it was to be told nothing
}

// phase is what a client's connection is doing. greet chooses the first one by the
// listener, behind a PROXY header if there is to be one:
//
//	phaseProxy ──▶ greet ─┬─▶ phaseHead ─▶ phaseBody ─▶ phaseAnswer ─▶ phaseHead …
//	                      │     └─▶ phaseMux (preface)      └─▶ phaseTunnel (101, CONNECT)
//	                      ├─▶ phaseShake ─▶ phaseHead, or phaseMux (ALPN)
//	                      ├─▶ phaseHello ─▶ phaseDial (TLS_PASSTHROUGH)
//	                      └─▶ phaseDial ──▶ phaseTunnel (TCP)
//
// downstream.closing stands beside the phase: nothing more is read, and what is queued
// still goes. phaseLinger comes after that, where the client may still be sending.
type phase uint8

const (
	phaseHead   phase = iota // waits for a request, or for the rest of a head
	phaseBody                // the request's body comes
	phaseAnswer              // the request is complete, the answer is not
	phaseLinger              // answered and shut; what still comes is thrown away
	phaseShake               // shakes hands
	phaseProxy               // waits for a PROXY header
	phaseHello               // waits for a ClientHello, to be passed on
	phaseDial                // waits for the endpoint that gets all that comes
	phaseTunnel              // bytes pass as they are
	phaseMux                 // speaks HTTP/2
)

const (
	// A client that still sends when its answer ends the connection would see a
	// reset, and perhaps not the answer, if we closed at once (RFC 9112 section
	// 9.6). So we shut our side and read on for a while.
	lingerTime  = int64(2 * time.Second)
	lingerBytes = 1 << 20
	// lastChance is how long a connection without a request outlives its listener.
	lastChance = int64(time.Second)
)

// newDown begins a client's connection.
func (l *Loop) newDown(s *socket, fd int, peer netip.AddrPort) {
	counted, ok := s.enter(peer.Addr())
	if !ok {
		l.stats.Add(stats.ClientsOverShare, 1)
		refuse(fd, s)
		return
	}
	k := l.newLink(fd, true)
	if k == nil {
		if counted {
			s.binding.clientele.leave(peer.Addr())
		}
		return
	}
	setBuffers(fd, s.listener)
	d := l.old.downs.take()
	*d = downstream{
		link: k, socket: s, clientele: s.binding.clientele, peer: peer, born: l.now, since: l.now,
		counted: counted, chance: uint16(l.random.Uint64()),
	}
	k.down = d
	l.counts.clientsChanged(1)
	d.clientele.open.Add(1)
	d.series = l.stats.ClientOpened(s.listener.Series)
	if s.listener.ProxyProtocol != table.ProxyOff {
		l.awaitProxy(d)
		return
	}
	l.greet(d)
}

// idle says that nothing is under way in either direction, as far as we know.
func (d *downstream) idle() bool {
	k := d.link
	if d.phase == phaseMux {
		return d.mux.open == 0 && !d.closing && !k.readable && !k.muted && k.out.len() == 0
	}
	return d.phase == phaseHead && d.headStart == 0 && !d.closing && !k.readable && k.out.len() == 0
}

// turnDown serves a client's connection: what waits goes out first, so that what
// it paused can go on.
func (l *Loop) turnDown(d *downstream) {
	k := d.link
	if d.phase == phaseShake && !d.closing {
		l.turnHello(d)
		return
	}
	if d.phase == phaseTunnel && d.stream != nil {
		l.turnTunnel(d.stream, k)
		return
	}
	if k.broken {
		l.goneDown(d)
		return
	}
	switch d.phase {
	case phaseProxy:
		l.readProxy(d)
		return
	case phaseHello:
		l.turnName(d)
		return
	case phaseDial:
		return // what comes stays where it is
	case phaseMux:
		l.turnMux(d)
		return
	}
	l.roomAgain(d.stream, k)
	if k.writable && k.out.len() > 0 {
		moved, empty := l.flushOut(k)
		switch {
		case moved == 0:
		case d.stream != nil:
			d.stream.x.Touch(l.now)
		default: // an answer has ended, and still goes
			d.since = l.now
		}
		if empty {
			l.sentDown(d)
		}
		if k.closed {
			return
		}
	}
	l.readDown(d)
}

// sentDown goes on with what waited for this client to read.
func (l *Loop) sentDown(d *downstream) {
	if d.closing {
		l.closeLingering(d)
		return
	}
	switch {
	case d.stream == nil:
		l.wheel.arm(d.link, d.deadline()) // it is idle from now on
	case d.stream.up != nil:
		l.makeReady(d.stream.up.link)
	}
}

// readDown reads and parses for one turn.
func (l *Loop) readDown(d *downstream) {
	k := d.link
	if d.phase == phaseLinger {
		l.discard(d)
		return
	}
	l.events = maxEvents
	// First what is kept; a body's End may follow without further bytes.
	if d.wantsInput() && (k.in.len() > 0 || d.phase == phaseBody) {
		l.consumeDown(d, k.in.bytes())
		if k.closed {
			return
		}
	}
	for budget := readSize; d.wantsInput() && l.events >= 0 && k.readable; {
		if budget <= 0 {
			l.makeReady(k)
			return
		}
		n, state, result := l.spliceRequest(d)
		if result == spliceNot {
			var data []byte
			if data, n, state = l.fill(k); n > 0 {
				l.consumeDown(d, data)
			}
		}
		budget -= n
		if k.closed {
			return
		}
		if state == readEnd || state == readReset {
			l.goneDown(d)
			return
		}
		if result == spliceStop {
			break
		}
	}
	// A client that closes its side while its answer is being made has left, as
	// nginx and Envoy take it.
	if k.readHup && d.stream != nil {
		l.goneDown(d)
	}
}

// consumeDown gives bytes to the codec until it wants more or the connection
// must wait, and keeps the rest.
func (l *Loop) consumeDown(d *downstream, data []byte) {
	k := d.link
	if d.fresh && l.sniff(d, data) {
		return
	}
	used := 0
	for d.wantsInput() {
		if l.events--; l.events < 0 {
			l.makeReady(k)
			break
		}
		ev := d.reader.Next(data[used:], &l.head)
		if ev.Kind == http1.NeedMore {
			if d.headStart == 0 && len(data) > used && d.phase == phaseHead {
				d.headStart = l.now
				l.wheel.arm(k, d.deadline())
			}
			break
		}
		start := used
		used += ev.N
		l.eventDown(d, ev, data[start:])
		if k.closed {
			return
		}
	}
	if d.phase == phaseLinger { // nobody wants the rest
		d.lingered += len(data) - used
		used = len(data)
	}
	l.keep(k, data, used)
}

// eventDown handles one event of the client's codec. in begins where the event
// does.
func (l *Loop) eventDown(d *downstream, ev http1.Event, in []byte) {
	switch ev.Kind {
	case http1.Head:
		l.beginExchange(d, in[:ev.N], in[ev.N:])
	case http1.Data:
		s := d.stream
		s.body = in[ev.Start:ev.End]
		l.step(s, exchange.Event{Kind: exchange.EventRequestData, N: len(s.body)})
	case http1.End:
		if d.phase == phaseBody {
			d.phase = phaseAnswer
			s := d.stream
			s.trailers = in[ev.Start:ev.End]
			l.step(s, exchange.Event{Kind: exchange.EventRequestEnd, N: len(s.trailers)})
		}
	case http1.Failed:
		l.refusedDown(d, ev.Reason, in)
	case http1.Closed:
		l.closeDownAfter(d)
	}
}

// beginExchange starts the exchange of the head in l.head, whose bytes are head. rest is what
// came behind it.
func (l *Loop) beginExchange(d *downstream, head, rest []byte) {
	if l.overloaded() {
		l.failHead(d, exchange.Failure{Reason: exchange.ReasonOverload}, head)
		return
	}
	l.look()
	s := l.newStream(d)
	s.arena = append(s.arena[:0], head...)
	s.head, l.head = l.head, s.head
	s.head.Arena = s.arena
	arrival := l.arrival(d)
	d.headStart = 0
	d.phase = phaseBody
	actions := s.x.Begin(l.lend(s), &s.head, arrival)
	if s.x.RequestDone() {
		// The codec's End is still to come, and says nothing new.
		d.reader.Next(nil, &l.head)
		d.phase = phaseAnswer
	} else if l.failsAtOnce(d, rest) {
		l.refuseBody(d, actions, rest)
		return
	}
	l.actFirst(s, actions)
}

// failsAtOnce says that a request's body is malformed in the bytes that came with its head.
func (l *Loop) failsAtOnce(d *downstream, rest []byte) bool {
	if len(rest) == 0 {
		return false
	}
	ahead := d.reader // a copy, which is thrown away
	return ahead.Next(rest, &l.head).Kind == http1.Failed
}

// refuseBody begins and ends the exchange of such a request. No connection to an endpoint is
// opened for it, or taken and lost; what answers without one has answered already.
func (l *Loop) refuseBody(d *downstream, actions exchange.Actions, rest []byte) {
	s := d.stream
	l.postponed.doomed = true
	l.actFirst(s, actions)
	l.postponed.doomed = false
	if d.stream == s && s.at != nil {
		l.refusedDown(d, d.reader.Next(rest, &l.head).Reason, rest)
	}
}

// newStream makes the stream of the next exchange on d.
func (l *Loop) newStream(d *downstream) *stream {
	s := l.streams.take()
	s.down = d
	if d.mux == nil {
		d.stream = s
	}
	s.listener, s.listenerSeries = d.socket.listener, d.socket.listener.Series
	l.stats.Add(stats.ExchangesOpen, 1)
	return s
}

func (l *Loop) arrival(d *downstream) exchange.Arrival {
	start := d.headStart
	if start == 0 {
		start = l.now
	}
	return exchange.Arrival{
		Peer: d.peer, Start: start, WallTime: l.wall(start), Now: l.now,
		Secure: d.link.tls != nil, Certificate: d.shown(),
	}
}

// shown is the client's certificate as the endpoint is told of it; nil: it is not, any more.
func (d *downstream) shown() []byte {
	if d.certificate == nil {
		return nil
	}
	if now := d.socket.listener.TLS; now == nil || now.ClientAuth == nil || !now.ClientAuth.Forward {
		return nil
	}
	return d.certificate
}

// refusedDown answers what the codec refuses, if an answer can still be given. in begins where
// that does.
func (l *Loop) refusedDown(d *downstream, reason http1.Reason, in []byte) {
	l.stats.Refused(d.socket.listener.Series, uint8(reason))
	l.fault(d, 1)
	f := exchange.Failure{Reason: exchange.ReasonMalformedRequest, Detail: reason.String(), Status: reason.Status()}
	if d.stream != nil {
		d.refused = true
		l.step(d.stream, exchange.Event{Kind: exchange.EventRequestFailed, Failure: f})
		return
	}
	l.failHead(d, f, in)
}

// failHead answers a request that has no exchange yet. in is what came of it: what its request
// line says is heeded, since HEAD wants no body, and logged.
func (l *Loop) failHead(d *downstream, f exchange.Failure, in []byte) {
	d.refused = true // what may follow of the request is not read
	l.look()
	s := l.newStream(d)
	if s.arena = s.arena[:0]; http1.Peek(in, &s.head) {
		s.arena = append(s.arena, s.head.Bytes(s.head.MethodName)...)
		s.head.MethodName = message.Span{End: uint32(len(s.arena))}
	}
	s.head.Arena = s.arena
	l.act(s, s.x.BeginFailed(l.lend(s), &s.head, l.arrival(d), f))
}

// nextRequest makes a kept connection ready for the request behind this one.
// The answer may have begun before the listener was removed and said that the
// connection stays: then a request may be on its way already, and gets its last
// chance like those of idle connections.
func (l *Loop) nextRequest(d *downstream) {
	if d.link.closed {
		return
	}
	d.phase, d.since = phaseHead, l.now
	k := d.link
	if k.in.len() > 0 || k.readable || k.readHup {
		l.makeReady(k)
	}
	l.wheel.arm(k, d.deadline())
}
