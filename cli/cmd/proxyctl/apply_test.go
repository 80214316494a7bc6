package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/controlplanetest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

const firstFile = "testdata/first.yaml"

func TestApplyMakesOneRevisionAndSaysWhatChanged(t *testing.T) {
	sh := newShell(t)
	golden(t, "apply_first", sh.must("apply", "-f", firstFile, "-m", "hello"))
	golden(t, "apply_again", sh.must("apply", "-f", firstFile))
	if sh.server.Revision() != 1 {
		t.Errorf("revision %d, want 1", sh.server.Revision())
	}
	contains(t, sh.must("history"), "hello", "@")
}

func TestRestoreDeletesWhatItsFilesDoNotName(t *testing.T) {
	sh := newShell(t)
	sh.must("apply", "-f", firstFile)
	file := sh.file("fleet.yaml", "kind: Route\nname: alone\nspec: {respond: {status: 200}}\n")
	dry := sh.must("restore", "-f", file, "--dry-run")
	contains(t, dry, "Route/alone created", "Upstream/api-v1 deleted", "dry run: nothing was changed; after revision 1")
	contains(t, sh.fails(statusFailed, "restore", "-f", file), "9 resources would be deleted, which the files do not name; nothing was changed:\n",
		"  Listener/web\n", "--yes does it")
	if sh.server.Revision() != 1 {
		t.Fatalf("revision %d, want 1", sh.server.Revision())
	}
	contains(t, sh.must("restore", "-f", file, "-m", "etcd was lost", "--yes"), "Listener/web deleted", "revision 2 (1 created, 9 deleted)")
	if got := sh.must("get", "all", "-o", "name"); strings.TrimSpace(got) != "route/alone" {
		t.Errorf("left: %s", got)
	}
	contains(t, sh.must("history"), "etcd was lost")
	bad := sh.file("bad.yaml", "kind: Route\nname: alone\nspec: {forward: [{upstream: api-v1}]}\n")
	contains(t, sh.fails(statusFailed, "restore", "-f", bad), "bad.yaml:3: Route/alone: spec.forward[0].upstream", "nothing was changed")
	contains(t, sh.fails(statusWrongUse, "restore"), "expected -f FILE")
}

// TestRestoreDeletesNothingThatItDidNotTell: what was made since it looked is not named by its
// files either.
func TestRestoreDeletesNothingThatItDidNotTell(t *testing.T) {
	sh := newShell(t)
	file := sh.file("fleet.yaml", "kind: Route\nname: alone\nspec: {respond: {status: 200}}\n")
	sh.must("restore", "-f", file)
	again := sh.file("again.yaml", "kind: Route\nname: alone\nspec: {respond: {status: 204}}\n")
	asked := 0
	sh.server.Before(func(r *http.Request) *api.Error {
		if r.URL.Path == api.PathRestore {
			if asked++; asked == 2 {
				sh.must("apply", "-f", sh.file("more.yaml", "kind: Route\nname: more\nspec: {match: {path: {exact: /more}}, respond: {status: 200}}\n"))
			}
		}
		return nil
	})
	contains(t, sh.fails(statusFailed, "restore", "-f", again), "it was changed since")
	if asked != 2 || !strings.Contains(sh.must("get", "all", "-o", "name"), "route/more") {
		t.Errorf("asked %d times, left: %s", asked, sh.must("get", "all", "-o", "name"))
	}
}

func TestApplyDryRunChangesNothing(t *testing.T) {
	sh := newShell(t)
	golden(t, "apply_dry_run", sh.must("apply", "-f", firstFile, "--dry-run"))
	if sh.server.Revision() != 0 {
		t.Errorf("revision %d, want 0", sh.server.Revision())
	}
}

