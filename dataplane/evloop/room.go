//go:build linux

package evloop

import "github.com/proxyfleet/proxyfleet/dataplane/exchange"

// This file makes room where there is no descriptor for another connection to an endpoint.
// A loop closes one that it has idle, to whatever endpoint. If it has none, and none to
// this endpoint that will be free, it asks the others, of which each closes one if it can;
// the request waits until they have answered:
//
//	withoutDescriptor, askForRoom ─ mailMakeRoom ─▶ makeRoom ─ mailRoom ─▶ roomAnswered

// freeDescriptor closes a connection to some endpoint that is to end, or an idle one; false: there
// is none.
func (l *Loop) freeDescriptor() bool {
	if len(l.endings.left) > 0 {
		c := l.endings.oldest()
		if l.closeUp(c); c.pool.Queued() > 0 {
			l.pools.widen(c.pool) // not at once: the descriptor is another's
		}
		return true
	}
	for _, p := range l.pools.all {
		if p != nil && l.closeIdle(p) {
			return true
		}
	}
	return false
}

// withoutDescriptor lets a stream, whose turn it was, wait for a connection that the loop has,
// as if the endpoint took no more, or for others to make room. Without either there is nothing
// to wait for.
func (l *Loop) withoutDescriptor(s *stream, p *endpointPool) {
	if (p.Open() > 0 || l.askForRoom(p)) && p.WaitFirst(s.id) {
		s.wait = p
		return
	}
	l.step(s, noDescriptor)
}

// noDescriptor is the event of a request for which there is no connection, nor will be.
var noDescriptor = exchange.Event{Kind: exchange.EventAcquireFailed, Failure: exchange.Failure{
	Reason: exchange.ReasonOverload, Detail: "no_descriptor",
}}

// askForRoom asks the other loops to make room, unless they are being asked; false: there
// is nobody to ask.
func (l *Loop) askForRoom(p *endpointPool) bool {
	if p.asked > 0 {
		return true
	}
	for _, other := range l.engine.loops {
		if other != l && !other.ended.Load() && other.mail.post(mail{kind: mailMakeRoom, slot: p.to.Slot, asker: l}) {
			p.asked++
		}
	}
	return p.asked > 0
}

// makeRoom closes an idle connection for another loop, and tells it whether there was one.
func (l *Loop) makeRoom(letter mail) {
	// If the answer is lost it asks again.
	letter.asker.mail.hint(mail{kind: mailRoom, slot: letter.slot, made: l.freeDescriptor()})
}

// roomAnswered goes on with those who wait for room. When nobody has made any there is
// nothing to wait for.
func (l *Loop) roomAnswered(slot uint32, made bool) {
	p := l.pools.at(slot)
	if p == nil || p.asked == 0 { // it is another endpoint's by now
		return
	}
	p.asked--
	if made {
		l.serveWaiting(p)
	}
	if p.asked > 0 || p.Open() > 0 || p.full() || p.widened {
		return
	}
	for range p.Queued() {
		if s := l.nextWaiting(p); s != nil {
			l.step(s, noDescriptor)
		}
	}
}
