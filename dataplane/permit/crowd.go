package permit

import "sync"

// Crowd shares a semaphore with others that are few. Permits go to whoever waited the
// longest, and a compile gives its permit back every half a millisecond: behind a thousand
// handshakes it would wait for all of them each time. So the crowd passes a gate: no more of
// it have or await a permit than there are permits, and the compile waits for these only.
//
// Before the gate those take turns for whom its members wait, such as the clients of
// handshakes: whoever has thousands waiting must not have everybody wait for these.
type Crowd struct {
	permits Semaphore

	// guarded by mu
	mu    sync.Mutex
	free  int              // places behind the gate
	lines map[uint64]*line // of members that wait, by for whom
	next  *line            // whose turn it is, of a ring; nil: nobody waits
}

// line is those that wait for one, in their order, and its place in the ring.
type line struct {
	of             uint64
	waiting        []chan struct{}
	before, behind *line
}

// NewCrowd makes a crowd before s.
func NewCrowd(s Semaphore) *Crowd {
	return &Crowd{permits: s, free: cap(s), lines: map[uint64]*line{}}
}

// Member is one of a crowd.
type Member struct {
	crowd *Crowd
	of    uint64
}

// Member is one who waits for somebody: a number of the caller's.
func (c *Crowd) Member(of uint64) Member { return Member{c, of} }

// Acquire waits for a permit.
func (m Member) Acquire() {
	m.crowd.enter(m.of)
	m.crowd.permits.Acquire()
}

// Release gives it back.
func (m Member) Release() {
	m.crowd.permits.Release()
	m.crowd.leave()
}

// enter passes the gate.
func (c *Crowd) enter(of uint64) {
	c.mu.Lock()
	if c.free > 0 {
		c.free--
		c.mu.Unlock()
		return
	}
	l := c.lines[of]
	if l == nil {
		l = &line{of: of}
		c.lines[of] = l
		c.append(l)
	}
	turn := make(chan struct{})
	l.waiting = append(l.waiting, turn)
	c.mu.Unlock()
	<-turn
}

// leave lets the next one in.
func (c *Crowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.next
	if l == nil {
		c.free++
		return
	}
	close(l.waiting[0])
	l.waiting[0] = nil
	l.waiting = l.waiting[1:]
	c.next = l.behind
	if len(l.waiting) == 0 {
		c.remove(l)
	}
}

// append puts a line where its turn comes last. mu is held.
func (c *Crowd) append(l *line) {
	if c.next == nil {
		l.before, l.behind, c.next = l, l, l
		return
	}
	l.before, l.behind = c.next.before, c.next
	l.before.behind, l.behind.before = l, l
}

// remove takes one out whose members have all had theirs. mu is held.
func (c *Crowd) remove(l *line) {
	delete(c.lines, l.of)
	if l.behind == l {
		c.next = nil
		return
	}
	l.before.behind, l.behind.before = l.behind, l.before
}
