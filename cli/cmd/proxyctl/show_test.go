package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/controlplanetest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// withFleet is a shell whose control plane has first.yaml and three nodes: one
// in sync, one at another control plane that refuses, and one that is gone.
func withFleet(t *testing.T) *shell {
	sh := newShell(t)
	sh.must("apply", "-f", firstFile, "-m", "a first fleet")
	seen := sh.server.Start.Add(9 * time.Minute)
	good := controlplanetest.Node("node-1", api.Synced, 1, 1)
	good.LastSeen, good.FirstSeen, good.Requests, good.Connections = &seen, &sh.server.Start, 1234, 5
	good.ControlPlane = "10.0.0.5:7401"
	good.UptimeSeconds, good.Attested, good.Labels = 540, strings.Repeat("ab", 32), map[string]string{"role": "edge"}
	bad := controlplanetest.Node("node-2", api.Rejected, 0, 1)
	bad.LastSeen, bad.CountedAt, bad.ControlPlane = &seen, &seen, "10.0.0.6:7401"
	bad.Problems = []api.Problem{{Kind: "Listener", Name: "web", Field: "spec.port", Got: "port 8080 in use", Expected: "a free port"}}
	sh.server.SetNodes(good, bad, controlplanetest.Node("node-3", api.Disconnected, 0, 1))
	return sh
}

func TestWhatIsShownLooksAsItDid(t *testing.T) {
	sh := withFleet(t)
	for name, args := range map[string]string{
		"get_routes":      "get routes",
		"get_routes_wide": "get rt -o wide",
		"get_upstreams":   "get upstream",
		"get_listeners":   "get l -o wide",
		"get_all":         "get all",
		"get_two":         "get route/api upstream/front",
		"get_labelled":    "get routes -l team=orders -o wide",
		"get_yaml":        "get route api -o yaml",
		"get_json":        "get route api -o json",
		"get_all_yaml":    "get all -o yaml",
		"get_nodes":       "get nodes",
		"get_node_yaml":   "get node node-1 -o yaml",
		"nodes_wide":      "nodes -o wide",
		"nodes_labelled":  "nodes list -l role=edge",
		"nodes_describe":  "nodes describe node-1 node-2",
		"describe_route":  "describe route api",
		"describe_used":   "describe upstream/api-v2",
		"context_list":    "context list -o json",
		"version":         "version -o json",
	} {
		t.Run(name, func(t *testing.T) {
			sh.t = t
			// The defaults are the schema's: they grow with it.
			got, _, _ := strings.Cut(sh.must(strings.Fields(args)...), "with defaults")
			golden(t, name, clean(sh, got))
		})
	}
}

func TestWhatIsThereIsShownBesideWhatIsMissing(t *testing.T) {
	sh := withFleet(t)
	r := sh.run("get", "route/api", "route/none", "upstream/front", "-o", "name")
	if r.status != statusFailed || r.stdout != "route/api\nupstream/front\n" || r.stderr != "error: Route/none: there is no such resource\n" {
		t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
	if r := sh.run("get", "route/none", "-o", "json"); r.status != statusFailed || r.stdout != "" {
		t.Errorf("status %d\n%s", r.status, r.stdout)
	}
}

func TestVirtualIPsAreListedWithWhatIsConfigured(t *testing.T) {
	sh := newShell(t)
	sh.must("apply", "-f", sh.file("vips.yaml", `kind: VirtualIP
name: shop
spec: {address: 127.0.0.100, announce: BIND}
---
kind: VirtualIP
name: spare
spec:
  address: "::1/128"
  announce: BIND
  partitionPolicy: MAJORITY
  nodes: {names: [node-1, node-2], labels: {role: edge, zone: a}}
  preference: [node-2, node-1]
  preempt: true
`))
	golden(t, "get_virtualips", sh.must("get", "virtualips"))
	golden(t, "get_virtualips_wide", sh.must("get", "vip", "-o", "wide"))
}

// clean takes out what differs from run to run.
func clean(sh *shell, text string) string {
	return strings.NewReplacer(sh.server.URL, "SERVER", goVersion(), "GO").Replace(text)
}

func goVersion() string {
	var b bytes.Buffer
	run(context.Background(), []string{"version", "--client", "-o", "json"}, world{
		stdout: &b, stderr: io.Discard, getenv: func(string) string { return "" }, terminal: func(io.Writer) bool { return false },
	})
	var v struct{ Client api.Build }
	if err := json.Unmarshal(b.Bytes(), &v); err != nil {
		return "go"
	}
	return v.Client.Go
}

func TestStatusShowsWantedRunningAndTheReason(t *testing.T) {
	sh := withFleet(t)
	r := sh.run("status")
	if r.status != statusFailed {
		t.Errorf("status %d, want %d", r.status, statusFailed)
	}
	golden(t, "status", clean(sh, r.stdout))
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Synced, 1, 1), gone("node-9"))
	golden(t, "status_in_sync", clean(sh, sh.must("status")))
}

