package http1

import (
	"strconv"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// The Append functions write what they are given: names, values, method and
// target must be valid, as everything is that a Reader let through. They allocate
// only when dst is too small.

// AppendRequest appends a request head, always of HTTP/1.1: the request line,
// Host from o.Authority, o.Fields, and the fields that o.Framing, o.Length,
// o.Close and o.Upgrade ask for. FramingNone and FramingUntilClose write no
// framing field: a request without one has no body.
func AppendRequest(dst []byte, o *message.Out) []byte {
	dst = append(dst, o.Method...)
	dst = append(dst, ' ')
	dst = append(dst, o.Target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, o.Authority...)
	dst = append(dst, "\r\n"...)
	dst = appendFields(dst, o.Fields)
	dst = appendFraming(dst, o)
	switch {
	case o.Upgrade:
		dst = append(dst, "Connection: upgrade\r\n"...)
	case o.Close:
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// AppendResponse appends a response head, always of HTTP/1.1 (RFC 9112 section
// 2.3): the status line, o.Fields, and the fields that o.Framing, o.Length,
// o.Close, o.Upgrade and o.Minor ask for.
//
// FramingNone writes no framing field: right for 1xx, 204, 304 and answers to
// HEAD and CONNECT only, since elsewhere its absence means FramingUntilClose.
// An empty body is FramingLength with Length 0. An answer to HEAD takes the
// framing that the answer to GET would have, and no body follows.
//
// A body until close closes, and a chunked one that is for an HTTP/1.0 peer
// becomes one until close: o.Framing and o.Close are set so, for the caller to
// go by.
func AppendResponse(dst []byte, o *message.Out) []byte {
	if o.Minor == 0 && o.Framing == message.FramingChunked {
		o.Framing = message.FramingUntilClose
	}
	if o.Framing == message.FramingUntilClose {
		o.Close = true
	}
	dst = appendStatusLine(dst, o.Status)
	dst = appendFields(dst, o.Fields)
	dst = appendFraming(dst, o)
	switch {
	case o.Upgrade:
		dst = append(dst, "Connection: upgrade\r\n"...)
	case o.Status < 200:
		// An interim response says nothing about the connection.
	case o.Close:
		dst = append(dst, "Connection: close\r\n"...)
	case o.Minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// AppendChunkHeader appends the line of a chunk of n > 0 bytes. A chunk of no
// bytes would end the body: the caller leaves it out.
func AppendChunkHeader(dst []byte, n int) []byte {
	dst = strconv.AppendUint(dst, uint64(n), 16)
	return append(dst, "\r\n"...)
}

// AppendChunkEnd appends what follows the data of a chunk.
func AppendChunkEnd(dst []byte) []byte {
	return append(dst, "\r\n"...)
}

// AppendLastChunk appends the end of a chunked body with trailer lines as a
// Reader's End gave them, or none: checked, each with its CRLF.
func AppendLastChunk(dst, lines []byte) []byte {
	dst = append(dst, "0\r\n"...)
	dst = append(dst, lines...)
	return append(dst, "\r\n"...)
}

func appendFields(dst []byte, fields []message.OutField) []byte {
	for i := range fields {
		f := &fields[i]
		dst = append(dst, f.Name...)
		dst = append(dst, ": "...)
		dst = append(dst, f.Value...)
		dst = append(dst, "\r\n"...)
	}
	return dst
}

func appendFraming(dst []byte, o *message.Out) []byte {
	switch o.Framing {
	case message.FramingLength:
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, o.Length, 10)
		dst = append(dst, "\r\n"...)
	case message.FramingChunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	return dst
}
