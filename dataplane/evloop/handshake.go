//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"golang.org/x/sys/unix"
)

// This file moves the bytes of handshakes, on either side, and goes on when one is over.

// admitShake says whether a link's handshake may begin. Where too many are under way
// it ends the one that waits for its peer the longest: whoever begins many and goes on
// with none must not keep others out. Where too many of its client are, it is one of these.
func (l *Loop) admitShake(k *link) bool {
	var h *handshake
	switch s := &l.shaker; {
	case !s.fair(k):
		h = s.longestOf(shakesFor(k))
	case s.room():
		return true
	default:
		h = s.longest()
	}
	if h == nil {
		return false
	}
	over := h.link
	l.countHandshake(over, secure.ResultShed)
	if over.down != nil {
		l.closeDown(over.down)
	} else {
		l.shakeFailed(over.up, secure.ResultShed.String())
	}
	return true
}

// shakeHands has handshakes compute that the loop does itself.
func (l *Loop) shakeHands() {
	if !l.shaker.computes() {
		return
	}
	for until := l.elapsed() + shakeTime; l.shaker.computes(); {
		l.shakeOn(l.shaker.compute())
		if l.elapsed() >= until {
			return
		}
	}
}

// readReports goes on with the handshakes of the crew that wait or are over.
func (l *Loop) readReports() {
	for range len(l.shaker.reports) {
		l.shakeOn(l.shaker.take())
	}
}

// shakeOn goes on with a handshake that has computed.
func (l *Loop) shakeOn(h *handshake) {
	switch {
	case h.link == nil: // nobody waits for it any more
	case h.waiting:
		l.turnShake(h.link)
	default:
		l.shaken(h)
	}
}

// turnShake moves bytes between a link and its handshake.
func (l *Loop) turnShake(k *link) {
	h := k.shake
	if !h.waiting {
		return // what the edge said is noted
	}
	if out := h.conn.TakeOut(); len(out) > 0 {
		l.sendWire(k, out)
	}
	if k.writable && k.out.len() > 0 {
		l.flushOut(k)
	}
	switch {
	case k.broken:
		h.conn.FeedEnd()
	case k.readable:
		buf := l.cipherBuf
		if h.own {
			buf = buf[:ownHello] // each piece is to be short
		}
		n, errno := sysRead(k.fd, buf)
		if errno == unix.EAGAIN {
			k.readable = false
			return
		}
		if errno != 0 || n == 0 {
			k.readHup = true
			h.conn.FeedEnd()
		}
		if n < len(buf) && !k.readHup {
			k.readable = false
		}
		if h.fed += n; h.own && h.fed > ownFed {
			l.countHandshake(k, secure.ResultHelloTooLarge)
			l.closeDown(k.down)
			return
		}
		h.conn.Feed(buf[:n])
	default:
		return
	}
	l.shaker.resume(h)
}

// shaken ends a handshake that is over.
func (l *Loop) shaken(h *handshake) {
	k := h.link
	k.shake = nil
	if out := h.conn.TakeOut(); len(out) > 0 {
		l.sendWire(k, out)
	}
	result := h.conn.Result()
	l.countHandshake(k, result)
	if h.conn.Failed() == nil {
		k.tls = &recordLayer{conn: h.conn, ahead: true}
		if !k.readable {
			k.tls.empty = l.now
		}
		k.readable = true // what crypto/tls has read ahead
	}
	switch {
	case k.down != nil:
		l.shakenDown(k.down, h.conn)
	case k.up != nil:
		l.shakenUp(k.up, h.conn)
	}
}

// countHandshake counts how a handshake ended, or TLS behind it.
func (l *Loop) countHandshake(k *link, result secure.Result) {
	l.stats.Handshake(k.up != nil, uint8(result))
	if k.down != nil && isFault(result) {
		l.fault(k.down, 1)
	}
}
