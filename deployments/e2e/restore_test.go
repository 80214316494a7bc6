package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

// TestAFleetThatLostItsEtcdComesBackFromANode, with its private keys, though nobody has its
// files; and nodes follow without that anybody accepts anything.
func TestAFleetThatLostItsEtcdComesBackFromANode(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 2})
	pair := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	f.Apply(loadListener + manyRoutes(0, 50))
	ctl(t, f, 0, "apply", "-f", certificateFiles(t, "site", pair))
	before := f.Apply("kind: Listener\nname: secure\nspec: {port: 8443, protocol: HTTPS, tls: {certificates: [site]}}\n")
	f.WaitNodes()
	kept := filepath.Join(f.Dir, "state", "node-1", "last-good")
	fleettest.Wait(t, 10*time.Second, "the node to have kept it", func() bool { return holds(kept, "secure") })
	wipe(t, f)
	waitHeld(t, f, 0)
	// Somebody has tried something meanwhile.
	f.Apply(loadListener + "---\nkind: Route\nname: tried\nspec: {hosts: [tried.test], respond: {status: 200}}\n")

	file := filepath.Join(t.TempDir(), "fleet.yaml")
	_, stderr, status := fleettest.Run(t, "", fleettest.Binary(t, "proxy-dataplane"),
		"export", "--node-id", "node-1", "--state-dir", filepath.Join(f.Dir, "state"), "--to", file)
	if status != 0 || !strings.Contains(stderr, before.Digest) {
		t.Fatalf("export: %d\n%s", status, stderr)
	}
	_, refused := ctl(t, f, 1, "restore", "-f", file)
	mentions(t, refused, "1 resource would be deleted", "Route/tried", "nothing was changed")
	stdout, stderr := ctl(t, f, 0, "restore", "-f", file, "-m", "etcd was lost", "--yes", "--wait")
	mentions(t, stdout, "Route/tried deleted", "Certificate/site created")
	mentions(t, stderr, "all 2 nodes are in sync")
	if pair.Leaks([]byte(stdout + stderr)) {
		t.Error("the private key is shown")
	}
	now, err := f.Client.Status(t.Context())
	if err != nil || now.Digest != before.Digest || now.Epoch <= before.Epoch {
		t.Errorf("%v: %+v after %+v", err, now.Version, before.Version)
	}
	serves(t, f, 0, 50)
	e, err := f.Client.Epoch(t.Context())
	if err != nil || e.Accepted {
		t.Errorf("%v: %+v", err, e)
	}
	// What is in etcd is whole: a node that has nothing gets it, keys included.
	f.Nodes[1].Stop()
	if err := os.RemoveAll(filepath.Join(f.Dir, "state", "node-2")); err != nil {
		t.Fatal(err)
	}
	f.StartNode(2)
	f.WaitNodes()
	list, err := f.Client.Nodes(t.Context())
	if err != nil || len(list.Items) != 2 || list.Items[1].State != api.Synced || list.Items[1].Attested != before.Digest {
		t.Errorf("%v: %+v", err, list.Items)
	}
}

// TestANodeWhoseStateDirectoryWasDeletedIsUpgraded while it runs.
func TestANodeWhoseStateDirectoryWasDeletedIsUpgraded(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 1})
	node := f.Nodes[0]
	f.Apply(loadListener + pingRoute + "old}}\n")
	f.WaitNodes()
	state := filepath.Join(f.Dir, "state")
	fleettest.Wait(t, 10*time.Second, "the node to have kept it", func() bool { return holds(filepath.Join(state, "node-1", "last-good"), "old") })
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	f.Control.Stop() // nobody tells the new process what to serve
	fleettest.Wait(t, 20*time.Second, "the control socket", func() bool {
		info, err := os.Stat(filepath.Join(state, "node-1", "control.sock"))
		return err == nil && info.Mode().Type() == os.ModeSocket
	})
	second, _ := upgrade(t, f, node)
	fleettest.Wait(t, 40*time.Second, "the old process to end", node.Ended)
	if code, body, _ := ask(t, node, "x", "/ping"); body != "old" {
		t.Errorf("%d %q", code, body)
	}
	if err := syscall.Kill(second, 0); err != nil {
		t.Errorf("process %d: %v", second, err)
	}
	if _, err := os.Stat(filepath.Join(state, "node-1", "control.sock")); err != nil {
		t.Error(fmt.Errorf("the new process has no socket: %w", err))
	}
}
