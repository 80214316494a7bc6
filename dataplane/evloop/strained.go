//go:build linux

package evloop

import "time"

// A connection that strains (see pause.go) has much to be read when its pause is over: what
// it is refused for has had 17 ms to pile up, or is as large as heads may be. So has one whose
// flood comes in a burst: it strains, or has requests refused in a turn, while the rest is there
// already. Nobody is to wait behind that. So such connections read in turns that come behind
// everybody's, one by one, when the loop has served nobody else since it asked for events; where
// there always is somebody, once in strainedWait. Such a turn takes one read, of no more than half a
// record of TLS, and what it answers is written with what the next ones answer. When all is
// read, or nothing more is refused, they pause or are as they were.

const (
	// strainedWait is how long they wait for such a turn, all together, while the loop has others
	// to serve: a turn takes some 30 µs, so they get a thirtieth of a loop that is busy.
	strainedWait = int64(time.Millisecond)
	// strainedFrames is how many frames are handled in one, as muxFrames counts them: one that is refused.
	strainedFrames = 4
)

// strained are the connections that wait for such a turn. One that has closed meanwhile is
// passed over.
type strained struct {
	waiting []*link // the first waits longest
	last    int64   // when one had its turn
}

// take takes the one whose turn it is; nil: nobody's. alone says that the loop has served
// nobody else.
func (s *strained) take(now int64, alone bool) *link {
	if !alone && now < s.last+strainedWait {
		return nil
	}
	for len(s.waiting) > 0 {
		k := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		if k.strained && !k.closed {
			k.strained = false
			s.last = now
			return k
		}
	}
	return nil
}

// readOn has a client of HTTP/2, or one that lingers, read again: in the next turn of the loop, or if it
// is muted behind everybody's. Not so a trusted proxy's connection: it carries requests of many.
func (l *Loop) readOn(k *link) {
	switch {
	case !k.muted || k.down.mux.shared:
		l.makeNext(k)
	case !k.strained:
		k.strained = true
		l.strained.waiting = append(l.strained.waiting, k)
	}
}

// takeStrained serves the one whose turn it is.
func (l *Loop) takeStrained(alone bool) {
	if k := l.strained.take(l.now, alone); k != nil {
		l.turn(k)
	}
}
