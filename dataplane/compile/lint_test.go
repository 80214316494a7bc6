package compile

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

func TestLintTellsWhatWasHardlyMeant(t *testing.T) {
	r := mustCompile(t, nil, treeOf(t, `
{kind: Listener, name: web, spec: {port: 8080, protocol: HTTP, mergeSlashes: true}}
---
{kind: Upstream, name: idle, spec: {endpoints: [{address: "10.0.0.1:80", weight: 0}]}}
---
{kind: Route, name: root, spec: {hosts: [a.test], match: {path: {prefix: /}}, respond: {status: 200}}}
---
{kind: Route, name: pattern, spec: {hosts: [a.test, b.test], match: {path: {regex: "/x.*"}}, respond: {status: 200}}}
---
{kind: Route, name: over, spec: {hosts: [b.test], priority: 1, match: {path: {prefix: /api}}, respond: {status: 200}}}
---
{kind: Route, name: under, spec: {hosts: [b.test], match: {path: {exact: /api/x}}, respond: {status: 200}}}
---
{kind: Route, name: beside, spec: {hosts: [b.test], match: {path: {exact: /apix}}, respond: {status: 200}}}
---
{kind: Route, name: tie-1, spec: {hosts: [c.test], match: {path: {prefix: /}, headers: [{name: a}]}, respond: {status: 200}}}
---
{kind: Route, name: tie-2, spec: {hosts: [c.test], match: {path: {prefix: /}, headers: [{name: b}]}, respond: {status: 200}}}
---
{kind: Route, name: apart-1, spec: {hosts: [d.test], match: {path: {prefix: /}, headers: [{name: a, exact: x}]}, respond: {status: 200}}}
---
{kind: Route, name: apart-2, spec: {hosts: [d.test], match: {path: {prefix: /}, headers: [{name: a, exact: y}]}, respond: {status: 200}}}
---
{kind: Route, name: slashes, spec: {hosts: [e.test], match: {path: {prefix: /a//b}}, respond: {status: 200}}}
`))
	var got []string
	for _, w := range Lint(r, time.Now()) {
		got = append(got, w.String())
	}
	want := []string{
		"Route/pattern: spec.match: never gets a request on host a.test of listener web: Route/root comes before it and takes them all",
		"Route/slashes: spec.match.path: never gets a request on listener web, which merges slashes",
		"Route/tie-2: spec.match: may fit the same requests on host c.test of listener web as Route/tie-1, which comes first by its name alone: a priority says what is meant",
		"Route/under: spec.match: never gets a request on host b.test of listener web: Route/over comes before it and takes them all",
		"Upstream/idle: spec.endpoints: all weights are 0: every request is answered with 503",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLintTellsOfHostsThatNoCertificateHasAndOfCertificatesThatAreNotGood(t *testing.T) {
	now := time.Now()
	shown := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test", "*.wild.test", "c.test", "d.test"}})
	other := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"other.test"}})
	over := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"over.test"}, NotAfter: now.Add(-time.Minute)})
	resources := treeOf(t, `
{kind: Listener, name: plain, spec: {port: 8080, protocol: HTTP}}
---
{kind: Route, name: named, spec: {hosts: [shop.test, a.wild.test, "*.wild.test", other.test, over.test], respond: {status: 200}}}
---
{kind: Route, name: any, spec: {respond: {status: 200}}}
---
{kind: Route, name: without, spec: {hosts: ["*.shop.test"], respond: {status: 200}}}
---
{kind: Route, name: deep, spec: {hosts: [a.b.wild.test], listeners: [https], respond: {status: 200}}}
---
{kind: Route, name: elsewhere, spec: {hosts: [plain.test], listeners: [plain], respond: {status: 200}}}
`)
	for _, r := range []*fleetv1.Resource{
		certificateOf("site", shown.Chain, shown.Key), certificateOf("other", other.Chain, other.Key), certificateOf("over", over.Chain, over.Key),
		httpsListener(t, "site", "other", "over"),
	} {
		resources = set(t, resources, r)
	}
	var got []string
	for _, w := range Lint(mustCompile(t, nil, resources), now) {
		got = append(got, w.String())
	}
	const shownInstead = ": clients are shown Certificate/site, which is for shop.test, *.wild.test, c.test, …"
	want := []string{
		"Certificate/over: spec.chain: expired at " + over.Certificate.NotAfter.UTC().Format(time.RFC3339),
		"Route/deep: spec.hosts: no certificate of listener https is for host a.b.wild.test" + shownInstead,
		"Route/without: spec.hosts: no certificate of listener https is for host *.shop.test" + shownInstead,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A route that lint calls unreachable is indeed never matched.
func TestLintIsRightAboutUnreachableRoutes(t *testing.T) {
	checked := 0
	for seed := range uint64(60) {
		r := newRandom(seed)
		f := fleet{}
		for range 6 {
			f.edit(r, 30)
		}
		for _, name := range listenerNames {
			f[resource.KeyOf(r.listener(name))] = r.listener(name)
		}
		for _, name := range upstreamNames {
			f[resource.KeyOf(r.upstream(name))] = r.upstream(name)
		}
		result, problems := Compile(nil, nil, treeOfFleet(t, f), table.Version{})
		if len(problems) > 0 {
			continue
		}
		for _, w := range Lint(result, time.Now()) {
			at, found := strings.CutPrefix(w.Text, "never gets a request on host ")
			if !found {
				continue
			}
			checked++
			class, rest, _ := strings.Cut(at, " of listener ")
			listener, _, _ := strings.Cut(rest, ":")
			l := result.Table.Listener(listener)
			for range 300 {
				a := r.ask()
				a.host = strings.Replace(class, "*", "x", 1)
				var last table.Step
				l.Explain(a.toQuery(), func(s table.Step) { last = s })
				if last.Failed == table.ClauseNone && last.Route != nil && last.Route.Name == w.Name && last.Class == class {
					t.Fatalf("%s, but %+v gets there", w, a)
				}
			}
		}
	}
	t.Logf("%d routes", checked)
}