func TestApplyReadsFoldersFilesAndStandardInputInOrder(t *testing.T) {
	sh := newShell(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"b.yml":  "kind: Route\nname: b\nspec: {match: {path: {exact: /b}}, respond: {status: 200}}", // no newline at the end
		"a.yaml": "---\nkind: Route\nname: a\nspec: {match: {path: {exact: /a}}, respond: {status: 200}}\n---\n",
		"c.json": `{"kind":"Route","name":"c","spec":{"match":{"path":{"exact":"/c"}},"respond":{"status":200}}}`,
		"d.txt":  "not read",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sh.stdin = "\ufeffkind: Route\nname: stdin\nspec: {match: {path: {exact: /d}}, respond: {status: 200}}\n"
	got := sh.must("apply", "-f", dir, "-f", "-", "-f", firstFile)
	contains(t, got, "Route/a created\nRoute/b created\nRoute/c created\nRoute/stdin created\nListener/web created\n")
}

func TestApplyNamesEveryProblemWithFileAndLine(t *testing.T) {
	sh := newShell(t)
	first := sh.file("one.yaml", "\n\nkind: Route\nname: twice\nspec: {respond: {status: 200}}\n---\nkind: Listener\nname: l\nspec: {port: 0, protocol: HTTP}\n")
	last := sh.file("two.json", `{"kind":"Route","name":"twice",`+"\n"+`"spec":{"respond":{"status":99}}}`)
	got := sh.fails(statusFailed, "apply", "-f", first, "-f", "testdata/bad.yaml", "-f", last)
	got = strings.NewReplacer(first, "one.yaml", last, "two.json").Replace(got)
	// What is wrong is worded by package resource; where is said here.
	want := `one.yaml:9: Listener/l: spec.port
testdata/bad.yaml:7: Route/dangling: spec.forward[0].upstream
testdata/bad.yaml:12: Route/typo: spec.hots
testdata/bad.yaml:19: Upstream/empty: spec.endpoints
testdata/bad.yaml:24: Upstream/bad-address: spec.endpoints[0].address
testdata/bad.yaml:28: RateLimit/bad-rate: spec.rate
testdata/bad.yaml:32: Listener/bad-port: spec.port
testdata/bad.yaml:39: Route/two-actions: spec.respond
testdata/bad.yaml:44: Route/bad-regex: spec.match.path.regex
two.json:1: Route/twice: name
two.json:2: Route/twice: spec.respond.status
`
	places := regexp.MustCompile(`(?m)^(\S+:\d+: \S+/\S+: [^: ]+): .*\n`)
	if places := places.ReplaceAllString(got, "$1\n"); places != want+"error: refused: 11 problems; nothing was changed\n" {
		t.Errorf("got\n%swant\n%s", places, want)
	}
	contains(t, got, `Route/typo: spec.hots: unknown field (did you mean "hosts"?)`, "the first is at one.yaml:3")
	if sh.server.Revision() != 0 {
		t.Errorf("revision %d, want 0", sh.server.Revision())
	}
}

func TestApplyNamesTheFileOfABrokenDocument(t *testing.T) {
	sh := newShell(t)
	broken := sh.file("broken.yaml", "kind: Route\nname: {\n")
	got := sh.fails(statusFailed, "apply", "-f", firstFile, "-f", broken, "-f", "testdata/bad.yaml")
	contains(t, got, broken+":", "testdata/bad.yaml:12: Route/typo: spec.hots: unknown field (did you mean \"hosts\"?)")
}

func TestApplyNamesWhatHoldsNoResource(t *testing.T) {
	sh := newShell(t)
	contains(t, sh.fails(statusFailed, "apply", "-f", "-"), "stdin: expected at least one resource")
	empty := sh.file("empty.yaml", "# nothing yet\n")
	contains(t, sh.fails(statusFailed, "apply", "-f", empty), empty+": expected at least one resource")
}

func TestProblemsAreADocumentWithJSONOutput(t *testing.T) {
	sh := newShell(t)
	var document struct {
		api.Error
		ExitStatus int `json:"exitStatus"`
	}
	text := sh.fails(statusFailed, "apply", "-f", "testdata/bad.yaml", "-o", "json")
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if document.Type != api.TypeInvalid || document.ExitStatus != statusFailed || len(document.Problems) != 8 {
		t.Errorf("got %+v", document)
	}
	if p := document.Problems[1]; p.File != "testdata/bad.yaml" || p.Line != 12 || p.Document != 2 || p.Field != "spec.hots" {
		t.Errorf("got %+v", p)
	}
}

func TestProblemsInSeveralFilesCountDocumentsByFile(t *testing.T) {
	sh := newShell(t)
	text := sh.fails(statusFailed, "apply", "-f", firstFile, "-f", "testdata/bad.yaml", "-o", "json")
	var document api.Error
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	for i, p := range document.Problems {
		if p.File != "testdata/bad.yaml" || p.Document != i+1 {
			t.Errorf("problem %d: file %q, document %d", i, p.File, p.Document)
		}
	}
}

func TestApplyHoldsToIfMatch(t *testing.T) {
	sh := newShell(t)
	sh.must("apply", "-f", firstFile, "--if-match", "7-0")
	other := sh.file("other.yaml", "kind: Route\nname: other\nspec: {match: {path: {exact: /o}}, respond: {status: 200}}\n")
	for _, tag := range []string{"7-0", "6-1", "1"} {
		got := sh.fails(statusFailed, "apply", "-f", other, "--if-match", tag)
		contains(t, got, "changed since", `"7-1"`, "revision 1 now")
	}
	sh.must("apply", "-f", other, "--if-match", "7-1")
}

func TestShrinkingAsksForTheFlag(t *testing.T) {
	sh := newShell(t)
	sh.must("apply", "-f", firstFile)
	more := sh.file("more.yaml", "kind: Route\nname: x\nspec: {match: {path: {exact: /x}}, respond: {status: 200}}\n---\n"+
		"kind: Route\nname: y\nspec: {match: {path: {exact: /y}}, respond: {status: 200}}\n")
	sh.must("apply", "-f", more)
	contains(t, sh.fails(statusFailed, "rollback", "0"), "--allow-shrink")
	sh.must("rollback", "0", "--allow-shrink")
}

func TestWaitEndsWhenEveryNodeRunsTheChange(t *testing.T) {
	sh := newShell(t)
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Updating, 0, 1), controlplanetest.Node("node-2", api.Updating, 0, 1),
		gone("node-9"))
	looks := 0
	sh.server.Before(func(r *http.Request) *api.Error {
		if r.URL.Path != api.PathNodes {
			return nil
		}
		// The fleet moves on each time it is looked at.
		switch looks++; looks {
		case 2:
			sh.server.SetNodes(controlplanetest.Node("node-1", api.Synced, 1, 1), controlplanetest.Node("node-2", api.Updating, 0, 1), gone("node-9"))
		case 3:
			sh.server.SetNodes(controlplanetest.Node("node-1", api.Synced, 1, 1), controlplanetest.Node("node-2", api.Synced, 1, 1), gone("node-9"))
		}
		return nil
	})
	r := sh.run("apply", "-f", firstFile, "--wait")
	if r.status != statusDone {
		t.Fatalf("status %d: %s", r.status, r.stderr)
	}
	contains(t, r.stderr, "node-1 runs revision 1", "node-2 runs revision 1", "all 2 nodes are in sync")
}

