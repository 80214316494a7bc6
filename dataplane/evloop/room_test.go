//go:build linux

package evloop

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestWhoFindsNoDescriptorHasStillWaitedLongest: its turn had come, and comes first again.
func TestWhoFindsNoDescriptorHasStillWaitedLongest(t *testing.T) {
	l, p := poolOf(t, newUpstream("u", "127.0.0.1:9"))
	_, far := pairedUp(t, l, p)
	t.Cleanup(func() { unix.Close(far) })
	first, second := l.streams.take(), l.streams.take()
	for _, s := range []*stream{first, second} {
		p.Wait(s.id)
		s.wait = p
	}
	l.engine.ceilings.connections.Store(0)
	l.serveWaiting(p)
	if id, _ := p.FirstWaiting(); id != first.id || first.wait != p || p.Queued() != 2 {
		t.Errorf("stream %d is the first of %d; it was %d", id, p.Queued(), first.id)
	}
}

// TestWhoIsServedWhenTheTurnEndsIsNotRefusedBefore by a loop that has made no room.
func TestWhoIsServedWhenTheTurnEndsIsNotRefusedBefore(t *testing.T) {
	l, p := poolOf(t, newUpstream("u", "127.0.0.1:9"))
	s := l.streams.take()
	p.Wait(s.id)
	s.wait, p.asked = p, 1
	l.pools.widen(p)
	if l.roomAnswered(p.to.Slot, false); s.wait != p {
		t.Fatal("it was told that there is no descriptor")
	}
	if l.endTurn(l.now); s.up == nil {
		t.Error("it waits on")
	}
}
