package http2

import "encoding/binary"

// This file has the frames that are neither messages nor windows.

// priorityLen is the length of a priority (RFC 9113 section 6.3).
const priorityLen = 5

// priorityFrame checks a PRIORITY frame and forgets it.
func (c *Conn) priorityFrame(f *frame, payload []byte) Event {
	switch {
	case f.stream == 0:
		return c.fail(BadFrameStream)
	case len(payload) != priorityLen:
		return c.failPriority(f.stream, BadPriorityLength)
	case dependsOn(payload, f.stream):
		return c.failPriority(f.stream, SelfDependency)
	}
	return c.noted(floodPriority)
}

// failPriority resets a stream for a PRIORITY frame. One that has not begun
// cannot be reset (RFC 9113 section 6.4), so there the connection ends.
func (c *Conn) failPriority(id uint32, reason Reason) Event {
	switch {
	case c.streams.find(id) != nil:
		return c.failStream(id, reason)
	case !c.idle(id):
		return c.noted(floodStray)
	case reason == BadPriorityLength:
		return c.fail(BadFrameLength)
	}
	return c.fail(BadStreamID)
}

// dependsOn tells whether a priority names the stream it is for.
func dependsOn(priority []byte, id uint32) bool {
	return binary.BigEndian.Uint32(priority)&maxStreamID == id
}

// resetFrame ends a stream (RFC 9113 section 6.4).
func (c *Conn) resetFrame(f *frame, payload []byte) Event {
	switch {
	case f.stream == 0:
		return c.fail(BadFrameStream)
	case len(payload) != 4:
		return c.fail(BadFrameLength)
	case c.idle(f.stream):
		return c.fail(FrameOnIdleStream)
	}
	s := c.streams.find(f.stream)
	if s == nil {
		return c.noted(floodStray)
	}
	if c.role == Server && !c.floods.spend(floodReset, c.now) {
		return c.fail(ResetFlood)
	}
	ev := Event{Kind: Reset, Stream: s.id, Tag: s.tag, Code: Code(binary.BigEndian.Uint32(payload))}
	if !s.told {
		ev = Event{Kind: Noted}
	}
	c.forget(s, endPeer)
	return ev
}

// pingFrame answers a PING, or takes the answer to ours.
func (c *Conn) pingFrame(f *frame, payload []byte) Event {
	switch {
	case f.stream != 0:
		return c.fail(BadFrameStream)
	case len(payload) != 8:
		return c.fail(BadFrameLength)
	case f.has(flagAck) && c.pings > 0:
		c.pings--
		return Event{Kind: PingAck, Ping: binary.BigEndian.Uint64(payload)}
	}
	ev := c.noted(floodPing)
	if ev.Kind == Noted && !f.has(flagAck) {
		c.out = appendFrame(c.out, 8, framePing, flagAck, 0)
		c.out = append(c.out, payload...)
	}
	return ev
}

// AppendPing asks the peer whether it is there. False: so many wait already that
// one more says nothing.
func (c *Conn) AppendPing(dst []byte, value uint64) (grown []byte, ok bool) {
	if c.pings >= maxPings || c.phase == phaseFailed {
		return dst, false
	}
	c.pings++
	dst = appendFrame(dst, 8, framePing, 0, 0)
	return binary.BigEndian.AppendUint64(dst, value), true
}

// goAwayFrame notes that the peer will leave.
func (c *Conn) goAwayFrame(f *frame, payload []byte) Event {
	switch {
	case f.stream != 0:
		return c.fail(BadFrameStream)
	case len(payload) < 8:
		return c.fail(BadFrameLength)
	}
	last := binary.BigEndian.Uint32(payload) & maxStreamID
	if last > c.lastPeers {
		return c.fail(BadGoAway)
	}
	if c.leaving && !c.floods.spend(floodSettings, c.now) {
		return c.fail(SettingsFlood)
	}
	c.leaving = true
	c.lastPeers = last
	c.sweeping = c.role == Client
	return Event{Kind: GoAway, Stream: last, Code: Code(binary.BigEndian.Uint32(payload[4:]))}
}

// AppendShutdown tells the peer to begin no more streams, without refusing those
// that are on their way: the first of the two steps of RFC 9113 section 6.8. The
// second is AppendGoAway, after a round trip, which AppendPing measures.
func (c *Conn) AppendShutdown(dst []byte) []byte {
	if c.phase == phaseFailed || c.lastOurs != maxStreamID {
		return dst
	}
	return appendGoAway(dst, maxStreamID, NoError, "")
}

// AppendGoAway tells the peer which streams were taken. Later ones are ignored
// from now on; those at hand go on.
func (c *Conn) AppendGoAway(dst []byte, code Code) []byte {
	if c.phase == phaseFailed {
		return dst
	}
	c.lastOurs = c.lastTaken()
	return appendGoAway(dst, c.lastOurs, code, "")
}

// AppendReset ends a stream. NoError tells a client that its answer is complete
// and the rest of its request unwanted (RFC 9113 section 8.1).
func (c *Conn) AppendReset(dst []byte, stream uint32, code Code) []byte {
	s := c.streams.find(stream)
	if s == nil || c.phase == phaseFailed {
		return dst
	}
	c.out = appendReset(dst, stream, code)
	c.forget(s, endOurs)
	dst, c.out = c.out, nil
	return dst
}
