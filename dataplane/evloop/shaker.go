//go:build linux

package evloop

import (
	"time"

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

	// shakeQuiet is for how long a loop serves nobody before it does handshakes itself. A client who
	// came less than shakeNew ago does not count: where each request has a connection, whoever waits
	// behind a handshake has just cost one.
	shakeQuiet = int64(10 * time.Millisecond)
	shakeNew   = int64(100 * time.Millisecond)
	// maxOwn bounds those of its own that have something to compute, at 0.2 ms or so each, since it
	// has to finish what it begins, whoever comes meanwhile. The crew does the others.
	maxOwn = 16
	// shakeTime is for how long a loop computes for them in one turn, until the one at hand is
	// done: most of a full handshake is one piece, which takes longer.
	shakeTime = int64(100 * time.Microsecond)
	// ownHello bounds the ClientHello of those: a browser's has 2 KiB, and larger ones may hold so
	// many small things that it takes long to read them. ownFed bounds all that their clients send
	// behind it, a second ClientHello too.
	ownHello = 4 << 10
	ownFed   = 2 * ownHello
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
	quiet    int64           // shakeQuiet, but in tests
	served   int64           // when the loop served somebody last
	own      shakeTurns      // those that the loop does itself, and that have something to compute
	shakings shakings        // of these
}

func newShaker(c *crew, p *poll.Poller) shaker {
	return shaker{crew: c, poller: p, reports: make(chan *handshake, maxHandshakes+maxShedding), clients: map[uint64]int{}, quiet: shakeQuiet}
}

// handshake is one that is under way. The loop has the connection, or the crew has: see
// secure.Conn.
type handshake struct {
	// immutable
	of     *shaker
	conn   *secure.Conn
	client uint64 // for whom it is: see shakesFor
	own    bool   // the loop does it itself; else the crew does, and has conn while it is not waiting
	// owned by the loop
	link    *link // nil: nobody waits for it any more
	waiting bool  // for bytes of the peer; otherwise it has something to compute
	fed     int   // own: bytes that came behind the hello
	// owned by who does it
	came    int64        // to the crew
	thread  *shakeThread // of the crew; nil: it has not begun
	shaking *shaking     // nil: it has not begun, or is over
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

// begin begins a handshake on a link; own: the loop is to do it itself.
func (s *shaker) begin(k *link, conn *secure.Conn, own bool) {
	s.underWay++
	h := &handshake{of: s, conn: conn, client: shakesFor(k), link: k, own: own}
	s.clients[h.client]++
	k.shake = h
	if own {
		s.own.add(h)
		return
	}
	s.crew.begin(h)
}

// serves notes that a loop serves a client who came at some time.
func (s *shaker) serves(born, now int64) {
	if now-born >= shakeNew {
		s.served = now
	}
}

// doesOwn says that the loop does a short handshake itself which begins now: nobody is there to wait
// for it.
func (s *shaker) doesOwn(now int64) bool { return now-s.served > s.quiet && s.own.number < maxOwn }

// computes says that the loop has something to compute for handshakes.
func (s *shaker) computes() bool { return s.own.number > 0 }

// compute has the one of the loop's own compute whose turn it is. There is one.
func (s *shaker) compute() *handshake {
	h := s.own.take()
	s.shakings.goOn(h)
	return s.settle(h)
}

// report gives the connection back to the loop. There is room: a handshake has
// one report in the channel at most.
func (h *handshake) report() {
	h.of.reports <- h
	h.of.poller.Wake()
}

// take takes a report of the crew.
func (s *shaker) take() *handshake { return s.settle(<-s.reports) }

// settle notes what has come of a handshake that has computed: it waits, is over, or was
// given up.
func (s *shaker) settle(h *handshake) *handshake {
	switch {
	case !h.conn.Waiting():
		s.underWay--
		if s.clients[h.client]--; s.clients[h.client] == 0 {
			delete(s.clients, h.client)
		}
	case h.link == nil: // given up
		s.goOn(h)
	default:
		h.waiting = true
		s.waiting.add(h)
	}
	return h
}

// resume has one that waits go on.
func (s *shaker) resume(h *handshake) {
	h.waiting = false
	s.waiting.remove(h)
	s.goOn(h)
}

func (s *shaker) goOn(h *handshake) {
	if h.own {
		s.own.add(h)
		return
	}
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

// end waits until all is over that a loop which ends has given up.
func (s *shaker) end() {
	for s.computes() {
		s.compute()
	}
	for s.underWay > 0 {
		s.take()
	}
	s.shakings.endIdle(0)
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
