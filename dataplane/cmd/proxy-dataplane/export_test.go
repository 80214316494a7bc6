package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"google.golang.org/protobuf/proto"
)

// keep has a node of that name keep what a file says, and a certificate.
func keep(t *testing.T, stateDir, id, text string) (table.Configuration, *certificatetest.Pair) {
	t.Helper()
	docs, problems := resource.Decode([]byte(text), resource.DecodeOptions{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	pair := certificatetest.SelfSigned(t, certificatetest.Options{})
	site := &fleetv1.Resource{
		Kind: proto.String(resource.Certificate), Name: proto.String("site"),
		Spec: &fleetv1.Resource_Certificate{Certificate: &fleetv1.Certificate{Chain: proto.String(pair.Chain), Key: proto.String(pair.Key)}},
	}
	resources := []*fleetv1.Resource{site}
	for i := range docs {
		resources = append(resources, docs[i].Resource)
	}
	var tr tree.Tree
	for _, r := range resources {
		canonical, err := resource.Canonical(r)
		if err != nil {
			t.Fatal(err)
		}
		tr = tr.Set(resource.KeyOf(r), canonical)
	}
	dir := nodeDir(stateDir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	key, err := lastgood.OpenKey(dir, logger)
	if err != nil {
		t.Fatal(err)
	}
	f, err := lastgood.Open(dir, key, nil, logger)
	if err != nil {
		t.Fatal(err)
	}
	c := table.Configuration{Version: table.Version{Epoch: 1795177081576, Revision: 41}, Tree: tr}
	f.Save(c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it writes what is left
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return c, pair
}

// keptText has what YAML could spoil on the way.
const keptText = `kind: Listener
name: https
spec: {port: 443, protocol: HTTPS, tls: {certificates: [site]}, limits: {body: 20MiB}, timeouts: {idle: 1m30s}}
---
kind: Route
name: a
labels: {on: yes}
spec:
  hosts: ["*.shop.test"]
  match: {path: {regex: "/a{2}|/#b"}, query: [{name: "y", exact: "1.10"}]}
  respond: {status: 200, body: "a: b\n\n  # c\ttab \\ \"q\" é\n"}
`

func TestWhatIsExportedIsWhatTheNodeHas(t *testing.T) {
	dir := t.TempDir()
	want, pair := keep(t, dir, "n", keptText)
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	args := []string{"export", "--node-id", "n", "--state-dir", dir, "--to"}
	status, out, errs := command(t, append(args, file)...)
	if status != exitDone || out != "" || !strings.Contains(errs, "3 resources of node n, with private keys: epoch 1795177081576, revision 41, digest "+want.Tree.Root().String()) {
		t.Fatalf("exit status %d:\n%s%s", status, out, errs)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if !pair.Leaks(text) || pair.Leaks([]byte(errs)) {
		t.Errorf("the key is to be in the file, and there alone:\n%s", errs)
	}
	docs, problems := resource.Decode(text, resource.DecodeOptions{})
	var tr tree.Tree
	for i := range docs {
		canonical, err := resource.Canonical(docs[i].Resource)
		if err != nil {
			t.Fatal(err)
		}
		tr = tr.Set(docs[i].Key, canonical)
	}
	if tr.Root() != want.Tree.Root() || len(problems) > 0 {
		t.Errorf("%v; it is read as something else:\n%s", problems, text)
	}

	if status, _, errs := command(t, append(args, file)...); status != exitFailed || !strings.Contains(errs, "exists") {
		t.Errorf("a file that is there: exit status %d: %s", status, errs)
	}
	if status, out, _ := command(t, append(args, "-")...); status != exitDone || out != string(text) {
		t.Errorf("standard output: exit status %d:\n%s", status, out)
	}
}

func TestExportSaysWhichNodeItLookedFor(t *testing.T) {
	dir := t.TempDir()
	keep(t, dir, "n", keptText)
	file := filepath.Join(dir, "fleet.yaml")
	status, _, errs := command(t, "export", "--node-id", "other", "--state-dir", dir, "--to", file)
	if status != exitFailed || !strings.Contains(errs, "node other keeps no configuration in "+filepath.Join(dir, "other")) {
		t.Errorf("exit status %d: %s", status, errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "other")); err == nil {
		t.Error("a directory was made")
	}
	for args, says := range map[string]string{
		"export":                              "expected --to FILE",
		"export --to x --resources shop.yaml": "runs on --resources",
		"export --to x --state-dir=":          "--state-dir",
	} {
		if status, _, errs := command(t, strings.Fields(args)...); status != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: exit status %d: %s", args, status, errs)
		}
	}
}

// TestAnOlderFileIsExportedWithAWarning where the newest one is not believed.
func TestAnOlderFileIsExportedWithAWarning(t *testing.T) {
	dir := t.TempDir()
	keep(t, dir, "n", keptText)
	newest := filepath.Join(nodeDir(dir, "n"), "last-good")
	text, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(newest+".old", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(newest, bytes.TrimSuffix(text, text[len(text)-9:]), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, errs := command(t, "export", "--node-id", "n", "--state-dir", dir, "--to", "-"); status != exitDone || !strings.Contains(errs, "warning: the newest file is not believed") {
		t.Errorf("exit status %d: %s", status, errs)
	}
}
