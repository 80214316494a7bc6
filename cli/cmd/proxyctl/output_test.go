package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
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
