package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/load"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// mixedShapes are the bodies of the load tests.
func mixedShapes() []load.Shape {
	return []load.Shape{
		{Name: "small get", Weight: 6, Host: "load.test", Path: "/a", Answer: 1 << 10},
		{Name: "get in chunks", Weight: 1, Host: "load.test", Path: "/b", Answer: 20 << 10, AnswerChunked: true},
		{Name: "large get", Weight: 1, Host: "load.test", Path: "/c", Answer: 256 << 10},
		{Name: "post", Weight: 2, Host: "load.test", Path: "/d", Body: 4 << 10, Answer: 100},
		{Name: "post in chunks", Weight: 1, Host: "load.test", Path: "/e", Body: 100 << 10, Chunked: true, Answer: 100},
		{Name: "empty", Weight: 1, Host: "load.test", Path: "/f"},
	}
}

// loadDocuments are the resources that the load goes through: an upstream of two
// backends, replaced by another name each generation, and a route to it.
func loadDocuments(generation int, a, b string) string {
	return fmt.Sprintf(`
kind: Upstream
name: load-%d
spec:
  endpoints:
    - {address: %q, weight: %d}
    - {address: %q}
---
kind: Route
name: load
spec:
  hosts: [load.test]
  match: {path: {prefix: /}}
  forward: [{upstream: load-%d, weight: %d}]
`, generation%3, a, 1+generation%7, b, generation%3, 1+generation%5)
}

const loadListener = `
kind: Listener
name: web
spec: {port: 8080, protocol: HTTP}
---
`

func targets(f *fleettest.Fleet) []string {
	var out []string
	for _, n := range f.Nodes {
		out = append(out, n.Address+":8080")
	}
	return out
}

