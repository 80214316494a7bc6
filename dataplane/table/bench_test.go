package table

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// benchRoutes spreads n prefix routes over hosts, each "/v1/items/<i>".
func benchRoutes(n, hosts int) []*Route {
	routes := make([]*Route, n)
	for i := range routes {
		routes[i] = &Route{
			Name:  fmt.Sprintf("route-%06d", i),
			Hosts: []string{benchHost(i % hosts)},
			Path:  PathMatch{Kind: PathPrefix, Text: benchPrefix(i)},
		}
	}
	return routes
}

func benchHost(i int) string   { return fmt.Sprintf("host-%05d.shop.test", i) }
func benchPrefix(i int) string { return fmt.Sprintf("/v1/items/%06d", i) }

// benchQueries draws queries that each match one of the routes, below its prefix.
func benchQueries(n, hosts int) []Query {
	r := rand.New(rand.NewPCG(1, 2))
	queries := make([]Query, 1<<16)
	for i := range queries {
		at := r.IntN(n)
		queries[i] = Query{
			Method: message.MethodGet, MethodName: []byte("GET"), Head: &message.Head{},
			Host: []byte(benchHost(at % hosts)), Path: []byte(benchPrefix(at) + "/detail"),
		}
	}
	return queries
}

// BenchmarkMatch draws random routes. The bar is 600 ns among 100,000 routes.
func BenchmarkMatch(b *testing.B) {
	for _, size := range []struct{ routes, hosts int }{{10, 1}, {1000, 1}, {100_000, 1}, {1000, 100}, {100_000, 10_000}, {100_000, 100_000}} {
		b.Run(fmt.Sprintf("routes=%d/hosts=%d", size.routes, size.hosts), func(b *testing.B) {
			l := build(b, benchRoutes(size.routes, size.hosts)...)
			queries := benchQueries(size.routes, size.hosts)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if l.Match(&queries[i%len(queries)]) == nil {
					b.Fatal("no route")
				}
			}
		})
	}
}

// BenchmarkMatchDeep has prefixes at every depth of the path and a priority, so
// that all of them are looked up.
func BenchmarkMatchDeep(b *testing.B) {
	routes := benchRoutes(100_000, 1)
	path := ""
	for i := range MaxPrefixSegments {
		path += fmt.Sprintf("/s%d", i)
		routes = append(routes, &Route{
			Name: path, Hosts: []string{benchHost(0)}, Path: PathMatch{Kind: PathPrefix, Text: path}, Priority: int32(i % 3),
		})
	}
	l := build(b, routes...)
	q := Query{Host: []byte(benchHost(0)), Path: []byte(path)}
	for b.Loop() {
		l.Match(&q)
	}
}

// BenchmarkServeMux is net/http's router on the same routes: what a Go program
// would use instead. It matches hosts and prefixes at segment borders only, and
// allocates a request's pattern and values; no priority, regex, header or query.
// 100,000 patterns are left out: registering them takes it minutes.
func BenchmarkServeMux(b *testing.B) {
	for _, size := range []struct{ routes, hosts int }{{10, 1}, {1000, 1}, {10_000, 1}, {10_000, 1000}} {
		b.Run(fmt.Sprintf("routes=%d/hosts=%d", size.routes, size.hosts), func(b *testing.B) {
			mux := http.NewServeMux()
			nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
			for _, r := range benchRoutes(size.routes, size.hosts) {
				mux.Handle(r.Hosts[0]+r.Path.Text+"/", nothing)
			}
			queries := benchQueries(size.routes, size.hosts)
			requests := make([]*http.Request, 4096)
			for i := range requests {
				req, err := http.NewRequest(http.MethodGet, "http://"+string(queries[i].Host)+string(queries[i].Path), nil)
				if err != nil {
					b.Fatal(err)
				}
				requests[i] = req
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if _, pattern := mux.Handler(requests[i%len(requests)]); pattern == "" {
					b.Fatal("no route")
				}
			}
		})
	}
}

// BenchmarkEditOne changes one of 100,000 routes.
func BenchmarkEditOne(b *testing.B) {
	for _, hosts := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			routes := benchRoutes(100_000, hosts)
			x := build(b, routes...).Routes
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				old := routes[i%len(routes)]
				e := x.Edit()
				e.Remove(old)
				e.Add(old.WithTargets(nil))
				e.Index()
				i += 7919
			}
		})
	}
}
