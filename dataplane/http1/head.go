package http1

import (
	"bytes"
	"encoding/binary"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// facts is what the field lines of a head say about framing and persistence,
// collected in passing and judged when the head is complete.
type facts struct {
	host, length, encoding, connection, expect, keepAlive message.Span // the last of each
	hosts, lengths, encodings, connections, expects       uint16       // how many
	upgrades, keepAlives                                  uint16
}

// note records a field that facts are made of.
func (f *facts) note(field message.Field) {
	switch field.ID {
	case message.FieldHost:
		f.host = field.Value
		f.hosts++
	case message.FieldContentLength:
		f.length = field.Value
		f.lengths++
	case message.FieldTransferEncoding:
		f.encoding = field.Value
		f.encodings++
	case message.FieldConnection:
		f.connection = field.Value
		f.connections++
	case message.FieldExpect:
		f.expect = field.Value
		f.expects++
	case message.FieldUpgrade:
		f.upgrades++
	case message.FieldKeepAlive:
		f.keepAlive = field.Value
		f.keepAlives++
	}
}

// progress is how far readLines came.
type progress uint8

const (
	incomplete progress = iota
	complete
	wrong
)

// nextHead reads a head. A head that is all there is read in one pass. Of one
// that is not, complete lines are checked as they come, and when the last one
// has come the whole is read again to fill h.
func (r *Reader) nextHead(in []byte, h *message.Head) Event {
	if r.searched > 2 && r.lineEnd(in, int(r.parsed)) == 0 { // 2: an empty line may come first
		return r.awaitLine(in)
	}
	resumed := r.parsed > 0
	var f facts
	pos, state, reason := r.readLines(in, h, &f)
	if state == complete && resumed {
		r.forget()
		f = facts{}
		pos, state, reason = r.readLines(in, h, &f)
	}
	switch state {
	case incomplete:
		return r.awaitLine(in)
	case wrong:
		return r.fail(reason)
	}
	if r.role == Server {
		reason = r.finishRequest(h, &f)
	} else {
		reason = r.finishResponse(h, &f)
	}
	if reason != NoReason {
		return r.fail(reason)
	}
	return r.emitHead(pos, h)
}

// awaitLine waits for the rest of a line that has not ended yet.
func (r *Reader) awaitLine(in []byte) Event {
	begun := uint32(len(in)) - uint32(r.skip)
	if r.parsed == 0 && r.role == Server && begun >= min(MaxRequestLine, r.headBytes) {
		return r.fail(RequestLineTooLong)
	}
	if begun >= r.headBytes {
		return r.fail(HeadTooLarge)
	}
	r.searched = uint32(len(in))
	return Event{}
}

// readLines reads the lines of a head from r.parsed on and fills h. pos is
// where the head ends, when it is complete.
func (r *Reader) readLines(in []byte, h *message.Head, f *facts) (pos int, state progress, reason Reason) {
	h.Reset()
	h.Arena = in
	pos = int(r.parsed)
	if pos == 0 {
		if pos, state, reason = r.startLine(in, h); state != complete {
			return pos, state, reason
		}
	}
	limit := int(r.skip) + int(r.headBytes)
	most := int(r.maxFields) - int(r.fields)
	fields := h.Fields
	for {
		if len(in)-pos >= 2 && in[pos] == '\r' && in[pos+1] == '\n' {
			h.Fields = fields
			if pos+2 > limit {
				return pos, wrong, HeadTooLarge
			}
			return pos + 2, complete, NoReason
		}
		field, next := fieldLine(in, pos)
		if next == 0 {
			break
		}
		if next > limit {
			return pos, wrong, HeadTooLarge
		}
		if len(fields) == most {
			return pos, wrong, TooManyFields
		}
		fields = append(fields, field)
		if field.ID-1 < message.FieldKeepAlive { // 0 wraps around
			f.note(field)
		}
		pos = next
	}
	h.Fields = fields
	r.parsed = uint32(pos)
	r.fields += uint16(len(fields))
	r.searched = 0
	end := r.lineEnd(in, pos)
	switch {
	case end == 0:
		return pos, incomplete, NoReason
	case end > limit:
		return pos, wrong, HeadTooLarge
	}
	return pos, wrong, fieldLineReason(in[pos:end])
}

// startLine reads what is before the fields. Nonsense is told by its first
// byte, so that a TLS handshake on a plaintext port need not run into a limit.
func (r *Reader) startLine(in []byte, h *message.Head) (pos int, state progress, reason Reason) {
	if len(in) == 0 {
		return 0, incomplete, NoReason
	}
	if r.role == Client {
		return r.statusLine(in, h)
	}
	if in[0] == '\r' {
		// One empty line before a request is ignored (RFC 9112 section 2.2).
		if len(in) == 1 {
			return 0, incomplete, NoReason
		}
		if in[1] != '\n' {
			return 0, wrong, BareCR
		}
		r.skip = 2
		if pos = 2; len(in) == 2 {
			return 0, incomplete, NoReason
		}
	}
	switch c := in[pos]; {
	case message.IsTokenByte(c):
	case c == '\n':
		return 0, wrong, BareLF
	default:
		return 0, wrong, BadMethod
	}
	next := requestLine(in, pos, h)
	longest := pos + int(min(MaxRequestLine, r.headBytes))
	if next == 0 {
		end := r.lineEnd(in, pos)
		switch {
		case end == 0:
			return 0, incomplete, NoReason
		case end > longest:
			return 0, wrong, RequestLineTooLong
		}
		return 0, wrong, requestLineReason(in[pos:end])
	}
	if next > longest {
		return 0, wrong, RequestLineTooLong
	}
	if reason = requestTarget(h); reason != NoReason {
		return 0, wrong, reason
	}
	return next, complete, NoReason
}

// The versions, as the eight bytes of a load.
const (
	version10 = 'H' | 'T'<<8 | 'T'<<16 | 'P'<<24 | '/'<<32 | '1'<<40 | '.'<<48 | '0'<<56
	version11 = 'H' | 'T'<<8 | 'T'<<16 | 'P'<<24 | '/'<<32 | '1'<<40 | '.'<<48 | '1'<<56
)

// requestLine reads a request line (RFC 9112 section 3). next is 0 if it is
// wrong or not all there.
func requestLine(in []byte, pos int, h *message.Head) (next int) {
	i := pos
	for i < len(in) && message.IsTokenByte(in[i]) {
		i++
	}
	if i == len(in) || in[i] != ' ' {
		return 0
	}
	h.MethodName = message.Span{Start: uint32(pos), End: uint32(i)}
	h.Method = message.LookupMethod(in[pos:i])
	i++
	target, question := i, 0
	for ; i < len(in); i++ {
		class := targetClass[in[i]]
		if class == targetPlain {
			continue
		}
		if class != targetQuestion {
			break
		}
		if question == 0 {
			question = i
		}
	}
	if i == target || len(in)-i < 11 || in[i] != ' ' || in[i+9] != '\r' || in[i+10] != '\n' {
		return 0
	}
	switch binary.LittleEndian.Uint64(in[i+1:]) {
	case version11:
		h.Minor = 1
	case version10:
		h.Minor = 0
	default:
		return 0
	}
	h.Target = message.Span{Start: uint32(target), End: uint32(i)}
	h.Path = h.Target
	if question != 0 {
		h.HasQuery = true
		h.Path.End = uint32(question)
		h.Query = message.Span{Start: uint32(question) + 1, End: uint32(i)}
	}
	return i + 11
}

// Peek fills h with the method and the version of the request line at the beginning of in, which
// may stand before a head that is refused, or does not come. ok: there is one, and it is right.
func Peek(in []byte, h *message.Head) (ok bool) {
	h.Reset()
	pos := 0
	if len(in) > 1 && in[0] == '\r' && in[1] == '\n' { // as in startLine
		pos = 2
	}
	var line message.Head
	if requestLine(in, pos, &line) == 0 {
		return false
	}
	h.Arena, h.Minor = in, line.Minor
	h.Method, h.MethodName = line.Method, line.MethodName
	return true
}

// requestTarget tells the forms of a target apart and checks that the method
// may use it (RFC 9112 section 3.2).
func requestTarget(h *message.Head) Reason {
	first := h.Arena[h.Target.Start]
	switch {
	case h.Method == message.MethodConnect:
		h.Form = message.FormAuthority
		h.Authority = h.Target
		h.Path = message.Span{}
		return checkConnect(h)
	case first == '/':
		return NoReason
	case first == '*' && h.Target.Len() == 1:
		h.Form = message.FormAsterisk
		h.Path = message.Span{}
		if h.Method != message.MethodOptions {
			return BadTarget
		}
		return NoReason
	}
	h.Form = message.FormAbsolute
	return absoluteTarget(h)
}

// checkConnect wants a host and a port (RFC 9110 section 9.3.6).
func checkConnect(h *message.Head) Reason {
	target := h.Bytes(h.Target)
	if bytes.IndexByte(target, '@') >= 0 {
		return TargetUserinfo
	}
	colon := bytes.LastIndexByte(target, ':')
	if !message.ValidAuthority(target) || colon < 0 || colon == len(target)-1 || target[len(target)-1] == ']' {
		return BadTarget
	}
	return NoReason
}

// absoluteTarget splits "http://authority/path". Path may be empty.
func absoluteTarget(h *message.Head) Reason {
	target := h.Bytes(h.Target)
	scheme := bytes.Index(target, []byte("://"))
	if scheme < 0 || !message.EqualFold(target[:scheme], "http") && !message.EqualFold(target[:scheme], "https") {
		return BadTarget
	}
	start := scheme + 3
	end := start
	for end < len(target) && target[end] != '/' && target[end] != '?' {
		end++
	}
	authority := target[start:end]
	if bytes.IndexByte(authority, '@') >= 0 {
		return TargetUserinfo
	}
	if !message.ValidAuthority(authority) {
		return BadTarget
	}
	base := h.Target.Start
	h.Authority = message.Span{Start: base + uint32(start), End: base + uint32(end)}
	h.Path.Start = h.Authority.End
	return NoReason
}

// statusLine reads a status line (RFC 9112 section 4). The space before an
// empty reason phrase may be missing: many servers leave it out.
func (r *Reader) statusLine(in []byte, h *message.Head) (pos int, state progress, reason Reason) {
	if in[0] != 'H' {
		return 0, wrong, BadStatusLine
	}
	const digits = len("HTTP/1.1 ")
	end := valueEnd(in, 0)
	if len(in)-end < 2 || in[end] != '\r' || in[end+1] != '\n' {
		end = r.lineEnd(in, 0)
		switch {
		case end == 0:
			return 0, incomplete, NoReason
		case end > int(r.headBytes):
			return 0, wrong, HeadTooLarge
		}
		if reason = checkLineEnd(in[:end]); reason == NoReason {
			reason = BadReasonPhrase
		}
		return 0, wrong, reason
	}
	line := in[:end]
	if end+2 > int(r.headBytes) {
		return 0, wrong, HeadTooLarge
	}
	if len(line) < digits+3 || line[digits-1] != ' ' || len(line) > digits+3 && line[digits+3] != ' ' {
		return 0, wrong, BadStatusLine
	}
	switch binary.LittleEndian.Uint64(line) {
	case version11:
		h.Minor = 1
	case version10:
		h.Minor = 0
	default:
		return 0, wrong, versionReason(line[:digits-1])
	}
	for _, c := range line[digits : digits+3] {
		if c < '0' || c > '9' {
			return 0, wrong, BadStatus
		}
		h.Status = h.Status*10 + uint16(c-'0')
	}
	if h.Status < 100 || h.Status > 599 {
		return 0, wrong, BadStatus
	}
	h.Reason = message.Span{Start: uint32(min(digits+4, len(line))), End: uint32(len(line))}
	return end + 2, complete, NoReason
}
