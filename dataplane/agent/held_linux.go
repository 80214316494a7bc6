package agent

import "math"

// bench is a virtual IP that this node leaves to others for a while, since it
// cannot have the address.
type bench struct {
	until   int64
	problem string
}

// serveHeld makes the sockets those of what Grants says is held. benched says that
// what may be held has changed.
func (l *loop) serveHeld(now int64) (benched bool) {
	l.env.left, l.env.finds, l.serveAt = openAtOnce, findAtOnce, math.MaxInt64
	for address, h := range l.held {
		if h.wanted == nil || h.due() <= now {
			benched = l.serve(address, h, now) || benched
		}
		l.serveAt = min(l.serveAt, h.due())
	}
	for address, b := range l.benched {
		if now < b.until {
			continue
		}
		if w := l.find(address); w != nil {
			if err := l.env.obstacle(w); err != nil {
				l.benched[address] = bench{now + int64(benchFor), err.Error()}
				continue
			}
		}
		benched = true
		delete(l.benched, address)
	}
	return benched
}

// serve makes the sockets of one virtual IP those that are wanted. benched says that it is
// left to others.
func (l *loop) serve(address string, h *holding, now int64) (benched bool) {
	w := l.find(address)
	until, holds := l.grants.Until(address)
	if !holds || w == nil {
		h.end(l.env)
		h.wanted, h.look = nil, now+lookEvery // Drop comes, or another order
		if !holds {
			delete(l.held, address)
			l.moved = true
		}
		return false
	}
	sockets, problem := l.env.number, h.problem
	h.serve(w, now, until, l.env)
	if h.problem != "" && h.problem != problem {
		l.log.Warn("virtual IP: this node cannot have all of the address", "vip", w.GetName(), "error", h.problem)
	}
	if sockets != l.env.number || h.problem != problem {
		l.reportAt = now
	}
	at, left := l.left[address]
	left = left && now-at < int64(leftFor)
	switch {
	case h.serves():
		delete(l.left, address)
	case h.hopeless(now, left):
		l.benched[address], l.left[address] = bench{now + int64(benchFor), h.why()}, now
		return true
	case left:
		l.left[address] = now // they are not asked again as long as this node holds
	}
	return false
}

// endSocket ends a socket that the main process could not take. The next look finds it.
func (l *loop) endSocket(number uint64) {
	for _, h := range l.held {
		for _, s := range h.sockets {
			if s.number == number {
				endListening(s.fd)
			}
		}
	}
}
