//go:build linux

package evloop

import (
	"math"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"golang.org/x/sys/unix"
)

// This file moves long plaintext bodies and relays from one socket to another by
// splice(2): through a pipe, whose pages the kernel hands on without copying them.
//
// A loop has one pipe, and it holds bytes only while splice runs: what the far
// socket does not take is read out of it and waits in link.out, as it would without
// splice. So nothing of a connection is in the pipe between two calls, a slow reader
// occupies none, and what else counts bytes, limits them or cuts connections need not
// know of it. A pipe that may not be empty is closed: what is left of one client's
// bytes must never reach another.

const (
	// spliceTurn is what one connection may move in one turn: about 100 µs.
	spliceTurn = 512 << 10
	// splicePiece is what is in the pipe at most, and so what a slow reader keeps of
	// it in memory. Each piece costs two calls; 128 and 256 KiB were not cheaper.
	splicePiece = 64 << 10
	// spliceRest is how long the rest of a body must be. Bodies of 4 MiB cost 0.58
	// times of what copying them did, of 1 MiB 0.85, of 512 KiB the same, and those of
	// 256 KiB 1.2 times, when they were spliced.
	spliceRest = 256 << 10
	// spliceLeast is how much a read must have brought before splice begins: a
	// sender that brings little at a time would cost a call more each time.
	spliceLeast = 32 << 10
	// spliceShort ends it: a sender that brings so little at a time is read.
	spliceShort = 8 << 10
)

// spliceResult is what became of an attempt to splice.
type spliceResult uint8

const (
	spliceNot   spliceResult = iota // bytes must be read
	spliceMoved                     // done, as a read and a write would have
	spliceStop                      // done, and the far link is full: it wakes the near one when it has room
)

// splice moves at most most bytes from one link to another. What it moved is
// written or waits in to.out.
func (l *Loop) splice(from, to *link, most int64) (n int, state readState, result spliceResult) {
	if !from.bulk || most < spliceRest || from.tls != nil || to.tls != nil || from.in.len() > 0 {
		return 0, readMore, spliceNot
	}
	l.unstage(to)
	if to.out.len() > 0 || !to.writable {
		to.awaited = true
		return 0, readMore, spliceStop
	}
	to.awaited = false
	p := &l.pipe
	if !l.openPipe() {
		return 0, readMore, spliceNot
	}
	for limit := min(most, spliceTurn); int64(n) < limit && !to.awaited && state == readMore; {
		got, errno := sysSplice(from.fd, p.w, int(min(limit-int64(n), splicePiece)))
		if errno == unix.EINVAL || errno == unix.ENOSYS {
			p.never = true // as some sandboxes answer
			p.close()
			if n == 0 {
				return 0, readMore, spliceNot
			}
			return n, readMore, spliceMoved
		}
		state = from.spliced(got, errno)
		if got > 0 {
			p.inside += got
			n += got
			l.emptyPipe(to)
		}
	}
	l.stats.Add(stats.SplicedBytes, uint64(n))
	if to.awaited {
		return n, state, spliceStop
	}
	return n, state, spliceMoved
}

// spliced notes how a splice from a link ended. The edge lasts until nothing comes:
// a short one may be the pipe's doing.
func (k *link) spliced(got int, errno unix.Errno) readState {
	switch {
	case errno == unix.EAGAIN:
		k.readable = false
		return readEmpty
	case errno != 0:
		k.readable, k.broken = false, true
		return readReset
	case got == 0 && k.reset:
		k.readable = false
		return readReset
	case got == 0:
		k.readable, k.readHup = false, true
		return readEnd
	}
	k.bulk = got >= spliceShort
	if !k.bulk {
		return readEmpty // not the socket: the caller reads on
	}
	return readMore
}

// emptyPipe sends what is in the pipe, and takes out what the link does not take.
func (l *Loop) emptyPipe(to *link) {
	p := &l.pipe
	for p.inside > 0 && to.writable {
		sent, errno := sysSplice(p.r, to.fd, p.inside)
		if errno != 0 {
			l.wrote(to, p.inside, 0, errno)
			break
		}
		p.inside -= sent
	}
	if p.inside == 0 && to.writable {
		return
	}
	to.awaited = true
	if p.inside == 0 || to.broken {
		p.settle()
		return
	}
	to.out.room(&l.buffers, p.inside)
	for p.inside > 0 {
		end := len(to.out.buf)
		got, errno := sysReadPipe(p.r, to.out.buf[end:end+p.inside])
		if errno != 0 || got == 0 {
			// It cannot be: then the far side must not take what comes for the rest.
			l.writeFailed(to)
			break
		}
		to.out.buf = to.out.buf[:end+got]
		p.inside -= got
	}
	p.settle()
}

// openPipe makes sure that there is an empty pipe. It has its descriptors off the
// node's ceiling, as connections do.
func (l *Loop) openPipe() bool {
	p := &l.pipe
	if p.settle(); p.open {
		return true
	}
	if !p.mayBegin(l.now) || l.engine.connections()+pipeDescriptors > l.engine.ceilings.connections.Load() {
		return false
	}
	return p.begin(l.now)
}

// spliceAnswer is a read of an answer's body and its way to the client, where both
// can be had by splice: the body goes down as it comes.
func (l *Loop) spliceAnswer(c *upstreamConn) (n int, state readState, result spliceResult) {
	s := c.stream
	if !c.link.bulk || s.sub != nil || s.x.State() != exchange.StateStream || s.x.ChunkedDown() {
		return 0, readMore, spliceNot
	}
	n, state, result = l.splice(c.link, s.down.link, c.reader.Bulk())
	if n > 0 {
		c.reader.Pass(n)
		s.body = nil
		l.step(s, exchange.Event{Kind: exchange.EventResponseData, N: n})
		l.consumeUp(c, nil) // the end may follow without further bytes
	}
	return n, state, result
}

// spliceRequest is spliceAnswer for the body of a request, none of which is kept to
// be sent again.
func (l *Loop) spliceRequest(d *downstream) (n int, state readState, result spliceResult) {
	s := d.stream
	if !d.link.bulk || d.phase != phaseBody || s.call != nil || s.x.ChunkedUp() || s.x.Keeps() {
		return 0, readMore, spliceNot
	}
	n, state, result = l.splice(d.link, s.up.link, d.reader.Bulk())
	if n > 0 {
		d.reader.Pass(n)
		s.body = nil
		l.step(s, exchange.Event{Kind: exchange.EventRequestData, N: n})
		if !d.link.closed {
			l.consumeDown(d, nil)
		}
	}
	return n, state, result
}

// splicePassage is a read of one direction of a tunnel between two connections, away
// from k, and its way on.
func (l *Loop) splicePassage(s *stream, k *link, kind exchange.EventKind) (n int, state readState, result spliceResult) {
	if s.sub != nil || s.call != nil {
		return 0, readMore, spliceNot
	}
	n, state, result = l.splice(k, s.far(k), math.MaxInt64)
	if n > 0 {
		s.body = nil
		l.step(s, exchange.Event{Kind: kind, N: n})
	}
	return n, state, result
}