func TestStatusAndNodesShowThatANodeIsDrained(t *testing.T) {
	sh := newShell(t)
	drained := controlplanetest.Node("node-2", api.Synced, 0, 0)
	drained.Drained = true
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Synced, 0, 0), drained)
	contains(t, sh.must("status"), "2 of 2 in sync, 1 drained", "SYNCED, drained", "until proxyctl undrain")
	contains(t, sh.must("nodes"), "SYNCED, drained")

	drained.Drained, drained.DrainReported = false, new(true)
	sh.server.SetNodes(drained)
	contains(t, sh.must("status"), "SYNCED, undraining", "see its log")
}

func TestANodeInSyncWithWhichSomethingIsWrongRefusesNothing(t *testing.T) {
	sh := newShell(t)
	n := controlplanetest.Node("node-1", api.Synced, 0, 0)
	n.Problems = []api.Problem{{Kind: "Node", Name: "node-1", Field: "name", Got: "a second machine", Expected: "one"}}
	sh.server.SetNodes(n)
	got := sh.must("status")
	contains(t, got, "node-1 serves nothing, and:", "got a second machine")
	if strings.Contains(got, "refuses") {
		t.Errorf("it refuses nothing:\n%s", got)
	}
}

func TestStatusSaysThatEtcdIsAway(t *testing.T) {
	sh := withFleet(t)
	now := sh.server.Start.Add(10 * time.Minute)
	if got := sh.run("status").stdout; strings.Contains(got, "etcd") {
		t.Errorf("it is there: %s", got)
	}
	sh.server.SetConfiguredAsOf(now.Add(-42 * time.Second))
	contains(t, sh.run("status").stdout, "etcd does not answer the control plane: what is wanted is as it was 42s ago", "node-1")
	contains(t, sh.must("nodes"), "node-1")
	contains(t, sh.run("get", "nodes").stderr, "etcd does not answer the control plane", "as it was 42s ago")
	contains(t, sh.fails(statusFailed, "nodes", "-o", "yaml"), "Node/node-1", "did not say what its resource is")
}

func TestStatusColoursOnATerminalOnly(t *testing.T) {
	sh := withFleet(t)
	sh.terminal = true
	if got := sh.run("status").stdout; !strings.Contains(got, "\x1b[32mSYNCED\x1b[0m") {
		t.Errorf("no colour in %q", got)
	}
	sh.env["NO_COLOR"] = "1"
	if got := sh.run("status").stdout; strings.Contains(got, "\x1b") {
		t.Errorf("colour in %q", got)
	}
}

func TestWatchedStatusFollowsTheFleet(t *testing.T) {
	sh := newShell(t)
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Updating, 0, 0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sh.ctx = ctx
	looks := 0
	sh.server.Before(func(r *http.Request) *api.Error {
		if r.URL.Path == api.PathNodes {
			switch looks++; looks {
			case 2:
				sh.server.SetNodes(controlplanetest.Node("node-1", api.Synced, 0, 0))
			case 3:
				cancel()
			}
		}
		return nil
	})
	got := sh.must("status", "--watch")
	contains(t, got, "UPDATING", "SYNCED")
}

