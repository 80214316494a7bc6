package http2

import (
	"github.com/proxyfleet/proxyfleet/dataplane/hpack"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// fieldBlock is a field block that comes in several frames.
type fieldBlock struct {
	stream    uint32 // 0: none is open
	end       bool   // HEADERS had END_STREAM
	dependent bool   // its priority names the stream itself
	frames    int    // CONTINUATION frames so far
	bytes     []byte
}

const (
	// maxBlock bounds the bytes of a field block before they are decoded, as a
	// multiple of Options.HeadBytes. One that is larger than the head may be is
	// answered with 431, so that its sender learns why; not any number of times.
	maxBlock = 2
	// keepBlock is what a connection keeps of a block's memory.
	keepBlock = 4 << 10
	// spareBlocks is how many large ones may be on their way at once, to a goroutine, without
	// new memory for the next ones: large heads are rare but in floods.
	spareBlocks = 4
)

// Spare is memory that the Conns of one goroutine share: that of large field blocks, for the
// next ones. The zero value is ready.
type Spare struct{ blocks [spareBlocks][]byte }

// take gives memory for a block of n bytes, the largest, since it grows; nil: there is none.
func (s *Spare) take(n int) []byte {
	most := &s.blocks[0]
	for i := range s.blocks {
		if b := &s.blocks[i]; cap(*b) > cap(*most) {
			most = b
		}
	}
	if cap(*most) < n {
		return nil
	}
	block := *most
	*most = nil
	return block
}

// give keeps a block's memory, instead of some that is smaller.
func (s *Spare) give(block []byte) {
	least := &s.blocks[0]
	for i := range s.blocks {
		if b := &s.blocks[i]; cap(*b) < cap(*least) {
			least = b
		}
	}
	if cap(block) > cap(*least) {
		*least = block[:0]
	}
}

// add appends to a field block, whose memory may be spare.
func (c *Conn) add(block, payload []byte) []byte {
	need := len(block) + len(payload)
	if s := c.options.Spare; s != nil && need > cap(block) {
		if larger := s.take(need); larger != nil {
			block = append(larger, block...)
		}
	}
	return append(block, payload...)
}

// giveUp lets go of a field block's memory, unless it is small.
func (c *Conn) giveUp(b *fieldBlock) {
	if cap(b.bytes) <= keepBlock {
		return
	}
	if s := c.options.Spare; s != nil {
		s.give(b.bytes)
	}
	b.bytes = nil
}

// headersFrame begins a field block (RFC 9113 section 6.2).
func (c *Conn) headersFrame(f *frame, payload []byte, h *message.Head) Event {
	if f.stream == 0 {
		return c.fail(BadFrameStream)
	}
	block := fieldBlock{stream: f.stream, end: f.has(flagEndStream), bytes: c.block.bytes[:0]}
	pad := 0
	if f.has(flagPadded) {
		if len(payload) == 0 {
			return c.fail(BadFrameLength)
		}
		pad = int(payload[0])
		payload = payload[1:]
	}
	if f.has(flagPriority) {
		if len(payload) < priorityLen {
			return c.fail(BadFrameLength)
		}
		block.dependent = dependsOn(payload, f.stream)
		payload = payload[priorityLen:]
	}
	if pad > len(payload) {
		return c.fail(BadPadding)
	}
	payload = payload[:len(payload)-pad]
	if f.has(flagEndHeaders) {
		return c.blockComplete(&block, payload, h)
	}
	block.bytes = c.add(block.bytes, payload)
	c.block = block
	return Event{Kind: Noted}
}

// continuationFrame goes on with a field block (RFC 9113 section 6.10).
func (c *Conn) continuationFrame(f *frame, payload []byte, h *message.Head) Event {
	b := &c.block
	if b.frames++; b.frames > maxContinuations {
		return c.failLarge(ContinuationFlood)
	}
	if len(b.bytes)+len(payload) > maxBlock*c.options.HeadBytes {
		return c.failLarge(BlockTooLarge)
	}
	b.bytes = c.add(b.bytes, payload)
	if !f.has(flagEndHeaders) {
		return Event{Kind: Noted}
	}
	block := *b
	b.stream = 0
	ev := c.blockComplete(&block, block.bytes, h) // nothing of it is looked at later
	c.giveUp(b)
	return ev
}

// failLarge ends the connection for a block that has not ended. Its stream counts as taken: what is above the last
// one clients send again (RFC 9113 section 6.8), and would be ended for that again.
func (c *Conn) failLarge(reason Reason) Event {
	c.highest = max(c.highest, c.block.stream)
	return c.fail(reason)
}

// blockComplete decides what a whole field block is: a head, trailers, or nothing
// that anybody wants. It is decoded in any case, since the next one builds on its
// table (RFC 9113 section 4.3).
func (c *Conn) blockComplete(b *fieldBlock, block []byte, h *message.Head) Event {
	fields, problem := c.decoder.Start(block)
	if problem != hpack.NoProblem {
		return c.failBlock(problem)
	}
	s := c.streams.find(b.stream)
	if s == nil {
		return c.blockWithoutStream(b, fields, h)
	}
	switch {
	case s.recv == halfEnded:
		return c.refuseBlock(b.stream, fields, h, HalfClosedFrame)
	case b.dependent:
		return c.refuseBlock(b.stream, fields, h, SelfDependency)
	case s.recv == halfHead:
		return c.response(s, b, fields, h)
	}
	return c.trailers(s, b, fields, h)
}

// blockWithoutStream is blockComplete for a stream that is not open: it begins
// one, or comes too late.
func (c *Conn) blockWithoutStream(b *fieldBlock, fields []byte, h *message.Head) Event {
	if b.stream&1 == 0 {
		return c.fail(BadStreamID)
	}
	if b.stream <= c.highest {
		switch c.closed.find(b.stream) {
		case endBoth:
			return c.fail(FrameOnClosedStream)
		case endPeer:
			return c.refuseBlock(b.stream, fields, h, ResetStreamFrame)
		case endUnknown:
			// RFC 9113 section 5.1.1: numbers only grow. Of a stream that was not taken, since
			// we leave, these are the trailers.
			if c.role == Server && b.stream <= c.lastOurs {
				return c.fail(BadStreamID)
			}
		}
		return c.skipBlock(fields, h, floodStray)
	}
	if c.role == Client {
		return c.fail(FrameOnIdleStream)
	}
	c.highest = b.stream
	switch {
	case b.stream > c.lastOurs:
		return c.skipBlock(fields, h, floodStray) // the client knows from GOAWAY that it may try again
	case b.dependent:
		return c.refuseBlock(b.stream, fields, h, SelfDependency)
	case c.streams.count >= c.options.Streams:
		return c.refuseBlock(b.stream, fields, h, TooManyStreams)
	}
	return c.request(b, fields, h)
}

// mostSkipped is how many bytes a block that nobody wants may put into the table beyond
// its own: so only those end a connection that name again and again what the table has.
func (c *Conn) mostSkipped() int { return max(c.options.HeadBytes, MaxFrame) }

// failBlock ends the connection for a block whose rest is not decoded: then the tables
// of both sides differ.
func (c *Conn) failBlock(problem hpack.Problem) Event {
	if problem == hpack.TooMuch {
		return c.fail(BlockTooLarge)
	}
	return c.fail(BadCompression)
}

// unwanted counts the bytes of a block that nobody takes: whatever is wrong with it, they were
// received, decrypted and looked at. False: these are too many. As with failStream, what an
// endpoint sends is not counted.
func (c *Conn) unwanted(fields []byte) bool {
	return c.role == Client || c.floods.spendMany(floodHeads, int32(len(fields)), c.now)
}

// skipBlock decodes a block that nobody wants.
func (c *Conn) skipBlock(fields []byte, h *message.Head, kind flood) Event {
	if !c.unwanted(fields) {
		return c.fail(HeadFlood)
	}
	var problem hpack.Problem
	if h.Arena, problem = c.decoder.Skip(fields, h.Arena, c.mostSkipped()); problem != hpack.NoProblem {
		return c.failBlock(problem)
	}
	return c.noted(kind)
}

// refuseBlock is refuse for a block that is not decoded yet.
func (c *Conn) refuseBlock(id uint32, fields []byte, h *message.Head, reason Reason) Event {
	if !c.unwanted(fields) {
		return c.fail(HeadFlood)
	}
	var problem hpack.Problem
	if h.Arena, problem = c.decoder.Skip(fields, h.Arena, c.mostSkipped()); problem != hpack.NoProblem {
		return c.failBlock(problem)
	}
	return c.refuse(id, reason)
}

// refuse resets the stream of a block. One that would have begun by it is told as Refused.
func (c *Conn) refuse(id uint32, reason Reason) Event {
	ev := c.failStream(id, reason)
	if ev.Kind == Noted && reason != ResetStreamFrame {
		ev = Event{Kind: Refused, Stream: id, Reason: reason, Code: reason.Code()}
	}
	return ev
}

// request begins a stream.
func (c *Conn) request(b *fieldBlock, fields []byte, h *message.Head) Event {
	reason, problem := c.readHead(fields, h, b.end, message.MethodOther)
	switch {
	case problem != hpack.NoProblem:
		return c.failBlock(problem)
	case reason != NoReason && !c.unwanted(fields):
		return c.fail(HeadFlood)
	case reason != NoReason && (reason.Status() == 0 || !c.floods.spend(floodAnswer, c.now)):
		return c.refuse(b.stream, reason)
	}
	s := c.begin(b.stream)
	s.told = true
	s.tunnel = h.Method == message.MethodConnect
	ev := Event{Kind: Head, Stream: s.id}
	switch {
	case reason != NoReason:
		if !c.floods.spend(floodError, c.now) {
			return c.fail(ErrorFlood)
		}
		s.mute = true
		ev.Kind, ev.Reason, ev.Answer = Refused, reason, true
	case h.Declared == message.FramingLength:
		s.rest = h.Length
	}
	c.headTaken(s, b)
	return ev
}

// begin adds a stream whose windows are those that both sides begin with.
func (c *Conn) begin(id uint32) *stream {
	s := c.streams.add(id)
	s.sendWindow = c.peer.window
	s.recvWindow = c.recvInitial
	return s
}

// headTaken moves the receiving half behind its head.
func (c *Conn) headTaken(s *stream, b *fieldBlock) {
	s.recv = halfBody
	switch {
	case b.end && s.mute:
		s.recv = halfEnded
	case b.end:
		c.ending = s.id
	}
}

// response takes the head of an answer, or an interim one.
func (c *Conn) response(s *stream, b *fieldBlock, fields []byte, h *message.Head) Event {
	reason, problem := c.readHead(fields, h, b.end, s.method)
	if problem != hpack.NoProblem {
		return c.failBlock(problem)
	}
	if reason == NoReason && h.Status < 200 {
		if s.interim++; s.interim > MaxInterim {
			reason = TooManyInterim
		}
	}
	if reason != NoReason {
		return c.failStream(s.id, reason)
	}
	ev := Event{Kind: Interim, Stream: s.id, Tag: s.tag}
	if h.Status < 200 {
		return ev
	}
	ev.Kind = Head
	s.tunnel = tunnels(s.method, h.Status)
	switch h.Framing {
	case message.FramingLength:
		s.rest = h.Length
	case message.FramingNone:
		if !s.tunnel {
			s.rest = 0
		}
	}
	c.headTaken(s, b)
	return ev
}

// trailers takes the field block behind a body.
func (c *Conn) trailers(s *stream, b *fieldBlock, fields []byte, h *message.Head) Event {
	switch {
	case !b.end:
		return c.refuseBlock(s.id, fields, h, TrailersWithoutEnd)
	case s.tunnel:
		return c.refuseBlock(s.id, fields, h, TunnelTrailers)
	case s.mute:
		ev := c.skipBlock(fields, h, floodStray)
		if ev.Kind != Failed {
			c.endRecv(s)
		}
		return ev
	case s.rest > 0:
		return c.refuseBlock(s.id, fields, h, LengthMismatch)
	}
	reason, problem := c.readTrailers(fields, h)
	switch {
	case problem != hpack.NoProblem:
		return c.failBlock(problem)
	case reason != NoReason && !c.unwanted(fields):
		return c.fail(HeadFlood)
	case reason != NoReason:
		return c.failStream(s.id, reason)
	}
	ev := Event{Kind: End, Stream: s.id, Tag: s.tag, Trailers: len(h.Fields) > 0}
	c.endRecv(s)
	return ev
}
