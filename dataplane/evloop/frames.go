//go:build linux

package evloop

import (
	"math"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// frames is what a connection that speaks HTTP/2 has on either side: its codec,
// and the frames that this turn of the loop made for it.
type frames struct {
	conn http2.Conn
	link *link
	out  queue // not encrypted yet

	heard  int64 // when bytes last came
	pinged int64 // when a PING was sent to which nothing has come; 0: none was

	listed  bool  // it is on the loop's list of those that have some
	since   int64 // when that began
	stalled bool  // a body, or reading, stopped since too much waits for the socket
}

// gather keeps frames for the end of the turn. They are in the memory of l.frame.
func (l *Loop) gather(f *frames, made []byte) {
	l.frame = made[:0]
	if len(made) > 0 {
		f.out.add(&l.buffers, made)
		l.list(f)
	}
}

// gatherData adds as much of a body as the windows take. It goes straight to the
// other frames: a body is not copied twice.
func (l *Loop) gatherData(f *frames, id uint32, p []byte, end bool) (n int) {
	room := min(f.conn.Room(id), len(p))
	f.out.room(&l.buffers, room+frameOverhead*(room/http2.MaxFrame+1))
	f.out.buf, n = f.conn.AppendData(f.out.buf, id, p, end)
	if f.out.len() > 0 {
		l.list(f)
	}
	return n
}

// gatherTrailers ends a stream with trailers in the form of HTTP/1.1, as appendLines writes them;
// none is right.
func (l *Loop) gatherTrailers(f *frames, id uint32, lines []byte) {
	l.out.Reset()
	l.trailers = http1.AppendTrailers(l.trailers[:0], lines)
	for i := range l.trailers {
		field := &l.trailers[i]
		l.out.Fields = append(l.out.Fields, message.OutField{
			Name: lines[field.Name.Start:field.Name.End], Value: lines[field.Value.Start:field.Value.End],
			Sensitive: lines[field.Name.End+1] == sensitiveSpace,
		})
	}
	l.gather(f, f.conn.AppendTrailers(l.frame[:0], id, l.out.Fields))
}

// frameOverhead is a frame's header.
const frameOverhead = 9

// list makes sure that frames are written when the turn ends.
func (l *Loop) list(f *frames) {
	if !f.listed {
		f.listed, f.since = true, l.now
		l.framed = append(l.framed, f)
	}
}

// flushFramed writes what this turn has gathered, but for what waits for more.
func (l *Loop) flushFramed() {
	kept := l.framed[:0]
	for i := 0; i < len(l.framed); i++ {
		f := l.framed[i]
		l.framed[i] = nil
		if l.heldBack(f) {
			kept = append(kept, f)
			continue
		}
		f.listed = false
		l.flushFrames(f)
	}
	l.framed = kept
}

// heldBack says that frames are not written in this turn of the loop: more will come with the next turn
// of their connection, which is not waited for, or is at hand.
func (l *Loop) heldBack(f *frames) bool {
	k, n := f.link, f.out.len()
	switch {
	case n == 0 || n >= heldMost || k.closed:
		return false
	case k.strained:
		return true
	}
	return k.next && !k.readHup && l.elapsed() < f.since+heldLongest
}

const (
	// heldMost is how many bytes are gathered before they are written though more will come, and
	// heldLongest for how long, as far as turns end by then: clients wait for windows to open while
	// they send.
	heldMost    = 4 << 10
	heldLongest = int64(time.Millisecond)
)

// flushFrames writes what one connection has gathered.
func (l *Loop) flushFrames(f *frames) {
	k := f.link
	if f.out.len() == 0 || k.closed {
		return
	}
	l.write(k, l.stage.take(k), f.out.bytes())
	f.out.release(&l.buffers)
	if f.stalled && !f.congested() {
		l.makeReady(k) // whose turn it is that goes on
	}
}

// stageFrames hands the frames of a connection that ends on to the stage: they are written with what
// tells of its end.
func (l *Loop) stageFrames(f *frames) {
	l.send(f.link, f.out.bytes())
	f.out.release(&l.buffers)
}

// pingDeadline is when turnPing has something to do, while streams are open.
func (f *frames) pingDeadline(p table.Ping) int64 {
	switch {
	case p.Interval == 0:
		return math.MaxInt64
	case f.pinged > 0:
		return f.pinged + int64(p.Timeout)
	}
	return f.heard + int64(p.Interval)
}

// turnPing asks the other end whether it is there, when nothing has come for long
// enough. dead: nothing has come since it was asked. Where we do not read, since too
// much waits for the socket or for another turn, silence says nothing.
func (l *Loop) turnPing(f *frames, p table.Ping) (dead bool) {
	switch {
	case l.now < f.pingDeadline(p):
	case f.link.readable || f.link.strained || f.deaf():
		f.heard, f.pinged = l.now, 0
	case f.pinged > 0:
		return true
	default:
		f.pinged = l.now
		ping, _ := f.conn.AppendPing(l.frame[:0], pingAsk)
		l.gather(f, ping)
	}
	return false
}

// pingAsk tells the answers to these PINGs from that to the one of a shutdown.
const pingAsk = 1

// hear notes that bytes came.
func (f *frames) hear(now int64) { f.heard, f.pinged = now, 0 }

// congested says that the socket has enough to do: no more of a body is given to it.
// It notes that somebody asked.
func (f *frames) congested() bool { return f.waits(highWater) }

// deaf says that so much waits for the socket that nothing may be read either: what
// is read is answered, by PING acknowledgements or by answers of our own, and who does
// not take these must not make us keep them (CVE-2019-9517). Up to there we read on,
// though no body goes out. Another node at the other end does as we do: if both
// stopped reading when their writes are full, neither would ever write again.
func (f *frames) deaf() bool { return f.waits(deafWater) }

// deafWater has room for what congested lets in, which is highWater and one read of a
// body, and as much again for answers.
const deafWater = 4 * highWater

func (f *frames) waits(most int) bool {
	if f.out.len()+f.link.out.len() <= most {
		return false
	}
	f.stalled = true
	return true
}
