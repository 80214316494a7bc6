// Package poll waits for descriptors: one edge-triggered epoll instance and one
// eventfd that wakes it from other threads. It exists on Linux only.
//
// A descriptor is registered once, for its whole life, for reading, writing and
// the peer's half-close, edge-triggered. An edge that was not used up is the
// caller's to remember: after a short read or EAGAIN the next edge comes, before
// that it does not. Closing a descriptor ends its registration. Mute leaves the edges of
// reading out for a while; no byte is overlooked by that.
//
// While events come often, a Poller sleeps without the Go scheduler knowing. Its
// goroutine is then taken for one that computes: it must be locked to its thread,
// and have a processor of its own (GOMAXPROCS) beside those that others need. The
// signals of the scheduler end such a sleep.
//
// A Poller belongs to one goroutine; only Wake may be called from others.
package poll
