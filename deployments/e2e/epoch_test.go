package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// patience bounds what needs a reconnection of nodes.
const patience = 60 * time.Second

// wipe deletes what the control plane keeps, its etcd above all, and starts it
// again. The nodes run on.
func wipe(t *testing.T, f *fleettest.Fleet) {
	t.Helper()
	f.Control.Kill()
	if err := os.RemoveAll(filepath.Join(f.Dir, "cp")); err != nil {
		t.Fatal(err)
	}
	f.StartControlPlane()
}

// waitHeld waits until every node holds what is wanted, which has the revision.
func waitHeld(t *testing.T, f *fleettest.Fleet, revision uint64) api.Epoch {
	t.Helper()
	var e api.Epoch
	fleettest.Wait(t, patience, fmt.Sprintf("every node to hold revision %d", revision), func() bool {
		list, err := f.Client.Nodes(t.Context())
		if err != nil || len(list.Items) != len(f.Nodes) {
			return false
		}
		for _, n := range list.Items {
			if n.State != api.Held || n.Wanted.Revision != revision {
				return false
			}
		}
		e, err = f.Client.Epoch(t.Context())
		return err == nil && len(e.Held) == len(f.Nodes)
	})
	return e
}

// serves checks that every node answers for the hosts of manyRoutes(from, to).
func serves(t *testing.T, f *fleettest.Fleet, from, to int) {
	t.Helper()
	for _, n := range f.Nodes {
		for i := from; i < to; i++ {
			if code, body, _ := ask(t, n, fmt.Sprintf("h%05d.test", i), "/"); code != http.StatusOK || body != "0" {
				t.Fatalf("%s, route %d: %d %q", n.ID, i, code, body)
			}
		}
	}
}

// ctl runs proxyctl and checks its exit status.
func ctl(t *testing.T, f *fleettest.Fleet, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, status := f.Proxyctl(args...)
	if status != want {
		t.Fatalf("proxyctl %s: status %d, want %d\n%s%s", strings.Join(args, " "), status, want, stdout, stderr)
	}
	return stdout, stderr
}

func mentions(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in:\n%s", p, text)
		}
	}
}

func TestAWipedEtcdEmptiesNoNodeUntilThatIsAccepted(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 2})
	before := f.Apply(loadListener + manyRoutes(0, 50))
	f.WaitNodes()

	wipe(t, f)
	e := waitHeld(t, f, 0)
	serves(t, f, 0, 50)
	if e.Epoch <= before.Epoch || e.Accepted {
		t.Fatalf("%+v after epoch %d", e, before.Epoch)
	}
	for _, h := range e.Held {
		if h.Loss != (api.Loss{Routes: 50, RoutesLost: 50, Listeners: 1, ListenersLost: 1}) || h.Running == nil || h.Running.Epoch != before.Epoch {
			t.Errorf("%+v", h)
		}
	}
	status, _ := ctl(t, f, 1, "status")
	mentions(t, status, "HELD", fmt.Sprintf("Epoch %d is held by 2 nodes", e.Epoch), "wiped", "node-1: 50 of 50 routes", "proxyctl epoch accept")
	shown, _ := ctl(t, f, 0, "epoch")
	mentions(t, shown, fmt.Sprint(e.Epoch), "accepted   no", "50 of 50")
	var admin struct {
		Running  api.Version   `json:"running"`
		Wanted   api.Version   `json:"wanted"`
		Problems []api.Problem `json:"problems"`
	}
	f.Nodes[0].AdminJSON(t, "/config", &admin)
	if admin.Running.Epoch != before.Epoch || admin.Wanted.Epoch != e.Epoch || len(admin.Problems) != 1 ||
		!strings.Contains(admin.Problems[0].Got, "50 of 50 routes") {
		t.Errorf("/config: %+v", admin)
	}

	// One resource that has nothing to do with them does not empty the nodes.
	file := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(file, []byte(loadListener+pingRoute+"pong}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr := ctl(t, f, 1, "apply", "-f", file, "--wait")
	mentions(t, stderr, "is held by", "proxyctl epoch accept")
	waitHeld(t, f, 1)
	serves(t, f, 0, 50)

	// Neither does a restart of a node, which comes back with what it ran.
	f.Nodes[0].Stop()
	f.StartNode(1)
	e = waitHeld(t, f, 1)
	serves(t, f, 0, 50)

	ctl(t, f, 1, "epoch", "accept", "--epoch", fmt.Sprint(before.Epoch)) // the one that is over
	waitHeld(t, f, 1)
	accepted, stderr := ctl(t, f, 0, "epoch", "accept", "--epoch", fmt.Sprint(e.Epoch), "--wait")
	mentions(t, accepted, "accepted; 2 nodes follow", "node-2: 50 of 50 routes")
	mentions(t, stderr, "all 2 nodes are in sync")
	for _, n := range f.Nodes {
		if code, body, _ := ask(t, n, "x", "/ping"); code != http.StatusOK || body != "pong" {
			t.Errorf("%s: %d %q", n.ID, code, body)
		}
		if code, _, _ := ask(t, n, "h00001.test", "/"); code != http.StatusNotFound {
			t.Errorf("%s: what was given up is answered with %d", n.ID, code)
		}
	}
	ctl(t, f, 0, "status")

	// The acceptance survives the control plane.
	f.Control.Kill()
	f.StartControlPlane()
	text, _ := ctl(t, f, 0, "epoch", "-o", "json")
	var now api.Epoch
	if err := json.Unmarshal([]byte(text), &now); err != nil || !now.Accepted || now.Epoch != e.Epoch {
		t.Errorf("%v: %s", err, text)
	}
}

func TestFilesThatAreAppliedAgainAfterAWipeNeedNoAcceptance(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 2})
	before := f.Apply(loadListener + manyRoutes(0, 50))
	f.WaitNodes()
	wipe(t, f)
	waitHeld(t, f, 0)
	// A part of them is not enough.
	f.Apply(loadListener + manyRoutes(0, 40))
	waitHeld(t, f, 1)
	serves(t, f, 0, 50)
	again := f.Apply(manyRoutes(40, 50))
	if again.Digest != before.Digest || again.Epoch <= before.Epoch {
		t.Fatalf("%+v after %+v", again, before)
	}
	f.WaitNodes()
	serves(t, f, 0, 50)
	for _, n := range f.Nodes {
		var live struct {
			Running api.Version `json:"running"`
		}
		n.AdminJSON(t, "/config", &live)
		if live.Running != again.Version {
			t.Errorf("%s runs %+v, want %+v", n.ID, live.Running, again.Version)
		}
	}
	e, err := f.Client.Epoch(t.Context())
	if err != nil || e.Accepted || len(e.Held) > 0 {
		t.Fatalf("%+v, %v", e, err)
	}
	// From now on the nodes are of this epoch, where people remove what they like.
	ctl(t, f, 0, "delete", "route", "r00001", "r00002", "r00003", "r00004", "r00005", "r00006")
	f.WaitNodes()
}

