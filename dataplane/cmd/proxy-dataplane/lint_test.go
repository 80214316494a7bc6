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
			exitFailed, "warning: Route/b",
		},
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
		{"lint -f -", doubtful, exitFailed, "stdin: warning: Route/b"},
		{"lint -f -", strings.Replace(text, "prefix", "prefx", 1), exitFailed, "1 problem in stdin\n  stdin:7:"},
		{"lint -f -", "", exitFailed, "1 problem in stdin\n"},
		{"explain -f - http://shop.test/", text, exitDone, "Route/a is taken"},
		{"explain -f - --listener x http://shop.test/", text, exitUsage, `stdin has no HTTP or HTTPS listener "x"`},
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
