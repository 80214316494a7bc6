package http2

import (
	"bytes"
	"math"

	"github.com/proxyfleet/proxyfleet/dataplane/hpack"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// facts is what the fields of a head say about its stream, collected in passing
// and judged when the head is complete.
type facts struct {
	method, scheme, path, authority, protocol, status span
	host, length, expect                              span
	cookies                                           int
	regular                                           bool // a field that is no pseudo-field came
}

// span is a message.Span that may be absent.
type span struct {
	message.Span
	set bool
}

// take notes a value that may come once.
func (s *span) take(v message.Span, repeated Reason) Reason {
	if s.set {
		return repeated
	}
	s.Span, s.set = v, true
	return NoReason
}

// fieldOverhead is what RFC 9113 section 6.5.2 counts for each field.
const fieldOverhead = 32

const (
	// aheadBlock is how long a field block is that is looked at before it is decoded,
	// for what it comes to: longer than nearly all requests' but the first's. So nothing
	// is decoded of a head beyond the limits, which may be any times larger than its block.
	aheadBlock = 1 << 10
	// aheadBytes is how much is decoded before the rest is looked at, again when that
	// has doubled: what goes into the table hides what is behind it.
	aheadBytes = 4 << 10
	// pseudoFields are those that a head may have.
	pseudoFields = 5
)

// readFields decodes a field block into h, and checks field by field. Whatever is
// wrong with one, the table gets what the rest of the block puts there.
func (c *Conn) readFields(block []byte, h *message.Head, f *facts, trailers bool) (Reason, hpack.Problem) {
	arena := h.Arena[:0]
	h.Reset()
	h.HTTP2, h.Minor, h.KeepAlive = true, 1, true
	fields := h.Fields
	size, look := 0, aheadBytes
	if len(block) > aheadBlock {
		if reason := c.lookAhead(block, 0, 0); reason != NoReason {
			problem := hpack.NoProblem
			if !trailers {
				block, arena, problem = c.readMethod(block, arena, f)
			}
			h.Arena, h.Fields = arena, fields[:0]
			if problem == hpack.NoProblem {
				_, problem = c.decoder.Skip(block, arena[len(arena):], c.mostSkipped())
			}
			return reason, problem
		}
	}
	for len(block) > 0 {
		var field message.Field
		var problem hpack.Problem
		field, block, arena, problem = c.decoder.Field(block, arena)
		if problem != hpack.NoProblem {
			h.Arena, h.Fields = arena, fields
			return NoReason, problem
		}
		size += field.Name.Len() + field.Value.Len() + fieldOverhead
		var reason Reason
		pseudo := false
		if size > look {
			look, reason = 2*size, c.lookAhead(block, size, counted(fields, f))
		}
		switch {
		case reason != NoReason:
		case size > c.options.HeadBytes:
			reason = HeadTooLarge
		case trailers:
			reason = checkTrailer(arena, &field)
		default:
			pseudo, reason = f.note(arena, &field)
		}
		if reason == NoReason && !pseudo {
			if counted(fields, f) >= c.options.Fields {
				reason = TooManyFields
			}
			fields = append(fields, field)
		}
		if reason != NoReason {
			h.Arena, h.Fields = arena, fields[:0]
			_, problem = c.decoder.Skip(block, arena[len(arena):], c.mostSkipped())
			return reason, problem
		}
	}
	h.Arena, h.Fields = arena, fields
	return NoReason, hpack.NoProblem
}

// counted is how many fields a head has by now. A Cookie that its client has split, for the sake of
// the table, is one (RFC 9113 section 8.2.3), and will be. What bounds its pieces is HeadBytes, of
// which each takes fieldOverhead at least.
func counted(fields []message.Field, f *facts) int {
	if f == nil { // trailers
		return len(fields)
	}
	return len(fields) - max(f.cookies-1, 0)
}

// readMethod decodes the beginning of a head that is refused, up to its method, which stands among
// the first fields.
func (c *Conn) readMethod(block, arena []byte, f *facts) (rest, grown []byte, problem hpack.Problem) {
	for i := 0; i < pseudoFields && len(block) > 0 && !f.method.set; i++ {
		var field message.Field
		if field, block, arena, problem = c.decoder.Field(block, arena); problem != hpack.NoProblem {
			break
		}
		f.note(arena, &field)
	}
	return block, arena, problem
}

// lookAhead tells whether what is left of a block makes a head too large, before it
// is decoded. It need not tell: then decoding does.
func (c *Conn) lookAhead(block []byte, size, fields int) Reason {
	most, count := c.options.HeadBytes-size, c.options.Fields-fields
	if fields == 0 {
		count += pseudoFields // which do not count, and may come yet
	}
	switch more, found := c.decoder.Ahead(block, most, count); {
	case more > most:
		return HeadTooLarge
	case found > count:
		return TooManyFields
	}
	return NoReason
}

// note checks a field of a head, and records what facts are made of.
func (f *facts) note(arena []byte, field *message.Field) (pseudo bool, reason Reason) {
	name, value := arena[field.Name.Start:field.Name.End], arena[field.Value.Start:field.Value.End]
	if len(name) > 0 && name[0] == ':' {
		if f.regular {
			return true, LatePseudo
		}
		return true, f.notePseudo(name, value, field.Value)
	}
	f.regular = true
	if reason := checkField(field.ID, name, value); reason != NoReason {
		return false, reason
	}
	switch field.ID {
	case message.FieldHost:
		return false, f.host.take(field.Value, RepeatedHost)
	case message.FieldContentLength:
		return false, f.length.take(field.Value, RepeatedLength)
	case message.FieldExpect:
		return false, f.expect.take(field.Value, UnknownExpectation)
	case message.FieldCookie:
		f.cookies++
	}
	return false, NoReason
}

// notePseudo records a pseudo-field. Which of them a message may have is judged
// when it is complete.
func (f *facts) notePseudo(name, value []byte, at message.Span) Reason {
	var s *span
	switch string(name) {
	case ":method":
		s = &f.method
	case ":scheme":
		s = &f.scheme
	case ":path":
		s = &f.path
	case ":authority":
		s = &f.authority
	case ":protocol":
		s = &f.protocol
	case ":status":
		s = &f.status
	default:
		return UnknownPseudo
	}
	if !validValue(value) {
		return BadFieldValue
	}
	return s.take(at, RepeatedPseudo)
}

// readHead decodes the block of a head and judges it. end says that no body
// follows; asked is the method of the request that a response answers.
func (c *Conn) readHead(block []byte, h *message.Head, end bool, asked message.Method) (Reason, hpack.Problem) {
	var f facts
	reason, problem := c.readFields(block, h, &f, false)
	if problem != hpack.NoProblem {
		return reason, problem
	}
	if reason != NoReason {
		f.findMethod(h)
		return reason, problem
	}
	if c.role == Server {
		reason = f.finishRequest(h, end, c.options.ExtendedConnect)
	} else {
		reason = f.finishResponse(h, end, asked)
	}
	h.Ended = end
	if reason == NoReason && f.cookies > 1 {
		joinCookies(h)
	}
	return reason, hpack.NoProblem
}

// readTrailers decodes the block of a trailer section into h.Fields.
func (c *Conn) readTrailers(block []byte, h *message.Head) (Reason, hpack.Problem) {
	return c.readFields(block, h, nil, true)
}

// finishRequest judges the head of a request whose fields are right.
func (f *facts) finishRequest(h *message.Head, end, extended bool) Reason {
	if f.status.set {
		return UnknownPseudo
	}
	if !f.method.set {
		return MissingPseudo
	}
	if !f.findMethod(h) {
		return BadMethod
	}
	if reason := f.findAuthority(h); reason != NoReason {
		return reason
	}
	if reason := f.findTarget(h, extended); reason != NoReason {
		return reason
	}
	if f.expect.set {
		if !message.EqualFold(h.Bytes(f.expect.Span), "100-continue") {
			return UnknownExpectation
		}
		h.Expect100 = !end
	}
	return f.frameRequest(h, end)
}

// findMethod reads :method, also of a request that is refused: how it is answered depends on it.
func (f *facts) findMethod(h *message.Head) (ok bool) {
	method := h.Bytes(f.method.Span)
	if message.TokenLen(method) != len(method) || len(method) == 0 {
		return false
	}
	h.MethodName, h.Method = f.method.Span, message.LookupMethod(method)
	return true
}

// findAuthority reads :authority and host, which must not differ (RFC 9113
// section 8.3.1): no one behind us may read the other.
func (f *facts) findAuthority(h *message.Head) Reason {
	if f.authority.set {
		if !message.ValidAuthority(h.Bytes(f.authority.Span)) {
			return BadAuthority
		}
		h.Authority = f.authority.Span
	}
	if !f.host.set {
		if !f.authority.set {
			return MissingHost
		}
		return NoReason
	}
	host := h.Bytes(f.host.Span)
	switch {
	case !message.ValidAuthority(host):
		return BadAuthority
	case f.authority.set && !message.EqualFoldBytes(host, h.Bytes(h.Authority)):
		return HostMismatch
	}
	h.Authority = f.host.Span
	return NoReason
}

// findTarget reads :scheme, :path and :protocol, of which CONNECT has its own set
// (RFC 9113 section 8.5, RFC 8441 section 4).
func (f *facts) findTarget(h *message.Head, extended bool) Reason {
	connect := h.Method == message.MethodConnect
	switch {
	case f.protocol.set && !connect:
		return UnknownPseudo
	case f.protocol.set:
		protocol := h.Bytes(f.protocol.Span)
		if !extended || len(protocol) == 0 || message.TokenLen(protocol) != len(protocol) {
			return BadProtocol
		}
		h.Protocol = f.protocol.Span
	case connect:
		if f.scheme.set || f.path.set {
			return UnknownPseudo
		}
		authority := h.Bytes(h.Authority)
		colon := bytes.LastIndexByte(authority, ':')
		if !f.authority.set || colon < 0 || colon == len(authority)-1 || authority[len(authority)-1] == ']' {
			return BadAuthority
		}
		h.Form, h.Target = message.FormAuthority, h.Authority
		return NoReason
	}
	if !f.scheme.set || !f.path.set {
		return MissingPseudo
	}
	if !validScheme(h.Bytes(f.scheme.Span)) {
		return BadScheme
	}
	return findPath(h, f.path.Span)
}

// findPath splits path and query.
func findPath(h *message.Head, path message.Span) Reason {
	h.Target, h.Path = path, path
	p := h.Bytes(path)
	switch {
	case len(p) == 0:
		return BadPath
	case p[0] == '*' && len(p) == 1:
		if h.Method != message.MethodOptions {
			return BadPath
		}
		h.Form, h.Path = message.FormAsterisk, message.Span{}
		return NoReason
	case p[0] != '/':
		return BadPath
	}
	for i, c := range p {
		switch pathClass[c] {
		case pathRefuse:
			return BadPath
		case pathQuestion:
			if !h.HasQuery {
				h.HasQuery = true
				h.Path.End = path.Start + uint32(i)
				h.Query = message.Span{Start: h.Path.End + 1, End: path.End}
			}
		}
	}
	return NoReason
}

// frameRequest decides how the body of a request ends. Without a declared length
// it is what HTTP/1.1 needs chunks for.
func (f *facts) frameRequest(h *message.Head, end bool) Reason {
	if reason := f.declare(h); reason != NoReason {
		return reason
	}
	h.Framing = h.Declared
	switch {
	case end:
		if h.Length > 0 {
			return LengthMismatch
		}
	case h.Method == message.MethodTrace:
		return UnexpectedBody
	case h.Method == message.MethodConnect:
		// What follows belongs to the tunnel.
		h.Framing, h.Declared, h.Length = message.FramingNone, message.FramingNone, 0
	case h.Declared == message.FramingNone:
		h.Framing, h.Declared = message.FramingChunked, message.FramingChunked
	}
	return NoReason
}

// declare reads content-length.
func (f *facts) declare(h *message.Head) Reason {
	if !f.length.set {
		return NoReason
	}
	value := h.Bytes(f.length.Span)
	if len(value) == 0 {
		return BadContentLength
	}
	n := int64(0)
	for _, c := range value {
		digit := int64(c) - '0'
		if digit < 0 || digit > 9 || n > (math.MaxInt64-digit)/10 {
			return BadContentLength
		}
		n = n*10 + digit
	}
	h.Declared, h.Length = message.FramingLength, n
	return NoReason
}

// tunnels tells whether what follows the head of an answer is a tunnel.
func tunnels(asked message.Method, status uint16) bool {
	return asked == message.MethodConnect && status >= 200 && status < 300
}

// finishResponse judges the head of a response whose fields are right.
func (f *facts) finishResponse(h *message.Head, end bool, asked message.Method) Reason {
	if f.method.set || f.scheme.set || f.path.set || f.authority.set || f.protocol.set {
		return UnknownPseudo
	}
	if !f.status.set {
		return MissingPseudo
	}
	digits := h.Bytes(f.status.Span)
	if len(digits) != 3 {
		return BadStatus
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return BadStatus
		}
		h.Status = h.Status*10 + uint16(c-'0')
	}
	if h.Status < 100 || h.Status > 599 || h.Status == 101 {
		return BadStatus
	}
	if reason := f.declare(h); reason != NoReason {
		return reason
	}
	return frameResponse(h, end, asked)
}

