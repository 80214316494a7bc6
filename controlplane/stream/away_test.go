package stream

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
)

// island is a publisher that can be cut off from its store.
type island struct {
	nodes.Publisher
	cut atomic.Bool
}

func (i *island) Unread() time.Duration {
	if i.cut.Load() {
		return time.Hour
	}
	return i.Publisher.Unread()
}

// TestNodesLeaveAControlPlaneThatIsCutOffWhileAnotherIsNot, and come back when all are.
func TestNodesLeaveAControlPlaneThatIsCutOffWhileAnotherIsNot(t *testing.T) {
	t.Parallel()
	m, clock := newMemory(), newClock()
	var islands [2]island
	var planes [2]*plane
	for i := range planes {
		planes[i] = newPlane(t, m, "", func(c *setup) {
			islands[i].Publisher = c.nodes.Publisher
			c.nodes.Publisher = &islands[i]
			c.setNow(clock.now)
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
	islands[there].cut.Store(true)
	eventually(t, "it comes back", at(here))
	// A later look finds the one that is back.
	islands[there].cut.Store(false)
	clock.add(time.Hour)
	eventually(t, "it finds the other one", at(there))
}
