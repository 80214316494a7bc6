package main

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/controlplanetest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

func TestSetWeightChangesWhatItNames(t *testing.T) {
	sh := withFleet(t)
	sh.must("set", "weight", "route/api", "api-v2=0")
	contains(t, sh.must("get", "route", "api"), "forward api-v1=95,api-v2=0")
	sh.must("set", "weight", "u/front", "127.0.0.1:9001=7", "127.0.0.1:9002=9")
	contains(t, sh.must("get", "u", "front"), "127.0.0.1:9001=7,127.0.0.1:9002=9")
	contains(t, sh.fails(statusFailed, "set", "weight", "route/api", "api-v3=1"), `"api-v3" is not there; it forwards to api-v1, api-v2`)
	contains(t, sh.fails(statusFailed, "set", "weight", "route/ping", "x=1"), "forwards to no upstream")
	contains(t, sh.fails(statusFailed, "set", "weight", "route/none", "x=1"), "there is no such resource")
}

func TestSetWeightIsComputedAgainWhenAnotherChangeWins(t *testing.T) {
	sh := withFleet(t)
	races := 0
	sh.server.Before(func(r *http.Request) *api.Error {
		if r.Method == http.MethodPut {
			if races++; races < maxRaces {
				return api.NewError(api.TypeStale, "it was changed since")
			}
		}
		return nil
	})
	sh.must("set", "weight", "route/api", "api-v2=0")
	if races != maxRaces {
		t.Errorf("%d attempts, want %d", races, maxRaces)
	}
}

func TestCreateRefusesWhatExists(t *testing.T) {
	sh := newShell(t)
	sh.must("create", "-f", firstFile)
	more := sh.file("more.yaml", "kind: Route\nname: new\nspec: {match: {path: {exact: /new}}, respond: {status: 204}}\n---\n"+
		"kind: Route\nname: ping\nspec: {match: {path: {exact: /ping}}, respond: {status: 204}}\n")
	contains(t, sh.fails(statusFailed, "create", "-f", more), "Route/ping: exists already")
	if sh.server.Revision() != 1 {
		t.Errorf("revision %d, want 1", sh.server.Revision())
	}
}

func TestFlagsMakeResources(t *testing.T) {
	sh := newShell(t)
	sh.must("create", "listener", "web", "--port", "8080")
	sh.must("create", "upstream", "api", "--endpoint", "10.0.0.1:80", "--endpoint", "[2001:db8::1]:80=3", "--balancing", "least_request")
	sh.must("create", "route", "api", "--host", "shop.test", "--prefix", "/api", "--method", "GET", "--header", "x-group=testers",
		"--forward", "api=3", "--priority", "7", "--label", "team=orders", "--label", "tier=gold")
	sh.must("create", "route", "old", "--exact", "/home", "--redirect", "/", "--status", "301")
	golden(t, "create_flags", sh.must("get", "all", "-o", "yaml"))
	got := sh.must("create", "route", "ping", "--exact", "/ping", "--respond", "200", "--body", "pong", "--dry-run", "-o", "yaml")
	golden(t, "create_dry_run", got)
	contains(t, sh.fails(statusFailed, "create", "route", "bad", "--regex", "([", "--respond", "200"), "Route/bad: spec.match.path.regex")
	contains(t, sh.fails(statusWrongUse, "create", "upstream", "bad", "--endpoint", "10.0.0.1:80=x"), "expected a number")
}

