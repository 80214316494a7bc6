package http2

// passing is the DATA frame whose payload passes through in pieces.
type passing struct {
	stream  uint32
	left    int32 // of the body
	pad     int32 // padding behind it
	end     bool  // it ends its stream
	discard bool  // nobody wants it: its stream is closed, or was refused
}

func (p *passing) active() bool { return p.left > 0 || p.pad > 0 }

// dataFrame begins a DATA frame (RFC 9113 section 6.1). Its whole length counts
// against the windows at once, whatever becomes of it.
func (c *Conn) dataFrame(f *frame, in []byte) Event {
	start, pad := frameHeaderLen, 0
	switch {
	case f.stream == 0:
		return c.fail(BadFrameStream)
	case f.has(flagPadded):
		if f.length == 0 {
			return c.fail(BadFrameLength)
		}
		if len(in) == frameHeaderLen {
			return Event{}
		}
		start++
		if pad = int(in[frameHeaderLen]); pad >= f.length {
			return c.fail(BadPadding)
		}
	}
	if int32(f.length) > c.recvWindow {
		return c.fail(ConnWindowExceeded)
	}
	c.recvWindow -= int32(f.length)
	body := frameHeaderLen + f.length - start - pad
	c.passing = passing{stream: f.stream, left: int32(body), pad: int32(pad)}

	s := c.streams.find(f.stream)
	ev := Event{Kind: Noted}
	if reason := c.admitData(f, s, body); reason.OfConnection() {
		return c.fail(reason)
	} else if reason != NoReason {
		ev = c.failStream(f.stream, reason)
		s = nil
	} else if s == nil {
		ev = c.noted(floodStray)
	} else if body == 0 && !f.has(flagEndStream) {
		ev = c.noted(floodEmptyData)
	}
	switch {
	case ev.Kind == Failed:
		return ev
	case s == nil:
		c.passing.discard = true
		c.giveBack(int32(f.length))
	case s.mute:
		c.passing.discard = true
		c.giveBack(int32(f.length))
		if f.has(flagEndStream) {
			c.endRecv(s)
		}
	default:
		c.holdData(f, s, body)
	}
	if ev.Kind == Reset || body == 0 {
		ev.N = start
		return c.endOfFrame(ev)
	}
	return c.pass(in, start)
}

// admitData checks a DATA frame against the state of its stream; s is nil if
// that is not open. NoReason with no stream: it is to be ignored.
func (c *Conn) admitData(f *frame, s *stream, body int) Reason {
	if s == nil {
		if c.idle(f.stream) {
			return FrameOnIdleStream
		}
		switch c.closed.find(f.stream) {
		case endBoth:
			return FrameOnClosedStream
		case endPeer:
			return ResetStreamFrame
		}
		return NoReason
	}
	switch {
	case s.recv == halfEnded || c.ending == s.id:
		return HalfClosedFrame
	case s.recv == halfHead:
		return DataBeforeHead
	case int32(f.length) > s.recvWindow:
		return StreamWindowExceeded
	case s.mute || s.rest < 0:
		return NoReason
	case int64(body) > s.rest, f.has(flagEndStream) && int64(body) < s.rest:
		return LengthMismatch
	}
	return NoReason
}

// holdData counts a frame whose body will be told.
func (c *Conn) holdData(f *frame, s *stream, body int) {
	s.recvWindow -= int32(f.length)
	s.held += int32(body)
	if s.rest >= 0 {
		s.rest -= int64(body)
	}
	c.floods.bytes += int64(body)
	c.passing.end = f.has(flagEndStream)
	// Padding is consumed as it comes.
	overhead := int32(f.length - body)
	s.owed += overhead
	c.giveBack(overhead)
}

// pass tells, or throws away, what is there of the payload behind start.
func (c *Conn) pass(in []byte, start int) Event {
	p := &c.passing
	there := int32(len(in) - start)
	if p.left == 0 {
		n := min(there, p.pad)
		if n == 0 && start == 0 {
			return Event{}
		}
		p.pad -= n
		return c.endOfFrame(Event{Kind: Noted, N: start + int(n)})
	}
	n := min(there, p.left)
	if n == 0 && start == 0 {
		return Event{}
	}
	p.left -= n
	ev := Event{Kind: Noted, N: start + int(n)}
	if s := c.streams.find(p.stream); n > 0 && !p.discard && s != nil {
		ev.Kind, ev.Stream, ev.Tag = Data, s.id, s.tag
		ev.Start, ev.End = start, ev.N
	}
	return c.endOfFrame(ev)
}

// endOfFrame notes the end of the stream when all of its last frame has passed.
func (c *Conn) endOfFrame(ev Event) Event {
	p := &c.passing
	if p.active() {
		return ev
	}
	if p.end && !p.discard {
		c.ending = p.stream
	}
	*p = passing{}
	return ev
}

// idle tells whether a stream has not begun, or cannot begin.
func (c *Conn) idle(id uint32) bool { return id&1 == 0 || id > c.highest }
