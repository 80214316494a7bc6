package http2

import "encoding/binary"

// AppendConsumed reports that n bytes which Data told of a stream were used, so
// that its peer may send as many again. Windows are given back when half of one
// is used up: a frame for each piece would double the frames.
func (c *Conn) AppendConsumed(dst []byte, stream uint32, n int) []byte {
	s := c.streams.find(stream)
	if s == nil {
		return dst // given back when the stream ended
	}
	taken := min(int32(n), s.held)
	s.held -= taken
	s.owed += taken
	c.out = dst
	c.giveBack(taken)
	if s.recv != halfEnded && s.owed >= int32(c.options.StreamWindow+1)/2 {
		c.out = appendWindowUpdate(c.out, s.id, uint32(s.owed))
		s.recvWindow += s.owed
		s.owed = 0
	}
	dst, c.out = c.out, nil
	return dst
}

// leastGiven is how much of the connection's window is given back at least: less would cost
// a frame for each one that comes.
const leastGiven = 4 << 10

// giveBack returns bytes to the window of the connection: halves of it, or of what streams
// that nobody reads have left of it, since the others must be able to go on with that.
func (c *Conn) giveBack(n int32) {
	c.owed += n
	half := int32(min(c.options.ConnWindow, DefaultConnWindow) / 2)
	if c.owed >= min(half, max(c.recvWindow, leastGiven)) {
		c.out = appendWindowUpdate(c.out, 0, uint32(c.owed))
		c.recvWindow += c.owed
		c.owed = 0
	}
}

// windowUpdateFrame opens a window for what we send (RFC 9113 section 6.9).
func (c *Conn) windowUpdateFrame(f *frame, payload []byte) Event {
	if len(payload) != 4 {
		return c.fail(BadFrameLength)
	}
	if !c.floods.spend(floodWindowUpdate, c.now) {
		return c.fail(WindowUpdateFlood)
	}
	more := int64(binary.BigEndian.Uint32(payload) & maxWindow)
	if f.stream == 0 {
		return c.openWindow(more)
	}
	s := c.streams.find(f.stream)
	switch {
	case s == nil && c.idle(f.stream):
		return c.fail(FrameOnIdleStream)
	case s == nil:
		return Event{Kind: Noted} // it was on its way when the stream ended
	case more == 0:
		return c.failStream(f.stream, ZeroIncrement)
	case int64(s.sendWindow)+more > maxWindow:
		return c.failStream(f.stream, StreamWindowOverflow)
	}
	s.sendWindow += int32(more)
	if !s.blocked || s.sendWindow <= 0 {
		return Event{Kind: Noted}
	}
	s.blocked = false
	return Event{Kind: Writable, Stream: s.id, Tag: s.tag}
}

// openWindow is windowUpdateFrame for the connection.
func (c *Conn) openWindow(more int64) Event {
	switch {
	case more == 0:
		return c.fail(ConnZeroIncrement)
	case int64(c.sendWindow)+more > maxWindow:
		return c.fail(ConnWindowOverflow)
	}
	c.sendWindow += int32(more)
	if !c.blocked || c.sendWindow <= 0 {
		return Event{Kind: Noted}
	}
	c.blocked = false
	return Event{Kind: Writable}
}
