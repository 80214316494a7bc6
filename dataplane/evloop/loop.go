//go:build linux

package evloop

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/poll"
	"github.com/proxyfleet/proxyfleet/dataplane/ring"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/dataplane/upstream"
	"golang.org/x/sys/unix"
)

// maxEvents is how many events of codecs one link may cause in one turn. A body
// of tiny chunks, or requests sent on end, would hold the loop for milliseconds
// without it. Each of readDown, readUp, readMux and readUpMux begins with a budget
// of its own, so it does not matter who calls it.
const maxEvents = 256

// Loop is one event loop. Its thread alone touches it, but for mail and what stands under
// "read by others". It is made of parts (doc.go says which); a part knows nothing of a Loop, and
// methods of Loop join them.
type Loop struct {
	// immutable
	engine *Engine
	id     int
	log    *slog.Logger
	poller *poll.Poller // others call Wake only
	random *rand.PCG
	picker *upstream.Picker
	stats  *stats.Loop

	clock
	scratch

	// Connections: who has a turn, now or at which time.
	links    []*link  // by index
	ready    []*link  // to be served in the next turn without an edge
	spare    []*link  // the ready list of the turn before, emptied
	next     []*link  // to be ready in the next turn: they had theirs in this one
	strained strained // their turns come behind everybody's
	wheel    wheel

	// What is read before a link's turn, is written when the turn ends, or never enters our
	// memory.
	ring     *ring.Ring // makes many calls by one; nil: each is made by itself
	ringless ringless
	early    early
	stage    stage     // what is written when the links at hand have had their turns
	framed   []*frames // connections for which frames were gathered in this turn
	pipe     pipe

	// Exchanges, and the memory of what has ended.
	streams   streamPool
	postponed postponed
	records   recorder
	buffers   buffers
	old       recyclers

	// Clients: they come by sockets, shake hands, and make room.
	sockets  sockets
	shaker   shaker
	shedder  shedder
	sweep    sweep
	draining bool // it accepts nothing, and ends with its last client

	// Endpoints, as the table says.
	table   *table.Table // of the last turn that looked
	pools   pools
	endings endings
	warmer  warmer

	// Other loops, and the engine.
	counts counts
	mail   mailbox

	// read by others
	idle  atomic.Bool // it drains and has no clients
	ended atomic.Bool
}

func newLoop(e *Engine, id int) (*Loop, error) {
	p, err := poll.New()
	if err != nil {
		return nil, err
	}
	l := &Loop{
		engine:  e,
		id:      id,
		log:     e.log.With("loop", id),
		poller:  p,
		mail:    newMailbox(p),
		random:  rand.NewPCG(rand.Uint64(), rand.Uint64()),
		stats:   e.stats.Loop(id),
		clock:   newClock(e.base),
		shaker:  newShaker(e.crew, p),
		scratch: newScratch(),
		early:   early{room: make([]byte, earlyMost*earlySize)},
		stage:   stage{bytes: make([]byte, 0, stageSize)},
	}
	l.pipe.descriptors = &l.counts.descriptors
	l.picker = upstream.NewPicker(e.registry, l.random)
	l.env.Picker, l.env.Budget = l.picker, l.picker
	l.env.Random = l.random
	l.records.sink = e.config.NewSink(id)
	if err := l.sockets.reserve.open(); err != nil {
		p.Close()
		return nil, err
	}
	return l, nil
}

// run is the loop. It ends when it was told to stop and the last connection is
// gone or cut.
func (l *Loop) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.close()
	l.openRing()
	l.tick()
	l.wheel.start(l.now)
	for {
		patience := l.patience()
		if patience == 0 {
			l.stats.Add(stats.BusyTurns, 1)
		}
		events, err := l.poller.Wait(patience)
		if err != nil {
			return fmt.Errorf("loop %d: %w", l.id, err)
		}
		l.tick()
		started := l.now
		alone := len(events)+len(l.ready) == 0
		l.serveEdges(events)
		l.takeTurns()
		l.takeStrained(alone)
		l.readReports()
		l.shakeHands()
		l.expire()
		l.sweepOn()
		l.shed()
		if stop := l.readMail(); stop {
			return nil
		}
		l.endTurn(started)
		if l.draining && l.agreeToEnd() {
			return nil
		}
	}
}

