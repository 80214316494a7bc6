// Package http1 is a codec for HTTP/1.0 and HTTP/1.1 without I/O: a Reader
// turns bytes into events, Append functions turn heads and chunks into bytes.
// It knows no sockets, clocks or locks, and allocates nothing.
//
// A Reader serves one direction of one connection in one of two roles: Server
// reads requests, Client reads responses. Its caller owns the buffer:
//
//	for {
//		ev := r.Next(in, &head)   // in: every byte not yet consumed
//		in = in[ev.N:]
//		switch ev.Kind {
//		case http1.Head:     // head is filled and borrows in
//		case http1.Data:     // body bytes, without framing
//		case http1.End:      // the message is complete
//		case http1.NeedMore: // receive more, or call EOF when the peer closed
//		case http1.Failed:   // ev.Reason; close after answering
//		}
//	}
//
// Invariants:
//
//   - The sequence of events is a function of the bytes alone, however they are
//     cut, except that a run of body bytes may come as several Data events.
//     Errors within a line are therefore told when the line is complete, or
//     cannot be completed within its limit.
//   - Every byte is searched a bounded number of times: a peer that sends byte
//     by byte costs O(n).
//   - NeedMore consumes nothing. What the reader leaves in the buffer is at most
//     Limits.HeadBytes, or MaxTrailerBytes and a chunk's line.
//   - One function, frame, decides how every body ends (RFC 9112 section 6.3).
//   - Doubt is an error. A failed reader stays failed, and a message after which
//     its sender closes (or stops speaking HTTP) is the last one read.
package http1
