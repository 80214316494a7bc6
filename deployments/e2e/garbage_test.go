package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/load"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// TestARunningNodeHardlyAllocates counts what the node's process allocates over
// many requests, with its log, its metrics and its stream to the control plane, and
// how long its garbage collector stops it under load.
func TestARunningNodeHardlyAllocates(t *testing.T) {
	const (
		requests = 100_000
		// 0.01 a request over a million is the promise: what a process does in ten
		// seconds without any request weighs ten times as much here.
		most = 0.02
		// Every pause is to be under a millisecond where a loop has a processor, which
		// bench-rivals measures. Here load and servers share the processors, and a pause
		// lasts until the kernel lets a loop go on that it has set aside: so three of
		// four count, and a bar that only a node far off misses.
		longest = 5 * time.Millisecond
	)
	f := fleettest.New(t, fleettest.Options{Nodes: 1})
	node := f.Nodes[0]
	f.Apply(loadListener + loadDocuments(0, newBackend(t, f, 9101).Addr(), newBackend(t, f, 9102).Addr()))
	f.WaitNodes()
	options := load.Options{
		Targets: targets(f), Shapes: []load.Shape{{Host: "load.test", Path: "/a", Answer: 1 << 10}},
		Workers: 64, Requests: requests / 5, Seed: 9,
	}
	checkNoneFailed(t, runLoad(t, options)) // pools and buffers grow
	own := mallocs(t, node)
	before := mallocs(t, node)
	own = before - own // what looking costs
	options.Requests = requests
	checkNoneFailed(t, runLoad(t, options))
	each := float64(mallocs(t, node)-before-own) / requests
	t.Logf("%.4f allocations a request over %d", each, requests)
	if each > most {
		t.Errorf("at most %.2f are expected", most)
	}

	// Of its own accord the node hardly collects: it is made to.
	fleettest.Judge(t, func() string {
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for wakeup.After(ctx, 50*time.Millisecond) {
				node.AdminText(t, "/debug/pprof/heap?gc=1")
			}
		})
		checkNoneFailed(t, runLoad(t, options))
		stop()
		wg.Wait()
		usual := gcPause(t, node, "0.75")
		t.Logf("pauses of the garbage collector: 75 %% up to %s, the longest %s", usual, gcPause(t, node, "1"))
		if usual > longest {
			return fmt.Sprintf("75 %% of the pauses take up to %s, at most %s is expected", usual, longest)
		}
		return ""
	})
}

// mallocs is how many objects the process has allocated.
func mallocs(t *testing.T, n *fleettest.Node) uint64 {
	t.Helper()
	const key = "# Mallocs = "
	for line := range strings.Lines(n.AdminText(t, "/debug/pprof/heap?debug=1")) {
		if text, ok := strings.CutPrefix(line, key); ok {
			count, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return count
		}
	}
	t.Fatal("no number of allocations")
	return 0
}

func gcPause(t *testing.T, n *fleettest.Node, quantile string) time.Duration {
	t.Helper()
	seconds, err := strconv.ParseFloat(metric(t, n, `go_gc_duration_seconds{quantile="`+quantile+`"}`), 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(seconds * float64(time.Second))
}
