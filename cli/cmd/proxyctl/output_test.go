package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/proxyfleet/proxyfleet/cli/controlplanetest"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

func TestYAMLHoldsWhatJSONHolds(t *testing.T) {
	sh := withFleet(t)
	for _, args := range []string{
		"apply -f " + firstFile, "diff 0", "describe route/api", "describe route/api node/node-1", "history", "history 1", "status",
		"nodes describe node-1", "vip", "epoch", "context list", "context show", "version",
		"delete route/ping --dry-run", "rollback 0 --dry-run --allow-shrink", "set weight route/api api-v2=5 --dry-run",
	} {
		var asJSON, asYAML any
		if err := json.Unmarshal([]byte(sh.run(strings.Fields(args+" -o json")...).stdout), &asJSON); err != nil {
			t.Errorf("%s: %v", args, err)
		}
		text := sh.run(strings.Fields(args + " -o yaml")...).stdout
		if err := yaml.Unmarshal([]byte(text), &asYAML); err != nil || strings.HasPrefix(text, "{") {
			t.Errorf("%s: %v in\n%s", args, err, text)
		}
		if d := cmp.Diff(asJSON, asYAML); d != "" {
			t.Errorf("%s (-JSON +YAML):\n%s", args, d)
		}
	}
}

func TestNamesAreWhatOtherCommandsTake(t *testing.T) {
	sh := withFleet(t)
	if got, want := sh.must("get", "upstreams", "-o", "name"), "upstream/api-v1\nupstream/api-v2\nupstream/front\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	contains(t, sh.must("nodes", "-o", "name"), "node/node-1\n")
	sh.must(append([]string{"describe"}, strings.Fields(sh.must("get", "all", "-o", "name"))...)...)
}

// withMuch is a shell whose fleet has more to tell than fits into a terminal.
func withMuch(t *testing.T) *shell {
	sh := withVIPs(t)
	pair := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{
		"shop.example.test", "www.shop.example.test", "static.shop.example.test", "images.shop.example.test",
	}})
	indented := func(pem string) string { return strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\n    ") }
	sh.must("apply", "-m", strings.Repeat("the spring sale begins, ", 8), "-f", sh.file("much.yaml", `kind: Upstream
name: catalogue-service-blue
spec: {endpoints: [{address: 10.20.30.41:8080}, {address: 10.20.30.42:8080}, {address: 10.20.30.43:8080}, {address: 10.20.30.44:8080}]}
---
kind: Upstream
name: catalogue-service-green
spec: {endpoints: [{address: 10.20.30.51:8080}]}
---
kind: Listener
name: web
spec: {port: 8080, protocol: HTTP, addresses: ["2001:db8:0:1:2:3:4:5", "2001:db8:0:1:2:3:4:6", "2001:db8:0:1:2:3:4:7"]}
---
kind: VirtualIP
name: shop
spec: {address: "2001:db8:0:1:2:3:4:8/128", announce: BIND, nodes: {names: [edge-1.example.test, edge-2.example.test, edge-3.example.test]}}
---
kind: Route
name: catalogue-of-the-shop
spec:
  hosts: [shop.example.test, www.shop.example.test, "*.shop.example.test"]
  match: {methods: [GET, HEAD], path: {regex: "/catalogue/[a-z]{2}/[0-9]+/[a-z0-9-]+/(front|back|detail)"}, headers: [{name: X-Group, exact: testers}]}
  forward: [{upstream: catalogue-service-blue, weight: 95}, {upstream: catalogue-service-green, weight: 5}]
---
kind: Certificate
name: site
spec:
  chain: |
    `+indented(pair.Chain)+`
  key: |
    `+indented(pair.Key)+"\n"))
	seen := sh.server.Start.Add(9 * time.Minute)
	var nodes []api.NodeStatus
	for i, state := range api.NodeStates() {
		n := controlplanetest.Node(fmt.Sprintf("edge-%d.example.test", i+1), state, 41, 42)
		n.LastSeen, n.Requests, n.Connections = &seen, 123_456_789, 12_345
		nodes = append(nodes, n)
	}
	nodes[0].Drained = true
	sh.server.SetNodes(nodes...)
	return sh
}

func TestTablesFitAndCutNoNames(t *testing.T) {
	sh := withMuch(t)
	for args, names := range map[string][]string{
		"get routes":       {"catalogue-of-the-shop", "catalogue-service-blue=95 +1", "shop.example.test +2"},
		"get upstreams":    {"catalogue-service-green", "10.20.30.43:8080 +1"},
		"get listeners":    {"web", "2001:db8:0:1:2:3:4:5"},
		"get virtualips":   {"2001:db8:0:1:2:3:4:8/128", "edge-1.example.test,edge-2.example.test +1"},
		"get certificates": {"shop.example.test +3"},
		"get all":          nil,
		"nodes":            {"edge-6.example.test"},
		"status":           {"edge-6.example.test", "last seen 1m ago", "until proxyctl undrain"},
		"history":          {"eve@laptop", "…"},
		"vip":              {"node-1 AND node-2"},
		"vip edge pair":    {"node-4 is not eligible: it is drained"},
	} {
		text := sh.run(strings.Fields(args)...).stdout
		contains(t, text, names...)
		for line := range strings.Lines(text) {
			// Sentences are as long as they are.
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > tableWidth && strings.Contains(line, "   ") {
				t.Errorf("%s: %d columns: %s", args, n, line)
			}
		}
	}
	contains(t, sh.must("get", "routes", "-o", "wide"), "www.shop.example.test,*.shop.example.test", "(front|back|detail) header X-Group=testers",
		"catalogue-service-green=5")
	contains(t, sh.run("vip", "-o", "wide").stdout, "TERM", "LIST")
}
