package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/measure"
	"github.com/proxyfleet/proxyfleet/deployments/bench/procfs"
	"github.com/proxyfleet/proxyfleet/deployments/bench/report"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

// The driver starts itself again as the other ends, and so does the test.
func TestMain(m *testing.M) {
	roles := []string{measure.RoleBackend, measure.RoleLoad, measure.RoleHold, measure.RoleVisit, measure.RoleRelay}
	if len(os.Args) > 1 && slices.Contains(roles, os.Args[1]) {
		main()
		return
	}
	os.Exit(m.Run())
}

// arguments are those of the shortest run there is.
func arguments(t *testing.T, more ...string) []string {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.NumCPU() < 2 {
		t.Skip("measuring needs Linux and two processors")
	}
	node, err := filepath.Abs("../../bin/proxy-dataplane")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(node); err != nil {
		t.Skip("bin/proxy-dataplane is missing: make build builds it")
	}
	goProxy := filepath.Join(t.TempDir(), "goproxy")
	if out, err := exec.Command("go", "build", "-o", goProxy, "./goproxy").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return append([]string{
		"--proxyfleet", node, "--goproxy", goProxy, "--dir", t.TempDir(), "--rounds", "1", "--round", "200ms", "--warmup", "100ms",
		"--settle", "100ms", "--idle-from", "10", "--idle-to", "200", "--malloc-requests", "1000", "--saturate", "own",
	}, more...)
}

// noChildren fails if this process has some.
func noChildren(t *testing.T) {
	t.Helper()
	tree, err := procfs.Tree(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if len(tree) != 1 {
		t.Errorf("processes are left: %+v", tree[1:])
	}
}

// readResults reads what a run has measured.
func readResults(t *testing.T, file string) (text []byte, r report.Report) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return text, r
}

func TestARunMeasuresAndWritesItsPage(t *testing.T) {
	dir := t.TempDir()
	page, results := filepath.Join(dir, "page.md"), filepath.Join(dir, "results.json")
	for _, only := range []string{report.GoProxies64 + "," + report.Allocations, report.IdleMemory} {
		if err := drive(t.Context(), arguments(t, "--page", page, "--json", results, "--add", "--only", only)); err != nil {
			t.Fatal(err)
		}
	}
	noChildren(t)
	text, r := readResults(t, results)
	for _, want := range []struct {
		scenario, row string
		load          report.Load
		key           report.Key
	}{
		{report.GoProxies64, "proxyfleet", report.Saturated, report.CPU},
		{report.GoProxies64, "go-default", report.Saturated, report.Peak},
		{report.GoProxies64, "go-tuned", report.Fixed, report.P99},
		{report.Allocations, "proxyfleet", report.Saturated, report.Mallocs},
		{report.IdleMemory, "proxyfleet", report.None, report.Idle},
	} {
		s := r.Scenario(want.scenario)
		if s == nil || s.Row(want.row, want.load) == nil || len(s.Row(want.row, want.load).Figures[want.key]) != 1 {
			t.Errorf("%+v was not measured:\n%s", want, text)
		}
	}
	written, err := os.ReadFile(page)
	if err != nil || !bytes.Contains(written, []byte("**This was a smoke run")) {
		t.Errorf("%v: %s", err, written)
	}
	// The page can be written again from the results.
	again := filepath.Join(dir, "again.md")
	if err := drive(t.Context(), []string{"--from", results, "--page", again}); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(again); err != nil || !bytes.Equal(second, written) {
		t.Errorf("%v: the page differs:\n%s", err, second)
	}
}

// By visits, over TLS and HTTP/2, and over a network that loses packets.
func TestWhatIsBeyondPlaintextIsMeasured(t *testing.T) {
	for _, tool := range []string{"nginx", "haproxy", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("losing packets needs root")
	}
	results := filepath.Join(t.TempDir(), "results.json")
	only := []string{report.BodiesTLS, report.IdleTLSPost, report.Loss}
	err := drive(t.Context(), arguments(t, "--idle-to", "50", "--page", results+".md", "--json", results, "--only", strings.Join(only, ",")))
	if err != nil {
		t.Fatal(err)
	}
	noChildren(t)
	text, r := readResults(t, results)
	for _, id := range only {
		s := r.Scenario(id)
		if s == nil || len(s.Rows) < 3 {
			t.Errorf("%s was not measured:\n%s", id, text)
			continue
		}
		for _, row := range s.Rows {
			if row.Absent != "" || row.Failed > 0 || len(row.Figures) == 0 {
				t.Errorf("%s: %+v", id, row)
			}
		}
	}
}

func TestThePageSaysWhatRoundsOfTheUsualLengthTake(t *testing.T) {
	var written bytes.Buffer
	if err := new(options).render(&written, nil); err != nil {
		t.Fatal(err)
	}
	committed, err := os.ReadFile("../../docs/PERFORMANCE.md")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(`Rounds and waits add up to .* min`)
	if want := said.Find(written.Bytes()); want == nil || !bytes.Contains(committed, want) {
		t.Errorf("the program says %q, docs/PERFORMANCE.md %q", want, said.Find(committed))
	}
}

func TestTheNodeTellsTheCommitThatItWasBuiltFrom(t *testing.T) {
	if err := exec.Command("git", "rev-parse", "HEAD").Run(); err != nil {
		t.Skip("this is no git repository")
	}
	arguments(t) // it is built
	found, err := measure.Find(t.Context(), "../../bin/proxy-dataplane", "")
	if err != nil {
		t.Fatal(err)
	}
	if v := found[rivals.Proxyfleet].Version; !regexp.MustCompile(`commit [0-9a-f]{40}`).MatchString(v) {
		t.Errorf("the page would show %q", v)
	}
}

func TestTheEndOfTheContextEndsEverything(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	page := filepath.Join(t.TempDir(), "page.md")
	err := drive(ctx, arguments(t, "--page", page, "--round", "1m", "--only", report.GoProxies64))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the context's end", err)
	}
	noChildren(t)
	if _, err := os.Stat(page); err == nil {
		t.Error("what was not measured was published")
	}
}

func TestAMissedBarIsAnErrorWhenAskedFor(t *testing.T) {
	results := filepath.Join(t.TempDir(), "results.json")
	err := os.WriteFile(results, []byte(`{"scenarios":[{"id":"idle-memory","rows":[{"name":"proxyfleet","load":"none","figures":{"idle_bytes":[600]}}]}]}`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "page.md")
	for _, tt := range []struct {
		flags  []string
		missed bool
	}{{nil, false}, {[]string{"--check"}, true}} {
		err := drive(t.Context(), append(tt.flags, "--from", results, "--page", page))
		if errors.Is(err, errMissed) != tt.missed || err != nil && !tt.missed {
			t.Errorf("%v: %v", tt.flags, err)
		}
	}
}

func TestWrongUseIsNamed(t *testing.T) {
	for _, args := range [][]string{{"--rounds", "x"}, {"extra"}, {"--no-such-flag"}} {
		if err := dispatch(t.Context(), args); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
