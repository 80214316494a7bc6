package http2

import (
	"strconv"

	"github.com/proxyfleet/proxyfleet/dataplane/hpack"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// The Append functions write what they are given: names, values, method and path
// must be valid, as everything is that a codec let through. Fields that HTTP/2
// forbids are left out. A stream that is over gets nothing: its bytes are taken
// and thrown away.

// AppendResponse appends the head of an answer; with end nothing follows. Any
// number of interim ones (1xx, without end) may come before.
func (c *Conn) AppendResponse(dst []byte, stream uint32, o *message.Out, end bool) []byte {
	s := c.streams.find(stream)
	if s == nil || s.send != halfHead || c.phase == phaseFailed {
		return dst
	}
	start := len(dst)
	dst = c.openBlock(dst)
	dst = hpack.AppendStatus(dst, o.Status)
	if o.Framing == message.FramingLength && o.Status >= 200 {
		dst = appendLength(dst, o.Length)
	}
	dst = appendFields(dst, o.Fields)
	if o.Status < 200 {
		return c.closeBlock(dst, start, stream, 0)
	}
	s.send = halfBody
	if !end {
		return c.closeBlock(dst, start, stream, 0)
	}
	return c.ended(c.closeBlock(dst, start, stream, flagEndStream), s)
}

// Open says that the peer would take another stream now.
func (c *Conn) Open() bool {
	return c.role == Client && c.phase != phaseFailed && !c.leaving && c.highest < maxStreamID-1 &&
		c.streams.count < min(int(min(c.peer.streams, maxSlots)), c.options.Streams)
}

// AppendRequest begins a stream with a request; with end nothing follows. tag is
// attached to it. ok is false, and nothing is appended, unless Open.
func (c *Conn) AppendRequest(dst []byte, o *message.Out, end bool, tag uint32) (grown []byte, stream uint32, ok bool) {
	if !c.Open() {
		return dst, 0, false
	}
	if c.highest == 0 {
		stream = 1
	} else {
		stream = c.highest + 2
	}
	c.highest = stream
	s := c.begin(stream)
	s.tag, s.told = tag, true
	s.method = message.LookupMethod(o.Method)
	start := len(dst)
	dst = c.openBlock(dst)
	dst = c.appendTarget(dst, o, s.method)
	if o.Framing == message.FramingLength {
		dst = appendLength(dst, o.Length)
	}
	dst = appendFields(dst, o.Fields)
	s.send = halfBody
	if !end {
		return c.closeBlock(dst, start, stream, 0), stream, true
	}
	s.send = halfEnded
	return c.closeBlock(dst, start, stream, flagEndStream), stream, true
}

// appendTarget appends the pseudo-fields of a request (RFC 9113 section 8.3.1).
func (c *Conn) appendTarget(dst []byte, o *message.Out, method message.Method) []byte {
	switch method {
	case message.MethodGet:
		dst = hpack.AppendIndexed(dst, hpack.IndexMethod)
	case message.MethodPost:
		dst = hpack.AppendIndexed(dst, hpack.IndexMethodPost)
	default:
		dst = hpack.AppendNamed(dst, hpack.IndexMethod, o.Method)
	}
	if method != message.MethodConnect || len(o.Protocol) > 0 {
		scheme := uint32(hpack.IndexSchemeHTTP)
		if c.options.Secure {
			scheme = hpack.IndexSchemeHTTPS
		}
		dst = hpack.AppendIndexed(dst, scheme)
		if len(o.Target) == 1 && o.Target[0] == '/' {
			dst = hpack.AppendIndexed(dst, hpack.IndexPath)
		} else {
			dst = hpack.AppendNamed(dst, hpack.IndexPath, o.Target)
		}
	}
	dst = hpack.AppendNamed(dst, hpack.IndexAuthority, o.Authority)
	if len(o.Protocol) > 0 {
		dst = hpack.AppendField(dst, message.Unnumbered, nameProtocol, o.Protocol, false)
	}
	return dst
}

var nameProtocol = []byte(":protocol")

// AppendData appends a piece of a body, in frames of up to MaxFrame, as far as
// the windows of the peer go; n says how much of p was taken. With end the stream
// ends behind all of p. When less is taken, Writable will say when there is room.
func (c *Conn) AppendData(dst []byte, stream uint32, p []byte, end bool) (grown []byte, n int) {
	s := c.streams.find(stream)
	if s == nil || s.send != halfBody || c.phase == phaseFailed {
		return dst, len(p)
	}
	if len(p) == 0 && end {
		return c.ended(appendFrame(dst, 0, frameData, flagEndStream, stream), s), 0
	}
	for n < len(p) {
		size := min(len(p)-n, MaxFrame, int(min(s.sendWindow, c.sendWindow)))
		if size <= 0 {
			s.blocked = s.sendWindow <= 0
			c.blocked = c.blocked || c.sendWindow <= 0
			return dst, n
		}
		s.sendWindow -= int32(size)
		c.sendWindow -= int32(size)
		flags, counts := uint8(0), int64(size)
		if last := n+size == len(p); last {
			counts = max(counts, wholeFrame)
			if end {
				flags = flagEndStream
			}
		}
		c.floods.bytes += counts
		dst = appendFrame(dst, size, frameData, flags, stream)
		dst = append(dst, p[n:n+size]...)
		n += size
	}
	if end {
		dst = c.ended(dst, s)
	}
	return dst, n
}

// Room is how many bytes AppendData would take for a stream now.
func (c *Conn) Room(stream uint32) int {
	s := c.streams.find(stream)
	if s == nil || s.send != halfBody {
		return 0
	}
	return int(max(min(s.sendWindow, c.sendWindow), 0))
}

// AppendTrailers ends a stream with trailers; without any it is AppendData with
// end and no bytes.
func (c *Conn) AppendTrailers(dst []byte, stream uint32, trailers []message.OutField) []byte {
	s := c.streams.find(stream)
	if s == nil || s.send != halfBody || c.phase == phaseFailed {
		return dst
	}
	if len(trailers) == 0 {
		dst, _ = c.AppendData(dst, stream, nil, true)
		return dst
	}
	start := len(dst)
	dst = appendFields(c.openBlock(dst), trailers)
	return c.ended(c.closeBlock(dst, start, stream, flagEndStream), s)
}

// ended notes that our half of a stream is complete. The rest of a request that
// was refused is not awaited (RFC 9113 section 8.1).
func (c *Conn) ended(dst []byte, s *stream) []byte {
	c.out = dst
	if s.mute && s.recv != halfEnded {
		c.out = appendReset(c.out, s.id, NoError)
		c.forget(s, endOurs)
	} else {
		c.endSend(s)
	}
	dst, c.out = c.out, nil
	return dst
}

// openBlock leaves room for a frame's header and begins a field block.
func (c *Conn) openBlock(dst []byte) []byte {
	dst = appendFrame(dst, 0, frameHeaders, 0, 0)
	if !c.opened {
		c.opened = true
		dst = append(dst, hpack.Opening)
	}
	return dst
}

// closeBlock writes the header of the frame that begins at start, and cuts the
// block into frames if it is larger than one (RFC 9113 section 6.10).
func (c *Conn) closeBlock(dst []byte, start int, stream uint32, flags uint8) []byte {
	size := len(dst) - start - frameHeaderLen
	if size <= MaxFrame {
		putFrame(dst[start:], size, frameHeaders, flags|flagEndHeaders, stream)
		return dst
	}
	more := (size - 1) / MaxFrame // CONTINUATION frames
	for range more {
		dst = appendFrame(dst, 0, 0, 0, 0)
	}
	// From the last piece to the first, each moves behind the headers before it.
	for i := more; i > 0; i-- {
		from := start + frameHeaderLen + i*MaxFrame
		length := min(MaxFrame, size-i*MaxFrame)
		to := from + i*frameHeaderLen
		copy(dst[to:to+length], dst[from:from+length])
		last := uint8(0)
		if i == more {
			last = flagEndHeaders
		}
		putFrame(dst[to-frameHeaderLen:], length, frameContinuation, last, stream)
	}
	putFrame(dst[start:], MaxFrame, frameHeaders, flags, stream)
	return dst
}

// appendLength appends content-length.
func appendLength(dst []byte, n int64) []byte {
	var digits [20]byte
	return hpack.AppendField(dst, message.FieldContentLength, nil, strconv.AppendInt(digits[:0], n, 10), false)
}

// appendFields appends fields but for those of a connection (RFC 9113 section
// 8.2.2), and those that the codec writes itself.
func appendFields(dst []byte, fields []message.OutField) []byte {
	for i := range fields {
		f := &fields[i]
		id := message.LookupField(f.Name)
		sensitive := f.Sensitive
		switch id {
		case message.FieldConnection, message.FieldProxyConnection, message.FieldKeepAlive, message.FieldTransferEncoding,
			message.FieldUpgrade, message.FieldHTTP2Settings, message.FieldHost, message.FieldContentLength:
			continue
		case message.FieldTE:
			if !message.EqualFold(f.Value, "trailers") {
				continue
			}
		case message.FieldAuthorization, message.FieldProxyAuthorization:
			sensitive = true // RFC 7541 section 7.1.3
		}
		dst = hpack.AppendField(dst, id, f.Name, f.Value, sensitive)
	}
	return dst
}
