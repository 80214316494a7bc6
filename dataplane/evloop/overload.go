//go:build linux

package evloop

import (
	"cmp"
	"slices"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
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
	// shedEvery is how often idle connections are looked through under pressure,
	// and shedShare the part of all that is closed each time: a loop full of idle
	// ones is rid of them in about a second, or of 20,000 of them if it has more.
	shedEvery = int64(50 * time.Millisecond)
	shedShare = 20
	// shedLook is how many descriptors are looked through in one turn: of more, that many
	// in each, and the next shedGap later at the earliest. A loop that looks through
	// hundreds of thousands, and closes one in twenty, serves nobody for half a second.
	shedLook = 4096
	shedGap  = int64(10 * time.Millisecond)
	// shedIdle is how long a connection has been idle before it makes room for
	// another one: who has come a moment ago is about to ask.
	shedIdle = int64(time.Second)
	// shedLeast keeps a node with few connections from shedding none.
	shedLeast = 16

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

// shed closes idle client connections where memory or descriptors run short, the
// longest idle of those it looks at first.
func (l *Loop) shed() {
	l.crowded = l.crowded && l.engine.crowds(l.engine.clients())
	calm := l.engine.Pressure() == pressure.Calm
	if calm && !l.crowded {
		l.shedAgain = 0
		return
	}
	if l.now < l.shedAgain {
		return
	}
	look, every := len(l.links), shedEvery
	if look > shedLook {
		every = max(every*shedLook/int64(look), shedGap)
		look = shedLook
	}
	l.shedAgain = l.now + every
	until := l.now
	if calm {
		until -= shedIdle
	}
	var idle []*downstream
	clients, leaving := 0, 0 // and those of them that make room in a moment
	for range look {
		if l.shedNext >= len(l.links) {
			l.shedNext = 0
		}
		k := l.links[l.shedNext]
		l.shedNext++
		d := k.down
		if k.closed || d == nil {
			continue
		}
		clients++
		switch {
		case d.closing && d.since > l.now-shedIdle:
			leaving++
		case d.since <= until && d.idle():
			idle = append(idle, d)
		}
	}
	slices.SortFunc(idle, func(a, b *downstream) int { return cmp.Compare(a.since, b.since) })
	most := max(clients/shedShare, shedLeast)
	if calm { // only as many as are in the way
		most = max(most-leaving, 0)
	}
	idle = idle[:min(len(idle), most)]
	for _, d := range idle {
		l.shedDown(d)
	}
	l.stats.Add(stats.ClientsShed, uint64(len(idle)))
}

// shedDown ends an idle connection, behind what this turn had for its client. One of
// HTTP/2 may have a request on its way: its client is told that it was not taken, and
// lingers so that it can read that.
func (l *Loop) shedDown(d *downstream) {
	if d.mux != nil {
		d.answered = d.mux.out.len() == 0 // nothing but the GOAWAY is lost with it
		l.endMuxBy(d, http2.NoError)
		return
	}
	l.closeDownAfter(d)
}
