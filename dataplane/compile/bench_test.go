package compile

import (
	"fmt"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func routeResource(i, hosts, variant int) *fleetv1.Resource {
	return &fleetv1.Resource{
		Kind: proto.String("Route"), Name: proto.String(fmt.Sprintf("route-%06d", i)),
		Spec: &fleetv1.Resource_Route{Route: &fleetv1.Route{
			Hosts:   []string{fmt.Sprintf("host-%05d.shop.test", i%hosts)},
			Match:   &fleetv1.Match{Path: &fleetv1.PathMatch{Prefix: proto.String(fmt.Sprintf("/v1/items/%06d", i))}},
			Forward: []*fleetv1.Forward{{Upstream: proto.String(fmt.Sprintf("up-%02d", (i+variant)%100))}},
		}},
	}
}

func upstreamResource(name string, weight uint32) *fleetv1.Resource {
	return &fleetv1.Resource{
		Kind: proto.String("Upstream"), Name: proto.String(name),
		Spec: &fleetv1.Resource_Upstream{Upstream: &fleetv1.Upstream{
			Endpoints: []*fleetv1.Endpoint{{Address: proto.String("10.0.0.1:80"), Weight: &weight}, {Address: proto.String("10.0.0.2:80")}},
		}},
	}
}

// BenchmarkCompileFull100k compiles 100,000 routes from nothing. The bar is 1 s
// of CPU time.
func BenchmarkCompileFull100k(b *testing.B) {
	for _, hosts := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			next := manyRoutes(b, 100_000, hosts)
			next.Root()
			b.ReportAllocs()
			start := cpuTime()
			for b.Loop() {
				mustCompile(b, nil, next)
			}
			b.ReportMetric((cpuTime()-start).Seconds()*1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// BenchmarkCompileOneChanged100k changes one of 100,000 routes, its path too. The
// bar is 1 ms.
func BenchmarkCompileOneChanged100k(b *testing.B) {
	for _, hosts := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			base := manyRoutes(b, 100_000, hosts)
			prev := mustCompile(b, nil, base)
			var changed []tree.Tree
			for i := range 512 {
				r := routeResource(i*193, hosts, 1)
				r.GetRoute().Match.Path.Prefix = proto.String(fmt.Sprintf("/v2/items/%06d", i*193))
				t := set(b, base, r)
				t.Root()
				changed = append(changed, t)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				mustCompile(b, prev, changed[i%len(changed)])
				i++
			}
		})
	}
}

// BenchmarkCompileUpstreamOf100k changes the weights of an upstream that 1,000,
// and one that all of 100,000 routes forward to.
func BenchmarkCompileUpstreamOf100k(b *testing.B) {
	for _, users := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			base := manyRoutes(b, 100_000, 10_000)
			if users == 100_000 {
				for i := range 100_000 {
					r := routeResource(i, 10_000, 0)
					r.GetRoute().Forward[0].Upstream = proto.String("up-00")
					base = set(b, base, r)
				}
			}
			prev := mustCompile(b, nil, base)
			next := set(b, base, upstreamResource("up-00", 7))
			next.Root()
			b.ReportAllocs()
			for b.Loop() {
				mustCompile(b, prev, next)
			}
		})
	}
}

// heap is what is reachable, in bytes and objects.
func heap() (bytes, objects uint64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc, m.HeapObjects
}

func TestRouteCostsAtMostAKilobyteAndFourObjects(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("builds 100,000 routes and counts their memory")
	}
	const n = 100_000
	for _, hosts := range []int{1, 10_000} {
		next := manyRoutes(t, n, hosts)
		next.Root()
		bytes, objects := heap()
		r := mustCompile(t, nil, next)
		bytes2, objects2 := heap()
		perBytes, perObjects := float64(bytes2-bytes)/n, float64(objects2-objects)/n
		t.Logf("%d hosts: %.0f bytes and %.2f objects a route, beside the tree", hosts, perBytes, perObjects)
		if perBytes > 1024 || perObjects > 4 {
			t.Errorf("%d hosts: %.0f bytes and %.2f objects a route, want at most 1024 and 4", hosts, perBytes, perObjects)
		}
		runtime.KeepAlive(r)
		runtime.KeepAlive(next)
	}
}
