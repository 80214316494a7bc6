package stream

import (
	"sync/atomic"
	"testing"
	"time"
)

// island is a publisher that can be cut off from its store.
type island struct {
	Publisher
	cut atomic.Bool
}

func (i *island) Unread() time.Duration {
	if i.cut.Load() {
		return cutOffAfter
	}
	return i.Publisher.Unread()
}

// TestNodesLeaveAControlPlaneThatIsCutOffWhileAnotherIsNot, and stay where they are when
// all are, but for a look around now and then.
func TestNodesLeaveAControlPlaneThatIsCutOffWhileAnotherIsNot(t *testing.T) {
	t.Parallel()
	m, clock := newMemory(), newClock()
	var islands [2]island
	var planes [2]*plane
	for i := range planes {
		planes[i] = newPlane(t, m, "", func(c *Config) {
			islands[i].Publisher = c.Publisher
			c.Publisher, c.Now = &islands[i], clock.now
		})
	}
	newNode(t, "n", planes[0].address, planes[1].address)
	at := func(i int) func() bool {
		return func() bool { s, _ := planes[i].status("n"); return s.Connected }
	}
	eventually(t, "it is connected", func() bool { return at(0)() || at(1)() })
	here, there := 0, 1
	if at(1)() {
		here, there = 1, 0
	}
	islands[here].cut.Store(true)
	eventually(t, "it goes to the other one", at(there))

	// With both cut off it goes round once.
	look := func() {
		for _, p := range planes {
			p.server.registry.sendAway() // as every second, while it is cut off
		}
	}
	islands[there].cut.Store(true)
	look()
	eventually(t, "it comes back", at(here))
	look()
	r := planes[here].server.registry
	r.mu.Lock()
	if c := r.nodes["n"].current; c == nil || isClosed(c.away) {
		t.Error("it is sent round and round")
	}
	r.mu.Unlock()
	// A later look finds the one that is back.
	clock.add(awayFor)
	islands[there].cut.Store(false)
	eventually(t, "it finds the other one", at(there))
}
