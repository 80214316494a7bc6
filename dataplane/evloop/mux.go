//go:build linux

package evloop

import (
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

const (
	// muxShare is what a sub sends before the next one has its turn.
	muxShare = 16 << 10
	// muxFrames is how many frames a connection may have handled in one turn. Each KiB of one
	// that is not of a body counts as one more: a head that is as large as it may be takes as
	// long to decode as many small ones. muxShares is how many shares of what waits it is sent then.
	muxFrames = 16
	muxShares = 8
	// muxRequest is what a frame counts as with which a request begins, or for which the codec refuses
	// or resets one: to answer it, or to record its end, takes five to ten µs, and nobody is to wait for
	// much more than twenty behind that.
	muxRequest = 6
	// muxBody is the least that comes at once of a body whose sender is read by as much as there is room
	// for. Who sends heads and small frames sends seldom more than one read of clientRead at a time, and
	// to decrypt 64 KiB of them at once is a long turn.
	muxBody = 4 << 10
	// subAhead is how much of an answer may wait for its client's window before
	// its endpoint is no longer read, and muxAhead what may wait for all windows
	// of a connection. One read more may come on top of either.
	subAhead = 16 << 10
	muxAhead = 1 << 20
	// leaveSettle is between the answer to the PING behind the first GOAWAY and the second:
	// Go's client, for one, may answer it while a stream that it had begun is not
	// written yet.
	leaveSettle = int64(100 * time.Millisecond)
)

// mux is what a client's connection that speaks HTTP/2 has beside its link.
type mux struct {
	frames
	of *downstream

	subs tagged[sub]
	open int // subs
	turn int // the sub whose turn to send is next

	blocked int  // subs whose answer waits
	opened  bool // windows have opened, or the socket has room again: answers that wait may go on
	ahead   int  // bytes of all that wait
	held    int  // subs whose request waits for its endpoint

	bodies bool  // it sends those, by large frames: see muxBody
	shared bool  // by clients of a trusted proxy
	unread bool  // a pause is over, and nothing was read since
	paused int64 // since when nothing is read; 0: it is
	woken  int64 // when that ended

	leaveBy int64 // the client was told to begin no more streams, and is told then which were taken; 0: it was not
	left    bool  // it was told both: nothing new will come
}

// sub is one HTTP/2 stream of a client. It lives until both sides have ended the
// stream, which may be after its exchange.
type sub struct {
	id  uint32 // of the HTTP/2 stream
	tag uint32
	of  *mux
	s   *stream // its exchange, until that finishes

	// The request.
	in      queue // of its body, for which the endpoint is not ready
	inEnd   bool  // the end waits behind it
	recvEnd bool  // the client has sent all
	lines   []byte

	// The answer.
	out      queue // of its body, for which the client is not ready
	outEnd   bool  // the end waits behind it, with trailers
	trailers []byte
	rest     int64      // of its declared length, still to come; -1: none was declared
	sendEnd  bool       // END_STREAM was sent
	cut      bool       // when all is sent the rest of the request is refused
	cutCode  http2.Code // says that the answer is not complete
	waits    bool       // its attempt is postponed
	slow     bool       // its time is over, and bytes wait for its client
	touched  int64      // when bytes of it moved
}

// sniff looks whether a new connection speaks HTTP/2 by prior knowledge. True: it
// does, or more bytes must tell, and data was taken care of.
func (l *Loop) sniff(d *downstream, data []byte) bool {
	if len(data) == 0 {
		return false
	}
	k := d.link
	switch is, whole := http2.Sniff(data); {
	case !is:
		d.fresh = false
		return false
	case !whole:
		if d.headStart == 0 {
			d.headStart = l.now
			l.wheel.arm(k, d.deadline())
		}
		l.keep(k, data, 0)
		return true
	}
	l.beginMux(d)
	l.keep(k, data, 0)
	l.makeReady(k)
	return true
}

// beginMux turns a connection to HTTP/2.
func (l *Loop) beginMux(d *downstream) {
	limits := d.socket.listener.Limits
	m := &mux{frames: frames{link: d.link, heard: l.now}, of: d, shared: !d.named && d.socket.listener.Trusts(d.peer.Addr())}
	m.conn.Init(http2.Server, http2.Options{
		HeadBytes: limits.HeaderBytes, Fields: limits.HeaderFields, ExtendedConnect: true, Spare: &l.spareBlock,
		Shared: m.shared,
	})
	d.mux, d.phase, d.fresh = m, phaseMux, false
	d.headStart, d.since = l.now, l.now // the rest of the preface has as long as a head
	l.wheel.arm(d.link, d.deadline())
	l.gather(&m.frames, m.conn.AppendPreface(l.frame[:0]))
	if l.drains(d) {
		l.leaveMux(d)
	}
}

// turnMux serves a connection that speaks HTTP/2.
func (l *Loop) turnMux(d *downstream) {
	k, m := d.link, d.mux
	if k.writable && k.out.len() > 0 {
		moved, empty := l.flushOut(k)
		if moved > 0 && d.closing {
			d.since = l.now
		}
		if empty && d.closing {
			l.closeLingering(d)
			return
		}
	}
	if m.stalled && !m.congested() {
		m.stalled, m.opened = false, true
	}
	if m.held > 0 {
		l.feedMux(m)
	}
	if !k.closed {
		l.readMux(d)
	}
	if m.opened && !k.closed && !d.closing { // once for all frames that open windows
		l.pumpMux(m)
	}
}

// readMux reads and parses for one turn. What the frames of a turn begin is started behind all of them.
func (l *Loop) readMux(d *downstream) {
	k, m := d.link, d.mux
	if m.paused > 0 || k.strained {
		return
	}
	l.events, l.refused = muxFrames, 0
	budget := 1 // one read
	switch {
	case k.muted:
		l.events = strainedFrames
	case m.bodies || k.readHup: // who asks and ends is gone: nothing is to begin before that is read
		budget = readSize
	}
	l.postponed.on = true
	more, end := l.readFrames(d, budget)
	l.postponed.on = false
	m.unread = more && m.heard < m.woken // part of a record of TLS is nothing yet
	switch {
	case k.closed:
	case end:
		l.goneDown(d)
	case d.closing:
	case more:
		l.readRest(d)
	case k.readable || m.deaf():
	case k.readHup:
		l.goneDown(d)
	default:
		l.pause(d)
	}
	l.startPostponed()
}

// readFrames reads until it has as many bytes as a turn may, and handles as many frames. more: there are more at
// hand; end: the client has said all, or is gone.
func (l *Loop) readFrames(d *downstream, bytes int) (more, end bool) {
	k, m := d.link, d.mux
	wants := func() bool { return !k.closed && !d.closing && !m.deaf() }
	if wants() {
		l.consumeMux(d, k.in.bytes())
	}
	for wants() && k.readable && l.events > 0 {
		if bytes <= 0 && !k.endRead() {
			return true, false
		}
		data, n, state := l.fill(k)
		bytes -= max(n, 1) // part of a record of TLS takes a read, too
		if n > 0 {
			m.hear(l.now)
			l.consumeMux(d, data)
		}
		if state == readEnd || state == readReset {
			return false, true
		}
	}
	return l.events <= 0, false // also where nothing is: the codec may have an event without bytes
}

// readRest has what is at hand read in a later turn. It is behind everybody's while the client strains,
// and where something was refused for frames of this one: nobody is to wait while it is for those of
// the next.
func (l *Loop) readRest(d *downstream) {
	k, m := d.link, d.mux
	if !m.shared && l.refused > 0 || m.conn.Strained(l.now) {
		l.mute(k)
	} else {
		l.unmute(k)
	}
	l.readOn(k)
}

// consumeMux gives bytes to the codec, and keeps those that it does not take.
func (l *Loop) consumeMux(d *downstream, data []byte) {
	used := l.consumeFrames(d, data)
	if !d.link.closed && !d.closing { // then nothing more is read, and data may be the pool's again
		l.keep(d.link, data, used)
		l.watchHead(d)
	}
}

// consumeFrames handles the frames in data, and says how much of it they were. Behind the head of a
// request it handles one frame more than a turn may, if it is there and no other head: it may be what
// resets that.
func (l *Loop) consumeFrames(d *downstream, data []byte) (used int) {
	k, m := d.link, d.mux
	for begun := false; (l.events > 0 || begun && !m.conn.BeginsNext(data[used:])) && !m.deaf(); {
		ev, made := m.conn.Next(l.now, data[used:], &l.muxHead, l.frame[:0])
		l.gather(&m.frames, made)
		if ev.Kind == http2.NeedMore {
			break
		}
		begun = ev.Kind == http2.Head && l.events > 0 || begun && ev.N == 0
		switch {
		case ev.Reason != http2.NoReason:
			l.refused++
			l.events -= muxRequest
		case ev.Kind == http2.Head:
			l.events -= muxRequest
		case ev.N > 0:
			l.events--
		}
		if ev.Kind != http2.Data {
			l.events -= ev.N >> 10
		}
		m.notice(&ev)
		start := used
		used += ev.N
		l.eventMux(d, ev, data[start:used])
		if k.closed || d.closing { // as behind Failed
			break
		}
	}
	return used
}

// notice notes what kind of frames the client sends.
func (m *mux) notice(ev *http2.Event) {
	switch {
	case ev.Kind == http2.Head, ev.Kind == http2.Refused:
		m.bodies = false
	case ev.Kind == http2.Data && ev.N >= muxBody:
		m.bodies = true
	}
}

// watchHead notes since when a frame, or a field block, is on its way: it has as
// long as a request's head.
func (l *Loop) watchHead(d *downstream) {
	switch {
	case d.link.in.len() == 0 && !d.mux.conn.Waiting() || l.events <= 0:
		d.headStart = 0
	case d.headStart == 0:
		d.headStart = l.now
		l.wheel.arm(d.link, d.muxDeadline())
	}
}

// eventMux handles one event of the codec, whose bytes are in.
func (l *Loop) eventMux(d *downstream, ev http2.Event, in []byte) {
	m := d.mux
	switch ev.Kind {
	case http2.Head:
		l.beginSub(d, ev)
	case http2.Refused:
		l.refuseSub(d, ev)
	case http2.Data:
		l.subData(m.subs.all[ev.Tag], in[ev.Start:ev.End])
	case http2.End:
		l.subEnd(m.subs.all[ev.Tag], ev.Trailers)
	case http2.Reset:
		l.subReset(m.subs.all[ev.Tag], ev)
	case http2.Writable, http2.Settings:
		m.opened = true
	case http2.PingAck:
		if ev.Ping != pingAsk {
			l.leaveHeard(d)
		}
	case http2.Failed:
		l.stats.RefusedHTTP2(d.socket.listener.Series, uint8(ev.Reason))
		l.fault(d, weightOf(&m.conn))
		l.stepMux(d, exchange.Event{Kind: exchange.EventClientGone})
		d.refused = true
		l.closeDownAfter(d)
	}
}

// stepMux tells every exchange of a connection the same.
func (l *Loop) stepMux(d *downstream, ev exchange.Event) {
	for i := 0; i < len(d.mux.subs.all); i++ {
		if b := d.mux.subs.all[i]; b != nil && b.s != nil {
			l.step(b.s, ev)
		}
	}
}

// endSub lets go of a sub when both sides have ended its stream, or when nothing
// more will be said: then the rest of the request is refused.
func (l *Loop) endSub(b *sub) {
	if b.s != nil || !b.sendEnd {
		return
	}
	m := b.of
	if !b.recvEnd && (!b.cut || m.conn.Ending(b.id)) {
		return // its End is still to come
	}
	if !b.recvEnd {
		l.gather(&m.frames, m.conn.AppendReset(l.frame[:0], b.id, http2.NoError))
	}
	l.dropSub(b)
}

// dropSub lets go of a sub whose stream is over. Its memory is used again in the
// next turn: callers up the stack may still look at it.
func (l *Loop) dropSub(b *sub) {
	m := b.of
	l.discardIn(b)
	if b.out.len() > 0 || b.outEnd {
		m.blocked--
	}
	m.ahead -= b.out.len()
	b.out.release(&l.buffers)
	m.subs.drop(b.tag)
	m.open--
	l.counts.subs--
	b.of = nil
	b.lines, b.trailers = small(b.lines), small(b.trailers)
	l.old.subs.give(b)
	d := m.of
	if m.open > 0 || d.link.closed {
		return
	}
	d.since = l.now
	l.wheel.arm(d.link, d.deadline())
	if m.left {
		l.closeDownAfter(d)
	}
}

// endMux lets go of everything when the connection has closed.
func (l *Loop) endMux(m *mux) {
	for _, b := range m.subs.all {
		if b != nil {
			l.dropSub(b)
		}
	}
	m.out.release(&l.buffers)
}
