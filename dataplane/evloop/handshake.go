//go:build linux

package evloop

import (
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"golang.org/x/sys/unix"
)

const (
	// maxHandshakes bounds the handshakes of one loop that are under way: each has
	// a goroutine, 20 to 30 KiB in all. In the processor time that one takes it is
	// what one permit gets done in a second.
	maxHandshakes = 4096
	// maxShedding bounds those that were given up and are not over yet.
	maxShedding = 1024
	// maxIdleShakers bounds the goroutines that wait for handshakes, at 8 to 16 KiB
	// each, and shakerPatience is how long one does: at 50 handshakes a second those
	// that a permit needs are there.
	maxIdleShakers = 64
	shakerPatience = time.Second
)

// handshake is one that is under way. Its goroutine has the connection, or the
// loop has: see secure.Conn.
type handshake struct {
	loop *Loop
	conn *secure.Conn
	// owned by the loop
	link    *link // nil: nobody waits for it any more
	waiting bool  // for bytes of the peer; otherwise the goroutine has conn
	// place among the waiting
	before, behind *handshake
}

// shakeQueue are the handshakes that wait for bytes of their peers, the longest
// first.
type shakeQueue struct{ first, last *handshake }

func (q *shakeQueue) add(h *handshake) {
	h.before = q.last
	if q.last != nil {
		q.last.behind = h
	} else {
		q.first = h
	}
	q.last = h
}

func (q *shakeQueue) remove(h *handshake) {
	if h.before != nil {
		h.before.behind = h.behind
	} else {
		q.first = h.behind
	}
	if h.behind != nil {
		h.behind.before = h.before
	} else {
		q.last = h.before
	}
	h.before, h.behind = nil, nil
}

// admitShake says whether another handshake may begin. Where too many are under way
// it ends the one that waits for its peer the longest: who begins many and goes on
// with none must not keep others out.
func (l *Loop) admitShake() bool {
	if l.handshakes < maxHandshakes {
		return true
	}
	h := l.waiting.first
	if h == nil || l.handshakes == maxHandshakes+maxShedding {
		return false
	}
	k := h.link
	l.countHandshake(k, secure.ResultShed)
	if k.down != nil {
		l.closeDown(k.down)
	} else {
		l.shakeFailed(k.up, secure.ResultShed.String())
	}
	return true
}

// shake begins a handshake on a link, which it may.
func (l *Loop) shake(k *link, conn *secure.Conn) {
	l.handshakes++
	h := &handshake{loop: l, conn: conn, link: k}
	k.shake = h
	select {
	case l.engine.offered <- h: // to a goroutine that waits for one
	default:
		l.engine.shakers.Add(1)
		go l.engine.shakeHands(h)
	}
}

// shakeHands is the goroutine. Having grown its stack for one handshake it waits
// a while for the next.
func (e *Engine) shakeHands(h *handshake) {
	defer e.shakers.Done()
	patience := time.NewTimer(shakerPatience)
	defer patience.Stop()
	for h != nil {
		h.conn.Handshake(e.permits, h.report)
		h = e.nextShake(patience)
	}
}

// nextShake waits for another handshake; nil: the goroutine is not needed.
func (e *Engine) nextShake(patience *time.Timer) *handshake {
	defer e.idleShakers.Add(-1)
	if e.idleShakers.Add(1) > maxIdleShakers {
		return nil
	}
	patience.Reset(shakerPatience)
	select {
	case h := <-e.offered:
		return h
	case <-patience.C:
		return nil
	case <-e.over:
		return nil
	}
}

// report gives the connection back to the loop. There is room: a handshake has
// one report in the channel at most.
func (h *handshake) report() {
	h.loop.reports <- h
	h.loop.poller.Wake()
}

// readReports goes on with the handshakes that wait or are over.
func (l *Loop) readReports() {
	for range len(l.reports) {
		h := <-l.reports
		switch {
		case h.conn.Waiting() && h.link != nil:
			h.waiting = true
			l.waiting.add(h)
			l.turnShake(h.link)
		case h.conn.Waiting():
			h.conn.Abort()
		default:
			l.handshakes--
			if h.link != nil {
				l.shaken(h)
			}
		}
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
		n, errno := sysRead(k.fd, l.cipherBuf)
		if errno == unix.EAGAIN {
			k.readable = false
			return
		}
		if errno != 0 || n == 0 {
			k.readHup = true
			h.conn.FeedEnd()
		}
		if n < len(l.cipherBuf) && !k.readHup {
			k.readable = false
		}
		h.conn.Feed(l.cipherBuf[:n])
	default:
		return
	}
	h.waiting = false
	l.waiting.remove(h)
	h.conn.Resume()
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

// leaveShake gives up the handshake of a link that closes.
func (l *Loop) leaveShake(k *link) {
	h := k.shake
	if h == nil {
		return
	}
	k.shake, h.link = nil, nil
	h.conn.GiveUp() // most that have to go wait for the permit
	if h.waiting {
		h.waiting = false
		l.waiting.remove(h)
		h.conn.Abort()
	}
}

// endShakes waits until the goroutines of a loop that ends are gone.
func (l *Loop) endShakes() {
	for l.handshakes > 0 {
		h := <-l.reports
		switch {
		case h.conn.Waiting():
			h.conn.Abort()
		default:
			l.handshakes--
		}
	}
}

func (l *Loop) countHandshake(k *link, result secure.Result) {
	l.stats.Handshake(k.up != nil, uint8(result))
}