// frameResponse decides how the body of a response ends, as http1 does.
func frameResponse(h *message.Head, end bool, asked message.Method) Reason {
	switch status := h.Status; {
	case status < 200:
		if end || h.Length > 0 {
			return UnexpectedBody
		}
	case asked == message.MethodHead, status == 204, status == 304, tunnels(asked, status):
		h.Framing = message.FramingNone
	case end:
		if h.Length > 0 {
			return LengthMismatch
		}
		h.Framing, h.Declared = message.FramingLength, message.FramingLength
	case h.Declared == message.FramingNone:
		h.Framing, h.Declared = message.FramingChunked, message.FramingChunked
	default:
		h.Framing = h.Declared
	}
	return NoReason
}

// joinCookies makes one field of several (RFC 9113 section 8.2.3): the hop behind
// us may speak HTTP/1.1, where there is one.
func joinCookies(h *message.Head) {
	start := uint32(len(h.Arena))
	first := -1
	kept := h.Fields[:0]
	for _, field := range h.Fields {
		if field.ID != message.FieldCookie {
			kept = append(kept, field)
			continue
		}
		if first < 0 {
			first = len(kept)
			kept = append(kept, field)
		} else {
			h.Arena = append(h.Arena, "; "...)
			kept[first].Sensitive = kept[first].Sensitive || field.Sensitive
		}
		h.Arena = append(h.Arena, h.Arena[field.Value.Start:field.Value.End]...)
	}
	kept[first].Value = message.Span{Start: start, End: uint32(len(h.Arena))}
	h.Fields = kept
}
