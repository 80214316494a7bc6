// Package exchange is the life of one request, from its head to its log
// record, as a pure state machine. It knows no sockets: a driver (evloop) turns
// what codecs and descriptors say into events, calls Step, and carries out the
// actions that come back, in the order of their bits.
//
//	          Begin
//	            │ match, pick                       every path ends in
//	            ▼                                   exactly one ActFinish
//	 ┌──── Acquire ◀── Backoff ◀─┐ retry, if class, route
//	 │          │ acquired       │ and budget allow it
//	 │          ▼                │
//	 │        Send ──────────────┘
//	 │          │ response head
//	 │          ▼
//	 │   Stream, Tunnel ──▶ Done
//	 ▼                       ▲
//	Reply ───────────────────┘   (local answers: errors, redirect, respond)
//
// A 101 that was asked for leads to Tunnel, or a 2xx where it was asked for in
// HTTP/2, and so does the connection of a CONNECT. A Tunnel ends when both sides have.
//
// Invariants, checked by the tests after every step: at most one finish; no
// retry after a byte of the answer went to the client; an exchange that holds an
// upstream connection gives it back or aborts it exactly once; a deadline exists
// while an exchange is alive.
//
// An Exchange owns no buffer but those of the normal forms of host and path. It names
// spans of the request head, whose arena belongs to the stream of the driver, and keeps
// the compiled route until the head of the response was sent; afterwards it keeps names
// and timeouts, so a long answer never keeps an old table alive. A retry looks its
// upstream up in the table that is then in force.
//
// A retry is decided here and nowhere else, by the class that the Failure carries.
// All retries of an exchange hold one part of the node's RetryBudget, from the
// decision until the head of an answer went down or the exchange is over; those behind
// attempts that cost nobody any work hold none. What was
// sent of a body is sent again from what the driver keeps while Keeps says so;
// once something was sent that is not kept, there is no retry. A request that met a kept
// connection which had ended is sent anew, once, which is no attempt that a route counts. Nor is
// one whose endpoint a push has taken away before it began.
package exchange
