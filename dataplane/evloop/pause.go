//go:build linux

package evloop

// Frames of a flood that come one by one would each cost a wake-up, a read and a write,
// which is most of what they cost. So a connection of HTTP/2 that has used up half of
// what it may send of one kind (http2.Conn.Strained) pauses: what comes next is read from
// the wheel's tick on, up to 17 ms later, in turns behind everybody's (strained.go). That
// delays nobody but those who are refused, or on their way to it, and ends
// nobody: whoever earns by requests that are answered is read at once again.
//
//	reads ──strained, all read──▶ paused ──tick: goOn──▶ waits ──its turn──▶ reads
//	  │                                                    ▲                  │
//	  └──strained, or refused something, and more is there─┴──────────────────┘
//	reads ──nothing came, or not strained and refused nothing──▶ unmuted
//
// While it is muted no edge tells of bytes, so each tick looks, or its next turn does. The first at which
// none have come unmutes it: then the kernel looks once more, and makes an edge of what
// there is. Its end (EPOLLRDHUP), errors, and room to write are told as ever.

// pause stops reading from a client of which all was read that has come, if it strains;
// else its bytes make edges.
func (l *Loop) pause(d *downstream) {
	k, m := d.link, d.mux
	came := m.heard >= m.woken // since it was paused last, if it was
	if came && m.conn.Strained(l.now) && l.mute(k) {
		m.paused = l.now
		l.wheel.arm(k, l.now)
		return
	}
	l.unmute(k)
}

// goOn has what has come during a pause read.
func (l *Loop) goOn(d *downstream) {
	m := d.mux
	m.paused, m.woken, m.unread = 0, l.now, true
	d.link.readable = true
	l.readOn(d.link)
}

// lingerMuted is goOn for one whose bytes nobody wants any more.
func (l *Loop) lingerMuted(d *downstream) {
	k := d.link
	if sysUnread(k.fd) > 0 {
		k.readable = true
		l.readOn(k)
	}
	l.wheel.arm(k, l.now)
}

// mute has bytes that come make no edges. Whoever does so looks by himself.
func (l *Loop) mute(k *link) bool {
	if !k.muted {
		k.muted = l.poller.Mute(k.fd, k.token()) == nil
	}
	return k.muted
}

// unmute ends that.
func (l *Loop) unmute(k *link) {
	if !k.muted {
		return
	}
	if err := l.poller.Unmute(k.fd, k.token()); err != nil {
		k.broken = true // nothing would be heard of it again
		l.makeReady(k)
		return
	}
	k.muted = false
}
