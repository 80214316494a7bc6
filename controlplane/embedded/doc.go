// Package embedded runs an etcd inside of the process, so that a control plane
// needs nothing else. Nobody but main knows that it exists: it gives a
// *clientv3.Client, as an external etcd does.
//
// # Invariants
//
//   - It behaves as an external etcd of one member: the limits of a request
//     (128 operations, 1.5 MiB) are the stock ones, and everything is synced to
//     disk before it is acknowledged.
//   - A call ends with its context, whatever etcd is doing.
//   - It listens nowhere. The client calls the server by function, so there is
//     no port and no socket to find, to guard or to be in the way.
//   - Each new data directory is a cluster with an id of its own. etcd derives
//     the id from name and addresses, which are always the same here; a random
//     token makes the difference, since the store learns from the id that it was
//     replaced.
//   - One process a directory: a lock file is held from Start to Close.
//
// # Ownership
//
// Start starts everything, Close stops it and may be called again. The client is
// closed with the server; its user must have stopped before. If etcd stops by
// itself, Done tells; if it cannot write its log any more it panics, for nothing
// that it says could be true from then on.
package embedded
