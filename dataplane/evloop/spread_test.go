//go:build linux

package evloop

import (
	"net/netip"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

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
			n := startNode(t, 2)
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
			limit.set(e, &listener)
			b := &binding{address: netip.MustParseAddrPort(n.address), clientele: new(clientele)}
			if err := openSockets(b, &listener, 1, nil, false); err != nil {
				t.Fatal(err)
			}
			defer closeSockets(b.sockets)
			for range come {
				n.dial()
			}
			accepts, adopts := e.loops[0], e.loops[1]
			accepts.accept(b.sockets[0])
			if kept, given := accepts.counts.downs, len(adopts.mail.box); kept+given != most || given == 0 {
				t.Errorf("%d are kept and %d given away, of at most %d", kept, given, most)
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