func TestDeleteFollowsReferences(t *testing.T) {
	sh := withFleet(t)
	// What refers is deleted before what it refers to, in a dry run too.
	contains(t, sh.must("delete", "-f", firstFile, "--dry-run"), "dry run: nothing was changed; after revision", "Route/api deleted", "Upstream/api-v1 deleted")
	contains(t, sh.fails(statusFailed, "delete", "upstream", "api-v1", "--dry-run"), "Route/api: spec.forward[0].upstream: refers to it")
	got := sh.fails(statusFailed, "delete", "upstream/api-v2", "route/api", "listener/web")
	contains(t, got, "Upstream/api-v2", "Route/api-testers: spec.forward[0].upstream: refers to it\n")
	contains(t, sh.fails(statusFailed, "get", "route/api", "listener/web"), "Route/api: there", "Listener/web: there")
	sh.must("delete", "upstream/api-v2", "route/api-testers")
	sh.must("delete", "route", "none", "--ignore-not-found")
	contains(t, sh.fails(statusFailed, "delete", "route", "none"), "there is no such resource")
	contains(t, sh.must("delete", "route", "ping", "--dry-run"), "dry run")
	sh.must("get", "route", "ping")
}

func TestNodesAreForgottenByEitherCommand(t *testing.T) {
	sh := withFleet(t)
	contains(t, sh.must("nodes", "delete", "node-2"), "Node/node-2 deleted")
	contains(t, sh.fails(statusFailed, "nodes", "delete", "node-2", "node-4"), "Node/node-2: there is no", "Node/node-4: there is no")
	contains(t, sh.must("delete", "node/node-3"), "Node/node-3 deleted")
}

// TestWhereEtcdDoesNotAnswerTheRestIsNotTried: each would take its 15 s.
func TestWhereEtcdDoesNotAnswerTheRestIsNotTried(t *testing.T) {
	sh := withFleet(t)
	requests := 0
	sh.server.Before(func(*http.Request) *api.Error {
		requests++
		return api.NewError(api.TypeTimeout, "etcd does not answer the control plane")
	})
	for _, args := range []string{
		"drain node-1 node-2 node-3", "undrain node-1 node-2 node-3", "nodes delete node-1 node-2 node-3", "delete route/api route/ping upstream/front",
	} {
		requests = 0
		contains(t, sh.fails(statusFailed, strings.Fields(args)...), "etcd does not answer the control plane")
		if requests != 1 {
			t.Errorf("%s: %d requests", args, requests)
		}
	}
}

func TestEditReopensARefusedTextWithItsProblems(t *testing.T) {
	sh := withFleet(t)
	var shown []string
	sh.editor = func(text string) string {
		shown = append(shown, text)
		if len(shown) == 1 {
			return strings.Replace(text, "status: 301", "status: 999", 1)
		}
		return strings.Replace(text, "status: 999", "status: 308", 1)
	}
	sh.must("edit", "route/old-home", "-m", "permanent")
	if len(shown) != 2 {
		t.Fatalf("the editor opened %d times, want 2", len(shown))
	}
	golden(t, "edit_refused", shown[1])
	contains(t, sh.must("get", "route", "old-home"), "redirect 308")
}

