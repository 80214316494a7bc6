package stream

import (
	"fmt"
	"slices"
	"testing"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// shop is a configuration of n routes on one listener and 100 hosts.
func shop(t testing.TB, n int) tree.Tree {
	out := put(t, tree.Tree{}, &fleetv1.Resource{
		Kind: new(resource.Listener), Name: new("web"),
		Spec: &fleetv1.Resource_Listener{Listener: &fleetv1.Listener{
			Port: new(uint32(8080)), Protocol: fleetv1.Listener_HTTP.Enum(),
		}},
	})
	for i := range 2 {
		out = with(t, out, i, 80)
	}
	for i := range n {
		out = route(t, out, i, 0)
	}
	return out
}

// route sets one of the routes of a shop.
func route(t testing.TB, base tree.Tree, i, timeout int) tree.Tree {
	return put(t, base, &fleetv1.Resource{
		Kind: new(resource.Route), Name: new(fmt.Sprintf("r%d", i)),
		Spec: &fleetv1.Resource_Route{Route: &fleetv1.Route{
			Hosts:    []string{fmt.Sprintf("h%d.shop.test", i%100)},
			Match:    &fleetv1.Match{Path: &fleetv1.PathMatch{Prefix: new(fmt.Sprintf("/p%d", i))}},
			Forward:  []*fleetv1.Forward{{Upstream: new("u0")}},
			Timeouts: &fleetv1.RouteTimeouts{Request: new(int64(time.Second) + int64(timeout)*int64(time.Millisecond))},
		}},
	})
}

// BenchmarkCommitToAllAcks is one changed route among many: from the call of the
// store's Commit, and from its return, to the control plane's having the Acks of
// three nodes. Embedded etcd syncs to disk meanwhile.
func BenchmarkCommitToAllAcks(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) { benchmarkCommit(b, n) })
	}
}

func benchmarkCommit(b *testing.B, routes int) {
	const nodes = 3
	st := openStore(b, b.TempDir())
	acks := make(chan uint64, 1000)
	p := newPlane(b, st, "", func(c *setup) {
		c.stream.OnEvent = func(e Event) {
			if e.Kind == Acked {
				acks <- e.Version.Revision
			}
		}
	})
	awaitAll := func(revision uint64) {
		for n := 0; n < nodes; {
			select {
			case r := <-acks:
				if r == revision {
					n++
				}
			case <-time.After(patience):
				b.Fatalf("%d Acks of revision %d", n, revision)
			}
		}
	}
	for i := range nodes {
		newNode(b, fmt.Sprintf("n%d", i), p.address)
	}
	awaitAll(0)
	head := commit(b, st, shop(b, routes))
	awaitAll(head.Revision)

	var called, returned []time.Duration
	turn := 0
	for b.Loop() {
		turn++
		next := route(b, head.Tree, turn*7%routes, turn)
		if ps := p.publisher.Check(b.Context(), head, next); len(ps) > 0 {
			b.Fatal(ps)
		}
		time.Sleep(10 * time.Millisecond) // quiet: what is measured is not the pause between two publications
		begin := time.Now()
		head = commit(b, st, next)
		end := time.Now()
		awaitAll(head.Revision)
		called, returned = append(called, time.Since(begin)), append(returned, time.Since(end))
	}
	report(b, "call", called)
	report(b, "return", returned)
}

func report(b *testing.B, name string, took []time.Duration) {
	slices.Sort(took)
	for what, i := range map[string]int{"p50": len(took) / 2, "p99": len(took) * 99 / 100, "max": len(took) - 1} {
		b.ReportMetric(float64(took[i].Microseconds()), what+"-µs-after-"+name)
	}
}
