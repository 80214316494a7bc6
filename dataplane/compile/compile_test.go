package compile

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/permit/permittest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// firstFleet is the first example of the documentation, without its VIP.
const firstFleet = `
kind: Listener
name: web
spec:
  port: 8080
  protocol: HTTP
---
kind: Upstream
name: front
spec:
  endpoints:
    - address: 127.0.0.1:9001
    - address: 127.0.0.1:9002
      weight: 3
---
kind: Upstream
name: api-v1
spec:
  endpoints:
    - {address: 127.0.0.1:9003}
    - {address: 127.0.0.1:9004}
  loadBalancing: {algorithm: LEAST_REQUEST}
---
kind: Upstream
name: api-v2
spec:
  endpoints:
    - {address: 127.0.0.1:9005}
---
kind: Route
name: api
labels: {team: orders}
spec:
  hosts: [shop.test]
  match:
    path: {prefix: /api}
  forward:
    - {upstream: api-v1, weight: 95}
    - {upstream: api-v2, weight: 5}
  timeouts: {request: 5s}
---
kind: Route
name: api-testers
spec:
  hosts: [shop.test]
  match:
    path: {prefix: /api}
    headers:
      - {name: X-Group, exact: testers}
  forward:
    - {upstream: api-v2}
---
kind: Route
name: front
spec:
  hosts: [shop.test, "*.shop.test"]
  match:
    path: {prefix: /}
  forward:
    - {upstream: front}
  responseHeaders:
    set: {X-Served-By: proxyfleet}
---
kind: Route
name: old-home
spec:
  hosts: [shop.test]
  match:
    path: {exact: /home}
  redirect: {path: /, status: 301}
---
kind: Route
name: ping
spec:
  match:
    path: {exact: /ping}
  respond: {status: 200, body: "pong\n", headers: {Content-Type: text/plain}}
`

func TestRequestsGetTheRouteOfTheExample(t *testing.T) {
	r := mustCompile(t, nil, treeOf(t, firstFleet))
	web := r.Table.Listener("web")
	for _, tc := range []struct {
		ask  ask
		want string
	}{
		{ask{host: "shop.test", path: "/api"}, "api"},
		{ask{host: "shop.test", path: "/api/orders"}, "api"},
		{ask{host: "shop.test", path: "/apis"}, "front"},
		{ask{host: "shop.test", path: "/api", fields: [][2]string{{"x-GROUP", "testers"}}}, "api-testers"},
		{ask{host: "shop.test", path: "/api", fields: [][2]string{{"X-Group", "others"}}}, "api"},
		{ask{host: "shop.test", path: "/api", fields: [][2]string{{"X-Group", "others"}, {"x-group", "testers"}}}, "api-testers"},
		{ask{host: "shop.test", path: "/home"}, "old-home"},
		{ask{host: "shop.test", path: "/home/"}, "front"},
		{ask{host: "a.shop.test", path: "/api"}, "front"},
		{ask{host: "a.b.shop.test", path: "/"}, "front"},
		{ask{host: "shop.test", path: "/ping"}, "front"}, // host stands above path
		{ask{host: "other.test", path: "/ping"}, "ping"},
		{ask{host: "", path: "/ping"}, "ping"},
		{ask{host: "other.test", path: "/"}, "none"},
	} {
		if got := routeName(web.Match(tc.ask.toQuery())); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.ask, got, tc.want)
		}
	}
}

