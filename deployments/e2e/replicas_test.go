package e2e

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// TestEachControlPlaneShowsAndWaitsForTheNodesOfTheOther: what people ask one of two control
// planes is true of the whole fleet, and of what becomes of the other.
func TestEachControlPlaneShowsAndWaitsForTheNodesOfTheOther(t *testing.T) {
	t.Parallel()
	etcd := fleettest.NewEtcd(t)
	f := fleettest.New(t, fleettest.Options{Nodes: 1, EtcdEndpoints: []string{etcd.Endpoint}})
	b := f.StartReplica(2)
	two := f.StartNodeAt(2, b.GRPC)
	f.StartNodeAt(3, b.GRPC, f.GRPC)
	shows := func(id string, ok func(api.NodeStatus) bool) func() bool {
		return func() bool {
			list, err := f.Client.Nodes(t.Context())
			if err != nil {
				return false
			}
			for _, n := range list.Items {
				if n.ID == id {
					return ok(n)
				}
			}
			return false
		}
	}
	synced := func(n api.NodeStatus) bool { return n.State == api.Synced }
	at := func(plane string) func(api.NodeStatus) bool {
		return func(n api.NodeStatus) bool { return n.Connected && n.ControlPlane == plane && n.State == api.Synced }
	}
	for id, plane := range map[string]string{"node-1": f.GRPC, "node-2": b.GRPC} {
		fleettest.Wait(t, 30*time.Second, id+" to be shown", shows(id, at(plane)))
	}
	fleettest.Wait(t, 30*time.Second, "node-3 to be shown", shows("node-3", synced))

	status, err := f.Client.Status(t.Context())
	if planes := status.ControlPlanes; err != nil || len(planes) != 2 || planes[0].Name != f.GRPC || planes[1].Name != b.GRPC || planes[0].Nodes+planes[1].Nodes != 3 {
		t.Errorf("control planes are %+v, %v", planes, err)
	}

	proxyctl := func(want int, args ...string) (text string) {
		t.Helper()
		stdout, stderr, status := f.Proxyctl(args...)
		if status != want {
			t.Errorf("proxyctl %s: exit status %d\n%s%s", strings.Join(args, " "), status, stdout, stderr)
		}
		return stdout + stderr
	}
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "apply.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	if text := proxyctl(0, "apply", "--wait", "--timeout", "20s", "-f", file(loadListener+manyRoutes(0, 1))); !strings.Contains(text, "all 3 nodes are in sync") {
		t.Error(text)
	}
	if code, body, _ := ask(t, two, "h00000.test", "/"); code != http.StatusOK || body != "0" {
		t.Errorf("the node at the other control plane answers %d %q", code, body)
	}
	if text := proxyctl(0, "status"); !strings.Contains(text, b.GRPC+" with ") {
		t.Error(text)
	}
	if text := proxyctl(0, "nodes", "-o", "wide"); !strings.Contains(text, b.GRPC) || !strings.Contains(text, f.GRPC) {
		t.Error(text)
	}

	// A refusal ends the waiting, with the reason, wherever it came from.
	taken, err := net.Listen("tcp", two.Address+":8181")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if text := proxyctl(1, "apply", "--wait", "--timeout", "60s", "-f", file("kind: Listener\nname: other\nspec: {port: 8181, protocol: HTTP}\n")); !strings.Contains(text, "node-2: ") || time.Since(begin) > 30*time.Second {
		t.Errorf("after %v: %s", time.Since(begin), text)
	}
	taken.Close()
	fleettest.Wait(t, 90*time.Second, "the node to take it", shows("node-2", synced))

	proxyctl(0, "drain", "node-2", "--wait")
	proxyctl(0, "undrain", "node-2")
	if text := proxyctl(1, "nodes", "delete", "node-2"); !strings.Contains(text, "is connected") {
		t.Error(text)
	}

	// It is killed, and says nothing any more.
	b.Kill()
	fleettest.Wait(t, 30*time.Second, "node-2 to count as gone", shows("node-2", func(n api.NodeStatus) bool {
		return n.State == api.Disconnected && n.LastSeen != nil && n.ControlPlane == b.GRPC
	}))
	proxyctl(1, "status")
	fleettest.Wait(t, 60*time.Second, "node-3 to be here", shows("node-3", at(f.GRPC)))
	b = f.StartReplica(2)
	fleettest.Wait(t, 60*time.Second, "node-2 to be there again", shows("node-2", at(b.GRPC)))
	if stdout, stderr, status := b.Proxyctl(t, "status"); status != 0 {
		t.Errorf("exit status %d\n%s%s", status, stdout, stderr)
	}
}