func TestGetAllCanBeAppliedAgain(t *testing.T) {
	sh := withFleet(t)
	before := sh.server.Version().Digest
	backup := sh.must("get", "all", "-o", "yaml")
	sh.must("delete", "-f", firstFile)
	if n := len(sh.must("get", "all")); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	sh.stdin = backup
	sh.must("apply", "-f", "-")
	if got := sh.server.Version().Digest; got != before {
		t.Errorf("digest %s, want %s", got, before)
	}
}

func TestHistoryListsAndShowsChanges(t *testing.T) {
	sh := withFleet(t)
	sh.must("set", "weight", "route/api", "api-v1=50", "api-v2=50", "-m", "half and half")
	golden(t, "history", clean(sh, sh.must("history")))
	golden(t, "history_wide_before", clean(sh, sh.must("history", "--before", "2", "-o", "wide")))
	golden(t, "history_one", clean(sh, sh.must("history", "2")))
	var list api.HistoryList
	if err := json.Unmarshal([]byte(sh.must("history", "-o", "json", "--limit", "1")), &list); err != nil || len(list.Items) != 1 {
		t.Errorf("%v: %+v", err, list)
	}
}

func TestDiffComparesFilesAndRevisions(t *testing.T) {
	sh := withFleet(t)
	changed := sh.file("changed.yaml", `
kind: Route
name: old-home
spec: {hosts: [shop.test], match: {path: {exact: /home}}, redirect: {path: /, status: 308}}
---
kind: Route
name: new
spec: {match: {path: {exact: /new}}, respond: {status: 204}}
`)
	r := sh.run("diff", "-f", changed)
	if r.status != 1 {
		t.Errorf("status %d: %s", r.status, r.stderr)
	}
	golden(t, "diff_files", r.stdout)
	sh.must("diff", "-f", firstFile)
	sh.must("delete", "route/old-home")
	golden(t, "diff_revisions", sh.run("diff", "1", "2").stdout)
	sh.terminal = true
	contains(t, sh.run("diff", "1").stdout, "\x1b[31m-kind: Route\x1b[0m")
}

func TestTextOfOthersCannotSteerTheTerminal(t *testing.T) {
	sh := newShell(t)
	n := controlplanetest.Node("node\x1b[2J-1", api.Rejected, 0, 0)
	n.Problems = []api.Problem{{Kind: "Route", Name: "x", Got: "a\x1b]0;title\x07b"}}
	n.Build = "v\u202e1"
	sh.server.SetNodes(n)
	for _, args := range []string{"status -o wide", "nodes -o wide"} {
		if got := sh.run(strings.Fields(args)...).stdout; strings.ContainsAny(got, "\x1b\x07\u202e") {
			t.Errorf("%s: %q", args, got)
		}
	}
}

func TestTheContextInUseSaysWhichServerIsAsked(t *testing.T) {
	sh := newShell(t)
	sh.must("context", "set", "other", "https://fleet.example.net/base/")
	contains(t, sh.must("context", "show"), "test", sh.server.URL)
	contains(t, sh.must("context", "show", "--context", "other"), "https://fleet.example.net/base/")
	sh.must("context", "use", "other")
	contains(t, sh.must("context", "list"), "*   other")
	sh.must("status", "--context", "test")
	if r := sh.run("context", "delete", "other"); r.status != statusDone || !strings.Contains(r.stderr, "none is current now: commands go to http://127.0.0.1:7400") {
		t.Errorf("%+v", r)
	}
	contains(t, sh.must("context", "show"), "(none)", "http://127.0.0.1:7400")
	contains(t, sh.fails(statusFailed, "context", "use", "other"), "no such context")
}
