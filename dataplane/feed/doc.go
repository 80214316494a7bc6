// Package feed is a node's end of the Sync stream: it receives configurations,
// has them compiled and applied, and says how that went.
//
// # Model
//
//	Sync ─▶ parts ─▶ assembly ─▶ applier: base ▸ tree ▸ root ▸ compile ▸ Apply ─▶ Ack | Nack
//	 ▲                                                                              │
//	 └───────────────── Hello, Ack, Nack, Status every 5 s ◀───────────────────────┘
//
// Run holds two long goroutines. The link loop owns the stream: it says Hello,
// collects the parts of an Update, sends answers and Status, and connects again
// with backoff over the list of control planes when the stream breaks. The
// applier owns what the node runs: the compile.Result behind the live table. It
// takes one update at a time and is the only one to call Config.Apply.
//
// # Invariants
//
//   - What is applied has the root that the control plane named, and was
//     computed from the bytes received, resource by resource.
//   - The last good table stays live whatever arrives: a refused version changes
//     nothing.
//   - Within one epoch a node goes forward only: an Update with a lower revision
//     than what runs is refused. (A rollback is a new, higher revision.)
//   - A new stream begins with nothing pending: what was being applied is
//     finished, what was being retried is dropped, and Hello says what runs. So
//     the server decides again what is wanted, and no answer belongs to another
//     stream. Only the last known good configuration keeps being retried, until
//     something runs.
//   - While no control plane answers, what could not be applied is still retried.
//   - A new epoch empties no node: an Update that begins one and takes away more
//     than a tenth of the routes, a listener or a virtual IP is held until it says
//     that somebody accepted the epoch. It is compared with what runs, or with the last
//     known good configuration while that could not be put into force.
//
// # Refusals
//
//	PERMANENT      compile problems, unknown fields, older than what runs,
//	               a whole configuration without the root it names
//	LOCAL          Config.Apply failed; the applier tries again, 1 to 60 s apart
//	BASE_MISMATCH  a delta from something that does not run here
//	HELD           a new epoch that takes too much and was not accepted
//
// The stream is plaintext until nodes can enrol: a control plane that is not on
// loopback is refused unless Config.Insecure is set.
package feed
