//go:build linux

package evloop

import (
	"golang.org/x/sys/unix"
)

const (
	// readSize is the loop's read buffer and what one connection may read in one
	// turn before the next has its turn.
	readSize = 64 << 10
	// clientRead is how much is read by one call of a client that strains, or speaks HTTP/2 and sends no
	// bodies.
	clientRead = 8 << 10
	// highWater is how many bytes may wait for one descriptor before what feeds
	// it is no longer read. With one more read that is what a connection can hold.
	highWater = 64 << 10
)

// link is one descriptor and what both sides have in common. It is owned by its
// loop, and by exactly one of down and up.
type link struct {
	fd    int
	index uint32 // in the loop's slab
	gen   uint32 // tells events of an earlier owner of index

	down *downstream
	up   *upstreamConn
	// tls is nil without TLS and until its handshake is over; shake is the one
	// that is under way.
	tls   *recordLayer
	shake *handshake

	// What edges said and was not used up. As long as one of the first two is set nobody
	// may wait for an edge of its kind.
	readable bool
	writable bool
	readHup  bool // the peer sends no more
	broken   bool // reset, an error is pending, or both directions are over
	unheard  bool // and a write has failed: its peer reads no more
	reset    bool // as a write or an early read has told: the socket says no more than that it has ended
	muted    bool // no edge tells of bytes that come: see pause.go

	// long: its peer sends more at a time than is read early. bulk: so much that it may be
	// spliced. awaited: the link that splices to it waits until it is writable.
	long, bulk, awaited bool

	// Of a link of a tunnel: its peer has ended, and the exchange knows.
	ended, endTold bool

	closed   bool
	ready    bool  // on the ready list
	strained bool  // on the list of strained.go
	next     bool  // on the list of those that are ready in the loop's next turn
	early    uint8 // the number of what was read of it early, from 1; 0: nothing was
	staged   int32 // the number of its piece on the stage, from 1; 0: it has none

	in    queue // read and not yet understood
	out   queue // to be written, as it goes on the wire
	timer timer
}

// token is what epoll gives back.
func (k *link) token() uint64 { return uint64(k.gen)<<32 | uint64(k.index) }

// readState is how a read ended.
type readState uint8

const (
	readMore  readState = iota // there may be more
	readEmpty                  // the edge is used up
	readEnd                    // the peer will send no more
	readReset                  // the connection is gone
)

// fill reads once. With nothing kept the bytes are in the loop's buffer, else
// they are appended to what is kept: data is all that is not yet understood,
// valid until the next fill of any link.
func (l *Loop) fill(k *link) (data []byte, n int, state readState) {
	if k.tls != nil {
		return l.fillRecords(k)
	}
	buf := l.readBuf
	if k.in.len() > 0 {
		k.in.room(&l.buffers, minRead)
		buf = k.in.buf[len(k.in.buf):cap(k.in.buf)]
	}
	buf, n, errno := l.receive(k, buf)
	switch {
	case errno == unix.EAGAIN:
		k.readable = false
		return k.in.bytes(), 0, readEmpty
	case errno != 0:
		k.readable, k.broken = false, true
		return k.in.bytes(), 0, readReset
	case n == 0:
		k.readable, k.readHup = false, true
		return k.in.bytes(), 0, readEnd
	}
	state, k.bulk = readMore, n >= spliceLeast
	// A short read has emptied the socket: the next bytes make a new edge. Not so
	// where the peer has closed: the end of the stream makes none.
	if n < len(buf) && !k.readHup {
		k.readable, state = false, readEmpty
	}
	if k.in.len() > 0 {
		k.in.buf = k.in.buf[:len(k.in.buf)+n]
		return k.in.bytes(), n, state
	}
	return buf[:n], n, state
}

// oneRead is as much of buf as one read of a link fills at most.
func (k *link) oneRead(buf []byte) []byte {
	if k.muted || k.down != nil && k.down.phase == phaseMux && !k.down.mux.bodies {
		return buf[:min(len(buf), clientRead)]
	}
	return buf
}

