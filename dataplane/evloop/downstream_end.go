//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"golang.org/x/sys/unix"
)

// This file ends clients' connections. doc.go has a table of when, and of what the client
// sees.

// closeDownAfter ends a connection when everything queued has gone.
func (l *Loop) closeDownAfter(d *downstream) {
	k := d.link
	if k.closed || d.closing {
		return
	}
	d.closing = true
	if d.mux != nil {
		l.stageFrames(&d.mux.frames)
	}
	l.sayLast(k)
	if k.out.len() == 0 {
		l.closeLingering(d)
		return
	}
	d.since = l.now
	l.wheel.arm(k, d.deadline())
}

// closeLingering closes a connection on which everything was sent: at once if the
// client sends nothing more that we know of, else after phaseLinger. One of HTTP/2 may
// always: it gives back windows as it reads its last answer.
func (l *Loop) closeLingering(d *downstream) {
	k := d.link
	if k.readHup || k.broken {
		l.closeDown(d)
		return
	}
	if d.mux == nil && d.phase != phaseBody && !d.refused && k.in.len() == 0 && !k.readable {
		l.closeDown(d)
		return
	}
	d.phase, d.since = phaseLinger, l.now
	k.in.release(&l.buffers)
	unix.Shutdown(k.fd, unix.SHUT_WR)
	l.wheel.arm(k, d.deadline())
	l.makeReady(k)
}

// discard throws away what a lingering client sends, for one turn.
func (l *Loop) discard(d *downstream) {
	k := d.link
	if !k.readable {
		return
	}
	buf := k.oneRead(l.readBuf)
	n, errno := sysDiscard(k.fd, buf)
	d.lingered += n
	switch {
	case errno == unix.EAGAIN:
		k.readable = false
	case errno != 0 || n == 0:
		l.goneDown(d)
	case d.lingered > lingerBytes:
		l.closeDown(d)
	case n == len(buf) || k.readHup:
		l.readOn(k)
	default:
		k.readable = false // what comes next makes an edge
	}
}

// readsOn says that a lingering client has taken some of what the kernel has for it, and
// gets more time: what it sends after the end would have the kernel throw the rest away.
func (l *Loop) readsOn(d *downstream) bool {
	unsent := sysUnsent(d.link.fd)
	if unsent == 0 || unsent == d.unsent {
		return false
	}
	d.unsent, d.since = unsent, l.now
	l.wheel.arm(d.link, d.deadline())
	return true
}

// goneDown ends a connection whose client is gone.
func (l *Loop) goneDown(d *downstream) {
	if d.mux != nil {
		l.stepMux(d, exchange.Event{Kind: exchange.EventClientGone})
	}
	if d.stream != nil {
		l.step(d.stream, exchange.Event{Kind: exchange.EventClientGone})
		return
	}
	l.closeDown(d)
}

// cutDown ends a connection now, answering if an answer can still be given.
func (l *Loop) cutDown(d *downstream, f exchange.Failure) {
	k := d.link
	if d.stream != nil {
		l.step(d.stream, exchange.Event{Kind: exchange.EventCut, Failure: f})
	}
	if d.mux != nil {
		l.stepMux(d, exchange.Event{Kind: exchange.EventCut, Failure: f})
		l.flushFrames(&d.mux.frames)
	}
	if !k.closed {
		l.closeDown(d)
	}
}

// abortDown cuts an answer short so that the client sees it: a reset, not an end
// that looks like one (RFC 9112 section 8).
func (l *Loop) abortDown(d *downstream) {
	k := d.link
	if k.closed {
		return
	}
	l.unstage(k)
	if k.tls != nil {
		k.tls.told = true // that would be an end
	}
	_ = unix.SetsockoptLinger(k.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	l.closeDown(d)
}

// closeDown ends a client's connection. Its exchange has finished.
func (l *Loop) closeDown(d *downstream) {
	k := d.link
	if k.closed {
		return
	}
	l.counts.clientsChanged(-1)
	d.clientele.open.Add(-1)
	d.leaveClientele()
	l.stats.ClientClosed(d.series)
	l.sayLast(k)
	l.closeLink(k)
	if d.mux != nil {
		l.endMux(d.mux)
	}
	l.old.downs.give(d)
}
