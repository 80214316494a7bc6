// Package lastgood keeps the configuration that a node served last in a file, so
// that the node serves again after a restart although nobody answers.
//
// # Model
//
// Save hands over what came into force; one writer (Run) puts the newest of it
// on disk, at most once in Pause, and once more when it ends. A file is written
// beside the one that is there, synced, and renamed over it; the one that was
// there stays as FILE.old. Load takes the first of the two that is whole. What the
// disk did not take is tried again every 10 s.
//
// # Invariants
//
//   - A file is believed only if its checksum holds and its resources have the
//     root that it names. A truncated or altered one is told, and left for the
//     next Save to replace.
//   - The file is a cache: it may be deleted at any time, and losing it costs the
//     node nothing but its memory of what to serve when nobody answers. So may the
//     directory, under the running node too: the next that is to be kept makes it again,
//     with the key under which that is sealed.
//   - It holds what users wrote, so it is readable by its owner only.
//   - Resources that hold a secret (certificates) are sealed in it, under a key of
//     the node's own that has nothing to do with the node's certificate: one that
//     ran out must not keep a node from booting.
//
// # Session-ticket keys
//
// Tickets keeps the fleet's session-ticket keys in a file of its own beside it,
// sealed as a whole under the same key.
//
// # Fleet state
//
// SaveList and SaveDecision keep what no configuration says: the list of expected
// members, and what people decided about the node, with its number. The caller tries
// again what the disk did not take.
package lastgood
