//go:build linux

package evloop

import (
	"net/netip"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// socketOf is a socket of a loop that does not run, of the tests' listener.
func socketOf(l *Loop) *socket {
	listener := (&node{}).listener()
	address := l.engine.config.resolve(&listener, listener.Addresses[0])
	s := &socket{fd: -1, binding: &binding{address: address, clientele: new(clientele)}, listener: &listener}
	l.sockets.add(s)
	l.sockets.turn(nobodyWaits)
	return s
}

// TestNoTurnLooksForLongAtConnectionsForWhichATableChangesSomething however many there
// are, and all are looked at.
func TestNoTurnLooksForLongAtConnectionsForWhichATableChangesSomething(t *testing.T) {
	const clients = 3*sweepLook + 1
	l := startedLoop(t)
	s := socketOf(l)
	for range clients {
		k := &link{fd: -1, index: uint32(len(l.links))}
		k.down = &downstream{link: k, socket: s, clientele: s.binding.clientele, since: l.now, peer: netip.MustParseAddrPort("192.0.2.1:9")}
		l.links = append(l.links, k)
	}
	sweep := func(what string, done func(*link) bool) {
		t.Helper()
		for before := 0; before < clients; {
			l.sweepOn()
			n := 0
			for _, k := range l.links {
				if done(k) {
					n++
				}
			}
			if n == before || n-before > sweepLook {
				t.Fatalf("%s: a turn has looked at %d, of %d", what, n-before, clients)
			}
			if before = n; n < clients && l.patience() != 0 {
				t.Fatalf("%s: it sleeps with %d of %d", what, n, clients)
			}
		}
	}
	limited := *s.listener
	limited.Limits.ConnectionsPerClient = 1
	l.engine.live.Store(&table.Table{Listeners: []table.Listener{limited}})
	l.look()
	sweep("a limit", func(k *link) bool { return k.down.counted })
	l.sockets.take(s.binding.address, l.now)
	l.sweep.add(s, dutyEnd, len(l.links))
	sweep("the end", func(k *link) bool { return k.timer.armed })
	if l.sweepOn(); s.duties != 0 || len(l.sweep.sockets) > 0 {
		t.Error("it does not end")
	}
	if d := l.links[0].down; d.deadline() != l.now+lastChance {
		t.Errorf("the end comes after %d", d.deadline()-l.now)
	}
}

// TestNoTurnTellsMoreThanSomeClientsToLeave: each takes a buffer until it ends.
func TestNoTurnTellsMoreThanSomeClientsToLeave(t *testing.T) {
	const clients = 3 * sweepLook / sweepTell
	l := startedLoop(t)
	s := socketOf(l)
	for range clients {
		d, _ := pairedDown(t, l)
		d.socket = s
		l.beginMux(d)
	}
	l.endTurn(l.now)
	l.sockets.take(s.binding.address, l.now)
	l.sweep.add(s, dutyEnd, len(l.links))
	for told := 0; told < clients; {
		l.sweepOn()
		n := len(l.framed)
		if told += n; n == 0 || n > sweepLook/sweepTell {
			t.Fatalf("%d are told in a turn", n)
		}
		l.endTurn(l.now)
	}
}
