package agent

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/gossip"
	"github.com/proxyfleet/proxyfleet/dataplane/vip"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

const (
	// reportIdle is between two reports when nothing changes. When it does, the next comes
	// at once, but not before reportPause after the last, and reportEach more for each
	// virtual IP: so much is a twentieth of the processor, or less.
	reportIdle  = int64(500 * time.Millisecond)
	reportPause = int64(5 * time.Millisecond)
	reportEach  = int64(100 * time.Microsecond)
	// leaseEvery is between two words on the leases of a node that holds, by which the main
	// process's sockets listen on. leaseSoon is how soon one follows another where an
	// answer made some longer: those of one beat come within milliseconds of each other.
	leaseEvery = int64(50 * time.Millisecond)
	leaseSoon  = int64(10 * time.Millisecond)
	// farewell is how long the agent stays to say again that it let go, as Grants
	// does after 20 and 60 ms. Whoever starts next for this node waits for it.
	farewell = int64(70 * time.Millisecond)
	// goodbyeFor is the part of it in which gossip leaves, too: after a member was
	// told twice.
	goodbyeFor = int64(45 * time.Millisecond)
	// conflictFor is how long a conflict is shown after it was seen.
	conflictFor = int64(2 * time.Second)
	// maxSteps bounds the steps of one turn: one more for each claim that came too
	// late.
	maxSteps = 4
	// maxAtOnce bounds the messages of one turn. Those that wait are taken together: of
	// many virtual IPs some dozens come at a time. What the turn says to members comes
	// before what it lets go of, and takes some 20 µs a message.
	maxAtOnce = 32
)

// loop is the one goroutine that decides and acts.
type loop struct {
	// immutable
	log     *slog.Logger
	clock   func() int64
	node    string
	witness bool
	labels  map[string]string
	gossip  *gossip.Gossip
	out     *outbox
	env     *env
	inbox   chan vip.Message
	lost    atomic.Uint64 // messages that did not fit into the inbox
	orders  chan *fleetv1.AgentWanted
	refused chan uint64 // numbers of sockets that the main process could not take
	pulses  chan pulse
	gone    chan struct{} // closed when the main process is
	failed  chan error    // why gossip has ended by itself
	// look says what the main process does: see onlooker.
	look func(now int64) (stopped, starved bool)

	// owned by run
	grants  *vip.Grants
	wanted  *fleetv1.AgentWanted
	list    uint64      // revision of what Grants goes by
	listed  bool        // this node is in it
	self    gossip.Self // what gossip was told last
	moved   bool        // held is not what it was then
	alive   bool        // the main process is, and its loops turn
	healthy bool
	heard   int64  // when the last pulse was written
	looked  int64  // when the main process was looked at; 0: not since the last pulse
	leaving int64  // when to end; 0: not yet
	goodbye func() // makes gossip leave; nil once called. Messages can be sent meanwhile
	// byAddress are the virtual IPs of indexed, which is what find looked at last.
	byAddress map[string]*fleetv1.AgentVip
	indexed   *fleetv1.AgentWanted
	// By address: nodes that do not go by one configuration yet may call the virtual
	// IP of one address by different names, and it must not have two holders.
	held       map[string]*holding
	benched    map[string]bench
	left       map[string]int64 // when this node last left it to others, or last knew that they cannot have it either
	conflicts  map[string]conflict
	serveAt    int64 // when a holding has something to do
	reportAt   int64 // when a report is due
	reported   int64 // when the last was made
	leasesAt   int64 // when leases are told
	leasesTold int64 // when they were last
	events     []vip.Event
}

// conflict is what was seen of another holder.
type conflict struct {
	other string
	until int64
}

// receive is called by gossip for each message of another member.
func (l *loop) receive(b []byte) {
	m, err := vip.Decode(b)
	if err != nil {
		return // of another build, or nobody's
	}
	select {
	case l.inbox <- m:
	default:
		l.lost.Add(1)
	}
}

