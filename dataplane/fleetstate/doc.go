// Package fleetstate is what the control plane says of a node whatever configuration it
// runs: that it is drained, which members are expected, which session-ticket keys there
// are. The word is FleetState on the Sync stream.
//
// # Model
//
//	FleetState ─▶ Take: newer than what is known? ─▶ put into force ─▶ keep on the disk
//	                                                  ▲
//	            the directory of the node ─▶ Remember ┘ at the start
//
// A Drainer does the decision about this node, Lists the list of expected members,
// TicketKeys the keys. Each has Take, which does not block, Remember, which comes before
// Run, and Run.
//
// # Invariants
//
//   - No replica that lags and no store that was put back brings something older into
//     force: decisions, lists within a lineage, and keys have numbers. Keys that are older by
//     days are followed all the same: those in force are of a clock that was ahead.
//   - What was said holds from the beginning when the node starts again while nobody
//     answers.
//   - A list is on the disk before the node goes by it: it must not grant by an older
//     one again. Decisions and keys come into force first, and are kept then: a full disk
//     keeps no node from being drained.
//   - What the disk, or the engine, did not take is tried again.
//
// # Who owns what
//
// Run's goroutine owns what is kept; what is in force may be read by anybody. Keys are
// secrets: they are never logged.
package fleetstate
