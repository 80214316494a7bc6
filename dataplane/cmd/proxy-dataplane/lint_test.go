package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/filefeed"
	"github.com/proxyfleet/proxyfleet/proto/certificate"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

func TestLintSaysWhatIsWrongAndWhatIsDoubtful(t *testing.T) {
	const web = "kind: Listener\nname: web\nspec: {port: 8080, protocol: HTTP}\n---\n"
	for _, c := range []struct {
		name, file string
		status     int
		says       string
	}{
		{"clean", web + "kind: Route\nname: a\nspec: {match: {path: {prefix: /}}, respond: {status: 204}}\n", exitDone, ""},
		{
			"never reached", web + "kind: Route\nname: a\nspec: {match: {path: {prefix: /a}}, priority: 1, respond: {status: 204}}\n---\n" +
				"kind: Route\nname: b\nspec: {match: {path: {prefix: /a/b}}, respond: {status: 204}}\n",
			exitFailed, "file.yaml:11: warning: Route/b: spec.match: never gets",
		},
		{
			"what only compiling finds", web + "kind: Route\nname: a\nspec: {respond: {status: 204}}\n---\n" +
				"kind: Route\nname: b\nspec:\n  respond: {status: 404}\n  match: {path: {prefix: /}}\n---\n" +
				"kind: Route\nname: c\nspec:\n  match: {path: {prefix: /}}\n  respond: {status: 404}\n",
			exitFailed, "file.yaml:18: document 4: Route/c: spec.match: got the same match as Route/b",
		},
		{"a node", "kind: Node\nname: edge-1\nspec: {drained: true}\n", exitFailed, "file.yaml:1: document 1: Node/edge-1: kind: got Node, expected a kind of the configuration: nodes are fleet state, which proxyctl edit node/edge-1 changes"},
		{"a node that is wrong", "kind: Node\nname: edge-1\nspec: {drained: perhaps}\n", exitFailed, "spec.drained: got perhaps, expected true or false"},
		{"dangling", web + "kind: Route\nname: a\nspec: {forward: [{upstream: nowhere}]}\n", exitFailed, "nowhere"},
		{"no YAML", "kind: [", exitFailed, "problem"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file.yaml")
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			status, out, errs := lintStatus(t, "-f", path)
			if status != c.status || !strings.Contains(out, c.says) || c.says == "" && out != "" {
				t.Errorf("status %d\n%s%s", status, out, errs)
			}
		})
	}
	for _, args := range [][]string{{}, {"-f", filepath.Join(t.TempDir(), "absent")}} {
		if status, out, errs := lintStatus(t, args...); status != exitUsage || errs == "" {
			t.Errorf("%v: status %d\n%s%s", args, status, out, errs)
		}
	}
}

func lintStatus(t *testing.T, args ...string) (status int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	w := world{getenv: func(string) (string, bool) { return "", false }, stdout: &stdout, stderr: &stderr}
	status = run(t.Context(), append([]string{"lint"}, args...), w)
	return status, stdout.String(), stderr.String()
}

func TestSeveralFilesAreOneConfiguration(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("conf.d", 0o700); err != nil {
		t.Fatal(err)
	}
	pair := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	for name, text := range map[string]string{
		"conf.d/app.yml":    "kind: Upstream\nname: app\nspec: {endpoints: [{address: 127.0.0.1:9001}]}\n",
		"conf.d/site.crt":   pair.Chain,
		"conf.d/site.key":   pair.Key,
		"conf.d/web.yaml":   "kind: Listener\nname: web\nspec: {port: 8443, protocol: HTTPS, tls: {certificates: [site]}}\n---\nkind: Certificate\nname: site\nspec: {chainFile: site.crt, keyFile: site.key}\n",
		"conf.d/NOTES":      "not: yaml: at: all",
		"routes.json":       `{"kind": "Route", "name": "all", "spec": {"forward": [{"upstream": "app"}]}}`,
		"again.yaml":        "kind: Upstream\nname: other\nspec: {endpoints: [{address: 127.0.0.1:9001}]}\n---\nkind: Upstream\nname: app\nspec: {endpoints: [{address: 127.0.0.1:9002}]}\n",
		"typo.yaml":         "kind: Route\nname: b\nspec: {match: {path: {prefix: /b}}, forward: [{upstrem: app}]}\n",
		"nowhere.yaml":      "kind: Route\nname: c\nspec: {match: {path: {prefix: /c}}, forward: [{upstream: apq}]}\n",
		"without-keys.yaml": "kind: Certificate\nname: x\nspec: {chainFile: absent.crt, keyFile: absent.key}\n---\nkind: Upstream\nname: late\nspec: {endpoints: [{address: 127.0.0.1:9001}]}\n",
		"late.yaml":         "kind: Route\nname: b\nspec: {match: {path: {prefix: /b}}, forward: [{upstream: late}]}\n",
		"doubtful.yaml":     "kind: Route\nname: a\nspec: {respond: {status: 204}, priority: 1}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ args, says string }{
		{"-f conf.d -f routes.json", ""},
		{"-f routes.json -f conf.d/", ""}, // in whatever order
		{"-f conf.d -f routes.json -f again.yaml", "1 problem in conf.d, routes.json, again.yaml\n  again.yaml:6: document 2: Upstream/app: name: got Upstream/app again, expected each kind and name once; the first is at conf.d/app.yml:2\n"},
		{"-f conf.d -f typo.yaml -f nowhere.yaml", "2 problems in conf.d, typo.yaml, nowhere.yaml\n" +
			"  nowhere.yaml:3: document 1: Route/c: spec.forward[0].upstream: got \"apq\", expected the name of an Upstream; there is none named apq; did you mean app?\n" +
			"  typo.yaml:3: document 1: Route/b: spec.forward[0].upstrem: got an unknown field, expected one of upstream, weight; did you mean upstream?\n"},
		{"-f conf.d -f routes.json -f doubtful.yaml", "routes.json:1: warning: Route/all: "},
	} {
		status, out, errs := lintStatus(t, strings.Fields(c.args)...)
		if (status == exitDone) != (c.says == "") || !strings.Contains(out, c.says) || c.says == "" && out != "" {
			t.Errorf("%s: status %d\n%s%s", c.args, status, out, errs)
		}
	}
	status, out, _ := lintStatus(t, "-f", "conf.d", "-f", "without-keys.yaml", "-f", "late.yaml")
	if status != exitFailed || !strings.HasPrefix(out, "2 problems in ") || strings.Contains(out, "none named late") {
		t.Errorf("what a file declares that cannot be read is missed: status %d\n%s", status, out)
	}
	if status, out, errs := command(t, "explain", "-f", "conf.d", "-f", "routes.json", "https://shop.test/"); status != exitDone || !strings.Contains(out, "Route/all is taken") {
		t.Errorf("explain: status %d\n%s%s", status, out, errs)
	}
}