func TestEditKeepsATextThatWasNotApplied(t *testing.T) {
	sh := withFleet(t)
	sh.editor = func(text string) string { return strings.Replace(text, "status: 301", "status: 999", 1) }
	kept := func(stderr string) {
		t.Helper()
		_, path, ok := strings.Cut(stderr, "text is in ")
		path, _, _ = strings.Cut(path, "\n")
		data, err := os.ReadFile(path)
		if !ok || err != nil || !strings.Contains(string(data), "status: 999") {
			t.Errorf("%v: %q in %q", err, data, stderr)
		}
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
	t.Setenv("TMPDIR", t.TempDir())
	kept(sh.fails(statusFailed, "edit", "route/old-home"))
	sh.server.Before(func(r *http.Request) *api.Error {
		if r.Method == http.MethodPut {
			return api.NewError(api.TypeStale, "it was changed since")
		}
		return nil
	})
	kept(sh.fails(statusFailed, "edit", "route/old-home"))
}

func TestEditWithoutAChangeDoesNothing(t *testing.T) {
	sh := withFleet(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	for _, editor := range []func(string) string{
		func(text string) string { return text },
		func(string) string { return "" },
		func(string) string { return "# kind: Route\n\n" },
	} {
		sh.editor = editor
		contains(t, sh.run("edit", "route", "api").stderr, "nothing to change")
	}
	if sh.server.Revision() != 1 {
		t.Errorf("revision %d, want 1", sh.server.Revision())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left", err, left)
	}
}

// TestWhyATextWasRefusedIsToldWhereNobodyLooksAtIt: of a scripted editor nobody sees the file.
func TestWhyATextWasRefusedIsToldWhereNobodyLooksAtIt(t *testing.T) {
	sh := withFleet(t)
	t.Setenv("TMPDIR", t.TempDir())
	sh.editor = func(text string) string { return strings.Replace(text, "status: 301", "status: 999", 1) }
	got := sh.fails(statusFailed, "edit", "route/old-home")
	contains(t, got, "Route/old-home: spec.redirect.status: got 999", "error: Route/old-home: not changed: refused: 1 problem; nothing was changed; the refused text is in ")
}

// TestAnEditorThatNeverMakesATextGoodEnds: a script changes it each time, and nobody looks.
func TestAnEditorThatNeverMakesATextGoodEnds(t *testing.T) {
	sh := withFleet(t)
	t.Setenv("TMPDIR", t.TempDir())
	for _, c := range []struct {
		takes time.Duration
		most  int
	}{{0, 2 * maxHasty}, {hasty, 2 * maxEdits}} {
		edits := 0
		sh.editor = func(text string) string {
			edits++
			sh.later += c.takes
			if edits > c.most {
				t.Fatalf("it is opened the %dth time", edits)
			}
			return strings.Replace(text, "status: 301", "status: 999", 1) + "# again\n"
		}
		contains(t, sh.fails(statusFailed, "edit", "route/old-home"), "spec.redirect.status: got 999", "not changed: refused", "the refused text is in ")
		if c.takes > 0 && edits < maxEdits {
			t.Errorf("of an editor that takes %v it ends after %d", c.takes, edits)
		}
	}
}

func TestAnEditorThatFailsLeavesAFileOnlyWhereItChangedIt(t *testing.T) {
	sh := withFleet(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	sh.editorFails = errors.New("exit status 1") // as of vi by :cq
	sh.editor = func(text string) string { return text }
	got := sh.fails(statusFailed, "edit", "route/old-home")
	contains(t, got, "exit status 1")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 || strings.Contains(got, dir) {
		t.Errorf("%v, %v are left:\n%s", err, left, got)
	}
	sh.editor = func(text string) string { return strings.Replace(text, "status: 301", "status: 308", 1) }
	contains(t, sh.fails(statusFailed, "edit", "route/old-home"), "exit status 1; the text is in "+dir)
	if sh.server.Revision() != 1 {
		t.Errorf("revision %d, want 1", sh.server.Revision())
	}
}

func TestADryRunKeepsTheTextThatItTried(t *testing.T) {
	sh := withFleet(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	sh.editor = func(text string) string { return strings.Replace(text, "status: 301", "status: 308", 1) }
	r := sh.run("edit", "route/old-home", "--dry-run")
	_, path, ok := strings.Cut(r.stderr, "the text is in ")
	text, err := os.ReadFile(strings.TrimSpace(path))
	if r.status != statusDone || !ok || err != nil || !strings.Contains(string(text), "status: 308") || !strings.Contains(r.stdout, "dry run") {
		t.Errorf("%+v: %q, %v", r, text, err)
	}
	if sh.server.Revision() != 1 {
		t.Errorf("revision %d, want 1", sh.server.Revision())
	}
}

// TestATextThatWasAppliedIsNotKept, though some node does not come to run it.
func TestATextThatWasAppliedIsNotKept(t *testing.T) {
	sh := withFleet(t)
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	sh.editor = func(text string) string { return strings.Replace(text, "status: 301", "status: 308", 1) }
	got := sh.fails(statusFailed, "edit", "route/old-home", "--wait", "--timeout", "50ms")
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 || strings.Contains(got, dir) || sh.server.Revision() != 2 {
		t.Errorf("%v, revision %d, %v are left:\n%s", err, sh.server.Revision(), left, got)
	}
}

func TestAnEditorIsWhatAShellMakesOfTheVariable(t *testing.T) {
	for _, name := range []string{"/bin/sh", "sed"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("editors are made of a shell and sed: ", err)
		}
	}
	dir := filepath.Join(t.TempDir(), "a b")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "my editor")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$1\" = --wait ] && sed -i s/old/new/ \"$2\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for editor, want := range map[string]string{
		"sed -i s/old/new/":               "new text\n",
		"sed -i 's/old text/other/'":      "other\n",
		"'" + script + "' --wait":         "new text\n",
		"true":                            "old text\n",
		"printf 'all of it\\n' >\"$1\" #": "all of it\n",
	} {
		file := filepath.Join(dir, "it's $HOME.yaml")
		if err := os.WriteFile(file, []byte("old text\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := runEditor(t.Context(), editor, file); err != nil {
			t.Errorf("%s: %v", editor, err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", editor, got, err)
		}
	}
	for _, editor := range []string{"false", "exit 3;", filepath.Join(dir, "none")} {
		if err := runEditor(t.Context(), editor, filepath.Join(dir, "x")); err == nil {
			t.Errorf("%s: no error", editor)
		}
	}
}

func TestANodeIsEditedAsAResourceIs(t *testing.T) {
	sh := newShell(t)
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Synced, 1, 1))
	sh.editor = func(text string) string { return strings.Replace(text, "expected: true", "expected: false", 1) }
	contains(t, sh.must("edit", "node/node-1"), "Node/node-1 configured")
	contains(t, sh.must("get", "node/node-1", "-o", "yaml"), "expected: false")
}

func TestWhatTheFleetHasCompletesWords(t *testing.T) {
	sh := withFleet(t)
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := sh.must("completion", shell); !strings.Contains(got, "proxyctl") {
			t.Errorf("%s: %d bytes without proxyctl", shell, len(got))
		}
	}
	for args, want := range map[string][]string{
		"get ":                        {"route", "upstream", "all"},
		"get route ":                  {"api", "api-testers", "ping"},
		"describe route/":             {"route/api", "route/ping"},
		"delete route/api upstream/":  {"upstream/front"},
		"nodes describe ":             {"node-1", "node-3"},
		"rollback ":                   {"1"},
		"set weight ":                 {"route/"},
		"set weight route/api ":       {"api-v1=", "api-v2="},
		"set weight upstream/front ":  {"127.0.0.1:9001="},
		"context use ":                {"test"},
		"status --context ":           {"test"},
		"get -o ":                     {"table", "yaml"},
		"completion ":                 {"bash"},
		"create listener --protocol ": {"TCP"},
		"create route --listener ":    {"web"},
		"create route --forward ":     {"api-v1", "front"},
	} {
		got := sh.must(append([]string{"__complete"}, strings.Split(args, " ")...)...)
		for _, w := range want {
			if !strings.Contains("\n"+got, "\n"+w+"\n") && !strings.Contains("\n"+got, "\n"+w+"\t") {
				t.Errorf("%s: %q is missing in\n%s", args, w, got)
			}
		}
	}
	for _, args := range []string{"status ", "context set x ", "create upstream x --balancing ROUND_ROBIN ", "apply -m "} {
		if got := sh.must(append([]string{"__complete"}, strings.Split(args, " ")...)...); !strings.HasSuffix(got, ":4\n") {
			t.Errorf("%s: files are offered:\n%s", args, got)
		}
	}
	contains(t, sh.must("__complete", "apply", "-f", ""), "yaml\nyml\njson\n:8\n")
	if got := sh.must("__complete", "get", "route", "api", ""); strings.Contains(got, "api\n") {
		t.Errorf("a name is offered twice:\n%s", got)
	}
}

