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
		out = route(t, out, i, "u0")
	}
	return out
}

// route sets one of the routes of a shop.
func route(t testing.TB, base tree.Tree, i int, upstream string) tree.Tree {
	return put(t, base, &fleetv1.Resource{
		Kind: new(resource.Route), Name: new(fmt.Sprintf("r%d", i)),
		Spec: &fleetv1.Resource_Route{Route: &fleetv1.Route{
			Hosts:   []string{fmt.Sprintf("h%d.shop.test", i%100)},
			Match:   &fleetv1.Match{Path: &fleetv1.PathMatch{Prefix: new(fmt.Sprintf("/p%d", i))}},
			Forward: []*fleetv1.Forward{{Upstream: new(upstream)}},
		}},
	})
}

// BenchmarkChangeToAllAcks is one changed route among many, from the moment at
// which the store has it to the control plane's having the Acks of three nodes.
func BenchmarkChangeToAllAcks(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) { benchmarkChange(b, n) })
	}
}

func benchmarkChange(b *testing.B, routes int) {
	const nodes = 3
	m := newMemory()
	acks := make(chan uint64, 1000)
	p := newPlane(b, m, "", func(c *Config) {
		c.OnEvent = func(e Event) {
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
				b.Fatalf("no Acks of revision %d", revision)
			}
		}
	}
	for i := range nodes {
		newNode(b, fmt.Sprintf("n%d", i), p.address)
	}
	awaitAll(0)
	current := shop(b, routes)
	begin := time.Now()
	awaitAll(m.commit(current))
	b.Logf("%d routes from nothing: %v", routes, time.Since(begin))

	var took []time.Duration
	turn := 0
	for b.Loop() {
		turn++
		current = route(b, current, turn*7%routes, fmt.Sprintf("u%d", turn%2))
		if ps := p.publisher.Check(b.Context(), m.head(), current); len(ps) > 0 {
			b.Fatal(ps)
		}
		wait(10 * time.Millisecond) // quiet: what is measured is not the pause between two publications
		begin := time.Now()
		awaitAll(m.commit(current))
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
}
