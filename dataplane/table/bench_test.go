package table

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// benchRoutes spreads n prefix routes over hosts, each "/v1/items/<i>".
func benchRoutes(n, hosts int) []*Route {
	routes := make([]*Route, n)
	for i := range routes {
		host := benchHost(i % hosts)
		text := host + benchPrefix(i) // one piece of memory, as compile does it
		routes[i] = &Route{
			Name:  fmt.Sprintf("route-%06d", i),
			Hosts: []string{text[:len(host)]},
			Path:  PathMatch{Kind: PathPrefix, Text: text[len(host):]},
		}
	}
	return routes
}

func benchHost(i int) string   { return fmt.Sprintf("host-%05d.shop.test", i) }
func benchPrefix(i int) string { return fmt.Sprintf("/v1/items/%06d", i) }

// benchQuery is a query whose host and path are written over with the next route's
// numbers, so that only the table's memory is cold: a real query has just been
// read. It costs about 10 ns.
type benchQuery struct {
	Query
	random *rand.PCG
	n      uint64
	hosts  int
}

func newBenchQuery(n, hosts int) *benchQuery {
	q := &benchQuery{random: rand.NewPCG(1, 2), n: uint64(n), hosts: hosts}
	q.Query = Query{
		Method: message.MethodGet, MethodName: []byte("GET"), Head: &message.Head{},
		Host: []byte(benchHost(0)), Path: []byte(benchPrefix(0) + "/detail"),
	}
	return q
}

func (q *benchQuery) next() *Query {
	at := int(q.random.Uint64() >> 32 * q.n >> 32)
	digits(q.Host[len("host-"):], 5, at%q.hosts)
	digits(q.Path[len("/v1/items/"):], 6, at)
	return &q.Query
}

func digits(b []byte, n, v int) {
	for i := n - 1; i >= 0; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
}

// BenchmarkMatch draws random routes. The bar is 600 ns among 100,000 routes.
func BenchmarkMatch(b *testing.B) {
	for _, size := range []struct{ routes, hosts int }{{10, 1}, {1000, 1}, {100_000, 1}, {1000, 100}, {100_000, 10_000}, {100_000, 100_000}} {
		b.Run(fmt.Sprintf("routes=%d/hosts=%d", size.routes, size.hosts), func(b *testing.B) {
			l := build(b, benchRoutes(size.routes, size.hosts)...)
			q := newBenchQuery(size.routes, size.hosts)
			b.ReportAllocs()
			inBatches(b, func() {
				if l.Match(q.next()) == nil {
					b.Fatal("no route")
				}
			})
		})
	}
}

// inBatches also reports the quickest of many short batches, which fit between
// what else the machine does; the mean of a busy machine says little.
func inBatches(b *testing.B, op func()) {
	const batch = 500
	best := time.Duration(1 << 62)
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		start := time.Now()
		for range batch {
			op()
		}
		best = min(best, time.Since(start))
	}
	b.ReportMetric(float64(best.Nanoseconds())/batch, "best-ns/op")
}

// BenchmarkQuery is what drawing a query costs, to be taken off BenchmarkMatch.
func BenchmarkQuery(b *testing.B) {
	q := newBenchQuery(100_000, 10_000)
	inBatches(b, func() { q.next() })
}

// BenchmarkMatchDeep is the worst that prefixes can do: one at every depth of the
// path, with priorities, so that all of them are looked up.
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
	inBatches(b, func() { l.Match(&q) })
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
			queries := newBenchQuery(size.routes, size.hosts)
			requests := make([]*http.Request, 4096)
			for i := range requests {
				q := queries.next()
				req, err := http.NewRequest(http.MethodGet, "http://"+string(q.Host)+string(q.Path), nil)
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