// TestADataDirectoryThatIsPutBackUndoesNoDecision: since it was copied a node was drained,
// and another one undrained; one finds that on its disk, the other one knows it still.
func TestADataDirectoryThatIsPutBackUndoesNoDecision(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 3})
	data, backup := filepath.Join(f.Dir, "cp"), filepath.Join(t.TempDir(), "cp")
	copied := func(from, to string) {
		if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	serve := func(number int) bool {
		return fleettest.Answers("http://" + f.Nodes[number-1].Address + ":8080/ping")
	}
	f.Apply(loadListener + pingRoute + "pong}}\n")
	f.WaitNodes()
	ctl(t, f, 0, "drain", "node-2", "--wait")
	f.Control.Stop()
	copied(data, backup)
	f.StartControlPlane()
	f.WaitNodes()
	ctl(t, f, 0, "drain", "node-1", "node-3", "--wait")
	ctl(t, f, 0, "undrain", "node-2")
	fleettest.Wait(t, patience, "node-2 to serve", func() bool { return serve(2) })
	f.Control.Stop()
	f.Nodes[0].Stop()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	copied(backup, data)
	f.StartNode(1)
	f.StartControlPlane()
	f.WaitNodes()
	fleettest.Wait(t, patience, "the records to say what nodes know", func() bool {
		list, err := f.Client.Nodes(t.Context())
		return err == nil && len(list.Items) == 3 && list.Items[0].Drained && !list.Items[1].Drained && list.Items[2].Drained
	})
	// What makes the fleet's revision the latest.
	ctl(t, f, 0, "undrain", "node-3")
	fleettest.Wait(t, patience, "node-3 to serve", func() bool { return serve(3) })
	if serve(1) || !serve(2) {
		t.Errorf("node-1 serves: %v; node-2 serves: %v", serve(1), serve(2))
	}
	if log := f.Nodes[0].Log(); strings.Contains(log, "drained=false") {
		t.Errorf("node-1 served in between:\n%s", log)
	}
	ctl(t, f, 0, "undrain", "node-1")
	fleettest.Wait(t, patience, "node-1 to serve", func() bool { return serve(1) })
}