func TestDefaultsAreApplied(t *testing.T) {
	r := mustCompile(t, nil, treeOf(t, firstFleet))
	web, front, api := r.Table.Listener("web"), r.Table.Upstream("front"), r.Route("api")
	if web.Backlog != 4096 || web.Limits.BodyBytes != -1 || web.Limits.HeaderBytes != 64<<10 || web.Timeouts.RequestHead != 10*time.Second ||
		len(web.Addresses) != 1 || web.Addresses[0].Kind != table.AddressNode || web.KeepAlive.Probes != 3 {
		t.Errorf("listener: %+v", web)
	}
	if front.ConnectTimeout != 5*time.Second || front.Pool.MaxConnections != 1024 || front.Pool.IdleTimeout != 4*time.Second ||
		front.Endpoints[0].Weight != 1 || front.Endpoints[1].Weight != 3 {
		t.Errorf("upstream: %+v", front)
	}
	if api.Timeout != 5*time.Second || r.Route("ping").Timeout != 15*time.Second {
		t.Errorf("timeouts: %v, %v", api.Timeout, r.Route("ping").Timeout)
	}
	if got := string(r.Route("front").ResponseHeaders.Set[0].Name); got != "x-served-by" {
		t.Errorf("field name: %q", got)
	}
	if got := r.Table.Upstream("api-v1").Algorithm; got != table.AlgorithmLeastRequest {
		t.Errorf("algorithm: %v", got)
	}
	counts := map[string]int{}
	for i := range 1000 {
		counts[api.Pick(uint64(i)*(1<<64/1000)).Name]++
	}
	if counts["api-v1"] < 940 || counts["api-v1"] > 960 {
		t.Errorf("shares: %v", counts)
	}
}

func TestWhatDidNotChangeIsTheSameObject(t *testing.T) {
	base := treeOf(t, firstFleet)
	first := mustCompile(t, nil, base)
	second := mustCompile(t, first, with(t, base, `
kind: Upstream
name: front
spec: {endpoints: [{address: 127.0.0.1:9001}]}
---
kind: Route
name: ping
spec:
  match: {path: {exact: /pong}}
  respond: {status: 200}
`))
	for _, name := range []string{"api", "api-testers", "old-home"} {
		if first.Route(name) != second.Route(name) {
			t.Errorf("route %s is another object", name)
		}
	}
	for _, name := range []string{"front", "ping"} {
		if first.Route(name) == second.Route(name) {
			t.Errorf("route %s is the old object", name)
		}
	}
	if first.Table.Upstream("api-v1") != second.Table.Upstream("api-v1") {
		t.Error("upstream api-v1 is another object")
	}
	if u := second.Route("front").Targets[0].Upstream; u != second.Table.Upstream("front") || u == first.Table.Upstream("front") {
		t.Error("route front forwards to an old upstream")
	}
	web := second.Table.Listener("web")
	if got := web.Match(ask{host: "shop.test", path: "/"}.toQuery()); got != second.Route("front") {
		t.Error("the index has an old route")
	}
	if got := routeName(web.Match(ask{host: "x", path: "/ping"}.toQuery())); got != "none" {
		t.Errorf("old path of ping: %s", got)
	}
	if got := routeName(first.Table.Listener("web").Match(ask{host: "x", path: "/ping"}.toQuery())); got != "ping" {
		t.Errorf("the old table changed: %s", got)
	}
}

func TestUpstreamWithOtherLabelsOnlyIsTheSameObject(t *testing.T) {
	base := treeOf(t, firstFleet)
	first := mustCompile(t, nil, base)
	second := mustCompile(t, first, with(t, base, `
kind: Upstream
name: api-v2
labels: {team: search}
spec: {endpoints: [{address: "127.0.0.1:9005"}]}
`))
	if first.Table.Upstream("api-v2") != second.Table.Upstream("api-v2") || first.Route("api-testers") != second.Route("api-testers") {
		t.Error("labels made a new object")
	}
	if second.Table.Root == first.Table.Root || second.Tree.Root() != second.Table.Root {
		t.Error("the root is not that of the new tree")
	}
}