// TestDrainWaitsForWhatTheNodeSaysAfterwards: a count from before is none, and nobody
// speaks for a node that is not connected.
func TestDrainWaitsForWhatTheNodeSaysAfterwards(t *testing.T) {
	sh := newShell(t)
	node := func(state api.NodeState, second int, uptime, connections uint64) api.NodeStatus {
		n, at := controlplanetest.Node("node-1", state, 1, 1), sh.server.Start.Add(time.Duration(second)*time.Second)
		n.LastSeen, n.UptimeSeconds, n.Connections = &at, uptime, connections
		return n
	}
	reports := func(drained bool, n api.NodeStatus) api.NodeStatus {
		n.DrainReported = &drained
		return n
	}
	steps := []api.NodeStatus{
		node(api.Synced, 1, 60, 0), // before the drain
		node(api.Disconnected, 1, 60, 0),
		node(api.Synced, 2, 0, 0),                  // its Hello
		reports(false, node(api.Synced, 3, 61, 0)), // it hands a virtual IP over, and serves
		reports(true, node(api.Synced, 4, 62, 5)),
		reports(true, node(api.Synced, 5, 63, 0)),
	}
	sh.server.SetNodes(steps[0])
	looks := 0
	sh.server.Before(func(r *http.Request) *api.Error {
		if r.Method == http.MethodGet && r.URL.Path == api.NodePath("node-1") && r.Header.Get("Accept") == api.MediaJSON {
			if looks < len(steps) {
				sh.server.SetNodes(steps[looks])
			}
			looks++
		}
		return nil
	})
	sh.must("drain", "node-1", "--wait")
	if looks != len(steps) {
		t.Errorf("%d looks, want %d", looks, len(steps))
	}
}

