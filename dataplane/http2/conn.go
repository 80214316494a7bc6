package http2

import (
	"github.com/proxyfleet/proxyfleet/dataplane/hpack"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// phase is how far a connection is.
type phase uint8

const (
	phaseMagic    phase = iota // Server: the client's preface comes
	phaseSettings              // the first frame, which must be SETTINGS
	phaseOpen
	phaseFailed
)

// initialWindow is every window before anybody says otherwise (RFC 9113 section
// 6.9.2).
const initialWindow = 65535

// Conn is one connection. The zero value is not ready: call Init. It belongs to
// one goroutine.
type Conn struct {
	role    Role    // immutable after Init
	options Options // the same, but for SetLimits

	phase   phase
	reason  Reason // of phaseFailed
	refused int    // RefusedBytes
	opened  bool   // our first field block was written
	now     int64
	decoder hpack.Decoder

	streams streams
	closed  closed
	highest uint32 // Server: the highest stream that the client began. Client: that we did
	ending  uint32 // a stream whose End is still to be told, by an event without bytes

	// Windows of the connection.
	sendWindow  int32
	recvWindow  int32
	owed        int32 // consumed, and not given back
	recvInitial int32 // of a new stream: ours counts once the peer has acknowledged it
	blocked     bool  // AppendData stopped at sendWindow

	peer      peerSettings
	unacked   uint8 // SETTINGS of ours that wait for an acknowledgement
	block     fieldBlock
	passing   passing
	lastOurs  uint32 // streams above are not taken any more: we sent GOAWAY
	lastPeers uint32 // streams above are not served: the peer sent GOAWAY
	sweeping  bool   // streams above lastPeers are still to be told
	leaving   bool   // the peer sent GOAWAY: it takes no new streams
	pings     uint8  // PINGs of ours that wait
	floods    floods

	out []byte // lent by the caller of Next
}

// maxPings bounds the PINGs that may wait for their answer.
const maxPings = 8

// Init makes c ready for a new connection. AppendPreface must be sent first.
func (c *Conn) Init(role Role, o Options) {
	*c = Conn{
		role:        role,
		options:     o.withDefaults(role),
		sendWindow:  initialWindow,
		recvWindow:  initialWindow,
		recvInitial: initialWindow,
		peer:        defaultPeer,
		lastOurs:    maxStreamID,
		lastPeers:   maxStreamID,
	}
	c.floods.shared = o.Shared
	c.decoder.Init(hpack.DefaultTableSize)
	if role == Client {
		c.phase = phaseSettings
	}
}

// SetLimits changes Options.HeadBytes and Options.Fields for heads to come. The peer
// is not told: what it was told is advice (RFC 9113 section 6.5.2).
func (c *Conn) SetLimits(headBytes, fields int) {
	c.options.HeadBytes, c.options.Fields = headBytes, fields
	c.options = c.options.withDefaults(c.role)
}

// Streams is the number of streams that are not over.
func (c *Conn) Streams() int { return c.streams.count }

// Waiting tells whether the peer owes the rest of its preface or of a field block.
func (c *Conn) Waiting() bool { return c.phase < phaseOpen || c.block.stream != 0 }

// Strained tells whether the peer has used up more than half of what it may send of
// frames that cost it nothing: it is on its way to being ended, unless it does what
// somebody wants. Whoever reads from it seldom then has many of them by one call.
func (c *Conn) Strained(now int64) bool { return c.floods.halfSpent(now) }

// RefusedBytes is how many bytes of heads and trailers were refused on a connection that has failed, less what
// was earned since, and what had come of the field block that it failed by.
func (c *Conn) RefusedBytes() int { return c.refused }

// Tag attaches a number to a stream, which every later event of it carries. It
// has no effect on a stream that is over.
func (c *Conn) Tag(stream, tag uint32) {
	if s := c.streams.find(stream); s != nil {
		s.tag = tag
	}
}

// Ending tells whether a stream's End is the next event: the peer has ended it by the
// frame that the last event was of.
func (c *Conn) Ending(stream uint32) bool { return c.ending == stream }

// BeginsNext tells whether the next event, of in as Next takes it, is of HEADERS: of a request, or of
// trailers.
func (c *Conn) BeginsNext(in []byte) bool {
	return c.ending == 0 && !c.sweeping && !c.passing.active() && c.phase == phaseOpen &&
		len(in) >= frameHeaderLen && parseFrame(in).kind == frameHeaders
}

// Next looks at in, every byte that was received and not yet consumed, and says
// what comes first. The caller drops ev.N bytes from the front and calls again
// until NeedMore or Failed; in may be empty, since some events need no bytes. At
// most one frame is read. now is any monotonic clock in nanoseconds.
//
// Frames that the protocol asks for are appended to out, which is returned. Head,
// Interim and End fill h, in the memory that h.Arena and h.Fields had; other
// events leave it alone. Event offsets die at the next call.
func (c *Conn) Next(now int64, in []byte, h *message.Head, out []byte) (Event, []byte) {
	c.now = now
	c.out = out
	ev := c.next(in, h)
	out, c.out = c.out, nil
	return ev, out
}

func (c *Conn) next(in []byte, h *message.Head) Event {
	switch {
	case c.phase == phaseFailed:
		return Event{Kind: Failed, Reason: c.reason}
	case c.ending != 0:
		return c.tellEnd(h)
	case c.sweeping:
		if ev := c.sweep(); ev.Kind != NeedMore {
			return ev
		}
	}
	switch {
	case c.passing.active():
		return c.pass(in, 0)
	case c.phase == phaseMagic:
		return c.magic(in)
	case len(in) < frameHeaderLen:
		return Event{}
	}
	f := parseFrame(in)
	if reason := c.admit(&f); reason != NoReason {
		return c.fail(reason)
	}
	if f.kind == frameData {
		return c.dataFrame(&f, in)
	}
	end := frameHeaderLen + f.length
	if len(in) < end {
		return Event{}
	}
	ev := c.control(&f, in[frameHeaderLen:end], h)
	ev.N = end
	return ev
}

// Preface begins what a client sends (RFC 9113 section 3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Sniff tells whether a connection whose first bytes are in speaks HTTP/2 with
// prior knowledge. It is known with the first byte that HTTP/1.1 cannot have, and
// with whole set only when all of the preface is there.
func Sniff(in []byte) (is, whole bool) {
	n := min(len(in), len(Preface))
	return string(in[:n]) == Preface[:n], n == len(Preface)
}

// magic takes the client's preface.
func (c *Conn) magic(in []byte) Event {
	is, whole := Sniff(in)
	switch {
	case !is:
		return c.fail(BadPreface)
	case !whole:
		return Event{}
	}
	c.phase = phaseSettings
	c.floods.refilled = c.now
	return Event{Kind: Noted, N: len(Preface)}
}

// admit checks what does not depend on the type of a frame alone: its size, and
// whether its turn has come.
func (c *Conn) admit(f *frame) Reason {
	switch {
	case c.phase == phaseSettings && (f.kind != frameSettings || f.has(flagAck)):
		return MissingSettings
	case f.length > MaxFrame:
		return FrameTooLarge
	case c.block.stream != 0 && (f.kind != frameContinuation || f.stream != c.block.stream):
		return ExpectedContinuation
	case c.block.stream == 0 && f.kind == frameContinuation:
		return UnexpectedContinuation
	}
	return NoReason
}

// control handles a whole frame other than DATA.
func (c *Conn) control(f *frame, payload []byte, h *message.Head) Event {
	switch f.kind {
	case frameHeaders:
		return c.headersFrame(f, payload, h)
	case frameContinuation:
		return c.continuationFrame(f, payload, h)
	case framePriority:
		return c.priorityFrame(f, payload)
	case frameReset:
		return c.resetFrame(f, payload)
	case frameSettings:
		return c.settingsFrame(f, payload)
	case framePushPromise:
		return c.fail(UnexpectedPushPromise)
	case framePing:
		return c.pingFrame(f, payload)
	case frameGoAway:
		return c.goAwayFrame(f, payload)
	case frameWindowUpdate:
		return c.windowUpdateFrame(f, payload)
	case framePriorityUpdate:
		return c.noted(floodPriority)
	}
	return c.noted(floodUnknown) // RFC 9113 section 4.1: ignored
}

// noted counts a frame that has no effect, or none that is told.
func (c *Conn) noted(kind flood) Event {
	if !c.floods.spend(kind, c.now) {
		return c.fail(budgets[kind].reason)
	}
	return Event{Kind: Noted}
}

// fail ends the connection and tells the peer.
func (c *Conn) fail(reason Reason) Event {
	c.phase, c.reason = phaseFailed, reason
	c.floods.refill(c.now)
	c.refused = int(c.floods.spent[floodHeads])
	if c.block.stream != 0 {
		c.refused += len(c.block.bytes)
	}
	c.giveUp(&c.block)
	c.out = appendGoAway(c.out, c.lastTaken(), reason.Code(), reason.String())
	c.lastOurs = c.lastTaken()
	return Event{Kind: Failed, Reason: reason}
}

// lastTaken is the last stream of the peer that was, or may have been, served.
func (c *Conn) lastTaken() uint32 {
	if c.role == Client {
		return 0 // a server begins streams by push only, which is off
	}
	return min(c.highest, c.lastOurs)
}

// failStream resets a stream for its peer's fault. It is told if the stream was.
func (c *Conn) failStream(id uint32, reason Reason) Event {
	kind := floodError
	switch reason {
	case TooManyStreams:
		kind = floodRefused
	case ResetStreamFrame:
		kind = floodStray
	}
	// Each answer that breaks a rule is one that a Client asked for, and others wait for theirs.
	if (c.role == Server || kind != floodError) && !c.floods.spend(kind, c.now) {
		return c.fail(budgets[kind].reason)
	}
	c.out = appendReset(c.out, id, reason.Code())
	ev := Event{Kind: Noted}
	if s := c.streams.find(id); s != nil {
		if s.told {
			ev = Event{Kind: Reset, Stream: id, Tag: s.tag, Code: reason.Code(), Reason: reason}
		}
		c.forget(s, endOurs)
		return ev
	}
	c.closed.add(id, endOurs)
	return ev
}

// forget takes a stream out of the table. What was told of its body and not
// reported is given back: nobody will report it any more.
func (c *Conn) forget(s *stream, how ending) {
	c.giveBack(s.held)
	if c.passing.stream == s.id {
		c.passing.discard = true
	}
	if c.ending == s.id {
		c.ending = 0
	}
	if how == endOurs && c.role == Client {
		c.floods.resets++
	}
	c.closed.add(s.id, how)
	c.streams.remove(s.id)
}

// endRecv notes that the peer's half is complete.
func (c *Conn) endRecv(s *stream) {
	s.recv = halfEnded
	c.endIfBoth(s)
}

// endSend notes that our half is complete.
func (c *Conn) endSend(s *stream) {
	s.send = halfEnded
	c.endIfBoth(s)
}

func (c *Conn) endIfBoth(s *stream) {
	if s.recv == halfEnded && s.send == halfEnded && c.ending != s.id {
		if !s.mute { // refusing one is no work that pays for others
			c.floods.requests++
		}
		c.forget(s, endBoth)
	}
}

// tellEnd emits the End of a stream whose last frame was taken by another event.
func (c *Conn) tellEnd(h *message.Head) Event {
	s := c.streams.find(c.ending)
	c.ending = 0
	ev := Event{Kind: End, Stream: s.id, Tag: s.tag}
	arena := h.Arena[:0]
	h.Reset()
	h.Arena = arena
	c.endRecv(s)
	return ev
}

// sweep tells the streams that the peer said it will not serve, one by one (RFC
// 9113 section 6.8): they may be tried elsewhere, as nothing was done for them.
func (c *Conn) sweep() Event {
	for i := range c.streams.slots {
		s := &c.streams.slots[i]
		if s.id > c.lastPeers {
			ev := Event{Kind: Reset, Stream: s.id, Tag: s.tag, Code: RefusedStream, Unserved: true}
			c.forget(s, endPeer)
			return ev
		}
	}
	c.sweeping = false
	return Event{}
}
