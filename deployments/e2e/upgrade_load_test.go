package e2e

import (
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
)

// TestAnUpgradeUnderLoadLosesNoRequest replaces a node's process twice, while
// new and kept connections carry requests.
func TestAnUpgradeUnderLoadLosesNoRequest(t *testing.T) {
	t.Parallel()
	for _, loops := range []string{"1", "3"} {
		t.Run(loops+" loops", func(t *testing.T) { upgradeTwice(t, loops) })
	}
}

func upgradeTwice(t *testing.T, loops string) {
	f := fleettest.New(t, fleettest.Options{Nodes: 1, NodeArgs: []string{"--loops", loops}})
	node := f.Nodes[0]
	backend := newBackend(t, f, 9101)
	f.Apply(loadListener + loadDocuments(0, backend.Addr(), newBackend(t, f, 9102).Addr()))
	f.WaitNodes()
	stop := upgradeLoad(t, f, 3)
	served := func(more uint64) {
		t.Helper()
		from := backend.Requests()
		fleettest.Wait(t, 30*time.Second, "load", func() bool { return backend.Requests() > from+more })
	}
	served(200)
	begin := time.Now()
	second, first := upgrade(t, f, node)
	t.Logf("the first upgrade took %d ms", time.Since(begin).Milliseconds())
	if first != node.PID() || second == first {
		t.Errorf("process %d became %d, the node was %d", first, second, node.PID())
	}
	served(200)
	third, again := upgrade(t, f, node)
	if again != second || third == second {
		t.Errorf("process %d became %d, expected the first to be %d", again, third, second)
	}
	fleettest.Wait(t, 40*time.Second, "the old processes to end", func() bool { return node.Ended() && gone(second) })
	served(200)
	r := stop()
	t.Logf("%d answered, %d failed, %d connections ended, longest silence %s, p99 %d µs, max %d µs",
		r.Succeeded, r.Failed, r.ConnectionsEnded, r.Gap, r.Latency.P99, r.Latency.Max)
	checkNoneFailed(t, r)
}
