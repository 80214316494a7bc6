// Package http2 is a codec for HTTP/2 (RFC 9113) without I/O, in both roles: a
// Conn turns bytes into events and appends frames to buffers of its caller. It
// knows no sockets, clocks or locks, and allocates nothing in the steady state.
//
// A Conn is one connection. Its caller owns the buffers:
//
//	out = c.AppendPreface(out)
//	for {
//		var ev http2.Event
//		ev, out = c.Next(now, in, &head, out) // in: every byte not yet consumed
//		in = in[ev.N:]
//		switch ev.Kind {
//		case http2.Head:     // a message of ev.Stream begins; head is filled
//		case http2.Data:     // in[ev.Start:ev.End] of body; report it by AppendConsumed
//		case http2.End:      // the message is complete; trailers are in head
//		case http2.Reset:    // the stream is over
//		case http2.NeedMore: // receive more
//		case http2.Failed:   // send out, then close
//		}
//	}
//
// out also gets what the protocol asks for by itself: acknowledgements, window
// updates, resets, the last GOAWAY. A caller stops calling Next while the peer
// does not take what is in out, which bounds it.
//
// A Head is the same as package http1 makes, so that whoever reads one needs not
// know where it came from: the pseudo-fields are Method, Target, Authority and
// Status, a body without a declared length has FramingChunked, several cookie
// fields are one (RFC 9113 section 8.2.3). Its arena is h.Arena, which Next
// overwrites: whoever keeps a head keeps the arena and lends another.
//
// # A stream
//
// Each direction of a stream goes from its head over its body to its end; what
// frames are taken when is said in one place, stream.go. A stream is over when
// both directions have ended or either side has reset it; then its number means
// nothing to the Conn any more, and Append functions that name it do nothing.
// The caller hears of every stream that Head told exactly once that its peer's
// half is over, by End, Reset or Failed; after End a Reset may follow while our
// half is not complete.
//
// # Flow control
//
// What Data tells is held against the windows of its stream and of the
// connection until the caller reports it by AppendConsumed; windows are given
// back in halves. So a slow reader stops its own stream, and no other while the
// caller holds less than the connection's window. In the other direction
// AppendData takes what the peer's windows have room for, and Writable says when
// there is more.
//
// # Strictness
//
// Reason lists every rule that is checked, with its error code and whether the
// stream or the connection ends by it. A malformed message is never told.
//
// Priorities are parsed, and refused where they are malformed, but have no
// effect: RFC 9113 section 5.3.2 deprecates the scheme of RFC 7540, and streams
// that share a connection share it evenly. A tree that peers shape at will would
// be one more thing to flood. SETTINGS_NO_RFC7540_PRIORITIES says so (RFC 9218
// section 2.1).
//
// Server push is off in both roles.
//
// # Floods
//
// What a peer may send at no cost to itself is counted, each kind for itself;
// flood.go says how much is taken and what earns more. Beyond it the connection
// ends with ENHANCE_YOUR_CALM.
//
// # Memory
//
// A Conn is about 1 KiB. Each stream at hand adds 64 bytes, up to Options.Streams
// of them, the table of header compression up to 8 KiB for its bytes and 2 KiB
// for its entries, 128 resets of our own 512 bytes, and a field block that comes
// in several frames is kept, up to maxBlock, until its last.
package http2
