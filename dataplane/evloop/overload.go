//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"golang.org/x/sys/unix"
)

// What a node does when more comes than it can carry:
//
//   - Clients. A node has a ceiling of client connections, by its descriptors, and
//     each listener may have a lower one. A connection above it gets 503 and is
//     closed before a byte of it is looked at. Just below the ceiling the longest
//     idle connections make room.
//   - Requests. A connection has one request at a time and is not read further, so
//     no more requests wait than there are connections, and they wait in the
//     clients' sockets, each with the others' turn. Refusing them one by one would
//     cost nearly as much as serving them.
//   - Connections to endpoints. A request that finds none waits in its pool's
//     queue, which is bounded in length and in time.
//   - Memory. Under pressure idle connections are closed, and then requests get 503
//     before anything is done for them.

const (
	// descriptorsKept are for the process itself: its log, its state, its admin
	// address, the control plane, epoll and listening sockets. Connections to
	// clients and endpoints leave them alone.
	descriptorsKept = 64
	// upstreamShare is the part of the others that clients may not have: one in so
	// many. Without it busy clients could leave no descriptor to serve them by.
	upstreamShare = 8
	// crowdedShare is how near to the ceiling idle connections make room: within
	// one in so many.
	crowdedShare = 16
)

// ceilings bound the connections of a node.
type ceilings struct {
	clients     int64
	connections int64 // to clients and endpoints
}

// newCeilings says what the process's descriptors allow, and at most so many
// clients; 0: no such limit.
func newCeilings(maxClients int) ceilings {
	var limit unix.Rlimit
	c := ceilings{connections: 1 << 30}
	// Where the limit is not told, accepting fails where it is reached.
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		c.connections = max(int64(min(limit.Cur, 1<<30))-descriptorsKept, 2)
	}
	c.clients = c.connections - max(c.connections/upstreamShare, 1)
	if maxClients > 0 {
		c.clients = min(c.clients, int64(maxClients))
	}
	return c
}

// clients counts the clients' connections of all loops, and those that are on their
// way from one to another.
func (e *Engine) clients() (sum int64) {
	for _, l := range e.loops {
		sum += l.counts.clients.Load() + l.counts.coming.Load()
	}
	return sum
}

// connections counts all connections of all loops.
func (e *Engine) connections() (sum int64) {
	for _, l := range e.loops {
		sum += l.counts.descriptors.Load()
	}
	return sum
}

// crowds says that with so many clients idle ones should make room for new ones.
func (e *Engine) crowds(clients int64) bool {
	return clients >= e.ceilings.clients-e.ceilings.clients/crowdedShare
}

// overloaded says that new work is refused: the answer costs less than what it
// saves.
func (l *Loop) overloaded() bool {
	return l.engine.Pressure() == pressure.Critical
}
