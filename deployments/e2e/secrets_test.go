package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

// certificateFiles writes a certificate, its key and the resource that names both,
// outside of the fleet's directory.
func certificateFiles(t *testing.T, name string, p *certificatetest.Pair) (resources string) {
	t.Helper()
	dir := t.TempDir()
	resources = filepath.Join(dir, "certificate.yaml")
	for file, text := range map[string]string{
		filepath.Join(dir, "site.crt"): p.Chain, filepath.Join(dir, "site.key"): p.Key,
		resources: "kind: Certificate\nname: " + name + "\nspec: {chainFile: site.crt, keyFile: site.key}\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return resources
}

// leaking are the files below a directory that hold a private key.
func leaking(t *testing.T, dir string, p *certificatetest.Pair) (files []string, read int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // files come and go while the fleet runs
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		read++
		if p.Leaks(data) {
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, read
}

// TestAPrivateKeyIsInNoFileOfTheFleet looks for it in etcd's database and log, the
// nodes' state, and everything that was logged.
func TestAPrivateKeyIsInNoFileOfTheFleet(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t, fleettest.Options{Nodes: 2})
	p := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}, NotAfter: time.Now().Add(100 * time.Hour)})
	f.Apply(loadListener + pingRoute + "one}}\n")
	stdout, stderr, status := f.Proxyctl("apply", "-f", certificateFiles(t, "site", p), "--wait")
	if status != 0 || !strings.Contains(stdout, "warning: Certificate/site expires in 4 days") {
		t.Fatalf("apply: %d\n%s%s", status, stdout, stderr)
	}
	for _, args := range [][]string{{"get", "certificates"}, {"get", "c/site", "-o", "yaml"}, {"describe", "c/site"}, {"history", "2"}, {"status"}} {
		stdout, stderr, status := f.Proxyctl(args...)
		if status != 0 || p.Leaks([]byte(stdout+stderr)) {
			t.Errorf("%v: status %d, and perhaps the private key:\n%s%s", args, status, stdout, stderr)
		}
	}
	if text := f.Nodes[0].AdminText(t, "/config?full"); p.Leaks([]byte(text)) || !strings.Contains(text, "keyFingerprint") {
		t.Errorf("the node shows\n%s", text)
	}
	kept := filepath.Join(f.Dir, "state", "node-1", "last-good")
	fleettest.Wait(t, 10*time.Second, "the certificate in the node's file", func() bool { return holds(kept, "one") })
	fleettest.Wait(t, 10*time.Second, "ticket keys in the node's directory", func() bool {
		_, err := os.Stat(filepath.Join(f.Dir, "state", "node-1", "tickets"))
		return err == nil
	})
	f.Control.Kill()
	if files, read := leaking(t, f.Dir, p); len(files) > 0 || read < 10 {
		t.Errorf("of %d files these hold the private key: %v", read, files)
	}

	// A node that starts while nobody answers has the certificate, and the keys of
	// the session tickets.
	f.Nodes[0].Kill()
	n := f.StartNode(1)
	fleettest.Wait(t, 10*time.Second, "the node to serve", func() bool { return fleettest.Answers("http://" + n.Address + ":8080/ping") })
	fleettest.Wait(t, 10*time.Second, "the node to show the certificate, as it does a moment after it serves", func() bool {
		return strings.Contains(n.AdminText(t, "/config?full"), `"Certificate"`)
	})
	if !strings.Contains(n.Log(), "session-ticket keys: in force") {
		t.Errorf("the node has no session-ticket keys:\n%s", n.Log())
	}
}
