package http1

import (
	"bytes"
	"math"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// frame decides how the body ends, of requests and of responses; nothing else
// does (RFC 9112 section 6.3). method is that of the request which the message
// is, or answers. It fills h.Declared with what the fields say and h.Framing
// with what follows.
func frame(role Role, method message.Method, h *message.Head, f *facts) Reason {
	switch {
	case f.encodings > 0:
		if reason := checkEncoding(h, f); reason != NoReason {
			return reason
		}
		h.Declared = message.FramingChunked
	case f.lengths > 1:
		return RepeatedContentLength
	case f.lengths == 1:
		var reason Reason
		if h.Length, reason = parseLength(h.Bytes(f.length)); reason != NoReason {
			return reason
		}
		h.Declared = message.FramingLength
	}
	hasBody := h.Declared == message.FramingChunked || h.Length > 0
	h.Framing = h.Declared
	if role == Server {
		// What follows the head of a CONNECT belongs to the tunnel.
		if hasBody && (method == message.MethodConnect || method == message.MethodTrace) {
			return UnexpectedBody
		}
		return NoReason
	}
	switch status := h.Status; {
	case status < 200:
		// RFC 9110 section 8.6 and RFC 9112 section 6.1 forbid the fields; who
		// sends them nevertheless may send the body too, as the next response.
		if hasBody {
			return UnexpectedBody
		}
		h.Framing = message.FramingNone
	case method == message.MethodHead, status == 204, status == 304,
		method == message.MethodConnect && status < 300:
		h.Framing = message.FramingNone
	case h.Declared == message.FramingNone:
		h.Framing = message.FramingUntilClose
	}
	return NoReason
}

// checkEncoding accepts one Transfer-Encoding field line that says "chunked".
// Content-Length beside it is a smuggling attempt, or as bad as one (RFC 9112
// section 6.1).
func checkEncoding(h *message.Head, f *facts) Reason {
	switch {
	case h.Minor == 0:
		return EncodingIn10
	case f.lengths > 0:
		return LengthAndEncoding
	case f.encodings > 1:
		return RepeatedTransferEncoding
	}
	value := h.Bytes(f.encoding)
	if message.EqualFold(value, "chunked") {
		return NoReason
	}
	return encodingReason(value)
}

// encodingReason tells a list of codings that we do not know, which is not the
// sender's fault, from one that is malformed.
func encodingReason(value []byte) Reason {
	if len(value) == 0 {
		return BadTransferEncoding
	}
	chunked := false // seen, and must have been the last
	for {
		var coding []byte
		coding, value = message.NextElement(value)
		n := message.TokenLen(coding)
		if chunked || n == 0 {
			return BadTransferEncoding
		}
		chunked = message.EqualFold(coding[:n], "chunked")
		parameters := bytes.TrimLeft(coding[n:], " \t")
		if len(parameters) > 0 && (chunked || parameters[0] != ';') {
			return BadTransferEncoding
		}
		if value == nil {
			return UnknownTransferEncoding
		}
	}
}

// parseLength reads a Content-Length: digits only (RFC 9110 section 8.6). A
// list, even of equal numbers, counts as a repeated field.
func parseLength(value []byte) (int64, Reason) {
	if len(value) == 0 {
		return 0, BadContentLength
	}
	n := int64(0)
	for i, c := range value {
		digit := int64(c) - '0'
		if digit < 0 || digit > 9 {
			return 0, lengthReason(value, i)
		}
		if n > (math.MaxInt64-digit)/10 {
			return 0, tooLarge(value)
		}
		n = n*10 + digit
	}
	return n, NoReason
}

// lengthReason tells a list from other nonsense.
func lengthReason(value []byte, i int) Reason {
	for _, c := range value[i:] {
		if c == ',' && i > 0 {
			return RepeatedContentLength
		}
	}
	return BadContentLength
}

// tooLarge tells a large number from nonsense that begins with one.
func tooLarge(value []byte) Reason {
	for i, c := range value {
		if c < '0' || c > '9' {
			return lengthReason(value, i)
		}
	}
	return ContentTooLarge
}

// connectionOptions is what the Connection fields ask for.
type connectionOptions struct {
	close, keepAlive, upgrade bool
	named                     bool // fields that are not hop-by-hop anyway
	count                     int  // so many were read, empty ones too; no more than one beyond MaxOptions
}

func (f *facts) options(h *message.Head) (o connectionOptions) {
	switch f.connections {
	case 0:
		return o
	case 1:
		value := h.Bytes(f.connection)
		if o.keepAlive = message.EqualFold(value, "keep-alive"); !o.keepAlive { // mostly it is
			o.add(value)
		}
		return o
	}
	for i := range h.Fields {
		if h.Fields[i].ID == message.FieldConnection {
			o.add(h.Bytes(h.Fields[i].Value))
		}
	}
	return o
}

// add reads one list of connection options (RFC 9110 section 7.6.1).
func (o *connectionOptions) add(list []byte) {
	for len(list) > 0 && o.count <= MaxOptions {
		var option []byte
		option, list = message.NextElement(list)
		o.count++
		switch {
		case message.EqualFold(option, "keep-alive"):
			o.keepAlive = true
		case message.EqualFold(option, "close"):
			o.close = true
		case message.EqualFold(option, "upgrade"):
			o.upgrade = true
		case len(option) > 0 && !message.LookupField(option).HopByHop():
			o.named = true
		}
	}
}

// persist fills what h says about the connection (RFC 9112 section 9.3).
func persist(h *message.Head, f *facts) Reason {
	o := f.options(h)
	if o.count > MaxOptions {
		return TooManyFields
	}
	h.KeepAlive = !o.close && (h.Minor == 1 || o.keepAlive)
	h.Upgrade = o.upgrade && f.upgrades > 0 && h.Minor == 1
	h.Named = o.named
	return NoReason
}

// finishRequest judges a request head whose lines are right.
func (r *Reader) finishRequest(h *message.Head, f *facts) Reason {
	if reason := checkHost(h, f); reason != NoReason {
		return reason
	}
	if h.Form == message.FormAbsolute && h.Method == message.MethodOptions && h.Path.Len() == 0 && !h.HasQuery {
		h.Form, h.Path = message.FormAsterisk, message.Span{} // RFC 9112 section 3.2.4
	}
	if reason := frame(Server, h.Method, h, f); reason != NoReason {
		return reason
	}
	if reason := persist(h, f); reason != NoReason {
		return reason
	}
	if h.Method == message.MethodConnect {
		// Tunnel or refusal: what the client sends next is not to be read as a
		// request (RFC 9110 section 9.3.6).
		h.KeepAlive = false
	}
	if f.expects > 0 && h.Minor == 1 { // RFC 9110 section 10.1.1: ignored in 1.0
		if f.expects > 1 || !message.EqualFold(h.Bytes(f.expect), "100-continue") {
			return UnknownExpectation
		}
		h.Expect100 = h.Framing == message.FramingChunked || h.Length > 0
	}
	r.method = h.Method
	return NoReason
}

// checkHost wants one right Host field line, which a request of HTTP/1.0 may
// leave out, and one that agrees with the target (RFC 9112 section 3.2). RFC
// 9112 section 3.2.2 would let the target win; a sender that says two things is
// refused here, so that no one behind us reads the other.
func checkHost(h *message.Head, f *facts) Reason {
	switch {
	case f.hosts > 1:
		return RepeatedHost
	case f.hosts == 0 && h.Minor == 1:
		return MissingHost
	case f.hosts == 0:
		return NoReason
	}
	host := h.Bytes(f.host)
	if !message.ValidAuthority(host) {
		return BadHost
	}
	if h.Form == message.FormAbsolute || h.Form == message.FormAuthority {
		if !message.EqualFoldBytes(host, h.Bytes(h.Authority)) {
			return HostMismatch
		}
		return NoReason
	}
	h.Authority = f.host
	return NoReason
}

// finishResponse judges a response head whose lines are right.
func (r *Reader) finishResponse(h *message.Head, f *facts) Reason {
	if reason := frame(Client, r.method, h, f); reason != NoReason {
		return reason
	}
	if reason := persist(h, f); reason != NoReason {
		return reason
	}
	switch status := h.Status; {
	case status == 101, r.method == message.MethodConnect && status >= 200 && status < 300:
		h.KeepAlive = false // what follows is not HTTP, or not for this codec
	case status == 204 && (h.Declared == message.FramingChunked || h.Length > 0):
		h.KeepAlive = false // the body that must not come may come nevertheless
	case h.Framing == message.FramingUntilClose:
		h.KeepAlive = false
	case status < 200:
		if r.interim++; r.interim > MaxInterim {
			return TooManyInterim
		}
	case f.keepAlives > 0:
		keepFor(h, h.Bytes(f.keepAlive))
	}
	return NoReason
}

// keepFor heeds Keep-Alive: timeout=5, by which a server says after how many seconds it ends an idle
// connection (RFC 2068 section 19.7.1.1; no later one defines it, and servers send it by default).
// Who says 0 ends it within a second, since those who count in milliseconds round down: it is not
// used again. What is no number says nothing.
func keepFor(h *message.Head, parameters []byte) {
	for len(parameters) > 0 {
		var parameter []byte
		parameter, parameters = message.NextElement(parameters)
		if len(parameter) <= len(timeout) || !message.EqualFold(parameter[:len(timeout)], timeout) {
			continue
		}
		seconds, reason := parseLength(parameter[len(timeout):])
		switch {
		case reason != NoReason:
		case seconds == 0:
			h.KeepAlive = false
		default:
			h.IdleFor = uint16(min(seconds, math.MaxUint16))
		}
		return
	}
}

const timeout = "timeout="

// emitHead consumes a head that ends at n and turns to what follows it.
func (r *Reader) emitHead(n int, h *message.Head) Event {
	r.forget()
	if r.role == Client && h.Status < 200 && h.Status != 101 {
		return Event{Kind: Interim, N: n}
	}
	r.last = !h.KeepAlive
	r.extensions = 0
	switch h.Framing {
	case message.FramingChunked:
		r.state = stateChunkFirst
	case message.FramingUntilClose:
		r.state = stateUntilClose
	case message.FramingLength:
		r.state = stateLength
		r.remaining = h.Length
		if h.Length == 0 {
			r.state = stateEnd
		}
	default:
		r.state = stateEnd
	}
	return Event{Kind: Head, N: n}
}
