// Package roster decides when the list of expected members changes, and to what.
// It is pure: what nodes want to be and what they reported is passed in, the
// record to write comes back.
//
// # Model
//
// Virtual IPs are held by the grants of a majority of the list. Two lists may be
// in force at a time, in different parts of the fleet; that is safe while each of
// their majorities share a member. So (docs/adr/0007):
//
//   - a step adds one member or removes one;
//   - the next step waits until those members of the list before that have not yet
//     reported the present list are no majority of it any more; so lists two steps
//     apart are never in force together;
//   - and [Settle] after that was seen, when what was granted by the list before
//     has run out.
//
// Nodes never go back to a lower revision of a lineage, so what one reported
// stays true.
//
// # Records
//
// A record is written by compare-and-swap: of two replicas that see the same, one
// makes the step. Reports are written into it only while a step waits for them.
// Each replica waits Settle by its own clock, from when it first saw that the
// step may be made; a replica that starts waits anew.
//
// # Replaced stores
//
// [Roster.Heard] takes what a node says in Hello that it keeps. A store that was
// wiped has no list, and one that was put back an older one: they take over the
// highest of the same lineage, and go on from it when a majority of its own
// members reported it.
//
// # Owner
//
// A Roster belongs to one goroutine.
package roster
