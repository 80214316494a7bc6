//go:build linux

package evloop

import "math"

// A client that speaks HTTP/2 and leaves may end a hundred connections to endpoints of HTTP/1.1
// at once, each by a call that takes some tens of microseconds where the other end is on the same
// machine. They are ended a few in each turn, and count as open until they are.

const (
	// endingsMost is how many connections whose attempts were given up are ended in one turn, and
	// endingsShare is how many of those that are left, one in so many, if that is more: they must
	// not become ever more where each turn gives up many.
	endingsMost  = 8
	endingsShare = 8
)

// endings are connections to endpoints that end in later turns. They have no stream, and are on
// no other list but that of all links.
type endings struct {
	left  []*upstreamConn // the oldest first
	ended int             // in this turn
}

// now says that one may be ended in this turn, and counts it.
func (e *endings) now() bool {
	if len(e.left) > 0 || e.ended >= endingsMost {
		return false
	}
	e.ended++
	return true
}

// due is how many more are ended in this turn.
func (e *endings) due() int {
	return min(max(endingsMost, len(e.left)/endingsShare)-e.ended, len(e.left))
}

// oldest takes the one that is left longest.
func (e *endings) oldest() *upstreamConn {
	c := e.left[0]
	e.left[0] = nil
	e.left = e.left[1:] // the others stay where they are: there may be thousands
	return c
}

// endSoon ends a connection that has no stream any more: now, or in one of the next turns.
func (l *Loop) endSoon(c *upstreamConn) {
	if l.endings.now() {
		l.endUpNow(c)
		return
	}
	c.link.out.release(&l.buffers) // nothing more of the request goes out
	l.endings.left = append(l.endings.left, c)
}

// endUpNow ends such a connection, and gives its place to whoever waits.
func (l *Loop) endUpNow(c *upstreamConn) {
	p := c.pool
	l.closeUp(c)
	l.serveWaiting(p)
}

// endSome ends those that are due when a turn ends.
func (l *Loop) endSome() {
	for n := l.endings.due(); n > 0 && len(l.endings.left) > 0; n-- { // who wants a descriptor ends some too
		l.endUpNow(l.endings.oldest())
	}
	l.endings.ended = 0
}

// endAll ends those that are left, and from now on each at once: no other turn comes.
func (l *Loop) endAll() {
	for len(l.endings.left) > 0 {
		l.endUpNow(l.endings.oldest())
	}
	l.endings.ended = math.MinInt
}