// TestFiveHundredPushesLoseNoRequestAndCloseNoConnection pushes while an open
// loop sends half of what the fleet can take, every answer checked.
func TestFiveHundredPushesLoseNoRequestAndCloseNoConnection(t *testing.T) {
	const pushes = 500
	f := fleettest.New(t, fleettest.Options{})
	backendA, backendB := newBackend(t, f, 9101), newBackend(t, f, 9102)
	f.Apply(loadListener + loadDocuments(0, backendA.Addr(), backendB.Addr()))
	f.WaitNodes()

	options := load.Options{Targets: targets(f), Shapes: mixedShapes(), Workers: 24, Timeout: 20 * time.Second, Seed: 1}
	peak := options
	peak.Duration = 3 * time.Second
	found, err := load.Run(t.Context(), peak)
	if err != nil {
		t.Fatal(err)
	}
	checkLossless(t, found)
	t.Logf("peak: %.0f requests/s, p99 %d µs", found.Rate, found.Latency.P99)

	options.Rate, options.Duration = found.Rate/2, 5*time.Minute
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var result *load.Result
	var wg sync.WaitGroup
	wg.Go(func() { result, err = load.Run(ctx, options) })
	start := time.Now()
	for i := 1; i <= pushes; i++ {
		documents := loadDocuments(i, backendA.Addr(), backendB.Addr())
		documents += fmt.Sprintf("---\nkind: Route\nname: extra-%d\nspec:\n  hosts: [extra-%d.test]\n  match: {path: {prefix: /}}\n  respond: {status: 204}\n", i%10, i)
		f.Apply(documents)
		if i%10 == 9 {
			if _, err := f.Client.Delete(t.Context(), "routes", fmt.Sprintf("extra-%d", (i+5)%10), client.Write{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	elapsed := time.Since(start)
	f.WaitNodes()
	stop()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pushes in %.1f s under %.0f requests/s: %d answers checked, %d failed, %d connections ended, p50 %d µs p99 %d µs max %d µs, longest silence %s",
		pushes, elapsed.Seconds(), result.Rate, result.Succeeded, result.Failed, result.ConnectionsEnded,
		result.Latency.P50, result.Latency.P99, result.Latency.Max, result.Gap)
	checkLossless(t, result)
}

func newBackend(t *testing.T, f *fleettest.Fleet, port int) *load.Backend {
	t.Helper()
	b, err := load.NewBackend(context.Background(), fmt.Sprintf("%s.1:%d", f.Net, port), load.BackendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func checkLossless(t *testing.T, r *load.Result) {
	t.Helper()
	if r.Failed > 0 || r.ConnectionsEnded > 0 || r.Succeeded == 0 {
		t.Errorf("%d succeeded, %d failed %v, %d connections ended by the nodes; first: %+v", r.Succeeded, r.Failed, r.Failures, r.ConnectionsEnded, r.Samples)
	}
}

// manyRoutes are n routes on hosts of their own, each answering with its
// generation.
func manyRoutes(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "---\nkind: Route\nname: r%05d\nspec: {hosts: [h%05d.test], match: {path: {prefix: /}}, respond: {status: 200, body: \"0\"}}\n", i, i)
	}
	return b.String()
}

// TestAChangedRouteAmongTenThousandAnswersSoonOnEveryNode measures from the
// return of the write to the first new answer of the last node.
func TestAChangedRouteAmongTenThousandAnswersSoonOnEveryNode(t *testing.T) {
	const (
		routes  = 10000
		changes = 200
		bar     = 50 * time.Millisecond
	)
	f := fleettest.New(t, fleettest.Options{})
	f.Apply(loadListener + manyRoutes(0, routes))
	f.WaitNodes()
	try := 0
	fleettest.Judge(t, func() string {
		try++
		took := liveAfter(t, f, routes, changes, try)
		p50, p99, longest := took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
		t.Logf("one changed route among %d, on 3 nodes, from the write's return: p50 %.1f ms, p99 %.1f ms, max %.1f ms", routes, ms(p50), ms(p99), ms(longest))
		if p99 > bar {
			return fmt.Sprintf("p99 %s, want at most %s", p99, bar)
		}
		return ""
	})
}

// liveAfter changes routes one after another, and returns the times, sorted, from the
// return of a write to the first new answer of the last node.
func liveAfter(t *testing.T, f *fleettest.Fleet, routes, changes, try int) []time.Duration {
	t.Helper()
	var took []time.Duration
	for i := 1; i <= changes; i++ {
		name := (i * 7919) % routes
		body := fmt.Sprintf("changed-%d-%d", try, i)
		document := fmt.Sprintf("kind: Route\nname: r%05d\nspec: {hosts: [h%05d.test], match: {path: {prefix: /}}, respond: {status: 200, body: %s}}\n", name, name, body)
		probes := make([]*prober, len(f.Nodes))
		for j, n := range f.Nodes {
			probes[j] = newProber(t, n.Address+":8080", fmt.Sprintf("h%05d.test", name))
		}
		f.Apply(document)
		returned := time.Now()
		for _, p := range probes {
			p.until(body, returned.Add(10*time.Second))
		}
		took = append(took, time.Since(returned))
		for _, p := range probes {
			p.close()
		}
	}
	slices.Sort(took)
	return took
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// prober asks one node again and again on one connection.
type prober struct {
	t       *testing.T
	conn    net.Conn
	request []byte
	buf     []byte
}

func newProber(t *testing.T, address, host string) *prober {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return &prober{t: t, conn: c, request: []byte("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"), buf: make([]byte, 4096)}
}

func (p *prober) close() { p.conn.Close() }

// until asks until the body is the wanted one.
func (p *prober) until(want string, deadline time.Time) {
	p.t.Helper()
	_ = p.conn.SetDeadline(deadline)
	for {
		if _, err := p.conn.Write(p.request); err != nil {
			p.t.Fatal(err)
		}
		n, err := p.conn.Read(p.buf) // small answers of the node itself come whole
		if err != nil {
			p.t.Fatalf("waiting for %q: %v", want, err)
		}
		if strings.HasSuffix(string(p.buf[:n]), "\r\n\r\n"+want) {
			return
		}
	}
}

// TestANodeThatCannotApplyAVersionServesTheOldOneAndSaysWhy takes a port away
// from one node: the others go on, and it follows by itself when the port is free.
func TestANodeThatCannotApplyAVersionServesTheOldOneAndSaysWhy(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{})
	f.Apply(loadListener + "kind: Route\nname: ping\nspec: {match: {path: {exact: /ping}}, respond: {status: 200, body: old}}\n")
	f.WaitNodes()
	blocker, err := net.Listen("tcp", f.Nodes[1].Address+":8081")
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close()
	applied := f.Apply("kind: Listener\nname: second\nspec: {port: 8081, protocol: HTTP}\n---\nkind: Route\nname: ping\nspec: {match: {path: {exact: /ping}}, respond: {status: 200, body: new}}\n")
	var refused api.NodeStatus
	fleettest.Wait(t, 20*time.Second, "node-2 to say what is wrong and the others to follow", func() bool {
		list, err := f.Client.Nodes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synced := 0
		for _, n := range list.Items {
			switch {
			case n.ID == "node-2" && n.State == api.Rejected:
				refused = n
				synced++
			case n.ID != "node-2" && n.State == api.Synced && n.Running.Revision == applied.Revision:
				synced++
			}
		}
		return synced == 3
	})
	if refused.Wanted.Revision != applied.Revision || refused.Running.Revision != applied.Revision-1 || len(refused.Problems) == 0 {
		t.Errorf("%+v", refused)
	}
	stdout, _, status := f.Proxyctl("status")
	if status == 0 || !strings.Contains(stdout, "node-2") || !strings.Contains(stdout, "address already in use") {
		t.Errorf("status %d:\n%s", status, stdout)
	}
	for i, want := range []string{"new", "old", "new"} {
		if code, body, _ := ask(t, f.Nodes[i], "x.test", "/ping"); code != http.StatusOK || body != want {
			t.Errorf("node %d: %d %q", i+1, code, body)
		}
	}
	blocker.Close()
	f.WaitNodes()
	if _, body, _ := ask(t, f.Nodes[1], "x.test", "/ping"); body != "new" {
		t.Errorf("after the port came free: %q", body)
	}
}
