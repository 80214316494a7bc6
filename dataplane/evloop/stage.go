//go:build linux

package evloop

import "golang.org/x/sys/unix"

const (
	// stageSize bounds what is gathered for all links: what is written should not
	// have left the processor's nearer caches.
	stageSize = 64 << 10
	// pieceSize bounds what is gathered for one: above it copying costs more than a
	// second slice in the call.
	pieceSize = 16 << 10
	// maxPieces bounds for how long the first piece waits for the last, to some 300 µs:
	// the peers have had their wake-up long before.
	maxPieces = 64
)

// stage gathers small pieces for links, which are written when the links at hand
// have had their turns. Pieces for one link go by one call; and the writes of many
// links go on end, after their reads. A peer that sleeps is then woken once and finds
// much to do; otherwise it would sleep again before its next bytes come, and waking it
// costs the sender more than a microsecond, and several where a processor of a
// virtual machine must be told.
type stage struct {
	bytes  []byte
	pieces []piece // by where they begin
}

// piece is what one link gets: from start to where the next one begins.
type piece struct {
	to    *link // nil: it was taken out
	start int
	out   []byte // as it goes on the wire, while the ring has it
}

// last says that k's piece is the last, so that bytes can be appended.
func (s *stage) last(k *link) bool { return int(k.staged) == len(s.pieces) }

// waiting is how many bytes are staged for a link, whose piece, if it has one, is the last.
func (s *stage) waiting(k *link) int {
	if k.staged == 0 {
		return 0
	}
	return len(s.bytes) - s.pieces[k.staged-1].start
}

// begin begins a piece for k, which has none.
func (s *stage) begin(k *link) {
	s.pieces = append(s.pieces, piece{to: k, start: len(s.bytes)})
	k.staged = int32(len(s.pieces))
}

// take takes k's piece out. It is valid until the next write.
func (s *stage) take(k *link) []byte {
	if k.staged == 0 {
		return nil
	}
	i := int(k.staged) - 1
	start, end := s.pieces[i].start, len(s.bytes)
	if k.staged, s.pieces[i].to = 0, nil; i+1 < len(s.pieces) {
		return s.bytes[start:s.pieces[i+1].start]
	}
	s.pieces = s.pieces[:i]
	s.bytes = s.bytes[:start]
	return s.bytes[start:end]
}

// send hands bytes to a link. Small pieces wait in the stage until flushStage; what
// the kernel does not take waits in link.out for the next writable edge.
func (l *Loop) send(k *link, p []byte) {
	if len(p) == 0 || k.closed {
		return
	}
	if k.tls == nil && (k.out.len() > 0 || !k.writable) {
		l.unstage(k)
		k.out.add(&l.buffers, p)
		return
	}
	s := &l.stage
	if k.staged > 0 && !s.last(k) {
		l.unstage(k)
	}
	if s.waiting(k)+len(p) > pieceSize {
		l.write(k, s.take(k), p)
		return
	}
	if len(s.bytes)+len(p) > stageSize || k.staged == 0 && len(s.pieces) == maxPieces {
		l.flushStage()
	}
	if k.staged == 0 {
		s.begin(k)
	}
	s.bytes = append(s.bytes, p...)
}

// unstage writes what is gathered for k.
func (l *Loop) unstage(k *link) {
	if k.staged > 0 {
		l.write(k, l.stage.take(k), nil)
	}
}

// flushStage writes what is gathered.
func (l *Loop) flushStage() {
	s := &l.stage
	if l.ring != nil && len(s.pieces) >= worthARing {
		l.flushRing()
	}
	for i := range s.pieces {
		k, out := s.pieces[i].to, s.pieces[i].out
		switch {
		case k == nil:
			continue
		case out != nil: // the ring was lost
			s.gone(i)
			l.sendWire(k, out)
		default:
			s.gone(i)
			l.write(k, s.piece(i), nil)
		}
	}
	s.pieces, s.bytes = s.pieces[:0], s.bytes[:0]
}

// flushRing writes by the ring what needs not wait behind other bytes.
func (l *Loop) flushRing() {
	s, wire := &l.stage, l.wire[:0]
	for i := range s.pieces {
		k := s.pieces[i].to
		if k == nil || k.closed || k.out.len() > 0 || !k.writable {
			continue
		}
		out := s.piece(i)
		if k.tls != nil {
			start := len(wire)
			wire = l.sealed(k, wire, out, nil)
			if out = wire[start:]; len(out) == 0 || k.broken {
				s.gone(i)
				l.sendWire(k, out)
				continue
			}
		}
		s.pieces[i].out = out // wire may move: this keeps where it was
		if l.ring.Full() && !l.enterSends() {
			break
		}
		l.ring.Send(k.fd, out, i)
	}
	if l.ring == nil || !l.enterSends() {
		wire = nil // what a lost ring did not take stays there until it is written
	}
	l.wire = wire[:0]
}

// enterSends has the kernel take what the ring has. It reports whether there still is a
// ring.
func (l *Loop) enterSends() bool {
	s := &l.stage
	done, err := l.ring.Enter()
	for i := range done {
		d := &done[i]
		k, out := s.pieces[d.Tag].to, s.pieces[d.Tag].out
		s.gone(d.Tag)
		l.wrote(k, len(out), d.N, d.Errno)
		k.out.add2(&l.buffers, out[d.N:], nil)
	}
	if err != nil {
		l.loseRing(err)
	}
	return err == nil
}

// piece is the bytes of piece i.
func (s *stage) piece(i int) []byte {
	end := len(s.bytes)
	if i+1 < len(s.pieces) {
		end = s.pieces[i+1].start
	}
	return s.bytes[s.pieces[i].start:end]
}

// gone says that piece i is written.
func (s *stage) gone(i int) {
	s.pieces[i].to.staged = 0
	s.pieces[i].to, s.pieces[i].out = nil, nil
}

// write writes one or two slices by one call, behind what waits; either may be empty.
func (l *Loop) write(k *link, a, b []byte) {
	switch {
	case k.closed:
		return
	case k.tls != nil:
		l.seal(k, a, b)
		return
	case k.out.len() > 0 || !k.writable:
		k.out.add2(&l.buffers, a, b)
		return
	case len(a) == 0:
		a, b = b, nil
	}
	if len(a) == 0 {
		return
	}
	var n int
	var errno unix.Errno
	if len(b) == 0 {
		n, errno = sysWrite(k.fd, a)
	} else {
		n, errno = sysWrite2(k.fd, a, b)
	}
	l.wrote(k, len(a)+len(b), n, errno)
	if n < len(a) {
		k.out.add2(&l.buffers, a[n:], b)
		return
	}
	k.out.add2(&l.buffers, nil, b[n-len(a):])
}
