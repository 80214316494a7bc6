// Package stream is the gRPC server that nodes hold a Sync stream to.
//
// # Model
//
//	                    ┌───────────── a stream of one node ─────────────┐
//	publish ─ Watch ──▶ │ driver ◀── Ack, Nack ── receiver ◀── node      │
//	members ─ Watch ──▶ │   │ session.Step             │ Status, liveness │
//	                    │   ▼                          ▼                  │
//	                    │ encoder ── parts ──▶ node   registry ──▶ Nodes  │
//	                    └────────────────────────────────────────────────┘
//
// The handler of a stream is its driver: the only one that says what is sent, and the
// owner of its session. A second goroutine receives, a third one sends. What is known
// of the nodes, for people and for REST, stands in the registry.
//
// An Update is encoded once for each pair of base and target, whatever the
// number of nodes that need it, in parts of at most 1 MiB of resources. Whole
// configurations are admitted four streams at a time, and those that take theirs slowly
// count apart, so that nobody waits for a slow line but who is on it.
//
// # Invariants
//
//   - A stream has at most one unanswered Update (package session).
//   - A node id has at most one stream. A second one takes over if it comes from
//     the same process (the boot id says so) or if the first has been silent;
//     else it is refused, because then two machines go by one name.
//   - The first message to a node is Welcome, then the FleetState. A FleetState
//     goes to all nodes at once, beside whatever Update is under way.
//   - What a peer sends is bounded before it is kept.
//
// The server is plaintext until nodes can enrol: Serve refuses a listener that
// is not on loopback unless Config.Insecure is set.
package stream
