package explain_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/dataplane/explain"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// compiled is the table of resources in YAML.
func compiled(t *testing.T, text string) *table.Table {
	t.Helper()
	docs, problems := resource.Decode([]byte(text), resource.DecodeOptions{})
	resources := tree.Tree{}
	for _, d := range docs {
		bytes, err := resource.Canonical(d.Resource)
		if err != nil {
			t.Fatal(err)
		}
		resources = resources.Set(d.Key, bytes)
	}
	var result *compile.Result
	if len(problems) == 0 {
		result, problems = compile.Compile(nil, nil, resources, table.Version{})
	}
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return result.Table
}

const shop = `
kind: Listener
name: web
spec: {port: 8080, protocol: HTTP}
---
kind: Listener
name: raw
spec: {port: 8081, protocol: TCP}
---
kind: Upstream
name: app
spec: {endpoints: [{address: 127.0.0.1:9000}]}
---
kind: Upstream
name: beta
spec: {endpoints: [{address: 127.0.0.1:9001}]}
---
kind: Route
name: raw
spec: {listeners: [raw], forward: [{upstream: app}]}
---
kind: Route
name: cart
spec: {listeners: [web], hosts: [shop.test], match: {path: {prefix: /cart}}, forward: [{upstream: app}]}
---
kind: Route
name: split
spec: {listeners: [web], hosts: [shop.test], match: {path: {prefix: /split}}, forward: [{upstream: app, weight: 3}, {upstream: beta, weight: 0}]}
---
kind: Route
name: moved
spec: {listeners: [web], hosts: [shop.test], match: {path: {prefix: /old}}, redirect: {path: /new, status: 308}}
`

func TestWhatARouteDoesIsSaid(t *testing.T) {
	table := compiled(t, shop)
	for path, want := range map[string]string{
		"/cart/1": "forward to app",
		"/split":  "forward to app=3, beta=0",
		"/old":    "redirect 308",
	} {
		got, err := explain.Listeners(table, api.ExplainRequest{URL: "https://shop.test:99" + path})
		if err != nil || len(got) != 1 || got[0].Name != "web" || got[0].Action != want || got[0].Hosts != "shop.test" || got[0].Status != 0 {
			t.Errorf("%s: %+v, %v, want %q", path, got, err, want)
		}
	}
}

func TestARequestThatNobodyCouldSendIsAnError(t *testing.T) {
	table := compiled(t, shop)
	for want, r := range map[string]api.ExplainRequest{
		"expected a URL with a host":      {URL: "/cart"},
		"invalid URL escape":              {URL: "http://shop.test/%zz"},
		`client "me"`:                     {URL: "http://shop.test/", Client: "me"},
		`listener "raw"`:                  {URL: "http://shop.test/", Listener: "raw"},
		"more than one line":              {URL: "http://shop.test/", Headers: []string{"A: b\r\nC: d"}},
		"a node refuses such a request: ": {URL: "http://shop.test/", Headers: []string{"no field"}},
	} {
		if got, err := explain.Listeners(table, r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %+v, %v, want %q", r, got, err, want)
		}
	}
}

func TestAConfigurationWithoutListenersOfHTTPHasNothingToSay(t *testing.T) {
	got, err := explain.Listeners(compiled(t, "kind: Upstream\nname: a\nspec: {endpoints: [{address: 127.0.0.1:1}]}"), api.ExplainRequest{URL: "http://a/"})
	if err != nil || got == nil || len(got) != 0 || (api.Explanation{Listeners: got}).Found() {
		t.Errorf("%#v, %v", got, err)
	}
}

// TestStepsAreBounded: routes of regexes are tried one after the other; who asks is told how
// many, and what is taken all the same.
func TestStepsAreBounded(t *testing.T) {
	var text strings.Builder
	text.WriteString("kind: Listener\nname: web\nspec: {port: 8080, protocol: HTTP}\n")
	for i := range 1020 {
		fmt.Fprintf(&text, "---\nkind: Route\nname: r%04d\nspec: {hosts: [shop.test], match: {path: {regex: \"/%04d\"}}, respond: {status: 204}}\n", i, i)
	}
	got, err := explain.Listeners(compiled(t, text.String()), api.ExplainRequest{URL: "http://shop.test/1015"})
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if l := got[0]; len(l.Steps) != 1000 || l.StepsCut != 15 || l.Route != "r1015" {
		t.Errorf("%d steps, %d cut, route %q", len(l.Steps), l.StepsCut, l.Route)
	}
	lines := strings.Join(got[0].Lines(), "\n")
	for _, want := range []string{"\n  … and 15 more do not fit\n", "\n  shop.test: Route/r1015 is taken: respond 204"} {
		if !strings.Contains(lines+"\n", want) {
			t.Errorf("no %q", want)
		}
	}
}
