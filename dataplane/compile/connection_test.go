package compile

import (
	"slices"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

const passed = ground + `
---
{kind: Listener, name: db, spec: {port: 5432, protocol: TCP}}
---
{kind: Listener, name: sni, spec: {port: 443, protocol: TLS_PASSTHROUGH}}
---
{kind: Route, name: db, spec: {listeners: [db], forward: [{upstream: api-v1}, {upstream: api-v2}]}}
---
{kind: Route, name: inside, spec: {listeners: [db], priority: 1, match: {clientCIDRs: [10.0.0.0/8]}, forward: [{upstream: api-v2}]}}
---
{kind: Route, name: shop, spec: {listeners: [sni], hosts: [shop.test, "*.shop.test"], timeouts: {tunnelIdle: 1m}, forward: [{upstream: api-v1}]}}
`

// namesOn lists the routes of a listener.
func namesOn(l *table.Listener) (names []string) {
	for _, routes := range l.Routes.All() {
		for _, r := range routes {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestAListenerOfConnectionsHasTheRoutesThatNameIt(t *testing.T) {
	r := mustCompile(t, nil, treeOf(t, passed))
	for name, want := range map[string][]string{"web": {"base"}, "db": {"db", "inside"}, "sni": {"shop"}} {
		if got := namesOn(r.Table.Listener(name)); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	// A change elsewhere leaves the index; one here is seen; so is an upstream's.
	next := mustCompile(t, r, with(t, r.Tree, `{kind: Route, name: other, spec: {hosts: [o.test], forward: [{upstream: api-v1}]}}`))
	if got := namesOn(next.Table.Listener("sni")); !slices.Equal(got, []string{"shop"}) {
		t.Errorf("after a change elsewhere: %q", got)
	}
	next = mustCompile(t, next, with(t, next.Tree, `{kind: Route, name: more, spec: {listeners: [sni], hosts: [m.test], forward: [{upstream: api-v1}]}}`))
	if got := namesOn(next.Table.Listener("sni")); !slices.Equal(got, []string{"more", "shop"}) {
		t.Errorf("after another route: %q", got)
	}
	next = mustCompile(t, next, with(t, next.Tree, `{kind: Upstream, name: api-v1, spec: {endpoints: [{address: "10.0.0.9:80"}]}}`))
	for _, routes := range next.Table.Listener("sni").Routes.All() {
		for _, route := range routes {
			if got := route.Targets[0].Upstream.Endpoints[0].Address; got != "10.0.0.9:80" {
				t.Errorf("%s forwards to %s", route.Name, got)
			}
		}
	}
}

func TestWhatConnectionsDoNotHaveIsRefused(t *testing.T) {
	base := mustCompile(t, nil, treeOf(t, passed))
	for _, c := range []struct{ yaml, want string }{
		{`{kind: Route, name: r, spec: {listeners: [db], hosts: [a.test], forward: [{upstream: api-v1}]}}`, `Route/r: spec.hosts: got "a.test", expected to be left out: listener db has protocol TCP`},
		{`{kind: Route, name: r, spec: {listeners: [sni], match: {path: {prefix: /}}, forward: [{upstream: api-v1}]}}`, `Route/r: spec.match.path: got "/", expected to be left out: listener sni has protocol TLS_PASSTHROUGH`},
		{`{kind: Route, name: r, spec: {listeners: [sni], match: {methods: [GET]}, forward: [{upstream: api-v1}]}}`, `Route/r: spec.match.methods: got methods, expected to be left out: listener sni has protocol TLS_PASSTHROUGH`},
		{`{kind: Route, name: r, spec: {listeners: [sni], respond: {status: 200}}}`, `Route/r: spec: got a route that does not forward, expected to be left out: listener sni has protocol TLS_PASSTHROUGH`},
		{`{kind: Route, name: r, spec: {listeners: [sni], hosts: [r.test], timeouts: {request: 1s}, forward: [{upstream: api-v1}]}}`, `Route/r: spec.timeouts.request: got 1s, expected to be left out: listener sni has protocol TLS_PASSTHROUGH`},
		{`{kind: Route, name: r, spec: {listeners: [sni], hosts: [r.test], upgrades: [spdy], forward: [{upstream: api-v1}]}}`, `Route/r: spec.upgrades: got protocols, expected to be left out: listener sni has protocol TLS_PASSTHROUGH`},
		// The route stays and the upstream changes.
		{`{kind: Upstream, name: api-v1, spec: {protocol: HTTP2, endpoints: [{address: "10.0.0.9:80"}]}}`, `Route/shop: spec.forward: got upstream api-v1 of protocol HTTP2, expected to be left out: listener sni has protocol TLS_PASSTHROUGH`},
		// The route stays and the listener changes.
		{`{kind: Listener, name: sni, spec: {port: 443, protocol: TCP}}`, `Route/shop: spec.hosts: got "*.shop.test", expected to be left out: listener sni has protocol TCP`},
	} {
		for _, from := range []*Result{base, nil} {
			_, problems := Compile(nil, from, with(t, base.Tree, c.yaml), table.Version{})
			if got := lines(problems); !slices.Contains(got, c.want) {
				t.Errorf("%s:\ngot  %q\nwant %q", c.yaml, got, c.want)
			}
		}
	}
}
