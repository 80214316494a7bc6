package filefeed

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// writer writes files below a directory, each at a later time than the one before.
func writer(t *testing.T, dir string) func(name, text string) {
	at := time.Now().Add(-time.Hour)
	return func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second) // whatever the file system's resolution is
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFileWithoutAResourceIsRefused(t *testing.T) {
	dir := t.TempDir()
	write := writer(t, dir)
	s := source{path: filepath.Join(dir, "edge.yaml")}
	for _, text := range []string{"", "\n", "# nothing yet\n", "---\n---\n", "null\n"} {
		write("edge.yaml", text)
		if _, problems, err := s.read(); err != nil || len(problems) == 0 {
			t.Errorf("%q: %v, %v", text, problems, err)
		}
	}
}

func TestAFileThatIsBeingWrittenIsNotReadBeforeItRests(t *testing.T) {
	dir := t.TempDir()
	write := writer(t, dir)
	s := source{path: filepath.Join(dir, "edge.yaml")}
	const half, rest = "kind: Listener\nname: web\nspec: {port: 80, protocol: HTTP}\n", "---\nkind: Listener\nname: more\nspec: {port: 81, protocol: HTTP}\n"
	looks := func(changed, still bool) {
		t.Helper()
		if c, rests := s.look(); c != changed || rests != still {
			t.Errorf("changed %t, still %t; want %t, %t", c, rests, changed, still)
		}
	}
	write("edge.yaml", half+rest)
	if _, problems, err := s.read(); err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	looks(false, true)
	write("edge.yaml", half)
	looks(true, false)
	write("edge.yaml", half+rest)
	looks(true, false)
	looks(true, true)
	if _, problems, err := s.read(); err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	looks(false, true)
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	looks(false, true)
}

func TestFilesThatTheResourcesNameAreReadBesideThemAndAgainWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	write := writer(t, dir)
	first, second := certificatetest.SelfSigned(t, certificatetest.Options{}), certificatetest.SelfSigned(t, certificatetest.Options{})
	write("edge.yaml", "kind: Certificate\nname: site\nspec:\n  chainFile: tls/site.crt\n  keyFile: tls/site.key\n")
	s := source{path: filepath.Join(dir, "edge.yaml")}
	changed := func() bool {
		changed, _ := s.look()
		return changed
	}
	read := func(want *certificatetest.Pair) {
		t.Helper()
		next, problems, err := s.read()
		if err != nil || len(problems) > 0 {
			t.Fatal(problems, err)
		}
		leaf, _ := next.Tree.Get(resource.Key{Kind: resource.Certificate, Name: "site"})
		if !want.Leaks(leaf.Bytes) {
			t.Error("another key was read")
		}
		if changed() {
			t.Error("what was read looks changed")
		}
	}

	_, problems, err := s.read()
	if err != nil || len(problems) != 2 || problems[0].Line != 4 || problems[1].Line != 5 {
		t.Fatalf("without the files: %v, %v", problems, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tls"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("tls/site.crt", first.Chain)
	if !changed() {
		t.Error("a file that came is not seen")
	}
	write("tls/site.key", first.Key)
	read(first)

	// They are replaced one after the other: in between nothing fits.
	write("tls/site.crt", second.Chain)
	if !changed() {
		t.Error("a chain that changed is not seen")
	}
	_, problems, err = s.read()
	if err != nil || len(problems) != 1 || problems[0].Field != "spec.keyFile" || first.Leaks([]byte(Describe(s.path, problems))) {
		t.Errorf("half of a pair: %v, %v", problems, err)
	}
	write("tls/site.key", second.Key)
	if !changed() {
		t.Error("a key that changed is not seen")
	}
	read(second)
}