func TestReferrersAreNamed(t *testing.T) {
	base := treeOf(t, firstFleet)
	r := mustCompile(t, nil, base)
	want := []tree.Key{{Kind: "Route", Name: "api"}, {Kind: "Route", Name: "api-testers"}}
	if got := referrers(r, tree.Key{Kind: "Upstream", Name: "api-v2"}); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	r = mustCompile(t, r, with(t, base, `
kind: Route
name: api
spec:
  listeners: [web]
  hosts: [shop.test]
  match: {path: {prefix: /api}}
  forward: [{upstream: api-v1}]
`))
	if got := referrers(r, tree.Key{Kind: "Upstream", Name: "api-v2"}); !slices.Equal(got, want[1:]) {
		t.Errorf("got %v", got)
	}
	if got := referrers(r, tree.Key{Kind: "Listener", Name: "web"}); !slices.Equal(got, want[:1]) {
		t.Errorf("got %v", got)
	}
	if got := referrers(r, tree.Key{Kind: "Route", Name: "api"}); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestEmptyTreeCompiles(t *testing.T) {
	full := mustCompile(t, nil, treeOf(t, firstFleet))
	for _, prev := range []*Result{nil, full} {
		r := mustCompile(t, prev, tree.Tree{})
		if len(r.Table.Listeners) != 0 || len(r.Table.Upstreams) != 0 || r.Table.Routes != 0 || r.Table.Root != tree.EmptyRoot() {
			t.Errorf("got %+v", r.Table)
		}
	}
}

func TestRoutesLiveOnTheListenersThatTheyName(t *testing.T) {
	base := treeOf(t, `
{kind: Listener, name: a, spec: {port: 1001, protocol: HTTP}}
---
{kind: Listener, name: b, spec: {port: 1002, protocol: HTTP}}
---
{kind: Route, name: all, spec: {match: {path: {prefix: /}}, respond: {status: 200}}}
---
{kind: Route, name: only-a, spec: {listeners: [a, a], match: {path: {prefix: /x}}, respond: {status: 200}}}
`)
	r := mustCompile(t, nil, base)
	check := func(step string, want map[string]string) {
		t.Helper()
		for listener, name := range want {
			if got := routeName(r.Table.Listener(listener).Match(ask{path: "/x"}.toQuery())); got != name {
				t.Errorf("%s: listener %s: got %s, want %s", step, listener, got, name)
			}
		}
	}
	check("at first", map[string]string{"a": "only-a", "b": "all"})
	base = with(t, base, `{kind: Listener, name: c, spec: {port: 1003, protocol: HTTP}}`)
	r = mustCompile(t, r, base)
	check("with c", map[string]string{"a": "only-a", "b": "all", "c": "all"})
	base = with(t, base, `{kind: Route, name: only-a, spec: {listeners: [b, c], match: {path: {prefix: /x}}, respond: {status: 200}}}`)
	r = mustCompile(t, r, base)
	check("moved to b and c", map[string]string{"a": "all", "b": "only-a", "c": "only-a"})
	base = with(t, base, `{kind: Route, name: all, spec: {match: {path: {prefix: /x/y}}, respond: {status: 200}}}`)
	r = mustCompile(t, r, base)
	check("all moved away", map[string]string{"a": "none", "b": "only-a", "c": "only-a"})
	base = base.Delete(tree.Key{Kind: "Route", Name: "only-a"})
	r = mustCompile(t, r, base)
	check("removed", map[string]string{"a": "none", "b": "none", "c": "none"})
}

func TestPermitIsHeldWhileComputingAndPassedOn(t *testing.T) {
	p := &permittest.Counting{T: t}
	if _, problems := Compile(p, nil, manyRoutes(t, 2000, 10), table.Version{}); len(problems) > 0 {
		t.Fatal(problems[0])
	}
	if p.Held {
		t.Error("still held")
	}
	// 2,000 routes are more than 20 ms of estimated work.
	if p.Times < 40 {
		t.Errorf("taken %d times", p.Times)
	}
}

// manyRoutes is a tree of n prefix routes over hosts, forwarding to 100 upstreams.
func manyRoutes(t testing.TB, n, hosts int) tree.Tree {
	t.Helper()
	base := treeOf(t, `{kind: Listener, name: web, spec: {port: 8080, protocol: HTTP}}`)
	for i := range 100 {
		base = set(t, base, upstreamResource(fmt.Sprintf("up-%02d", i), 1))
	}
	for i := range n {
		base = set(t, base, routeResource(i, hosts, 0))
	}
	return base
}
