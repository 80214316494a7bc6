package http1

import (
	"bytes"
	"math"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// state is where a Reader is in the course of its messages:
//
//	unasked ─▶ head ─▶ length ───────────────────────▶ end ─▶ head | unasked | closed
//	            │ ├──▶ chunkFirst ─▶ chunkData ─▶ chunkNext    ▲
//	            │ │         └───────────────────────▶ trailer ─┤
//	            │ ├──▶ untilClose ─────────────────────────────┤
//	            │ └────────────────────────────────────────────┘
//	            └◀─ an interim response               any ─▶ failed
type state uint8

const (
	stateUnasked    state = iota // Client: no request is waiting for an answer
	stateHead                    // at the start of a message, or within its head
	stateLength                  // remaining bytes of body follow
	stateChunkFirst              // the line of the first chunk
	stateChunkData               // remaining bytes of a chunk follow
	stateChunkNext               // CRLF after a chunk's data, and the next chunk's line
	stateTrailer                 // after the line of the last chunk, which was not consumed
	stateUntilClose              // body until the connection ends
	stateEnd                     // the body is complete, which was not told yet
	stateClosed                  // the last message was read
	stateFailed
)

// Reader reads the messages of one direction of one connection. It holds no
// bytes: see Next. A value may be copied as long as only one copy is used.
// The zero value is not ready: call Init.
type Reader struct {
	role Role // immutable after Init

	// What SetLimits said last.
	headBytes uint32
	maxFields uint16

	state  state
	reason Reason         // of stateFailed
	method message.Method // of the request that the message is, or answers
	last   bool           // no message follows this one

	remaining  int64  // of the body or of the chunk
	extensions uint32 // bytes of chunk extensions in this body

	// Of the lines that are in the buffer but not consumed: a head, or a
	// trailer section behind the line of the last chunk.
	searched uint32 // no line ends between parsed and here
	parsed   uint32 // the lines before are right
	skip     uint16 // what stands before the first line
	fields   uint16 // field lines before parsed
	interim  uint8  // interim responses to this request
}

// Init makes r ready for the first message of a connection.
func (r *Reader) Init(role Role, l Limits) {
	*r = Reader{role: role}
	r.SetLimits(l)
	if role == Server {
		r.state = stateHead
	}
}

// SetLimits changes what a message may have; one that is under way is held to it
// too, as far as it is not read yet.
func (r *Reader) SetLimits(l Limits) {
	if l.HeadBytes <= 0 {
		l.HeadBytes = DefaultHeadBytes
	}
	if l.Fields <= 0 {
		l.Fields = DefaultFields
	}
	r.headBytes = uint32(min(l.HeadBytes, math.MaxInt32))
	r.maxFields = uint16(min(l.Fields, math.MaxUint16))
}

// ExpectResponseTo tells a Reader of role Client which method the next response
// answers: the framing of answers to HEAD and CONNECT differs. Call it when a
// request is sent, and before the next Next. Until then every byte from the
// server is an UnsolicitedResponse. It has no effect within a response.
func (r *Reader) ExpectResponseTo(m message.Method) {
	if r.state == stateUnasked {
		r.state = stateHead
		r.method = m
		r.interim = 0
	}
}

// Idle tells whether r is between messages: no request is begun, or no response
// is expected.
func (r *Reader) Idle() bool {
	return r.state == stateUnasked ||
		r.role == Server && r.state == stateHead && r.searched == uint32(r.skip)
}

// Next looks at in, every byte that was received and not yet consumed, and says
// what comes first. The caller drops ev.N bytes from the front and calls again
// until NeedMore, Closed or Failed; in may be empty, since End may follow
// without further bytes. After NeedMore, in must begin with the same bytes, at
// any address.
//
// A Head or Interim event fills h, whose spans point into in: the bytes must
// not move or change until the caller is done with h. Other events leave h
// alone, but while a head is incomplete h is scratch. Event offsets die at the
// next call.
func (r *Reader) Next(in []byte, h *message.Head) Event {
	switch r.state {
	case stateHead:
		return r.nextHead(in, h)
	case stateLength, stateChunkData:
		return r.data(in, 0)
	case stateChunkFirst, stateChunkNext:
		return r.chunkLine(in)
	case stateTrailer:
		return r.trailer(in)
	case stateUntilClose:
		if len(in) == 0 {
			return Event{}
		}
		return Event{Kind: Data, N: len(in), End: len(in)}
	case stateEnd:
		return r.end(Event{Kind: End})
	case stateUnasked:
		if len(in) == 0 {
			return Event{}
		}
		return r.fail(UnsolicitedResponse)
	case stateClosed:
		return Event{Kind: Closed}
	}
	return Event{Kind: Failed, Reason: r.reason}
}

// Bulk is how many bytes of a body may pass without Next seeing them: all that is
// left of one whose bytes mean nothing but themselves; else 0. Pass says that they
// have.
func (r *Reader) Bulk() int64 {
	switch r.state {
	case stateLength:
		return r.remaining
	case stateUntilClose:
		return math.MaxInt64
	}
	return 0
}

// Pass notes that n bytes, at most Bulk of them, went by. Every byte before them has
// been consumed.
func (r *Reader) Pass(n int) {
	if r.state != stateLength {
		return
	}
	if r.remaining -= int64(n); r.remaining == 0 {
		r.state = stateEnd
	}
}

// EOF says what it means that the peer closed its side, once Next has answered
// NeedMore to every byte that came: End of a body that ends so, Closed between
// messages (and before a response of which no byte came), Failed otherwise.
func (r *Reader) EOF() Event {
	switch r.state {
	case stateHead:
		if r.searched != uint32(r.skip) {
			return r.fail(TruncatedHead)
		}
		r.state = stateClosed
	case stateUnasked:
		r.state = stateClosed
	case stateLength, stateChunkFirst, stateChunkData, stateChunkNext, stateTrailer:
		return r.fail(TruncatedBody)
	case stateUntilClose, stateEnd:
		r.last = true
		return r.end(Event{Kind: End})
	case stateFailed:
		return Event{Kind: Failed, Reason: r.reason}
	}
	return Event{Kind: Closed}
}

// fail ends all reading.
func (r *Reader) fail(reason Reason) Event {
	r.state = stateFailed
	r.reason = reason
	return Event{Kind: Failed, Reason: reason}
}

// end closes a message.
func (r *Reader) end(ev Event) Event {
	r.forget()
	switch {
	case r.last:
		r.state = stateClosed
	case r.role == Server:
		r.state = stateHead
	default:
		r.state = stateUnasked
	}
	return ev
}

// forget resets what is known of unconsumed lines, when they are consumed.
func (r *Reader) forget() {
	r.searched, r.parsed, r.skip, r.fields = 0, 0, 0, 0
}

// lineEnd finds the end of the first line at or after from, behind its LF, or
// 0. Bytes before searched are known to have none.
func (r *Reader) lineEnd(in []byte, from int) int {
	from = max(from, int(r.searched))
	if i := bytes.IndexByte(in[from:], '\n'); i >= 0 {
		return from + i + 1
	}
	return 0
}

// data emits what is there of the body, or of the chunk, behind a chunk's line
// that ends at start.
func (r *Reader) data(in []byte, start int) Event {
	n := int64(len(in) - start)
	if n <= 0 {
		return Event{}
	}
	n = min(n, r.remaining)
	r.remaining -= n
	if r.remaining == 0 {
		if r.state == stateLength {
			r.state = stateEnd
		} else {
			r.state = stateChunkNext
		}
	}
	end := start + int(n)
	return Event{Kind: Data, N: end, Start: start, End: end}
}
