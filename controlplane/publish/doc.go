// Package publish turns the head of the store into the version that is wanted
// of the nodes, and checks candidates with the very compiler that nodes run.
//
// # Model
//
//	REST ── Check(base, next) ──▶ compile ──▶ results, by root
//	                                             │ the commit that follows finds its root here
//	store ── Watch ──▶ Current ──▶ compile (known) ──▶ Wanted ──▶ subscribers
//
// Run follows the head: the first event after quiet is published at once, what
// comes while one is being published forms the next, at least 5 ms later. An
// event only says "look again"; what differs is told by the roots of two trees.
//
// # Invariants
//
//   - What is wanted compiles in this build. A head that does not (a newer
//     replica wrote it) is not published: the version before stays wanted, and
//     Unpublished says why.
//   - What is wanted goes forward within an epoch.
//   - It says whether its epoch is accepted; that alone is news too.
//   - The trees of the last 16 versions are at hand as bases of deltas, after a
//     restart too: they are loaded by the roots in the history when first asked
//     for.
//
// The wanted version is a matter of each node: WantedFor. Until rollouts exist it
// is the same for all.
package publish
