//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"golang.org/x/sys/unix"
)

// maxHandshakes bounds the handshakes of one loop that are under way: each has a
// goroutine, 20 to 30 KiB in all. With the processor time that one takes it is
// what two seconds of one permit get done.
const maxHandshakes = 4096

// handshake is one that is under way. Its goroutine has the connection, or the
// loop has: see secure.Conn.
type handshake struct {
	loop *Loop
	conn *secure.Conn
	// owned by the loop
	link    *link // nil: nobody waits for it any more
	waiting bool  // for bytes of the peer; otherwise the goroutine has conn
}

// shake begins a handshake on a link; fewer than maxHandshakes are under way.
func (l *Loop) shake(k *link, conn *secure.Conn) {
	l.handshakes++
	h := &handshake{loop: l, conn: conn, link: k}
	k.shake = h
	l.engine.shaking.Add(1)
	go h.run()
}

// run is the goroutine.
func (h *handshake) run() {
	defer h.loop.engine.shaking.Done()
	h.conn.Handshake(h.loop.engine.config.Permit, h.report)
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
			l.turnShake(h.link)
		case h.conn.Waiting():
			h.conn.Abort()
		default:
			l.handshakes--
			if h.link != nil {
				l.shaken(h)
			}
		}
		l.flushStage()
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
		k.tls = &session{conn: h.conn, ahead: true}
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
	if h.waiting {
		h.waiting = false
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
