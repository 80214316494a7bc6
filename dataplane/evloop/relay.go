//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"golang.org/x/sys/unix"
)

// This file moves the bytes of tunnels. A tunnel has two passages, one in each
// direction. Each reads no more than its far end takes, and tells the far end that
// no more follows when the near one has ended and all of it has gone.

// passage is one direction of a tunnel, and what its events are called.
type passage struct {
	from, to  *link
	data, end exchange.EventKind
}

// passageFrom is the passage of a tunnel that begins at k.
func (s *stream) passageFrom(k *link) passage {
	down, up := s.down.link, s.up.link
	if k == down {
		return passage{from: down, to: up, data: exchange.EventRequestData, end: exchange.EventRequestEnd}
	}
	return passage{from: up, to: down, data: exchange.EventResponseData, end: exchange.EventResponseEnd}
}

// far is the other link of a tunnel.
func (s *stream) far(k *link) *link {
	if k == s.down.link {
		return s.up.link
	}
	return s.down.link
}

// tunnel says that a stream's bytes pass as they are.
func (s *stream) tunnel() bool { return s.x.State() == exchange.StateTunnel }

// join makes a tunnel of a stream. What either side has sent behind its head is
// kept, and has its turn with what is still to come. The tunnel does not hold the
// table that it began with.
func (l *Loop) join(s *stream) {
	s.down.phase = phaseTunnel
	l.makeReady(s.down.link)
	l.makeReady(s.up.link)
	l.wheel.arm(s.down.link, s.x.NextDeadline())
}

// turnTunnel serves one link of a tunnel.
func (l *Loop) turnTunnel(s *stream, k *link) {
	if k.broken && k.ended {
		l.tunnelBroken(s, k)
		return
	}
	// A broken link may still hold bytes, and an end behind them: reading tells.
	k.readable = k.readable || k.broken
	if k.writable && k.out.len() > 0 {
		moved, drained := l.flushOut(k)
		if moved > 0 {
			s.x.Touch(l.now)
		}
		if drained {
			l.makeReady(s.far(k))
		}
	}
	l.pass(s, s.passageFrom(k))
}

// pass moves what can be moved in one direction in one turn.
func (l *Loop) pass(s *stream, p passage) {
	k := p.from
	for budget := readSize; !k.ended && p.to.out.len() <= highWater; {
		if kept := k.in.bytes(); len(kept) > 0 {
			s.body = kept
			l.step(s, exchange.Event{Kind: p.data, N: len(kept)})
			k.in.release(&l.buffers)
			continue
		}
		if !k.readable {
			break
		}
		if budget <= 0 {
			l.makeReady(k)
			return
		}
		data, n, state := l.fill(k)
		budget -= n
		if n > 0 {
			s.body = data
			l.step(s, exchange.Event{Kind: p.data, N: n})
		}
		switch state {
		case readEnd:
			k.ended = true
		case readReset:
			l.tunnelBroken(s, k)
			return
		}
	}
	if k.ended {
		l.passEnd(s, p)
	}
}

// passEnd tells the exchange that a side has ended, once all that it sent has
// gone. Otherwise the far end comes back here when it has drained.
func (l *Loop) passEnd(s *stream, p passage) {
	if p.from.endTold {
		return
	}
	l.unstage(p.to)
	if p.to.out.len() > 0 {
		return
	}
	if p.from.up != nil && p.from.truncated() {
		l.tunnelBroken(s, p.from) // somebody else may have cut it: not to be passed on as an end
		return
	}
	p.from.endTold = true
	l.step(s, exchange.Event{Kind: p.end})
}

// tunnelBroken ends a tunnel one side of which is gone.
func (l *Loop) tunnelBroken(s *stream, k *link) {
	if k == s.down.link {
		l.step(s, exchange.Event{Kind: exchange.EventClientGone})
		return
	}
	l.step(s, exchange.Event{Kind: exchange.EventUpstreamFailed, Failure: exchange.Failure{Reason: exchange.ReasonUpstreamReset}})
}

// shut tells a peer that no more follows; it may go on sending.
func (l *Loop) shut(s *stream, k *link) {
	l.unstage(k)
	if k.tls != nil {
		l.sayGoodbye(k) // half of a connection can end only so
	} else {
		unix.Shutdown(k.fd, unix.SHUT_WR)
	}
	l.wheel.arm(s.down.link, s.x.NextDeadline()) // half a tunnel has less time
}
