// Package stream is the gRPC server that nodes hold a Sync stream to.
//
// # Model
//
//	                       ┌───────────── a stream of one node ─────────────┐
//	publish ─ Watch ─────▶ │ driver ◀── Ack, Nack ── receiver ◀── node      │
//	nodes ─ FleetState ──▶ │   │ session.Step             │ Status, liveness │
//	                       │   ▼                          ▼                  │
//	                       │ encoder ── parts ──▶ node   nodes.Link          │
//	                       └────────────────────────────────────────────────┘
//
// The handler of a stream is its driver: the only one that says what is sent, and the
// owner of its session. A second goroutine receives, a third one sends. Package nodes
// keeps what is known of the nodes, and says who may connect.
//
// An Update is encoded once for each pair of base and target, whatever the
// number of nodes that need it, in parts of at most 1 MiB of resources. Whole
// configurations are admitted four streams at a time, and those that take theirs slowly
// count apart, so that nobody waits for a slow line but who is on it.
//
// # Invariants
//
//   - A stream has at most one unanswered Update (package session).
//   - The first message to a node is Welcome, then the FleetState. A FleetState
//     goes to all nodes at once, beside whatever Update is under way.
//   - What a peer sends is bounded before it is kept.
//
// The server is plaintext until nodes can enrol: Serve refuses a listener that
// is not on loopback unless Config.Insecure is set.
package stream
