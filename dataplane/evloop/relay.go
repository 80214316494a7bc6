//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"golang.org/x/sys/unix"
)

// This file moves the bytes of tunnels. A tunnel has two passages, one in each
// direction. Each reads no more than its far end takes, and tells the far end that
// no more follows when the near one has ended and all of it has gone.
//
// A side of a tunnel is a connection, which this file reads, or a stream of HTTP/2:
// a sub or a call, whose bytes come and go as those of a body do.

// tunnel says that a stream's bytes pass as they are.
func (s *stream) tunnel() bool { return s.x.State() == exchange.StateTunnel }

// join makes a tunnel of a stream. What either side has sent behind its head is
// kept, and has its turn with what is still to come. The tunnel does not hold the
// table that it began with.
func (l *Loop) join(s *stream) {
	if b := s.sub; b != nil {
		// RFC 9113 section 8.5 and RFC 8441 section 5.
		if b.cutCode = http2.ConnectError; s.x.Upgrades() {
			b.cutCode = http2.Cancel
		}
	} else {
		s.down.phase = phaseTunnel
	}
	l.makeReady(s.down.link)
	l.makeReady(s.up.link)
	l.wheel.arm(s.down.link, s.x.NextDeadline())
}

// turnTunnel serves a connection that is one side of a tunnel.
func (l *Loop) turnTunnel(s *stream, k *link) {
	if k.broken && k.ended && k.lost() {
		l.tunnelBroken(s, k)
		return
	}
	// A broken link may still hold bytes, and an end behind them: reading tells.
	k.readable = k.readable || k.broken
	l.roomAgain(s, k)
	if k.writable && k.out.len() > 0 {
		moved, empty := l.flushOut(k)
		if moved > 0 {
			s.x.Touch(l.now)
		}
		if empty {
			l.makeReady(s.far(k))
		}
	}
	l.pass(s, k)
}

// far is the other link of a tunnel.
func (s *stream) far(k *link) *link {
	if k == s.down.link {
		return s.up.link
	}
	return s.down.link
}

// pass moves what can be moved in one direction in one turn, away from k.
func (l *Loop) pass(s *stream, k *link) {
	if k.down != nil && k.down.doubtful && !l.readDoubtful(s, k) {
		return
	}
	kind, takes := exchange.EventRequestData, takesRequest
	if k == s.up.link {
		kind, takes = exchange.EventResponseData, takesAnswer
	}
	for budget := readSize; !k.ended && takes(s); {
		if kept := k.in.bytes(); len(kept) > 0 {
			s.body = kept
			l.step(s, exchange.Event{Kind: kind, N: len(kept)})
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
		n, state, result := l.splicePassage(s, k, kind)
		if result == spliceNot {
			if s.body, n, state = l.fill(k); n > 0 {
				l.step(s, exchange.Event{Kind: kind, N: n})
			}
		}
		budget -= n
		switch state {
		case readEnd:
			if k.unheard { // it was reset behind its end: there is nobody to hear the other side
				l.tunnelBroken(s, k)
				return
			}
			k.ended = true
		case readReset:
			l.tunnelBroken(s, k)
			return
		}
		if result == spliceStop {
			break
		}
	}
	switch {
	case k.ended:
		l.passEnd(s, k)
	case k.broken && k == s.down.link && k.lost():
		// The endpoint takes no more, so that reading, which would tell, may wait for long.
		l.tunnelBroken(s, k)
	}
}

// lost tells whether a broken link was reset, and its peer neither sends nor reads any
// more; else both sides have ended in order, and what the peer said may still be on its way.
func (k *link) lost() bool { return k.unheard || k.out.len() > 0 || sysError(k.fd) != 0 }

// passEnd tells the exchange that a side has ended, once all that it sent has
// gone. Otherwise the far end comes back here when nothing waits there.
func (l *Loop) passEnd(s *stream, k *link) {
	if k.endTold {
		return
	}
	kind, takes := exchange.EventRequestEnd, l.takesEnd
	if k == s.up.link {
		kind, takes = exchange.EventResponseEnd, l.takesAnswerEnd
	}
	if !takes(s) {
		return
	}
	var f exchange.Failure
	if k.truncated() { // somebody else may have cut it
		if k == s.up.link {
			l.tunnelBroken(s, k) // not to be passed on as an end
			return
		}
		f.Detail = noCloseNotify // of a client it is: see ADR 25
	}
	k.endTold = true
	s.trailers = nil
	l.step(s, exchange.Event{Kind: kind, Failure: f})
}

// tunnelBroken ends a tunnel one side of which is gone.
func (l *Loop) tunnelBroken(s *stream, k *link) {
	if k == s.down.link {
		l.step(s, exchange.Event{Kind: exchange.EventClientGone})
		return
	}
	l.step(s, exchange.Event{Kind: exchange.EventUpstreamFailed, Failure: exchange.Failure{Reason: exchange.ReasonUpstreamReset}})
}

// shutUpstream tells the endpoint that no more follows; it may go on sending.
func (l *Loop) shutUpstream(s *stream) {
	if b := s.call; b != nil {
		if !b.sendEnd {
			l.callTrailers(b, nil)
		}
		l.wheel.arm(s.down.link, s.x.NextDeadline())
		return
	}
	l.shut(s, s.up.link)
}

// shutClient is shutUpstream for the client.
func (l *Loop) shutClient(s *stream) {
	if b := s.sub; b != nil {
		l.subAnswered(s)
		l.wheel.arm(s.down.link, s.x.NextDeadline())
		return
	}
	l.shut(s, s.down.link)
}

// shut tells a peer that no more follows; it may go on sending.
func (l *Loop) shut(s *stream, k *link) {
	if s.x.State() == exchange.StateDone {
		l.sayGoodbye(k) // it is closed, which says so too, but to a peer with TLS
		return
	}
	l.unstage(k)
	if k.tls != nil {
		l.sayGoodbye(k) // half of a connection can end only so
	} else {
		unix.Shutdown(k.fd, unix.SHUT_WR)
	}
	l.wheel.arm(s.down.link, s.x.NextDeadline()) // half a tunnel has less time
}
