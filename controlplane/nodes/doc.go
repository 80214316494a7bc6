// Package nodes is what a control plane knows of the nodes: who is connected, to it or to
// another one, what each one said, which records the store has of them, and the list of
// expected members.
//
// # Model
//
//	              ┌───────────────── Registry ─────────────────┐
//	Hello ─ Admit ▶ a node's record and link   refresh ◀──────▶ Records (etcd)
//	Ack,          │                              │             │
//	Nack,  ─ Link ▶ what it runs, how it is      ▼             │
//	Status        │            │              FleetState ──────▶ every driver (stream)
//	              └────────────┼────────────────────────────────┘
//	                           ▼
//	                  Nodes, VIPs, Watch (rest)
//	                  Untold, Here ▶ (replicas) ▶ Hear
//
// A Link is one Sync stream, as the registry sees it. Package stream speaks the protocol
// and bounds what peers send; it tells the registry what was said, and sends nodes what
// FleetState gives.
//
// # Elsewhere
//
// What another control plane tells of the nodes that are connected to it is taken by Hear, and
// shown of those that are not connected here. It decides nothing about the list: what its
// members report is in the store, and is of those who are here.
//
// # Records
//
// A node gets its record from its first Hello, from whichever control plane it says it to,
// and keeps it until people delete it. A record is only ever corrected in what the node
// knows better: that it is a witness, that it takes no part in gossip and so grants nothing,
// and a later decision (docs/adr/0021).
//
// # The list of expected members
//
// Package roster decides, Run writes: after each change of a record, when a node reports
// another list, and when a step is due. Every write compares and swaps. Nodes that grant
// nothing are not in it: a fleet that does not gossip has none, whatever becomes of its
// machines, until nodes of it do.
//
// # Invariants
//
//   - A node id has at most one link here. A second one takes over if it comes from the same
//     process (the boot id says so) or if the first has been silent; else it is refused,
//     because then two machines go by one name.
//   - A link that was replaced changes nothing any more.
//   - The number of nodes that are known is bounded.
//   - A FleetState never changes once it was given out; another one takes its place.
//
// # Owners
//
// One mutex guards all that a Registry knows. It is not held while the store or the
// publisher is asked. Run alone reads and writes the store.
package nodes
