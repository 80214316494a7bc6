//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/poll"
	"golang.org/x/sys/unix"
)

const (
	// earlyMost bounds the links that are read by one call: what was read should not have
	// left the processor's nearest cache by the time that it is looked at.
	earlyMost = 16
	// earlySize is what is read of each: most heads, and short bodies. Links that send more
	// at a time are read by calls of their own, which have more room.
	earlySize = 4<<10 + 192 // not all of them in the same sets of the cache
)

// early is what was read of links by one call, before they have their turns. It is valid
// until the edges at hand are served.
type early struct {
	room  []byte // earlySize for each
	reads [earlyMost]earlyRead
	n     int
}

// earlyRead is the outcome of one read.
type earlyRead struct {
	of    *link
	n     int
	errno unix.Errno
}

// bytes is where read i, from 0, was made.
func (e *early) bytes(i int) []byte { return e.room[i*earlySize : (i+1)*earlySize : (i+1)*earlySize] }

// serveEdges gives the links with edges their turns, many after one call that read of all
// of them.
func (l *Loop) serveEdges(events []poll.Event) {
	l.edges(events)
	for len(events) > 0 {
		group := events[:min(len(events), earlyMost)]
		events = events[len(group):]
		if l.ring != nil && len(group) >= worthARing {
			l.readEarly(group)
		}
		for i := range group {
			if k := l.linkOf(&group[i]); k != nil {
				l.turn(k)
			}
		}
		l.keepEarly()
	}
}

// readEarly reads of the links that would begin their turns with that.
func (l *Loop) readEarly(events []poll.Event) {
	e := &l.early
	for i := range events {
		ev := &events[i]
		k := l.linkOf(ev)
		if k == nil || !ev.Readable || ev.ReadHup || ev.Hup || !k.readsNext() {
			continue
		}
		l.ring.Receive(k.fd, e.bytes(e.n), e.n)
		e.reads[e.n] = earlyRead{of: k, errno: unix.EAGAIN}
		e.n++
		k.early = uint8(e.n)
	}
	done, err := l.ring.Enter()
	for _, d := range done {
		e.reads[d.Tag].n, e.reads[d.Tag].errno = d.N, d.Errno
	}
	if err != nil {
		for i := len(done); i < e.n; i++ {
			e.reads[i].of.early = 0
		}
		e.n = len(done)
		l.loseRing(err)
	}
}

// readsNext says that k's turn, when bytes have come, begins with a read of at most
// earlySize.
func (k *link) readsNext() bool {
	switch {
	case k.early > 0 || k.long || k.in.len() > 0 || k.shake != nil:
		return false
	case k.tls != nil && (k.tls.ahead || k.tls.end != readMore):
		return false
	case k.down != nil:
		return k.down.phase == phaseHead && k.down.wantsInput()
	case k.up != nil:
		return k.up.connected && k.up.mux == nil && k.up.wantsAnswer()
	}
	return false
}

// receive reads once: what was read early, or into buf. got is where the bytes are; less
// than all of it: there was no more.
func (l *Loop) receive(k *link, buf []byte) (got []byte, n int, errno unix.Errno) {
	if k.early > 0 {
		i := int(k.early) - 1
		k.early = 0
		r := &l.early.reads[i]
		if r.errno != unix.EAGAIN || !k.broken { // else something has come since
			k.long = r.n == earlySize
			return l.early.bytes(i), r.n, r.errno
		}
	}
	buf = k.oneRead(buf)
	n, errno = sysRead(k.fd, buf)
	if n == 0 && errno == 0 && k.reset {
		errno = unix.ECONNRESET
	}
	k.long = n > earlySize
	return buf, n, errno
}

// keepEarly keeps what links did not take in their turns, since something stopped them or
// another link's turn did. The end of a stream is there to be read again; an error is not,
// and an answer that lasts until the end must not be taken for a whole one.
func (l *Loop) keepEarly() {
	e := &l.early
	for i := range e.n {
		r := &e.reads[i]
		k := r.of
		r.of = nil
		switch {
		case k.early == 0 || k.closed:
		case r.n > 0:
			data, _, _ := l.fill(k)
			l.keep(k, data, 0)
		case r.errno != 0 && r.errno != unix.EAGAIN:
			k.broken, k.reset = true, true
		}
		k.early = 0
	}
	e.n = 0
}
