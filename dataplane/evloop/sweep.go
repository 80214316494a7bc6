//go:build linux

package evloop

// What a table changes for connections that are kept is done by looking at all that the
// loop has, for all sockets at once, and a part of them in each turn: of hundreds of
// thousands it takes milliseconds, and where the connections are told something, a buffer
// for each.

const (
	// sweepLook is how many descriptors are looked at in one turn, for some 100 µs.
	sweepLook = 1024
	// sweepTell is how many of them one counts for that is told something.
	sweepTell = 16
)

// duties is what is to be done for each connection of a socket. All may be done twice.
type duties uint8

const (
	dutyLimits duties = 1 << iota // the listener's limits of requests are others
	dutyCount                     // a client may have so many connections only, and any number before; or others count them
	dutyEnd                       // the socket was removed
)

// sweep is a look at all connections that is under way.
type sweep struct {
	sockets []*socket // those that have duties
	at      int       // the index of the link that is looked at next
	left    int       // links to be looked at; what is opened later needs none of this
}

// add has a socket's connections looked at: all of those links, once more.
func (w *sweep) add(s *socket, what duties, links int) {
	if what == 0 || links == 0 {
		return
	}
	if s.duties == 0 {
		w.sockets = append(w.sockets, s)
	}
	s.duties |= what
	w.left = links
}

// next is the link that is looked at next, of which there is one.
func (w *sweep) next(links []*link) *link {
	if w.at >= len(links) {
		w.at = 0
	}
	k := links[w.at]
	w.at++
	w.left--
	return k
}

// end takes the duties from the sockets: all connections were looked at.
func (w *sweep) end() {
	for i, s := range w.sockets {
		w.sockets[i], s.duties = nil, 0
	}
	w.sockets = w.sockets[:0]
}

// rebind gives sockets another binding for the same address.
func (l *Loop) rebind(b *binding) {
	for _, s := range l.sockets.byAddress[b.address] {
		if !s.removed {
			s.binding = b
			l.sweep.add(s, dutyCount, len(l.links))
		}
	}
}

// sweepOn looks at connections, for one turn.
func (l *Loop) sweepOn() {
	w := &l.sweep
	if w.left == 0 {
		return
	}
	for budget := sweepLook; budget > 0 && w.left > 0; budget-- {
		k := w.next(l.links)
		if d := k.down; !k.closed && d != nil && d.socket.duties != 0 && l.attend(d) {
			budget -= sweepTell
		}
	}
	if w.left == 0 {
		w.end()
	}
}

// attend does for a connection what its socket says; told: its client was told something.
func (l *Loop) attend(d *downstream) (told bool) {
	what := d.socket.duties
	if what&dutyLimits != 0 {
		setLimits(d)
	}
	if what&dutyCount != 0 {
		countKept(d)
	}
	return what&dutyEnd != 0 && l.endIdle(d)
}

// endIdle ends a connection of a removed socket that is between requests, after a
// short while: a request may be on its way, and its answer will say that the connection
// ends. One whose answer still waits for the client ends behind it. The others end after
// their answer.
func (l *Loop) endIdle(d *downstream) (told bool) {
	switch {
	case d.closing:
	case d.phase == phaseMux:
		l.leaveMux(d)
		return true
	case d.phase != phaseHead && d.phase != phaseProxy && d.phase != phaseHello:
	case d.link.out.len() > 0:
		l.closeDownAfter(d)
		return true
	default:
		l.wheel.arm(d.link, d.deadline())
	}
	return false
}
