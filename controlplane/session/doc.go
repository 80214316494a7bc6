// Package session is one node's subscription to the configuration, as a state
// machine with no clock, no locks and no I/O: Step takes what happened and says
// what to send.
//
//	            Hello                       Want, Ack, Nack
//	AwaitingHello ──▶ Synced ──▶ InFlight ──▶ Synced | Rejected | Retrying | Held | InFlight
//	                                 any state ── Disconnect ──▶ Closed
//
// # Model
//
// A session lives as long as one stream. It knows what the node runs (from its
// Hello and its Acks), what is wanted of it, and the one update that the node
// has not answered yet. There is no queue: while an update is unanswered, only
// the newest wanted version is remembered, and it is sent when the answer comes; or at
// once, in place of an update that waits to be sent.
//
// # Invariants
//
//   - At most one update is unanswered.
//   - A version that the node refused for good is not sent again on this stream.
//   - A version that the node could not apply locally is not sent again while
//     the node tries by itself; its late Ack is accepted.
//   - A version that the node holds, since it would lose too much by the new epoch,
//     is sent again only when the epoch was accepted. If it is held even then, it
//     is refused for good.
//   - A node that answers that its base differs is sent the whole configuration, once.
//     If its root is not the expected one even then, the version is refused.
//   - Answers for versions that are not expected change nothing.
//
// The package owns nothing but its values. A Session is not safe for use by
// several goroutines.
package session
