package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
)

// TestWhoStopsReadingHearsNothingOfIt has a reader that is gone before the first line.
func TestWhoStopsReadingHearsNothingOfIt(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 1})
	file := filepath.Join(t.TempDir(), "warned.yaml")
	first := "---\nkind: Route\nname: first\nspec: {priority: 1, match: {path: {prefix: /}}, respond: {status: 204}}\n"
	if err := os.WriteFile(file, []byte(loadListener+pingRoute+"one}}\n"+first), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"proxyctl", "completion", "bash"},
		{"proxyctl", "--server", f.REST, "status"},
		{"proxyctl", "--help"},
		{"proxy-dataplane", "lint", "-f", file},
		{"proxy-dataplane", "explain", "-f", file, "http://shop.test/"},
		{"proxy-dataplane", "--version"},
		{"proxy-controlplane", "--help"},
	} {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		reader.Close()
		cmd := exec.Command(fleettest.Binary(t, args[0]), args[1:]...)
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = writer, &stderr
		err = cmd.Run()
		writer.Close()
		if stderr.Len() > 0 || err == nil {
			t.Errorf("%v: %v, %q", args, err, &stderr)
		}
	}
}

// TestCtrlCEndsWhatReadsATerminal reads standard input on which nobody types.
func TestCtrlCEndsWhatReadsATerminal(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(fleettest.Binary(t, "proxyctl"), "apply", "-f", "-")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	typing, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer typing.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer killed.Stop()
	// More than a pipe holds: when it is written, it is being read.
	if _, err := typing.Write(bytes.Repeat([]byte("# nothing\n"), 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 130 || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit status %d: %s", status, &stderr)
	}
}

// TestCtrlCInAnEditorIsTheEditors: the terminal gives it to proxyctl too.
func TestCtrlCInAnEditorIsTheEditors(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 1})
	f.Apply(loadListener + pingRoute + "one}}\n")
	cmd := exec.Command(fleettest.Binary(t, "proxyctl"), "--server", f.REST, "edit", "route/ping")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "VISUAL=", "EDITOR=kill -INT $PPID; sleep 0.2; sed -i.old s/one/two/")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if stdout, _, _ := f.Proxyctl("get", "route/ping", "-o", "yaml"); !strings.Contains(stdout, "two") {
		t.Errorf("not changed: %s", stdout)
	}
}
