package main

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

func TestTheSealKeyIsMadeOnceAndNoOtherIsTaken(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	dir := t.TempDir()
	p := start(t, dir)
	path := filepath.Join(dir, sealKeyName)
	made, err := seal.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pair := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	body, err := json.Marshal(map[string]any{"kind": "Certificate", "name": "site", "spec": map[string]string{"chain": pair.Chain, "key": pair.Key}})
	if err != nil {
		t.Fatal(err)
	}
	if code, text := p.call("POST", api.PathApply, string(body)); code != http.StatusOK {
		t.Fatalf("apply: %d %s", code, text)
	}
	p.end()
	// Neither etcd's database nor its log holds the key; nor does what was logged.
	if err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if pair.Leaks(data) {
			t.Errorf("%s holds the private key", name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if pair.Leaks([]byte(p.stderr.String())) {
		t.Error("the private key was logged")
	}

	failing := func(what, says string) {
		t.Helper()
		p := launch(t, "--data-dir", dir)
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: it runs:\n%s", what, p.stderr)
		}
		if p.code != exitFailed || !strings.Contains(p.stderr.String(), says) {
			t.Errorf("%s: exit status %d:\n%s", what, p.code, p.stderr)
		}
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	failing("without its key", "is sealed under key "+made.ID()+": put that file back")
	if _, err := seal.CreateFile(path); err != nil {
		t.Fatal(err)
	}
	failing("with another key", "the store is sealed under key "+made.ID())
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir)
	code, text := again.call("GET", "/v1/certificates/site", "")
	if code != http.StatusOK || pair.Leaks(text) || !strings.Contains(string(text), "keyFingerprint") {
		t.Errorf("with its key again: %d %s", code, text)
	}
}
