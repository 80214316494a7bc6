// Package filefeed keeps a node on the resources of a file, where there is no control
// plane: it is to a file what package feed is to the Sync stream.
//
// # Model
//
//	file ─┐
//	      ├▶ source ─▶ tree ─▶ compile ─▶ Config.Apply ─▶ State
//	key, ─┘    ▲
//	chain …    └─ looked at every second; Reload asks at once
//
// The source is the file and those that it names (certificates and their keys). It
// reads all of them, and remembers how each looked from outside when it was read.
//
// # Invariants
//
//   - The last good table stays live whatever the file says: what does not hold
//     changes nothing, and is told.
//   - A file is not read while it is written: it is read when it has looked the same
//     at two looks in a row. Only Reload, and the start, do not wait for that.
//   - A file without a resource is refused.
//   - The same resources are not applied twice. Each change has the next revision of
//     epoch 1.
//
// # Who owns what
//
// Run's goroutine owns the source and the compile.Result behind the live table, and is
// the only one to call Config.Apply. Check does what Run does first, but applies nothing,
// and comes before it. State and Resources are copies for anybody.
package filefeed
