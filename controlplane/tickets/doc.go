// Package tickets makes the keys under which the fleet's nodes seal the session
// tickets of TLS, so that a client resumes its session on any node (RFC 8446
// section 4.6.1).
//
// # Rotation
//
// There are up to three keys: the current one, under which tickets are issued; the
// next one, which is known to every node a whole rotation before any of them
// issues under it; and the one before. Every Life (12 h) the next one becomes
// current and a new one is made. So a ticket is good for 12 to 24 hours, on nodes
// that are up to 12 hours behind, and no key is used for longer than 24.
//
// # Owners
//
// The keys are in the store, sealed, outside of the configuration: no rollback
// brings an old one back. Each replica runs a Rotator; whoever finds the keys old
// replaces them by compare-and-swap, the others take what won. The time is the
// replica's clock, and the record says when it was written: replicas whose clocks
// differ rotate at the time of the fastest. A record of the future, of a clock that was
// wrong, is replaced by a replica that has known it for a Life.
//
// Keys are never logged and in no error.
package tickets