// ofStdin runs the program with what is on its standard input.
func ofStdin(ctx context.Context, stdin io.Reader, args ...string) (status int, out, errs string) {
	var stdout, stderr bytes.Buffer
	w := world{getenv: func(string) (string, bool) { return "", false }, stdin: stdin, stdout: &stdout, stderr: &stderr}
	status = run(ctx, args, w)
	return status, stdout.String(), stderr.String()
}

func TestResourcesCanComeFromStandardInput(t *testing.T) {
	text := "kind: Listener\nname: web\nspec: {port: 8080, protocol: HTTP}\n---\n" +
		"kind: Route\nname: a\nspec: {priority: 1, match: {path: {prefix: /}}, respond: {status: 204}}\n"
	doubtful := text + "---\nkind: Route\nname: b\nspec: {match: {path: {prefix: /b}}, respond: {status: 204}}\n"
	for _, c := range []struct {
		args, text string
		status     int
		says       string
	}{
		{"lint -f -", text, exitDone, ""},
		{"lint -f -", doubtful, exitFailed, "stdin:11: warning: Route/b"},
		{"lint -f -", strings.Replace(text, "prefix", "prefx", 1), exitFailed, "1 problem in stdin\n  stdin:7:"},
		{"lint -f -", "", exitFailed, "1 problem in stdin\n"},
		{"explain -f - http://shop.test/", text, exitDone, "Route/a is taken"},
		{"explain -f - --listener x http://shop.test/", text, exitUsage, `listener "x": there is none of that name that speaks HTTP or HTTPS`},
	} {
		status, out, errs := ofStdin(t.Context(), strings.NewReader(c.text), strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(out+errs, c.says) || c.says == "" && out+errs != "" {
			t.Errorf("%s: exit status %d\n%s%s", c.args, status, out, errs)
		}
	}
}

func TestFilesThatStandardInputNamesAreBesideTheUser(t *testing.T) {
	t.Chdir(t.TempDir())
	pair := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	for name, text := range map[string]string{"site.crt": pair.Chain, "site.key": pair.Key} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := "kind: Certificate\nname: site\nspec: {chainFile: site.crt, keyFile: site.key}\n---\n" +
		"kind: Listener\nname: web\nspec: {port: 8443, protocol: HTTPS, tls: {certificates: [site]}}\n---\n" +
		"kind: Route\nname: a\nspec: {respond: {status: 204}}\n"
	if status, out, errs := ofStdin(t.Context(), strings.NewReader(text), "lint", "-f", "-"); status != exitDone {
		t.Errorf("exit status %d\n%s%s", status, out, errs)
	}
}

func TestCtrlCEndsWhatReadsATerminal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	nobodyTypes, end := io.Pipe()
	defer end.Close()
	if status, out, errs := ofStdin(ctx, nobodyTypes, "lint", "-f", "-"); status != exitFailed || out+errs != "" {
		t.Errorf("exit status %d\n%s%s", status, out, errs)
	}
}

// TestWhatRunsCanBeLookedAtWithoutItsKeys: nodes and proxyctl show fingerprints of keys.
func TestWhatRunsCanBeLookedAtWithoutItsKeys(t *testing.T) {
	pair := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	indented := strings.ReplaceAll(strings.TrimSpace(pair.Chain), "\n", "\n    ")
	path := filepath.Join(t.TempDir(), "now.yaml")
	write := func(fingerprint string) {
		t.Helper()
		text := "kind: Certificate\nname: site\nspec:\n  chain: |\n    " + indented + "\n  keyFingerprint: " + fingerprint + "\n---\n" +
			"kind: Listener\nname: web\nspec: {port: 8443, protocol: HTTPS, tls: {certificates: [site]}}\n---\n" +
			"kind: Route\nname: a\nspec: {respond: {status: 204}}\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(certificate.KeyFingerprint(pair.Signer.Public()))
	if status, out, errs := lintStatus(t, "-f", path); status != exitDone || out != "" {
		t.Errorf("lint: status %d\n%s%s", status, out, errs)
	}
	if err := filefeed.New(filefeed.Config{Path: path}).Check(); err == nil {
		t.Error("a node would serve without the key")
	}
	write("sha256:" + strings.Repeat("0", 64))
	if status, out, _ := lintStatus(t, "-f", path); status != exitFailed || !strings.Contains(out, "keyFingerprint") {
		t.Errorf("another certificate's: status %d\n%s", status, out)
	}
}
