package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/proxyfleet/proxyfleet/cli/controlplanetest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// longest is what a command of a test may take: one that waits for ever is told by its name.
const longest = time.Minute

// shell runs proxyctl in process, against a control plane in memory.
type shell struct {
	t        *testing.T
	server   *controlplanetest.Server
	env      map[string]string
	stdin    string
	typing   io.Reader // takes the place of stdin
	terminal bool
	stdout   io.Writer // nil: result has it
	// editor stands for the user's: it gets the text and returns what was saved.
	editor func(text string) string
	// editorFails is what the editor ends with, after it has saved.
	editorFails error
	ctx         context.Context
	later       time.Duration // than ten minutes behind the first revision
}

// result is what a command did.
type result struct {
	status         int
	stdout, stderr string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	server := controlplanetest.New(t)
	sh := &shell{
		t: t, server: server, ctx: t.Context(),
		env: map[string]string{"PROXYCTL_CONFIG": filepath.Join(t.TempDir(), "proxyctl.yaml")},
	}
	sh.must("context", "set", "test", server.URL)
	return sh
}

func (sh *shell) run(args ...string) result {
	sh.t.Helper()
	var stdout, stderr bytes.Buffer
	w := world{
		stdin: strings.NewReader(sh.stdin), stdout: &stdout, stderr: &stderr,
		getenv:      func(name string) string { return sh.env[name] },
		environment: sh.environment(),
		configDir:   func() (string, error) { return sh.env["HOME"], nil },
		executable:  func() (string, error) { return filepath.Join("bin", "proxyctl"), nil },
		author:      func() string { return "eve@laptop" },
		terminal:    func(io.Writer) bool { return sh.terminal },
		now:         func() time.Time { return sh.server.Start.Add(10*time.Minute + sh.later) },
		zone:        time.UTC,
		runEditor: func(_ context.Context, _, file string) error {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			return errors.Join(os.WriteFile(file, []byte(sh.editor(string(text))), 0o600), sh.editorFails)
		},
	}
	if sh.stdout != nil {
		w.stdout = sh.stdout
	}
	if sh.typing != nil {
		w.stdin = sh.typing
	}
	ctx, cancel := context.WithTimeout(sh.ctx, longest)
	defer cancel()
	status := run(ctx, args, w)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		sh.t.Fatalf("proxyctl %s does not end by itself within %s\n%s%s", strings.Join(args, " "), longest, stdout.String(), stderr.String())
	}
	return result{status, stdout.String(), stderr.String()}
}

func (sh *shell) environment() []string {
	var entries []string
	for name, value := range sh.env {
		entries = append(entries, name+"="+value)
	}
	return entries
}

// must runs a command that has to succeed, and returns what it printed.
func (sh *shell) must(args ...string) string {
	sh.t.Helper()
	r := sh.run(args...)
	if r.status != statusDone {
		sh.t.Fatalf("proxyctl %s: status %d\n%s%s", strings.Join(args, " "), r.status, r.stdout, r.stderr)
	}
	return r.stdout
}

// fails runs a command that has to end with the status, and returns its errors.
func (sh *shell) fails(status int, args ...string) string {
	sh.t.Helper()
	r := sh.run(args...)
	if r.status != status {
		sh.t.Fatalf("proxyctl %s: status %d, want %d\n%s%s", strings.Join(args, " "), r.status, status, r.stdout, r.stderr)
	}
	return r.stderr
}

// file writes a file for a test.
func (sh *shell) file(name, text string) string {
	sh.t.Helper()
	path := filepath.Join(sh.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		sh.t.Fatal(err)
	}
	return path
}

// golden compares with testdata/<name>.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", path, d)
	}
}

// contains fails unless the text has each of the parts.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in:\n%s", p, text)
		}
	}
}
