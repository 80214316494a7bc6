//go:build linux

package evloop

import (
	"net/netip"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// twoThatAccept are the loops of a node that does not run, and a socket that clients come to.
func twoThatAccept(t *testing.T, set func(*Engine, *table.Listener)) (accepts, adopts *Loop, s *socket, n *node) {
	t.Helper()
	n = startNode(t, 2)
	n.stop()
	e := n.engine
	for i := range e.loops {
		l, err := newLoop(e, i)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.close)
		e.loops[i] = l
	}
	listener := n.listener()
	set(e, &listener)
	b := &binding{address: netip.MustParseAddrPort(n.address), clientele: new(clientele)}
	if err := openSockets(b, &listener, 1, nil, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSockets(b.sockets) })
	return e.loops[0], e.loops[1], b.sockets[0], n
}

// TestConnectionsOnTheirWayToAnotherLoopCount: many come in one turn of a loop, and the
// other one has none meanwhile.
func TestConnectionsOnTheirWayToAnotherLoopCount(t *testing.T) {
	const most, come = 4, 20
	for name, limit := range map[string]struct {
		set     func(*Engine, *table.Listener)
		refused stats.Counter
	}{
		"of a listener": {func(_ *Engine, l *table.Listener) { l.Limits.Connections = most }, stats.ClientsOverLimit},
		"of the node":   {func(e *Engine, _ *table.Listener) { e.ceilings.clients.Store(most) }, stats.ClientsOverCeiling},
	} {
		t.Run(name, func(t *testing.T) {
			accepts, adopts, s, n := twoThatAccept(t, limit.set)
			e, b := n.engine, s.binding
			for range come {
				n.dial()
			}
			accepts.accept(s)
			if kept, given := accepts.counts.downs, len(adopts.mail.box); kept+given != most || given == 0 {
				t.Errorf("%d are kept and %d given away, of at most %d", kept, given, most)
			}
			if got := e.stats.Counter(stats.ClientsHandedOver); got != uint64(len(adopts.mail.box)) {
				t.Errorf("%d were counted as given away", got)
			}
			if got := e.stats.Counter(limit.refused); got != come-most {
				t.Errorf("%d of %d were refused", got, come-most)
			}
			adopts.readMail()
			if open := b.clientele.open.Load(); open != most || e.clients() != most {
				t.Errorf("of the listener %d count, of the node %d", open, e.clients())
			}
			for _, l := range e.loops {
				for _, k := range l.links {
					l.closeDown(k.down)
				}
			}
			if open := b.clientele.open.Load(); open != 0 || e.clients() != 0 {
				t.Errorf("at the end: of the listener %d count, of the node %d", open, e.clients())
			}
		})
	}
}

// TestAConnectionStaysWhereTheBoxOfTheOtherLoopIsFull and counts once, here.
func TestAConnectionStaysWhereTheBoxOfTheOtherLoopIsFull(t *testing.T) {
	accepts, adopts, s, n := twoThatAccept(t, func(*Engine, *table.Listener) {})
	for adopts.mail.post(mail{kind: mailMakePlaces, slot: 1 << 20}) {
	}
	const come = 4
	for range come {
		n.dial()
	}
	accepts.accept(s)
	if open := s.binding.clientele.open.Load(); accepts.counts.downs != come || open != come || accepts.engine.clients() != come {
		t.Errorf("%d are kept, of the listener %d count, of the node %d", accepts.counts.downs, open, accepts.engine.clients())
	}
	if given := accepts.engine.stats.Counter(stats.ClientsHandedOver); given != 0 {
		t.Errorf("%d were given away", given)
	}
	closeClients(accepts)
}

// TestALoopGivesAwayWhatWouldMakeItHeavier than others by more than a share.
func TestALoopGivesAwayWhatWouldMakeItHeavier(t *testing.T) {
	for _, c := range []struct {
		weights []int64 // of this loop, and of the others
		want    int     // who gets it
	}{
		{[]int64{5}, 0},
		{[]int64{0, 0}, 0},
		{[]int64{1, 0}, 1},
		{[]int64{1, 1, 1}, 0},
		{[]int64{7, 7, 6, 7}, 2},
		{[]int64{16, 14, 15}, 0}, // one in eight
		{[]int64{16, 14, 13}, 2},
		{[]int64{9, 5, 4, 3, 4}, 3},
	} {
		n := startNode(t, len(c.weights))
		n.stop()
		for i, w := range c.weights {
			n.engine.loops[i].counts.carried.Store(w)
		}
		for range 20 { // it begins to look anywhere
			got := n.engine.loops[0].lighter()
			if c.want == 0 && got != nil || c.want > 0 && got != n.engine.loops[c.want] {
				t.Errorf("%v: it is given to %v", c.weights, got)
				break
			}
		}
	}
}

// TestConnectionsOfARemovedSocketStay: the loop that they would go to does not look for those that
// are to end with it.
func TestConnectionsOfARemovedSocketStay(t *testing.T) {
	const come = 4
	accepts, _, s, n := twoThatAccept(t, func(*Engine, *table.Listener) {})
	for range come {
		n.dial()
	}
	s.removed = true
	if accepts.accept(s); accepts.counts.downs != come {
		t.Errorf("%d of %d are kept", accepts.counts.downs, come)
	}
	closeClients(accepts)
}
