//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/poll"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
)

const (
	// maxHandshakes bounds the handshakes of one loop that are under way: each that was begun
	// has a coroutine, 20 to 30 KiB in all. In the processor time that one takes it is
	// what one permit gets done in a second.
	maxHandshakes = 4096
	// maxHandshakesEach is how many of them are one client's: who begins thousands leaves room
	// for others.
	maxHandshakesEach = maxHandshakes / 2
	// maxLooked bounds the search for one of a client's that waits.
	maxLooked = 64
	// maxShedding bounds those that were given up and are not over yet.
	maxShedding = 1024
)

// shaker has the handshakes of one loop. It knows which are under way and who has the
// connection, the loop or the crew; what is sent and read is the loop's to do.
type shaker struct {
	crew     *crew           // immutable
	poller   *poll.Poller    // immutable; of the loop, woken for each report
	reports  chan *handshake // from the crew
	underWay int             // given up ones too
	clients  map[uint64]int  // of those under way, by for whom
	waiting  shakeQueue      // those that wait for bytes of their peers
}

func newShaker(c *crew, p *poll.Poller) shaker {
	return shaker{crew: c, poller: p, reports: make(chan *handshake, maxHandshakes+maxShedding), clients: map[uint64]int{}}
}

// handshake is one that is under way. The crew has the connection, or the loop has: see
// secure.Conn.
type handshake struct {
	of     *shaker
	conn   *secure.Conn
	client uint64 // for whom it is: see shakesFor
	// owned by the loop
	link    *link // nil: nobody waits for it any more
	waiting bool  // for bytes of the peer; otherwise the crew has conn
	// owned by the crew
	came    int64
	thread  *shakeThread // nil: it has not begun
	shaking *shaking     // of thread; nil: it is over
	// place among those that wait: for their peers, or for a turn of the thread
	before, behind *handshake
}

// room says that another handshake may begin.
func (s *shaker) room() bool { return s.underWay < maxHandshakes }

// fair says that a link's client does not have too many already. A trusted proxy is many
// clients, unless a PROXY header says whose a connection is.
func (s *shaker) fair(k *link) bool {
	d := k.down
	if d == nil || !d.named && d.socket.listener.Trusts(d.peer.Addr()) {
		return true
	}
	return s.clients[shakesFor(k)] < maxHandshakesEach
}

// shakesFor is for whom a link's handshake is: a client, or 0 for this node, with an endpoint.
func shakesFor(k *link) uint64 {
	if k.down == nil {
		return 0
	}
	return clientKey(k.down.peer.Addr())
}

// longest is the handshake that waits for its peer the longest, to be given up for another
// one; nil: there is none, or too many that were given up are not over yet.
func (s *shaker) longest() *handshake {
	if s.underWay == maxHandshakes+maxShedding {
		return nil
	}
	return s.waiting.first
}

// longestOf is the same of a client's; nil also where none is among those that wait longest.
func (s *shaker) longestOf(client uint64) *handshake {
	if s.clients[client] >= maxHandshakesEach+maxShedding/2 {
		return nil
	}
	h := s.waiting.first
	for i := 0; h != nil && h.client != client; i++ {
		if h = h.behind; i == maxLooked {
			return nil
		}
	}
	return h
}

// begin begins a handshake on a link.
func (s *shaker) begin(k *link, conn *secure.Conn) {
	s.underWay++
	h := &handshake{of: s, conn: conn, client: shakesFor(k), link: k}
	s.clients[h.client]++
	k.shake = h
	s.crew.begin(h)
}

// report gives the connection back to the loop. There is room: a handshake has
// one report in the channel at most.
func (h *handshake) report() {
	h.of.reports <- h
	h.of.poller.Wake()
}

// take takes a report: the handshake waits, is over, or was given up.
func (s *shaker) take() *handshake {
	h := <-s.reports
	switch {
	case !h.conn.Waiting():
		s.underWay--
		if s.clients[h.client]--; s.clients[h.client] == 0 {
			delete(s.clients, h.client)
		}
	case h.link == nil: // given up
		s.crew.goOn(h)
	default:
		h.waiting = true
		s.waiting.add(h)
	}
	return h
}

// resume gives the connection of one that waits to its thread.
func (s *shaker) resume(h *handshake) {
	h.waiting = false
	s.waiting.remove(h)
	s.crew.goOn(h)
}

// leave gives up the handshake of a link that closes.
func (s *shaker) leave(k *link) {
	h := k.shake
	if h == nil {
		return
	}
	k.shake, h.link = nil, nil
	h.conn.GiveUp() // most that have to go wait for a turn of the thread
	if h.waiting {
		s.resume(h)
	}
}

// end waits until the crew is done with what a loop that ends has given up.
func (s *shaker) end() {
	for s.underWay > 0 {
		s.take()
	}
}

// shakeQueue are handshakes that wait, for bytes of their peers or for their turns; the longest
// first.
type shakeQueue struct{ first, last *handshake }

func (q *shakeQueue) add(h *handshake) {
	h.before = q.last
	if q.last != nil {
		q.last.behind = h
	} else {
		q.first = h
	}
	q.last = h
}

func (q *shakeQueue) remove(h *handshake) {
	if h.before != nil {
		h.before.behind = h.behind
	} else {
		q.first = h.behind
	}
	if h.behind != nil {
		h.behind.before = h.before
	} else {
		q.last = h.before
	}
	h.before, h.behind = nil, nil
}