// run decides and acts until the main process is gone.
func (l *loop) run(ctx context.Context) error {
	l.reflect()
	timer := time.NewTimer(0)
	defer timer.Stop()
	pulses, gone := l.pulses, l.gone
	for {
		var beat pulse
		var order bool
		l.events = l.events[:0]
		select {
		case <-ctx.Done():
			l.leave()
		case <-gone:
			gone = nil
			l.leave()
		case p, ok := <-pulses:
			if beat = p; !ok { // the main process was killed, or goes
				pulses, l.alive = nil, false
				l.leave()
			}
		case w := <-l.orders:
			l.wanted, order = w, true
		case m := <-l.inbox:
			l.events = append(l.events, vip.Received{Message: m})
		case number := <-l.refused:
			l.endSocket(number)
		case <-l.gossip.Views():
			l.reportAt = 0
		case err := <-l.failed:
			return err
		case <-timer.C:
		}
		l.receiveWaiting()
		now := l.clock() // after what happened
		l.hearPulse(beat, now)
		if order {
			l.obey(now)
		}
		l.turn(now)
		if l.leaving != 0 && l.goodbye != nil && now >= l.leaving-goodbyeFor {
			l.goodbye()
			l.goodbye = nil
		}
		if l.leaving != 0 && now >= l.leaving {
			return errGone
		}
		timer.Reset(time.Duration(max(l.deadline()-l.clock(), 0)))
	}
}

// receiveWaiting takes what has come of other members, too, but no more than is known
// to have come: whoever sends without end must not keep the loop from its other work.
func (l *loop) receiveWaiting() {
	for range min(len(l.inbox), maxAtOnce-len(l.events)) {
		l.events = append(l.events, vip.Received{Message: <-l.inbox})
	}
}

// leave begins the end.
func (l *loop) leave() {
	if l.leaving == 0 {
		l.leaving = l.clock() + farewell
	}
}

// turn brings everything up to the present.
func (l *loop) turn(now int64) {
	l.reflect()
	events := l.events
	answered := slices.ContainsFunc(events, anAnswer)
	for range maxSteps {
		late := false
		for _, a := range l.grants.Step(now, l.gossip.View(), events...) {
			late = l.do(a, now) || late
		}
		events = nil
		if !late {
			break
		}
		now = l.clock()
	}
	if l.serveHeld(now) { // this node cannot have an address
		l.events = l.events[:0]
		l.configure()
		for _, a := range l.grants.Step(now, l.gossip.View(), l.events...) {
			l.do(a, now)
		}
		l.serveHeld(now)
	}
	l.reflect()
	if answered && len(l.held) > 0 {
		l.leasesAt = min(l.leasesAt, l.leasesTold+leaseSoon)
	}
	if now >= l.leasesAt {
		l.tellLeases(now)
	}
	if now >= l.nextReport() {
		l.report(now)
	}
}

// anAnswer says that one of the events may make a lease longer.
func anAnswer(e vip.Event) bool {
	r, is := e.(vip.Received)
	return is && r.Message.Kind == vip.Answer
}

// do carries out one action. late says that it came too late, and another step is
// to say what holds now.
func (l *loop) do(a vip.Action, now int64) (late bool) {
	switch a := a.(type) {
	case vip.Send:
		b, err := a.Message.Append(nil)
		if err != nil {
			l.log.Error("vip-agent: message", "error", err)
			return false
		}
		for _, to := range a.To {
			_ = l.gossip.Send(to, b) // as good as lost
		}
	case vip.Claim:
		l.reportAt, l.leasesAt = now, min(l.leasesAt, now+leaseEvery)
		l.held[a.VIP], l.moved = &holding{term: a.Term, since: time.Now()}, true
		l.log.Info("virtual IP: this node holds", "vip", l.name(a.VIP), "address", a.VIP, "term", a.Term)
		return l.clock() >= a.Until
	case vip.Drop:
		l.reportAt = now
		if h := l.held[a.VIP]; h != nil {
			h.end(l.env)
			delete(l.held, a.VIP)
			l.moved = true
		}
		l.log.Info("virtual IP: this node lets go", "vip", l.name(a.VIP), "address", a.VIP, "term", a.Term, "reason", a.Reason)
	case vip.Conflict:
		l.conflicts[a.VIP] = conflict{a.Other, now + conflictFor}
		l.log.Warn("virtual IP: another node holds it too", "vip", l.name(a.VIP), "other", a.Other)
	}
	return false
}

// deadline is when the next turn is due if nothing happens.
func (l *loop) deadline() int64 {
	at := min(l.nextReport(), l.leasesAt)
	if next, ok := l.grants.NextDeadline(); ok {
		at = min(at, next)
	}
	if l.alive {
		at = min(at, l.nextLook())
	}
	if l.leaving != 0 {
		at = min(at, l.leaving)
		if l.goodbye != nil {
			at = min(at, l.leaving-goodbyeFor)
		}
	}
	at = min(at, l.serveAt)
	for _, b := range l.benched {
		at = min(at, b.until)
	}
	return at
}