// TestWaitGoesOnWhileEtcdElectsALeader: a change that was made is not said to have
// failed since one look at the fleet did.
func TestWaitGoesOnWhileEtcdElectsALeader(t *testing.T) {
	sh := newShell(t)
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Synced, 1, 1))
	looks := 0
	sh.server.Before(func(r *http.Request) *api.Error {
		if r.URL.Path != api.PathNodes {
			return nil
		}
		if looks++; looks == 1 {
			return api.NewError(api.TypeUnavailable, "store: etcdserver: no leader")
		}
		return nil
	})
	r := sh.run("apply", "-f", firstFile, "--wait")
	if r.status != statusDone {
		t.Fatalf("status %d: %s", r.status, r.stderr)
	}
	contains(t, r.stderr, "node-1 runs revision 1")
}

// gone is a node that is neither here nor expected.
func gone(id string) api.NodeStatus {
	n := controlplanetest.Node(id, api.Disconnected, 0, 1)
	n.Expected = false
	return n
}

func TestWaitFailsWhenANodeRefuses(t *testing.T) {
	sh := newShell(t)
	refusing := controlplanetest.Node("node-2", api.Rejected, 0, 1)
	refusing.Problems = []api.Problem{{Kind: "Listener", Name: "web", Field: "spec.port", Got: "port 8080 in use"}}
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Synced, 1, 1), refusing)
	got := sh.fails(statusFailed, "apply", "-f", firstFile, "--wait")
	contains(t, got, "1 node refused revision 1", "node-2: Listener/web: spec.port: port 8080 in use")
}

func TestWaitSaysWhichNodesAreLate(t *testing.T) {
	sh := newShell(t)
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Synced, 1, 1), controlplanetest.Node("node-2", api.Disconnected, 0, 1))
	got := sh.fails(statusFailed, "apply", "-f", firstFile, "--wait", "--timeout", "1s")
	contains(t, got, "not every node runs revision 1 after 1s: node-2 is DISCONNECTED")
}

func TestWaitWithoutNodesEndsAtOnce(t *testing.T) {
	sh := newShell(t)
	contains(t, sh.run("apply", "-f", firstFile, "--wait").stderr, "no node is known yet")
}

func TestWaitCanBeInterrupted(t *testing.T) {
	sh := newShell(t)
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Updating, 0, 1))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sh.ctx = ctx
	sh.server.Before(func(r *http.Request) *api.Error {
		if r.URL.Path == api.PathNodes {
			cancel()
		}
		return nil
	})
	got := sh.fails(statusInterrupted, "apply", "-f", firstFile, "--wait")
	contains(t, got, "error: interrupted; the change stays made: proxyctl status shows how far it is\n")
}

func TestWhoReadsATerminalCanBeInterrupted(t *testing.T) {
	sh := newShell(t)
	reader, writer := io.Pipe() // nobody types
	defer writer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	sh.ctx, sh.typing = ctx, reader
	time.AfterFunc(10*time.Millisecond, cancel)
	if got := sh.fails(statusInterrupted, "apply", "-f", "-"); got != "error: stdin: interrupted\n" {
		t.Errorf("%q", got)
	}
}

func TestAnInterruptedChangeMayHaveBeenMade(t *testing.T) {
	sh := newShell(t)
	ctx, cancel := context.WithCancel(t.Context())
	sh.ctx = ctx
	sh.server.Before(func(r *http.Request) *api.Error {
		if r.Method == http.MethodPost {
			_, _ = io.Copy(io.Discard, r.Body)
			cancel()
			<-r.Context().Done()
		}
		return nil
	})
	contains(t, sh.fails(statusInterrupted, "apply", "-f", firstFile), "interrupted; whether the change was made is not known")
}

func TestRollbackReturnsToARevision(t *testing.T) {
	sh := newShell(t)
	sh.must("apply", "-f", firstFile)
	before := sh.server.Version()
	sh.must("set", "weight", "route/api", "api-v2=50")
	got := sh.must("rollback", "1", "-m", "back")
	contains(t, got, "Route/api configured", "revision 3")
	if sh.server.Version().Digest != before.Digest {
		t.Errorf("digest %s, want %s", sh.server.Version().Digest, before.Digest)
	}
	contains(t, sh.must("history"), "back")
}