// agreeToEnd notes whether a draining loop has clients, and says that no loop has any: then
// none can come from another any more. The last one to have none wakes the others.
func (l *Loop) agreeToEnd() bool {
	idle := l.counts.downs == 0 && len(l.mail.box) == 0
	news := idle && !l.idle.Swap(idle)
	if !idle {
		l.idle.Store(false)
		return false
	}
	for _, other := range l.engine.loops {
		if !other.idle.Load() {
			return false
		}
	}
	if news { // the others wait for this
		for _, other := range l.engine.loops {
			other.poller.Wake()
		}
	}
	return true
}

// patience is how long the loop may sleep.
func (l *Loop) patience() time.Duration {
	if len(l.ready) > 0 || len(l.mail.box) > 0 || len(l.shaker.reports) > 0 || l.shaker.computes() || l.sweep.left > 0 {
		return 0
	}
	if l.sockets.readable() || len(l.strained.waiting) > 0 || len(l.endings.left) > 0 || len(l.pools.widened) > 0 {
		return 0
	}
	wait := l.wheel.wait(l.now)
	for _, at := range [...]int64{l.records.flushAt, l.sockets.acceptAgain, l.sockets.mutedUntil, l.sockets.silentUntil, l.shedder.again, l.warmer.at, l.sockets.closeAt} {
		if d := time.Duration(at - l.now); at > 0 && (wait < 0 || d < wait) {
			wait = max(d, 0)
		}
	}
	return wait
}

// edges notes what all events say, before the first link has its turn: by then it is known of
// every kept connection to an endpoint whether that has ended it, so no request is given one that
// has an end, or bytes that nobody asked for, behind it in the same list.
func (l *Loop) edges(events []poll.Event) {
	for i := range events {
		ev := &events[i]
		if index := uint32(ev.Token); index >= socketIndex {
			l.sockets.edge(index)
		} else if k := l.linkOf(ev); k != nil {
			k.readable = k.readable || ev.Readable
			k.writable = k.writable || ev.Writable
			k.readHup = k.readHup || ev.ReadHup
			k.broken = k.broken || ev.Hup
		}
	}
}

// linkOf is the link of an event; nil: this turn has closed it already, or it is of a socket.
func (l *Loop) linkOf(ev *poll.Event) *link {
	index, gen := uint32(ev.Token), uint32(ev.Token>>32)
	if uint64(index) >= uint64(len(l.links)) {
		return nil
	}
	if k := l.links[index]; k.gen == gen && !k.closed {
		return k
	}
	return nil
}

// takeTurns serves what an earlier turn left over. What becomes ready now waits
// for the next turn, behind the new edges.
func (l *Loop) takeTurns() {
	list := l.ready
	l.ready = l.spare
	for i, k := range list {
		list[i] = nil
		if k.ready && !k.closed {
			k.ready = false
			l.turn(k)
		}
	}
	l.spare = list[:0]
	l.flushStage()
	l.sockets.askAgain(l.now)
	l.sockets.askMuted(l.now)
	l.sockets.changeSilence(l.now, l.changeSilence)
	if at := l.sockets.closeAt; at > 0 && l.now >= at {
		l.closeRemoved(func(s *socket) bool { return l.now >= s.closeAt })
	}
	l.sockets.turn(l.accept)
}

// turn serves one link.
func (l *Loop) turn(k *link) {
	switch {
	case k.down != nil:
		l.turnDown(k.down)
	case k.up != nil:
		l.turnUp(k.up)
	}
}

