package fleettest

import (
	"os"
	"path/filepath"
	"testing"
)

// Standalone starts a node that runs on resources alone, without a control plane,
// and waits until it serves them.
func Standalone(t testing.TB, resources string, args ...string) *Node {
	t.Helper()
	dir, network := t.TempDir(), freeNet(t)
	file := filepath.Join(dir, "resources.yaml")
	if err := os.WriteFile(file, []byte(resources), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &Node{ID: "alone", Address: network + ".11", Admin: network + ".11:7402"}
	n.Process = start(t, dir, n.ID, Binary(t, "proxy-dataplane"), append([]string{
		"--node-id", n.ID, "--resources", file, "--listen-address", n.Address, "--admin-address", n.Admin,
		"--access-log", filepath.Join(dir, "access.log"),
	}, args...)...)
	Wait(t, readyTimeout, "a node that serves", func() bool { return Answers("http://" + n.Admin + "/readyz") })
	return n
}
