//go:build linux

package evloop

import (
	"errors"
	"net/netip"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/dataplane/upstream"
)

type mailKind uint8

const (
	mailChange     mailKind = iota // change: what a new table asks of the loop
	mailAdopt                      // fd, peer, from, listener: a connection that another loop accepted
	mailMakePlaces                 // slot: streams of another loop wait for a connection to the endpoint
	mailPlaceFree                  // slot: another loop has closed one, or left one to others
	mailMakeRoom                   // slot, asker: it has no descriptor for a connection to the endpoint
	mailRoom                       // slot, made: the answer
	mailDrain                      // accept no more, end when the last exchange has
	mailStop                       // end now
)

// mail is what others say to a loop.
type mail struct {
	kind     mailKind
	fd       int
	slot     uint32 // the endpoint's number: see table.Endpoint
	peer     netip.AddrPort
	from     *binding
	listener *table.Listener
	change   *change
	asker    *Loop
	made     bool
}

// change is what a new table asks of one loop besides looking at it.
type change struct {
	open    []*socket
	remove  []netip.AddrPort
	release []netip.AddrPort // another process has them now
	rebound []*binding       // of sockets that there are, whose listener is another
	retired upstream.Retired
	warm    []*table.Upstream // whose pools are to be looked at
	widened []*table.Upstream // whose endpoints may have more connections
	done    chan<- error
}

// readMail handles what is in the box. stop ends the loop.
func (l *Loop) readMail() (stop bool) {
	for range len(l.mail.box) {
		letter := <-l.mail.box
		switch letter.kind {
		case mailChange:
			letter.change.done <- l.change(letter.change)
		case mailAdopt:
			l.adopt(letter)
		case mailMakePlaces:
			l.makePlaces(letter.slot)
		case mailPlaceFree:
			l.placeFree(letter.slot)
		case mailMakeRoom:
			l.makeRoom(letter)
		case mailRoom:
			l.roomAnswered(letter.slot, letter.made)
		case mailDrain:
			l.drain()
		case mailStop:
			return true
		}
	}
	if l.mail.missed.Swap(false) {
		l.catchUp()
	}
	return false
}

func (l *Loop) change(c *change) error {
	l.look()
	var failed error
	for _, s := range c.open {
		failed = errors.Join(failed, l.addSocket(s))
	}
	for _, b := range c.rebound {
		l.rebind(b)
	}
	for _, address := range c.remove {
		l.removeSocket(address)
	}
	for _, address := range c.release {
		l.releaseSocket(address)
	}
	if !c.retired.Empty() {
		l.retire(c.retired)
		l.engine.registry.Released(c.retired)
	}
	l.warmUp(c.warm)
	l.widenUp(c.widened)
	l.sweepOn() // all of it, where there are few
	return failed
}

// adopt takes a connection that another loop accepted. If this one has let go of
// the listener meanwhile the client is served all the same, once.
func (l *Loop) adopt(letter mail) {
	defer func() { // it counts as ours now
		l.counts.coming.Add(-1)
		letter.from.clientele.open.Add(-1)
	}()
	l.look()
	s := l.sockets.at(letter.from.address)
	if s == nil {
		s = &socket{fd: -1, binding: letter.from, listener: letter.listener, removed: true}
	}
	l.newDown(s, letter.fd, letter.peer)
}

// drain stops accepting and lets the exchanges at hand end.
func (l *Loop) drain() {
	if l.draining {
		return
	}
	l.look()
	l.draining = true
	l.closeRemoved(func(*socket) bool { return true })
	for len(l.sockets.all) > 0 {
		l.removeSocket(l.sockets.all[0].binding.address)
	}
}

// cut is the failure of an exchange that a stopping loop ends.
var cut = exchange.Failure{Reason: exchange.ReasonShutdown}
