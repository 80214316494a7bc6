//go:build linux

package evloop

// shakeTurns are handshakes that have something to compute. Those for whom they are take turns:
// whoever has thousands must not have everybody wait for these.
type shakeTurns struct {
	lines  map[uint64]*shakeLine // by for whom
	next   *shakeLine            // whose turn it is, of a ring; nil: there are none
	number int
}

// shakeLine is the handshakes for one, in their order, and its place in the ring.
type shakeLine struct {
	of             uint64
	waiting        shakeQueue
	before, behind *shakeLine
}

// add has a handshake wait for its turn.
func (s *shakeTurns) add(h *handshake) {
	l := s.lines[h.client]
	if l == nil {
		l = &shakeLine{of: h.client}
		if s.lines == nil {
			s.lines = map[uint64]*shakeLine{}
		}
		s.lines[h.client] = l
		s.append(l)
	}
	l.waiting.add(h)
	s.number++
}

// take takes the one whose turn it is; nil: there is none.
func (s *shakeTurns) take() *handshake {
	l := s.next
	if l == nil {
		return nil
	}
	h := l.waiting.first
	l.waiting.remove(h)
	s.number--
	s.next = l.behind
	if l.waiting.first == nil {
		s.remove(l)
	}
	return h
}

// append puts a line where its turn comes last.
func (s *shakeTurns) append(l *shakeLine) {
	if s.next == nil {
		l.before, l.behind, s.next = l, l, l
		return
	}
	l.before, l.behind = s.next.before, s.next
	l.before.behind, l.behind.before = l, l
}

// remove takes one out whose handshakes have all had their turns.
func (s *shakeTurns) remove(l *shakeLine) {
	delete(s.lines, l.of)
	if l.behind == l {
		s.next = nil
		return
	}
	l.before.behind, l.behind.before = l.behind, l.before
}
