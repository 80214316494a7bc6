// Package secure is TLS without descriptors: crypto/tls over memory, in the two
// phases that an event loop needs.
//
// # Handshake
//
// A handshake computes for a fifth of a millisecond and more, which is long for a loop, and
// waits for its peer in between. Conn.Handshake runs it on a goroutine or coroutine of the
// caller's, and calls a function of the caller's when it needs bytes of the peer. While that
// runs the connection is whose it was before: who takes what is to be sent, and
// feeds what came. So nothing is shared, and there is no lock. Server.Short tells by the
// ClientHello which handshakes are the fast ones.
//
// A server's handshake is to be begun when a whole ClientHello is there (package
// clienthello): so clients who connect and say nothing cost no stack.
//
// # Records
//
// After it the caller feeds what the descriptor gave and opens it, all of it,
// until ErrDrained; and seals what is to be sent. Open may leave something to be
// sent as well (an answer to a key update, an alert), which TakeOut gives. Both
// work on the caller's memory: a connection that waits keeps what crypto/tls
// keeps, and nothing more.
//
// crypto/tls reads ahead, so after the handshake Open comes before the first
// Feed: a request may have come with the client's last message.
//
// # Sessions
//
// Tickets seals the sessions that clients keep, for all listeners of a node, and
// with keys that are set for all nodes of a fleet. A session says what client
// certificates were asked for when it began, and what names the certificate had
// that the client saw; it is resumed only where both are the same.
package secure
