//go:build linux

package evloop

import "math"

// An endpoint takes so many connections of the node, and each belongs to a loop. This file
// shares the places out. A loop whose requests wait for one asks the others to close what
// they have idle, and one that closes a connection tells those whose requests wait.
//
// Where requests wait on several loops each has a right to its part of the places, or to
// one. A loop that has less is short; one that has more closes a connection instead of
// giving it to its own next request, and leaves the place to one that is short. Where there are
// fewer places than loops, each closes its connection behind one request as long as
// another is short: they take turns.

// tryOpen counts another connection of HTTP/1.1 that is about to be opened, if there may
// be one. A loop leaves a place free for each other loop that is short, unless it is short
// itself; it does so even then if its own last connection made room for them (gave).
func (p *endpointPool) tryOpen() bool {
	most := p.config.MaxConnections
	if !p.Short() || p.gave {
		most -= p.OthersShort()
	}
	if !p.TryOpen(most) {
		return false
	}
	p.gave = false
	return true
}

// leavingMost bounds the connections that are leaving beside which a loop may open another one,
// where maxConnections is lower: as long as the last call of each takes, an endpoint that ends
// its connections by age makes more of them.
const leavingMost = 4

// tryOpenMux is tryOpen for HTTP/2, if another connection is of use: one that is on its
// way, or that takes no calls, is waited for. A loop that has none but those that are leaving
// may open one however many there are: those of other loops may be busy for ever, and carry no
// call of this loop, and of its own one may last as long as a stream does.
func (p *endpointPool) tryOpenMux() bool {
	most := p.config.MaxConnections
	if len(p.muxes)+p.connecting == 0 && p.Open() <= max(leavingMost, most) {
		most = math.MaxInt
	}
	return p.connecting == 0 && !p.anyTakesNone() && p.TryOpen(most)
}

// full says that the endpoint has all connections that it may have.
func (p *endpointPool) full() bool { return p.Endpoint().Connections() >= p.config.MaxConnections }

// othersLack says that streams of other loops wait, and that the endpoint takes no more
// connections: one that is idle here is in their way.
func (p *endpointPool) othersLack() bool { return p.othersWait() > 0 && p.full() }

// othersWait is how many streams of other loops wait.
func (p *endpointPool) othersWait() int { return p.Endpoint().Waiting() - p.Queued() }

// yields says that a connection of HTTP/1.1 that is free goes to a loop that is short.
func (l *Loop) yields(p *endpointPool) bool {
	return p.OthersShort() > 0 && p.full() && (p.Open() > p.Part() || p.config.MaxConnections < len(l.engine.loops))
}

// tellPlace tells the other loops, if their streams wait, that they may open a connection.
func (l *Loop) tellPlace(p *endpointPool) {
	if p.othersWait() > 0 {
		p.gave = p.OthersShort() > 0
		l.engine.tellOthers(l, mail{kind: mailPlaceFree, slot: p.to.Slot})
	}
}

// leavePlace tells the others if the pool was short, is so no more, and did not use the
// place that was left to it.
func (l *Loop) leavePlace(p *endpointPool, short bool) {
	if short && !p.Short() && !p.full() && !p.http2 {
		l.tellPlace(p)
	}
}

// want has the other loops asked for their idle connections when the turn ends:
// once for all streams that have come to wait by then.
func (ps *pools) want(p *endpointPool) {
	if !p.wants {
		p.wants = true
		ps.wanting = append(ps.wanting, p)
	}
}

// askOthers asks them.
func (l *Loop) askOthers() {
	wanting := l.pools.wanting
	for i, p := range wanting {
		wanting[i], p.wants = nil, false
		if p.Queued() > 0 && !p.retired {
			l.engine.tellOthers(l, mail{kind: mailMakePlaces, slot: p.to.Slot})
		}
	}
	l.pools.wanting = wanting[:0]
}

// makePlaces closes idle connections for the streams of other loops.
func (l *Loop) makePlaces(slot uint32) {
	p := l.pools.at(slot)
	if p == nil {
		return
	}
	for most := p.othersWait(); most > 0 && l.closeIdle(p); {
		most--
	}
}

// placeFree tries again for the streams that wait here: another loop has closed a
// connection.
func (l *Loop) placeFree(slot uint32) {
	if p := l.pools.at(slot); p != nil {
		p.gave = false
		l.serveWaiting(p)
	}
}

// catchUp does for all pools what hints and answers would have said that the box had no
// room for.
func (l *Loop) catchUp() {
	for slot, p := range l.pools.all {
		if p == nil {
			continue
		}
		if p.othersLack() {
			l.makePlaces(uint32(slot))
		}
		p.asked = 0
		l.placeFree(uint32(slot))
	}
}
