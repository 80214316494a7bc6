package e2e

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/load"
)

const pingRoute = "kind: Route\nname: ping\nspec: {match: {path: {exact: /ping}}, respond: {status: 200, body: "

// holds says whether a file of resources has a text in it.
func holds(path, text string) bool {
	b, err := os.ReadFile(path)
	return err == nil && bytes.Contains(b, []byte(text))
}

// TestANodeServesFromItsLastKnownGoodConfigurationWhenNobodyAnswers kills the
// control plane, with its etcd, and restarts a node.
func TestANodeServesFromItsLastKnownGoodConfigurationWhenNobodyAnswers(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 2})
	f.Apply(loadListener + pingRoute + "one}}\n")
	f.WaitNodes()
	file := filepath.Join(f.Dir, "state", "node-1", "last-good")
	fleettest.Wait(t, 10*time.Second, "the first file", func() bool { return holds(file, "one") })
	f.Apply(pingRoute + "two}}\n")
	f.WaitNodes()
	fleettest.Wait(t, 10*time.Second, "the second file", func() bool { return holds(file, "two") && holds(file+".old", "one") })
	f.Control.Kill()

	for _, c := range []struct {
		name, want string
		damage     func()
	}{
		{"whole", "two", func() {}},
		{"cut short", "one", func() {
			if err := os.Truncate(file, 100); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.Nodes[0].Kill()
			c.damage()
			begin := time.Now()
			n := f.StartNode(1)
			fleettest.Wait(t, 10*time.Second, "the node to serve", func() bool { return fleettest.Answers("http://" + n.Address + ":8080/ping") })
			t.Logf("serves %d ms after its start", time.Since(begin).Milliseconds())
			if code, body, _ := ask(t, n, "x", "/ping"); code != http.StatusOK || body != c.want {
				t.Errorf("%d %q", code, body)
			}
		})
	}
	// When the control plane is back the node that was behind follows, and the
	// other one receives nothing.
	received := metric(t, f.Nodes[1], "proxyfleet_feed_config_bytes_total")
	f.StartControlPlane()
	f.WaitNodes()
	if _, body, _ := ask(t, f.Nodes[0], "x", "/ping"); body != "two" {
		t.Errorf("node-1 serves %q", body)
	}
	if now := metric(t, f.Nodes[1], "proxyfleet_feed_config_bytes_total"); now != received {
		t.Errorf("configuration bytes of an unchanged node: %s became %s", received, now)
	}
}

// TestADrainedNodeEndsItsConnectionsAndTakesNoNewOnes drains by proxyctl under
// load and takes it back.
func TestADrainedNodeEndsItsConnectionsAndTakesNoNewOnes(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 2})
	backend := newBackend(t, f, 9101)
	f.Apply(loadListener + loadDocuments(0, backend.Addr(), newBackend(t, f, 9102).Addr()))
	f.WaitNodes()
	// A client that keeps its connection and sends again when it was closed between
	// requests, as RFC 9112 section 9.3.1 has it; the refused connects that follow
	// are the drain's purpose.
	stop := startLoad(t, load.Options{
		Targets: []string{f.Nodes[0].Address + ":8080"}, Shapes: mixedShapes(), Workers: 8, Rate: 500,
		Duration: time.Minute, RetryClosed: true, Seed: 2,
	})
	fleettest.Wait(t, 20*time.Second, "load", func() bool { return backend.Requests() > 500 })
	if stdout, stderr, status := f.Proxyctl("drain", "node-1", "--wait"); status != 0 {
		t.Fatalf("drain: %d\n%s%s", status, stdout, stderr)
	}
	fleettest.Wait(t, 10*time.Second, "the port to be closed", func() bool {
		c, err := net.Dial("tcp", f.Nodes[0].Address+":8080")
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	r := stop()
	for class, n := range r.Failures {
		if class != load.Refused && class != load.Closed {
			t.Errorf("%d requests failed as %s: %+v", n, class, r.Samples)
		}
	}
	t.Logf("%d answered, failures %v", r.Succeeded, r.Failures)
	if resp, err := http.Get("http://" + f.Nodes[0].Admin + "/readyz"); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("readyz of a drained node: %v %v", resp, err)
	}
	// It stays drained over a restart, also while nobody answers.
	f.Control.Stop()
	f.Nodes[0].Kill()
	f.StartNode(1)
	fleettest.Wait(t, 10*time.Second, "the node to be up again", func() bool {
		resp, err := http.Get("http://" + f.Nodes[0].Admin + "/config")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return err == nil && bytes.Contains(b, []byte(`"revision": 1`)) || bytes.Contains(b, []byte(`"revision":1`))
	})
	if c, err := net.Dial("tcp", f.Nodes[0].Address+":8080"); err == nil {
		c.Close()
		t.Error("a drained node listens after a restart")
	}
	f.StartControlPlane()
	f.WaitNodes()
	// It goes on following, and a rollback does not bring its traffic back.
	f.Apply(pingRoute + "new}}\n")
	f.WaitNodes()
	if stdout, stderr, status := f.Proxyctl("undrain", "node-1"); status != 0 {
		t.Fatalf("undrain: %d\n%s%s", status, stdout, stderr)
	}
	fleettest.Wait(t, 10*time.Second, "the node to serve again", func() bool { return fleettest.Answers("http://" + f.Nodes[0].Address + ":8080/ping") })
}
