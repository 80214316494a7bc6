package e2e

import (
	"net"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/load"
)

// extraListener is one more listener for the routes of the load.
const extraListener = "kind: Listener\nname: extra\nspec: {port: 8081, protocol: HTTP}\n---\n"

// TestNoConnectionIsLostWhereANodeStopsListening takes a listener away, by drain
// and by removing the resource, while new and kept connections carry requests: each
// connection that was accepted is answered, or closed between requests. What is
// refused afterwards is the purpose.
func TestNoConnectionIsLostWhereANodeStopsListening(t *testing.T) {
	t.Parallel()
	const rounds = 4
	f := fleettest.New(t, fleettest.Options{Nodes: 1, NodeArgs: []string{"--loops", "2"}})
	node := f.Nodes[0]
	backend := newBackend(t, f, 9101)
	f.Apply(loadListener + loadDocuments(0, backend.Addr(), newBackend(t, f, 9102).Addr()))
	f.WaitNodes()
	for _, c := range []struct {
		name, port string
		stop       func(t *testing.T)
		again      func(t *testing.T)
	}{
		{
			"removed", ":8081",
			func(t *testing.T) {
				if _, err := f.Client.Delete(t.Context(), "listeners", "extra", client.Write{}); err != nil {
					t.Fatal(err)
				}
			},
			func(*testing.T) { f.Apply(extraListener) },
		},
		{
			"drained", ":8080",
			func(t *testing.T) { proxyctl(t, f, "drain", "node-1") },
			func(t *testing.T) { proxyctl(t, f, "undrain", "node-1") },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := node.Address + c.port
			for range rounds {
				c.again(t)
				fleettest.Wait(t, 20*time.Second, "the node to listen", func() bool { return listens(address) })
				finish := endlessLoad(t, address)
				from := backend.Requests()
				fleettest.Wait(t, 20*time.Second, "load", func() bool { return backend.Requests() > from+300 })
				c.stop(t)
				fleettest.Wait(t, 20*time.Second, "the port to be closed", func() bool { return !listens(address) })
				r := finish()
				t.Logf("%d answered, failures %v, %d sent again on another connection", r.Succeeded, r.Failures, r.Retried)
				for class, n := range r.Failures {
					if class != load.Refused {
						t.Errorf("%d requests failed as %s: %+v", n, class, r.Samples)
					}
				}
			}
		})
	}
}

func proxyctl(t *testing.T, f *fleettest.Fleet, args ...string) {
	t.Helper()
	if stdout, stderr, status := f.Proxyctl(args...); status != 0 {
		t.Fatalf("proxyctl %v: %d\n%s%s", args, status, stdout, stderr)
	}
}

func listens(address string) bool {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// endlessLoad sends requests without bodies, half of them on connections of their
// own, until finish. A kept connection that ended before a byte of the answer came
// is replaced by a new one, once, as RFC 9112 section 9.3.1 has it; a new one is
// not.
func endlessLoad(t *testing.T, address string) (finish func() *load.Result) {
	t.Helper()
	return startLoad(t, load.Options{
		Targets: []string{address}, Workers: 16, Rate: 1000, NewConnections: 0.5, RetryClosed: true,
		Shapes: []load.Shape{
			{Host: "load.test", Path: "/a", Answer: 1 << 10, Weight: 4},
			{Host: "load.test", Path: "/b", Answer: 100 << 10, AnswerChunked: true},
		},
		Duration: time.Minute, Timeout: 20 * time.Second, Seed: 5,
	})
}
