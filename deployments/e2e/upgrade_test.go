package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/load"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

var servesPattern = regexp.MustCompile(`process (\d+) serves; process (\d+) ends`)

// upgrade upgrades a node of the fleet. The new process is no child of the
// test's, so it is ended here.
func upgrade(t *testing.T, f *fleettest.Fleet, node *fleettest.Node) (newPID, oldPID int) {
	t.Helper()
	stdout, stderr, status := fleettest.Run(t, "", fleettest.Binary(t, "proxy-dataplane"), upgradeArgs(f, node)...)
	found := servesPattern.FindStringSubmatch(stdout)
	if status != 0 || found == nil {
		t.Fatalf("upgrade: %d\n%s%s", status, stdout, stderr)
	}
	newPID, _ = strconv.Atoi(found[1])
	oldPID, _ = strconv.Atoi(found[2])
	t.Cleanup(func() {
		_ = syscall.Kill(newPID, syscall.SIGTERM)
		fleettest.Wait(t, 20*time.Second, "the new process to end", func() bool { return gone(newPID) })
	})
	return newPID, oldPID
}

func upgradeArgs(f *fleettest.Fleet, node *fleettest.Node, more ...string) []string {
	return append([]string{"upgrade", "--node-id", node.ID, "--state-dir", filepath.Join(f.Dir, "state")}, more...)
}

// gone says that a process runs no more; one that nobody has waited for is gone
// too.
func gone(pid int) bool {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err != nil || len(line) == 0
}

// upgradeLoad sends to the first node until stop.
func upgradeLoad(t *testing.T, f *fleettest.Fleet, seed uint64) (stop func() *load.Result) {
	t.Helper()
	return startLoad(t, load.Options{
		Targets: []string{f.Nodes[0].Address + ":8080"}, Shapes: mixedShapes(), Workers: 16, Rate: 500,
		NewConnections: 0.3, Duration: 2 * time.Minute, Timeout: 20 * time.Second, RetryClosed: true, Seed: seed,
	})
}

func checkNoneFailed(t *testing.T, r *load.Result) {
	t.Helper()
	if r.Failed > 0 || r.Succeeded == 0 {
		t.Errorf("%d succeeded, %d failed %v; first: %+v", r.Succeeded, r.Failed, r.Failures, r.Samples)
	}
}

// TestAnUpgradedNodeIsTheSameMemberOfTheFleet upgrades twice.
func TestAnUpgradedNodeIsTheSameMemberOfTheFleet(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 1})
	node := f.Nodes[0]
	f.Apply(loadListener + pingRoute + "old}}\n")
	f.WaitNodes()
	second, first := upgrade(t, f, node)
	if first != node.PID() || second == first {
		t.Errorf("process %d became %d, the node was %d", first, second, node.PID())
	}
	if _, body, _ := ask(t, node, "x", "/ping"); body != "old" {
		t.Errorf("%q", body)
	}
	third, again := upgrade(t, f, node)
	if again != second || third == second {
		t.Errorf("process %d became %d, expected the first to be %d", again, third, second)
	}
	fleettest.Wait(t, 40*time.Second, "the old processes to end", func() bool { return node.Ended() && gone(second) })

	// The new process follows the fleet, and nobody took it for a second machine.
	f.Apply(pingRoute + "new}}\n")
	f.WaitNodes()
	list, err := f.Client.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].State != api.Synced || len(list.Items[0].Problems) > 0 {
		t.Errorf("%+v", list.Items)
	}
	if _, body, _ := ask(t, node, "x", "/ping"); body != "new" {
		t.Errorf("%q", body)
	}
}

// TestANodeWhoseUpgradeFailsGoesOn upgrades to programs that are no node, or none that takes
// what the node was started with.
func TestANodeWhoseUpgradeFailsGoesOn(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 1})
	node := f.Nodes[0]
	backend := newBackend(t, f, 9101)
	f.Apply(loadListener + loadDocuments(0, backend.Addr(), newBackend(t, f, 9102).Addr()))
	f.WaitNodes()
	stop := upgradeLoad(t, f, 4)
	fleettest.Wait(t, 30*time.Second, "load", func() bool { return backend.Requests() > 200 })
	sleeper := filepath.Join(f.Dir, "sleeper")
	if err := os.WriteFile(sleeper, []byte("#!/bin/sh\nexec sleep 60\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(f.Dir, "other")
	if err := os.WriteFile(other, fmt.Appendf(nil, "#!/bin/sh\nexec %q \"$@\" --labels rack=7/b\n", fleettest.Binary(t, "proxy-dataplane")), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"does not take a flag", `the new process failed: wrong use: --labels: rack: got "7/b"`, []string{"--binary", other}},
		{"ends at once", "ended before it was ready: exit status 1", []string{"--binary", "/bin/false"}},
		{"never ready", "not ready within 500ms", []string{"--binary", sleeper, "--timeout", "500ms"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, stderr, status := fleettest.Run(t, "", fleettest.Binary(t, "proxy-dataplane"), upgradeArgs(f, node, c.args...)...)
			if status != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("%d\n%s", status, stderr)
			}
		})
	}
	// It still applies what comes, and can still be upgraded.
	f.Apply(pingRoute + "new}}\n")
	f.WaitNodes()
	if _, body, _ := ask(t, node, "x", "/ping"); body != "new" || node.Ended() {
		t.Errorf("%q, ended %v", body, node.Ended())
	}
	r := stop()
	checkNoneFailed(t, r)
	if r.ConnectionsEnded > 0 {
		t.Errorf("%d connections ended", r.ConnectionsEnded)
	}
	upgrade(t, f, node)
	fleettest.Wait(t, 40*time.Second, "the old process to end", node.Ended)
}

// TestUpgradeWithoutANodeSaysSo asks where nobody listens.
func TestUpgradeWithoutANodeSaysSo(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("x", 120))
	for _, c := range []struct {
		name, want string
		status     int
		args       []string
	}{
		{"no node", `no node "n" runs`, 1, []string{"--state-dir", dir}},
		{"a long path", "too long", 1, []string{"--state-dir", long}},
		{"standalone", "restart it", 2, []string{"--state-dir", dir, "--resources", "x.yaml"}},
		{"no program", "--binary", 2, []string{"--state-dir", dir, "--binary", filepath.Join(dir, "none")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, stderr, status := fleettest.Run(t, "", fleettest.Binary(t, "proxy-dataplane"), append([]string{"upgrade", "--node-id", "n"}, c.args...)...)
			if status != c.status || !strings.Contains(stderr, c.want) {
				t.Errorf("%d\n%s", status, stderr)
			}
		})
	}
}
