//go:build linux

package evloop

// This file says what may be read. Bytes go from a client to its endpoint and back;
// a side that takes none stops what feeds it, and nothing else.
//
//	bytes for     are taken while  else they stay                     and go on when
//	an endpoint   takesRequest     in the client's socket (HTTP/1.1)  turnUp or turnUpMux has sent what
//	                               or in sub.in, and so in its        waited, and made the client's link
//	                               window (HTTP/2)                    ready
//	a client      takesAnswer      in the endpoint's socket or in     turnDown or pumpSub has sent what
//	                               call.in, likewise                  waited, and made the endpoint's link
//	                                                                  ready
//	our frames    not congested,   in sub.out or call.out; and in     flushFrames finds room, and makes that
//	              and asked for    the socket that asks for them      link ready itself (frames.stalled)
//	              while not deaf
//
// What was not read has link.readable set, so no edge will come for it: whoever makes
// room makes the other link ready. Where that is forgotten a transfer stands still
// until a deadline ends it.

// wantsInput says that the codec may be given bytes. A request behind the one at
// hand waits: answers go in order, and one exchange at a time is what HTTP/1.1
// can carry.
func (d *downstream) wantsInput() bool {
	switch d.phase {
	case phaseHead:
		return !d.closing && d.link.out.len() <= highWater
	case phaseBody:
		// Before the endpoint's connection stands, the body stays where it is: so
		// an attempt that fails has lost nothing.
		s := d.stream
		return s != nil && takesRequest(s)
	}
	return false
}

// wantsAnswer says that the answer may be read: the client takes it.
func (c *upstreamConn) wantsAnswer() bool {
	return c.stream != nil && !c.stream.tunnel() && takesAnswer(c.stream)
}

// takesRequest says that the endpoint is there and takes bytes.
func takesRequest(s *stream) bool {
	if s.x.AwaitsTunnel() {
		return false
	}
	if s.call != nil {
		return s.call.callTakes()
	}
	return s.up != nil && s.up.connected && s.up.link.out.len() <= highWater
}

// stuck says that bytes of a request wait for an endpoint.
func stuck(s *stream) bool {
	if s.call != nil {
		return !s.call.callTakes()
	}
	return s.up != nil && s.up.link.out.len() > 0
}

// takesEnd says that the end of what the client sends can be told: where bytes of a
// tunnel wait for the endpoint it would overtake them.
func (l *Loop) takesEnd(s *stream) bool {
	if !s.tunnel() {
		return takesRequest(s)
	}
	if b := s.call; b != nil {
		return b.out.len() == 0
	}
	return l.flushed(s.up.link)
}

// takesAnswer says that an answer may be read: its client takes it.
func takesAnswer(s *stream) bool {
	b := s.sub
	if b == nil {
		return s.down.link.out.len() <= highWater
	}
	if b.of == nil {
		return true
	}
	return b.out.len() <= subAhead && (b.of.ahead <= muxAhead || b.out.len() == 0)
}

// takesInterim says that an interim answer is passed on. It is left out where the client
// does not even take what it has got: no window holds heads back, and an endpoint may
// send some thirty large ones for each request.
func takesInterim(s *stream) bool {
	if b := s.sub; b != nil {
		return b.of != nil && !b.of.deaf()
	}
	return s.down.link.out.len() <= deafWater
}

// takesAnswerEnd is takesEnd for what the endpoint sends. What waits in a sub has
// its end behind it.
func (l *Loop) takesAnswerEnd(s *stream) bool {
	return !s.tunnel() || s.sub != nil || l.flushed(s.down.link)
}

// callTakes says that more of a request's body may come.
func (b *call) callTakes() bool { return b.out.len() == 0 && !b.of.congested() }

// flushed writes what is staged for a link, and says whether all that was sent to it has
// gone. What a write that failed has thrown away has not.
func (l *Loop) flushed(k *link) bool {
	l.unstage(k)
	return k.out.len() == 0 && !k.unheard
}

// roomAgain lets the far end of a link go on that stopped since the link's socket
// was full, with nothing in link.out.
func (l *Loop) roomAgain(s *stream, k *link) {
	if !k.awaited || !k.writable || k.out.len() > 0 {
		return
	}
	k.awaited = false
	if s != nil && s.up != nil {
		l.makeReady(s.far(k))
	}
}