const (
	// mostExpired bounds the links whose time has come and that are served in one turn. Each
	// may cost two system calls, and clients that came together, or whose listener was removed,
	// have their time together.
	mostExpired = 256
	// mostLooked bounds those of a turn whose time has not come, where none is served: each is
	// looked at every 8.6 s at least, which for hundreds of thousands is some hundred a tick,
	// and a loop must keep up with them also where its turns are long.
	mostLooked = 16 * mostExpired
)

// expire serves the links whose time has come.
func (l *Loop) expire() {
	for left := mostLooked; left > 0; {
		k := l.wheel.expire(l.now)
		switch {
		case k == nil:
			return
		case k.down != nil && !l.expireDown(k.down):
			left--
			continue
		case k.up != nil:
			l.expireUp(k.up)
		}
		left -= mostLooked / mostExpired
	}
}

// endTurn gives back what closed in this turn and looks after the log.
func (l *Loop) endTurn(started int64) {
	if l.warmer.at > 0 && l.now >= l.warmer.at {
		l.warm()
	}
	l.endSome()
	l.serveWidened()
	l.askOthers()
	l.flushStage()
	l.flushFramed()
	l.beginNext()
	if l.ringless.over(l.now) {
		l.replaceRing()
	}
	l.old.turn()
	l.records.flushDue(l.now)
	l.counts.publish(l.buffers.used)
	l.stats.Add(stats.Turns, 1)
	l.stats.Late(l.elapsed() - started)
}

// lend makes the scratch of a step ready for a stream's exchange.
func (l *Loop) lend(s *stream) *exchange.Env {
	l.shaker.serves(s.down.born, l.now)
	l.env.Table, l.env.Listener = l.table, s.listener
	if s.listener == nil { // behind the answer's head nothing asks for the one that it began with
		l.env.Listener = s.down.socket.listener
	}
	l.env.Draining = l.drains(s.down)
	l.env.Stale = s.down.socket.removed
	l.env.Date = l.date()
	return &l.env
}

// drains says that a client's connection ends after what is under way.
func (l *Loop) drains(d *downstream) bool {
	return l.draining || d.socket.removed || d.outlived(l.now) || d.outdated()
}

// look loads the live table, once for each new exchange, and follows a swap.
func (l *Loop) look() {
	t := l.engine.live.Load()
	if t == l.table {
		return
	}
	l.table = t
	for _, s := range l.sockets.all {
		before := s.listener
		if err := s.follow(&l.engine.config, t); err != nil {
			l.log.Error("listener settings", "listener", s.listener.Name, "error", err)
		}
		l.sweep.add(s, newDuties(before.Limits, s.listener.Limits), len(l.links))
		if len(s.silence.clients) > 0 && (before.Limits != s.listener.Limits || !slices.Equal(before.TrustedProxies, s.listener.TrustedProxies)) {
			l.endSilence(s) // others may be refused
		}
	}
}

// close ends the loop: every connection is cut.
func (l *Loop) close() {
	l.endAll()
	for _, k := range l.links {
		if k.closed {
			continue
		}
		switch {
		case k.down != nil:
			l.cutDown(k.down, cut)
		case k.up != nil && k.up.mux != nil && k.up.mux.open == 0:
			l.closeUpMux(k.up)
		case k.up != nil && k.up.mux == nil && k.up.stream == nil:
			l.closeUp(k.up)
		}
	}
	for _, k := range l.links {
		if !k.closed {
			l.closeLink(k)
		}
	}
	l.shaker.end()
	for _, s := range l.sockets.all {
		s.close()
	}
	l.records.sink.Flush()
	l.pipe.close()
	l.closeRing()
	l.sockets.reserve.close()
	l.ended.Store(true)
	l.poller.Close()
	for range len(l.mail.box) {
		switch letter := <-l.mail.box; letter.kind {
		case mailAdopt:
			unix.Close(letter.fd)
		case mailChange:
			letter.change.done <- errStopped
		}
	}
}
