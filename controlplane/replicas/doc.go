// Package replicas is what the control planes of a fleet tell each other: of the nodes, each
// of which is connected to one of them.
//
// # Model
//
//	nodes.Registry ── Untold, Here ──▶ telling ── Tell ──▶ store (etcd), under a lease
//	nodes.Registry ◀───── Hear ─────── hearing ◀─ AllTold ─ store ◀── the other control planes
//
// A control plane has a random name for its process. Under it stand, in etcd, who it is
// and records of its nodes: groups of them, by the hash of their ids, so that one change
// writes little, and what they report of virtual IPs apart, since there may be a thousand
// times more of that. docs/adr/0022 says why it is like this.
//
// # Invariants
//
//   - Nothing is written but what changed, at most once a second, and only while another
//     control plane is there, or was a while ago: else who this one is stands alone. That a control plane is
//     still there is said by its lease, which writes nothing.
//   - While the lease lasts, what is told of the nodes themselves is some seconds old at
//     most: who cannot tell what changed does not keep its lease.
//   - No two machines' clocks are compared. Which connection of a node is the latest is
//     said by the revision of etcd at which it was told first.
//   - What is written and kept is bounded: see the constants.
//   - Nothing here is waited for by whoever serves nodes.
//
// # Owners
//
// Run is one goroutine, which owns all but what Counters and Notices show.
package replicas