func TestADrainThatTakesTooLongSaysWhatKeepsIt(t *testing.T) {
	sh := newShell(t)
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Disconnected, 1, 1))
	contains(t, sh.fails(statusFailed, "drain", "node-1", "--wait", "--timeout", "1s"),
		"after 1s node-1 is not connected; the nodes stay drained")
	contains(t, sh.fails(statusWrongUse, "drain", "node-1", "--wait", "--timeout", "0s"), "--timeout 0s")
	sh.server.Before(func(r *http.Request) *api.Error {
		if r.Method == http.MethodGet && r.Header.Get("Accept") == api.MediaJSON {
			<-r.Context().Done() // a control plane that hangs
		}
		return nil
	})
	contains(t, sh.fails(statusFailed, "drain", "node-1", "--wait", "--timeout", "50ms"), "after 50ms nothing is heard of the nodes")
}

// TestANameThatIsWrongKeepsNoOtherNodeDrained: who undrains a fleet by a list of names may
// have one that was deleted among them.
func TestANameThatIsWrongKeepsNoOtherNodeDrained(t *testing.T) {
	sh := newShell(t)
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Synced, 1, 1), controlplanetest.Node("node-3", api.Disconnected, 1, 1))
	for _, verb := range []string{"drain", "undrain"} {
		r := sh.run(verb, "node-1", "node-2", "node-3", "node-4")
		if r.status != statusFailed {
			t.Errorf("%s: status %d", verb, r.status)
		}
		contains(t, r.stdout, "Node/node-1", "Node/node-3")
		contains(t, r.stderr, "Node/node-2: there is no such resource", "Node/node-4: there is no such resource")
		want := verb == "drain"
		if got := strings.Contains(sh.must("get", "node/node-3", "-o", "yaml"), "drained: true"); got != want {
			t.Errorf("%s: node-3 is drained: %v", verb, got)
		}
	}
}

// TestDeleteTellsWhatItDidBeforeTheServerWasGone, since the history is the server's.
func TestDeleteTellsWhatItDidBeforeTheServerWasGone(t *testing.T) {
	sh := newShell(t)
	sh.must("apply", "-f", firstFile)
	deleted := 0
	sh.server.Before(func(r *http.Request) *api.Error {
		if r.Method == http.MethodDelete {
			if deleted++; deleted == 2 {
				panic(http.ErrAbortHandler) // the connection breaks
			}
		}
		return nil
	})
	r := sh.run("delete", "route/api", "route/api-testers")
	if r.status != statusNoServer || !strings.Contains(r.stdout, "Route/api deleted") {
		t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
}