// minRead is the least that a read with kept bytes asks for.
const minRead = 2 << 10

// keep stores what fill returned and nobody consumed.
func (l *Loop) keep(k *link, data []byte, consumed int) {
	if k.in.len() > 0 {
		k.in.drop(&l.buffers, consumed)
		return
	}
	if rest := data[consumed:]; len(rest) > 0 {
		k.in.add(&l.buffers, rest)
	}
}

// readsNothing says that nothing has come on a connection without an exchange. It reads
// what there is. With TLS that may be no word of the peer's to us, but a session ticket or
// a new key; and behind a read that got as much as it asked for there may be nothing.
func (l *Loop) readsNothing(k *link) bool {
	if !k.readable && k.early == 0 {
		return true
	}
	_, n, state := l.fill(k)
	return n == 0 && state == readEmpty
}

// wrote notes what a write told: a short one has filled the socket, so a
// writable edge will come; an error is handled when the link has its turn.
func (l *Loop) wrote(k *link, asked, n int, errno unix.Errno) {
	switch {
	case errno == unix.EAGAIN || (errno == 0 && n < asked):
		k.writable = false
	case errno != 0:
		// By EPIPE the kernel says that the peer had ended before it was reset, or that the
		// error is still there to be read. Any other is told once.
		k.reset = k.reset || errno != unix.EPIPE
		l.writeFailed(k)
	}
}

// writeFailed notes that a peer gets nothing any more. That is handled when the link has
// its turn.
func (l *Loop) writeFailed(k *link) {
	k.writable, k.broken, k.unheard, k.readable = false, true, true, true
	l.makeReady(k)
}

// flushOut writes what waits. empty says that nothing waits any more.
func (l *Loop) flushOut(k *link) (moved int, empty bool) {
	for k.out.len() > 0 && k.writable {
		p := k.out.bytes()
		n, errno := sysWrite(k.fd, p)
		l.wrote(k, len(p), n, errno)
		k.out.drop(&l.buffers, n)
		moved += n
	}
	return moved, k.out.len() == 0
}

// makeReady gives a link another turn without an edge.
func (l *Loop) makeReady(k *link) {
	if k.ready || k.closed {
		return
	}
	k.ready = true
	l.ready = append(l.ready, k)
}

// makeNext is makeReady for who had a turn in this one of the loop, and has more at hand.
func (l *Loop) makeNext(k *link) {
	if !k.next {
		k.next = true
		l.next = append(l.next, k)
	}
}

// beginNext makes those ready.
func (l *Loop) beginNext() {
	for i, k := range l.next {
		l.next[i] = nil
		k.next = false
		l.makeReady(k)
	}
	l.next = l.next[:0]
}

// newLink takes a descriptor under the loop's care. It closes fd if that fails.
func (l *Loop) newLink(fd int, writable bool) *link {
	k := l.old.links.reuse()
	if k == nil {
		k = &link{index: uint32(len(l.links))}
		l.links = append(l.links, k)
	}
	*k = link{fd: fd, index: k.index, gen: k.gen + 1, writable: writable}
	if err := l.poller.Add(fd, k.token()); err != nil {
		unix.Close(fd)
		k.closed = true
		l.old.links.give(k)
		return nil
	}
	l.counts.descriptors.Add(1)
	return k
}

// closeLink ends a descriptor. Bytes that wait are lost: whoever wants them sent
// waits for them first.
func (l *Loop) closeLink(k *link) {
	if k.closed {
		return
	}
	l.unstage(k)
	l.shaker.leave(k)
	l.wheel.disarm(k)
	k.in.release(&l.buffers)
	k.out.release(&l.buffers)
	unix.Close(k.fd)
	l.counts.descriptors.Add(-1)
	k.closed = true
	k.fd = -1
	k.down, k.up, k.tls = nil, nil, nil
	l.old.links.give(k)
}
