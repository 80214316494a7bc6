package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
