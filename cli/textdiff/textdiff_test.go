package textdiff

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestDifferencesReadAsThoseOfDiffU(t *testing.T) {
	lines := func(s string) string { return strings.ReplaceAll(s, " ", "\n") + "\n" }
	for _, c := range []struct{ name, before, after, want string }{
		{"equal texts differ in nothing", "a\n", "a\n", ""},
		{"a changed line", lines("a b c"), lines("a x c"), "--- old\n+++ new\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"},
		{"from nothing", "", lines("a b"), "--- old\n+++ new\n@@ -0,0 +1,2 @@\n+a\n+b\n"},
		{"to nothing", lines("a"), "", "--- old\n+++ new\n@@ -1 +0,0 @@\n-a\n"},
		{"no newline at the end", "a", "a\n", "--- old\n+++ new\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"},
		{
			"distant changes are two hunks",
			lines("1 2 3 4 5 6 7 8 9 10 11 12"), lines("x 2 3 4 5 6 7 8 9 10 11 y"),
			"--- old\n+++ new\n@@ -1,4 +1,4 @@\n-1\n+x\n 2\n 3\n 4\n@@ -9,4 +9,4 @@\n 9\n 10\n 11\n-12\n+y\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Unified("old", "new", c.before, c.after); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestTheScriptTurnsBeforeIntoAfter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		a, b := randomLines(r), randomLines(r)
		var before, after []string
		for _, l := range compare(a, b) {
			if l.kind != Added {
				before = append(before, l.text)
			}
			if l.kind != Removed {
				after = append(after, l.text)
			}
		}
		if strings.Join(before, "") != strings.Join(a, "") || strings.Join(after, "") != strings.Join(b, "") {
			t.Fatalf("%q to %q: got %q and %q", a, b, before, after)
		}
	}
}

func TestUnrelatedTextsAreReplacedWhole(t *testing.T) {
	var a, b strings.Builder
	for i := range 2 * maxDistance {
		fmt.Fprintf(&a, "a%d\n", i)
		fmt.Fprintf(&b, "b%d\n", i)
	}
	got := Unified("old", "new", a.String(), b.String())
	if want := 4*maxDistance + 3; strings.Count(got, "\n") != want {
		t.Errorf("got %d lines, want %d", strings.Count(got, "\n"), want)
	}
}

func TestPatchAppliesIt(t *testing.T) {
	patch, err := exec.LookPath("patch")
	if err != nil {
		t.Skip("patch is not installed")
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		before, after := strings.Join(randomLines(r), ""), strings.Join(randomLines(r), "")
		if before == after || before == "" || after == "" {
			continue
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "text")
		if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(patch, "-s", file)
		cmd.Stdin = strings.NewReader(Unified("text", "text", before, after))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != after {
			t.Fatalf("%q to %q: got %q, %v", before, after, got, err)
		}
	}
}

func randomLines(r *rand.Rand) []string {
	lines := make([]string, r.IntN(30))
	for i := range lines {
		lines[i] = string(rune('a'+r.IntN(4))) + "\n"
	}
	return lines
}
