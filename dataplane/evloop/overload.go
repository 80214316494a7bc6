//go:build linux

package evloop

import (
	"sync/atomic"

	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
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
	// address, the control plane, four loops and some listening sockets. Connections to
	// clients and endpoints leave them alone.
	descriptorsKept = 64
	// descriptorsOfLoop are those of each further loop: its epoll instance, its wake-up,
	// its ring, and the reserve of its sockets.
	descriptorsOfLoop = 4
	// socketsKept of them are for listening sockets. Where a table can need more, those are
	// left alone, too.
	socketsKept = 32
	// sharedCopies are those of a virtual IP's socket besides one of each loop: the engine's,
	// and that of whoever shares it.
	sharedCopies = 2
	// upstreamShare is the part of the others that clients may not have: one in so
	// many. Without it busy clients could leave no descriptor to serve them by.
	upstreamShare = 8
	// crowdedShare is how near to the ceiling idle connections make room: within
	// one in so many.
	crowdedShare = 16
)

// ceilings bound the connections of a node. Loops read them for each connection; they change
// with tables whose listening sockets take another part of the descriptors.
type ceilings struct {
	// immutable
	descriptors int64 // of connections and listening sockets together
	maxClients  int64 // 0: no such limit

	// owned by whoever applies tables
	sockets int64 // that the last one can need
	kept    int64 // of descriptors, for those

	// read by loops
	clients     atomic.Int64
	connections atomic.Int64 // to clients and endpoints
}

// begin makes the ceilings what the process's descriptors allow, and at most so many
// clients; 0: no such limit.
func (c *ceilings) begin(maxClients, loops int) {
	var limit unix.Rlimit
	c.descriptors, c.maxClients = 1<<30, int64(maxClients)
	// Where the limit is not told, accepting fails where it is reached.
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		kept := descriptorsKept + descriptorsOfLoop*int64(max(loops-4, 0))
		c.descriptors = max(int64(min(limit.Cur, 1<<30))-kept, 2)
	}
	c.keep(0)
}

// leave leaves descriptors to that many listening sockets, but half of all to connections
// whatever sockets there can be, and says for how many sockets that is enough.
func (c *ceilings) leave(sockets int64) (enough int64) {
	c.sockets = sockets
	if kept := min(max(sockets-socketsKept, 0), c.descriptors/2); kept != c.kept {
		c.keep(kept)
	}
	return c.kept + socketsKept
}

func (c *ceilings) keep(kept int64) {
	c.kept = kept
	connections := c.descriptors - kept
	clients := connections - max(connections/upstreamShare, 1)
	if c.maxClients > 0 {
		clients = min(clients, c.maxClients)
	}
	c.connections.Store(connections)
	c.clients.Store(clients)
}

// leaveToSockets leaves descriptors to the listening sockets that a table can need: its own,
// and those of all virtual IPs that the node may come to hold. Else a node that is full of
// clients could take over none of another's.
func (e *Engine) leaveToSockets(t *table.Table) {
	need := e.socketsOf(t)
	if need == e.ceilings.sockets {
		return
	}
	if enough := e.ceilings.leave(need); enough < need {
		e.log.Warn("descriptors: this process may open too few to hold all virtual IPs at once; those for which there are none are left to other nodes",
			"for_sockets", need, "there_are", enough, "clients_at_most", e.ceilings.clients.Load(), "raise", "LimitNOFILE, ulimit -n")
	}
}

// socketsOf is how many descriptors a table's listening sockets can take.
func (e *Engine) socketsOf(t *table.Table) (sockets int64) {
	loops := int64(e.config.Loops)
	for i := range t.Listeners {
		for _, a := range t.Listeners[i].Addresses {
			if a.Kind != table.AddressVIP {
				sockets += loops
			}
		}
	}
	for i := range t.VirtualIPs {
		if v := &t.VirtualIPs[i]; e.config.MayHold != nil && e.config.MayHold(v) {
			sockets += int64(len(v.Ports)) * (loops + sharedCopies)
		}
	}
	return sockets
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
	ceiling := e.ceilings.clients.Load()
	return clients >= ceiling-ceiling/crowdedShare
}

// overloaded says that new work is refused: the answer costs less than what it
// saves.
func (l *Loop) overloaded() bool {
	return l.engine.Pressure() == pressure.Critical
}
