package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
)

// TestTrafficGoesOnWithoutControlPlaneAndEtcd kills both under load, and restarts
// a node meanwhile, also with a file in which a bit was flipped. When they are back
// a node that has nothing to catch up with gets no byte of configuration.
func TestTrafficGoesOnWithoutControlPlaneAndEtcd(t *testing.T) {
	t.Parallel()
	etcd := fleettest.NewEtcd(t)
	f := fleettest.New(t, fleettest.Options{Nodes: 2, EtcdEndpoints: []string{etcd.Endpoint}})
	backend := newBackend(t, f, 9101)
	f.Apply(loadListener + loadDocuments(0, backend.Addr(), newBackend(t, f, 9102).Addr()) + "---\n" + pingRoute + "one}}\n")
	f.WaitNodes()
	file := filepath.Join(f.Dir, "state", "node-2", "last-good")
	fleettest.Wait(t, 10*time.Second, "the first file", func() bool { return holds(file, "one") })
	f.Apply(pingRoute + "two}}\n")
	f.WaitNodes()
	fleettest.Wait(t, 10*time.Second, "the second file", func() bool { return holds(file, "two") && holds(file+".old", "one") })
	received := metric(t, f.Nodes[0], "proxyfleet_feed_config_bytes_total")

	finish := endlessLoad(t, f.Nodes[0].Address+":8080")
	served := func(more uint64) {
		t.Helper()
		from := backend.Requests()
		fleettest.Wait(t, 30*time.Second, "load", func() bool { return backend.Requests() > from+more })
	}
	served(200)
	etcd.Kill()
	served(200)
	f.Control.Kill()
	served(200)
	restart := func(want string) {
		t.Helper()
		f.Nodes[1].Kill()
		node := f.StartNode(2)
		fleettest.Wait(t, 10*time.Second, "the node to listen", func() bool { return listens(node.Address + ":8080") })
		if _, body, _ := ask(t, node, "x", "/ping"); body != want {
			t.Errorf("a node that was restarted serves %q, want %q", body, want)
		}
	}
	restart("two")
	flipBit(t, file)
	restart("one")

	etcd.Start()
	f.StartControlPlane()
	f.WaitNodes()
	served(200)
	checkNoneFailed(t, finish())
	if now := metric(t, f.Nodes[0], "proxyfleet_feed_config_bytes_total"); now != received {
		t.Errorf("configuration bytes of a node that runs what is wanted: %s became %s", received, now)
	}
	if _, body, _ := ask(t, f.Nodes[1], "x", "/ping"); body != "two" {
		t.Errorf("the node that fell back serves %q", body)
	}
}

// flipBit damages the middle of a file.
func flipBit(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
