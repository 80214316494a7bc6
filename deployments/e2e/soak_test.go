package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/load"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// soakShort is how long the soak is where SOAK does not say otherwise; its
	// memory is looked at only from soakWarm on.
	soakShort = 20 * time.Second
	soakWarm  = 3 * time.Minute
	// soakSlope is how much memory may grow then, in MiB a minute.
	soakSlope = 0.5
	// soakLoops is how many the node has, each of which keeps a pipe once it has
	// needed one, with two ends.
	soakLoops = 2
	// soakShakers is how many threads of the node shake hands: loops, and two beside them. Each keeps
	// a coroutine once it has.
	soakShakers = soakLoops + 2
	// soakSlack is by how many descriptors and goroutines a node may differ.
	soakSlack = 2
)

const roughDocuments = `
kind: Upstream
name: broken
spec: {endpoints: [{address: %q}]}
---
kind: Route
name: broken
spec: {hosts: [broken.test], match: {path: {prefix: /}}, forward: [{upstream: broken}]}
---
kind: Upstream
name: absent
spec: {endpoints: [{address: %q}]}
---
kind: Route
name: absent
spec: {hosts: [absent.test], match: {path: {prefix: /}}, forward: [{upstream: absent}]}
---
`

// TestMixedTrafficWithAPushEverySecondLeaksNothing sends good and rough traffic of
// all protocols while the configuration changes, certificates too, for as long as
// SOAK says. The good requests are all answered; descriptors and goroutines are afterwards what they were; and
// in a long run memory does not grow.
func TestMixedTrafficWithAPushEverySecondLeaksNothing(t *testing.T) {
	t.Parallel()
	duration := soakDuration(t)
	f := fleettest.New(t, fleettest.Options{Nodes: 1, NodeArgs: []string{"--loops", strconv.Itoa(soakLoops)}})
	node := f.Nodes[0]
	backendA, backendB := newBackend(t, f, 9101), newBackend(t, f, 9102)
	broken, err := load.NewBackend(t.Context(), f.Net+".1:9103", load.BackendOptions{Intercept: breaksConnections})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broken.Close)
	speakers, documents := newSpeakers(t, node)
	f.Apply(loadListener + documents + fmt.Sprintf(roughDocuments, broken.Addr(), f.Net+".1:9") + loadDocuments(0, backendA.Addr(), backendB.Addr()))
	f.WaitNodes()
	pipes, goroutines := node.Pipes(), goroutinesOf(t, node)
	descriptors := node.Descriptors() - pipes

	ctx, stop := context.WithTimeout(t.Context(), duration)
	defer stop()
	var wg sync.WaitGroup
	var result *load.Result
	wg.Go(func() {
		result, err = load.Run(ctx, load.Options{
			Targets: targets(f), Shapes: mixedShapes(), Workers: 16, Rate: 400, NewConnections: 0.2,
			Duration: duration, Timeout: 20 * time.Second, RetryClosed: true, Seed: 7,
		})
	})
	rough := &roughClients{address: node.Address + ":8080"}
	wg.Go(func() { rough.run(ctx, 8) })
	wg.Go(func() { speakers.run(ctx, t) })
	var memory slope
	pushes := 0
	begin := time.Now()
	for wakeup.After(ctx, time.Second) {
		pushes++
		documents := loadDocuments(pushes, backendA.Addr(), backendB.Addr())
		if pushes%10 == 0 {
			documents = speakers.certificate(t, pushes/10) + documents
		}
		f.Apply(documents)
		if since := time.Since(begin); since > soakWarm {
			memory.add(since.Minutes(), float64(node.Resident())/(1<<20))
		}
	}
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	checkNoneFailed(t, result)
	speakers.check(t)
	t.Logf("%s: %d answers, %d failed, %d pushes, p99 %d µs, max %d µs; rough: %s",
		duration, result.Succeeded, result.Failed, pushes, result.Latency.P99, result.Latency.Max, rough)
	if memory.n > 0 {
		grows := memory.perUnit()
		t.Logf("resident memory: %.1f MiB at the end, slope %+.3f MiB a minute over %d samples", memory.last, grows, memory.n)
		if grows > soakSlope {
			t.Errorf("memory grows by %.3f MiB a minute, at most %.1f is expected", grows, soakSlope)
		}
	}
	var nowPipes, nowDescriptors, nowGoroutines int
	defer func() {
		t.Logf("pipes %d, then %d; other descriptors %d, then %d; goroutines %d, then %d", pipes, nowPipes, descriptors, nowDescriptors, goroutines, nowGoroutines)
	}()
	fleettest.Wait(t, 30*time.Second, "descriptors and goroutines to be what they were", func() bool {
		nowPipes, nowGoroutines = node.Pipes(), goroutinesOf(t, node)
		nowDescriptors = node.Descriptors() - nowPipes
		return nowPipes <= pipes+2*soakLoops && near(nowDescriptors, descriptors) &&
			nowGoroutines >= goroutines-soakSlack && nowGoroutines <= goroutines+soakShakers+soakSlack
	})
}

func soakDuration(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("SOAK")
	if text == "" {
		return soakShort
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("SOAK=%q: expected a duration such as 10m", text)
	}
	return d
}

func near(a, b int) bool { return a-b <= soakSlack && b-a <= soakSlack }

func goroutinesOf(t *testing.T, n *fleettest.Node) int {
	t.Helper()
	text := metric(t, n, "go_goroutines")
	count, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatalf("go_goroutines: %v", err)
	}
	return count
}

// slope fits a line through points, by least squares.
type slope struct {
	n            int
	x, y, xx, xy float64
	last         float64
}

func (s *slope) add(x, y float64) {
	s.n++
	s.x += x
	s.y += y
	s.xx += x * x
	s.xy += x * y
	s.last = y
}

func (s *slope) perUnit() float64 {
	n := float64(s.n)
	if d := n*s.xx - s.x*s.x; d > 0 {
		return (n*s.xy - s.x*s.y) / d
	}
	return 0
}
