package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

func TestFilesThatTheResourcesNameAreReadBesideThemAndAgainWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	at := time.Now().Add(-time.Hour)
	write := func(name, text string) {
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
	first, second := certificatetest.SelfSigned(t, certificatetest.Options{}), certificatetest.SelfSigned(t, certificatetest.Options{})
	write("edge.yaml", "kind: Certificate\nname: site\nspec:\n  chainFile: tls/site.crt\n  keyFile: tls/site.key\n")
	s := newStandalone(&node{options: options{resources: filepath.Join(dir, "edge.yaml")}})
	read := func(want *certificatetest.Pair) {
		t.Helper()
		next, problems, err := s.read()
		if err != nil || len(problems) > 0 {
			t.Fatal(problems, err)
		}
		leaf, _ := next.Get(resource.Key{Kind: resource.Certificate, Name: "site"})
		if !want.Leaks(leaf.Bytes) {
			t.Error("another key was read")
		}
		if s.changed() {
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
	if !s.changed() {
		t.Error("a file that came is not seen")
	}
	write("tls/site.key", first.Key)
	read(first)

	// They are replaced one after the other: in between nothing fits.
	write("tls/site.crt", second.Chain)
	if !s.changed() {
		t.Error("a chain that changed is not seen")
	}
	_, problems, err = s.read()
	if err != nil || len(problems) != 1 || problems[0].Field != "spec.keyFile" || first.Leaks([]byte(list(s.path, problems))) {
		t.Errorf("half of a pair: %v, %v", problems, err)
	}
	write("tls/site.key", second.Key)
	if !s.changed() {
		t.Error("a key that changed is not seen")
	}
	read(second)
	if !strings.HasPrefix(s.status().Source, dir) {
		t.Errorf("source %q", s.status().Source)
	}
}
