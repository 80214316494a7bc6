package compile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// lines are problems for a test to compare: one a line, without the document's
// place, which compile does not know.
func lines(problems []resource.Problem) []string {
	var out []string
	for _, p := range problems {
		p.Line, p.Document, p.File = 0, 0, ""
		out = append(out, p.Error())
	}
	return out
}

const ground = `
{kind: Listener, name: web, spec: {port: 8080, protocol: HTTP}}
---
{kind: Upstream, name: api-v1, spec: {endpoints: [{address: "10.0.0.1:80"}]}}
---
{kind: Upstream, name: api-v2, spec: {endpoints: [{address: "10.0.0.2:80"}]}}
---
{kind: Route, name: base, spec: {hosts: [shop.test, "*.shop.test"], match: {path: {prefix: /api}, methods: [GET, PURGE], headers: [{name: X-A, exact: b}]}, forward: [{upstream: api-v1}]}}
`

func TestEveryProblemIsTold(t *testing.T) {
	for _, tc := range []struct {
		name, yaml string
		want       []string
	}{
		{
			"dangling upstream, with what is near",
			`{kind: Route, name: a, spec: {match: {path: {prefix: /x}}, forward: [{upstream: api-v1}, {upstream: api-v3}]}}`,
			[]string{`Route/a: spec.forward[1].upstream: got "api-v3", expected the name of an Upstream; there is none named api-v3; did you mean api-v1?`},
		},
		{
			"dangling listener",
			`{kind: Route, name: a, spec: {listeners: [web, wep], respond: {status: 200}}}`,
			[]string{`Route/a: spec.listeners[1]: got "wep", expected the name of a Listener; there is none named wep; did you mean web?`},
		},
		{
			"a UNIX socket without a name for TLS",
			`{kind: Upstream, name: u, spec: {endpoints: [{address: "unix:/run/x"}], tls: {}}}`,
			[]string{`Upstream/u: spec.endpoints[0].address: got "unix:/run/x", expected tls.serverName in the same upstream: a UNIX socket has no name to verify`},
		},
		{
			"a PROXY header that is taken from nobody",
			`{kind: Listener, name: edge, spec: {port: 8081, protocol: HTTP, proxyProtocol: REQUIRED}}`,
			[]string{`Listener/edge: spec.proxyProtocol: got REQUIRED, expected trustedProxies in the same listener: no other peer's header is believed`},
		},
		{
			"a PROXY header before requests of many clients",
			`{kind: Upstream, name: many, spec: {protocol: HTTP2, proxyProtocol: V1, endpoints: [{address: "10.0.0.1:80"}]}}`,
			[]string{`Upstream/many: spec.proxyProtocol: got V1, expected protocol HTTP1: a connection of HTTP2 carries requests of many clients`},
		},
		{
			"a ping where there is none",
			`{kind: Upstream, name: old, spec: {ping: {interval: 30s}, endpoints: [{address: "10.0.0.1:80"}]}}
---
{kind: Listener, name: raw, spec: {port: 8082, protocol: TCP, ping: {interval: 30s}, timeouts: {maxLifetime: 1h}}}`,
			[]string{
				`Listener/raw: spec.ping: got a ping, expected protocol HTTP or HTTPS: others pass bytes on as they are`,
				`Listener/raw: spec.timeouts.maxLifetime: got 1h0m0s, expected protocol HTTP or HTTPS: others pass bytes on as they are`,
				`Upstream/old: spec.ping: got a ping, expected protocol HTTP2: HTTP/1.1 has none`,
			},
		},
		{
			"the same match in other words",
			`{kind: Route, name: copy, spec: {hosts: [x.test, "*.shop.test"], match: {path: {prefix: /api}, methods: [PURGE, GET, GET], headers: [{name: x-a, exact: b}, {name: X-a, exact: b}]}, respond: {status: 200}}}`,
			[]string{`Route/copy: spec.match: got the same match as Route/base on host *.shop.test, expected a match, a priority or hosts of its own`},
		},
		{
			"the same match on one of the listeners",
			`{kind: Route, name: copy, spec: {listeners: [web], hosts: [shop.test], match: {path: {prefix: /api}, methods: [PURGE, GET], headers: [{name: x-a, exact: b}]}, respond: {status: 200}}}`,
			[]string{`Route/copy: spec.match: got the same match as Route/base on host shop.test of listener web, expected a match, a priority or hosts of its own`},
		},
		{
			"another priority is another match",
			`{kind: Route, name: copy, spec: {priority: 1, hosts: [shop.test], match: {path: {prefix: /api}, methods: [PURGE, GET], headers: [{name: x-a, exact: b}]}, respond: {status: 200}}}`,
			nil,
		},
		{
			"two listeners in one place",
			`{kind: Listener, name: web2, spec: {port: 8080, protocol: HTTP, addresses: [10.0.0.1]}}`,
			[]string{`Listener/web2: spec.port: got 8080, which web has too on NODE (which may be 10.0.0.1), expected a port of its own, or addresses that do not overlap`},
		},
		{
			"listeners on literal addresses",
			`{kind: Listener, name: a, spec: {port: 81, protocol: HTTP, addresses: [10.0.0.1]}}
---
{kind: Listener, name: b, spec: {port: 81, protocol: HTTP, addresses: [10.0.0.2, "::1"]}}
---
{kind: Listener, name: c, spec: {port: 81, protocol: HTTP, addresses: [10.0.0.3, "::1"]}}
---
{kind: Listener, name: d, spec: {port: 81, protocol: HTTP, addresses: [0.0.0.0]}}`,
			[]string{
				`Listener/c: spec.port: got 81, which b has too on ::1, expected a port of its own, or addresses that do not overlap`,
				`Listener/d: spec.port: got 81, which a has too on 0.0.0.0, expected a port of its own, or addresses that do not overlap`,
			},
		},
		{
			"endpoints that need what does not exist yet",
			`{kind: Upstream, name: u, spec: {endpoints: [{address: "unix:/run/x"}, {address: "api.test:80"}, {address: "10.0.0.1:80"}]}}
---
{kind: Route, name: a, spec: {match: {path: {prefix: /x}}, forward: [{upstream: u}]}}`,
			[]string{
				`Upstream/u: spec.endpoints[1].address: got "api.test:80", expected an IP address and port: host names are not supported yet`,
			},
		},
		{
			"weights",
			`{kind: Route, name: a, spec: {match: {path: {prefix: /x}}, forward: [{upstream: api-v1, weight: 0}, {upstream: api-v2, weight: 0}]}}`,
			[]string{`Route/a: spec.forward: got weights that are all 0, expected at least one weight above 0`},
		},
		{
			"deep prefix",
			`{kind: Route, name: a, spec: {match: {path: {prefix: "` + strings.Repeat("/x", 32) + `"}}, respond: {status: 200}}}`,
			[]string{`Route/a: spec.match.path.prefix: got 32 segments, expected at most 31`},
		},
		{
			"large regex",
			`{kind: Route, name: a, spec: {match: {path: {regex: "/(a{50}b{50}){10}"}}, respond: {status: 200}}}`,
			[]string{`Route/a: spec.match.path.regex: got "/(a{50}b{50}){10}", expected a simpler pattern: this one has 1025 instructions, at most 1000 are allowed`},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base := treeOf(t, ground)
			next := with(t, base, tc.yaml)
			_, full := Compile(nil, nil, next, table.Version{})
			if got := lines(full); !slices.Equal(got, tc.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
			_, step := Compile(nil, mustCompile(t, nil, base), next, table.Version{})
			if got := lines(step); !slices.Equal(got, tc.want) {
				t.Errorf("incremental: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
			}
		})
	}
}

func TestDeletingWhatIsReferredToNamesWhoRefers(t *testing.T) {
	base := with(t, treeOf(t, ground), `
{kind: Route, name: other, spec: {listeners: [web], match: {path: {prefix: /o}}, forward: [{upstream: api-v2}, {upstream: api-v1}]}}
`)
	prev := mustCompile(t, nil, base)
	next := base.Delete(tree.Key{Kind: "Upstream", Name: "api-v1"}).Delete(tree.Key{Kind: "Listener", Name: "web"})
	want := []string{
		`Route/base: spec.forward[0].upstream: got "api-v1", expected the name of an Upstream; there is none named api-v1; did you mean api-v2?`,
		`Route/other: spec.forward[1].upstream: got "api-v1", expected the name of an Upstream; there is none named api-v1; did you mean api-v2?`,
		`Route/other: spec.listeners[0]: got "web", expected the name of a Listener; there is none named web`,
	}
	for name, prev := range map[string]*Result{"full": nil, "incremental": prev} {
		_, problems := Compile(nil, prev, next, table.Version{})
		if got := lines(problems); !slices.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// What decoding would have refused comes as bytes too, from another writer.
func TestWhatCheckSaysIsTold(t *testing.T) {
	base := treeOf(t, ground)
	for _, r := range []*fleetv1.Resource{
		{Kind: proto.String("Policy"), Name: proto.String("p"), Spec: &fleetv1.Resource_Policy{Policy: &fleetv1.Policy{}}},
		{Kind: proto.String("Node"), Name: proto.String("n"), Spec: &fleetv1.Resource_Node{Node: &fleetv1.Node{}}},
		{Kind: proto.String("Route"), Name: proto.String("r"), Spec: &fleetv1.Resource_Route{Route: &fleetv1.Route{
			Respond: &fleetv1.Respond{Status: proto.Uint32(200)}, Rewrite: &fleetv1.Rewrite{Prefix: proto.String("/x")},
			RequestHeaders: &fleetv1.HeaderChanges{Set: map[string]string{"Host": "x", "transfer-encoding": "chunked", "x": "a\r\nb"}},
		}}},
		{Kind: proto.String("Listener"), Name: proto.String("tcp"), Spec: &fleetv1.Resource_Listener{Listener: &fleetv1.Listener{
			Port: proto.Uint32(9), Protocol: fleetv1.Listener_TCP.Enum(), Addresses: []string{"vip/shop"},
		}}},
	} {
		base = set(t, base, r)
	}
	_, problems := Compile(nil, nil, base, table.Version{})
	var got []string
	for _, p := range problems {
		got = append(got, p.Kind+" "+p.Field)
	}
	want := []string{
		"Listener spec.addresses[0]", "Node kind", "Policy kind",
		"Route spec.requestHeaders.set.Host", "Route spec.requestHeaders.set.transfer-encoding", "Route spec.requestHeaders.set.x", "Route spec.rewrite.prefix",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q\n%s", got, want, strings.Join(lines(problems), "\n"))
	}
}

func TestFieldsOfANewerSchemaAreRefused(t *testing.T) {
	base := treeOf(t, ground)
	leaf, _ := base.Get(tree.Key{Kind: "Upstream", Name: "api-v1"})
	b := append(slices.Clone(leaf.Bytes), 0xfa, 0x7f, 0x01, 'x') // field 2047
	_, problems := Compile(nil, mustCompile(t, nil, base), base.Set(leaf.Key, b), table.Version{})
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "needs a newer schema") {
		t.Errorf("got %v", problems)
	}
}

func TestLeafUnderAnotherKeyIsRefused(t *testing.T) {
	base := treeOf(t, ground)
	leaf, _ := base.Get(tree.Key{Kind: "Upstream", Name: "api-v1"})
	_, problems := Compile(nil, nil, base.Set(tree.Key{Kind: "Upstream", Name: "other"}, leaf.Bytes), table.Version{})
	if len(problems) != 1 || problems[0].Field != "name" {
		t.Errorf("got %v", problems)
	}
}

// The root says what the table was made from: bytes that changed behind the
// tree's back are found out.
func TestBytesThatDoNotHashToTheirLeafAreRefused(t *testing.T) {
	leaf := tree.Leaf{Key: tree.Key{Kind: "Upstream", Name: "x"}, Bytes: []byte("x"), Hash: tree.Sum([]byte("y"))}
	c := &compiler{}
	if r := c.read(&leaf); r != nil || len(c.problems) != 1 {
		t.Errorf("got %v, %v", r, c.problems)
	}
}

func TestProblemsAreBoundedInNumber(t *testing.T) {
	base := tree.Tree{}
	for i := range maxProblems + 500 {
		base = set(t, base, &fleetv1.Resource{Kind: proto.String("Route"), Name: proto.String(fmt.Sprintf("r%d", i)), Spec: &fleetv1.Resource_Route{
			Route: &fleetv1.Route{Hosts: []string{fmt.Sprintf("h%d", i)}, Forward: []*fleetv1.Forward{{Upstream: proto.String("none")}}},
		}})
	}
	_, problems := Compile(nil, nil, base, table.Version{})
	if len(problems) != maxProblems+1 || problems[maxProblems].Got != "500 more problems" {
		t.Errorf("%d problems, the last is %v", len(problems), problems[len(problems)-1])
	}
}

func TestTreeWithProblemsLeavesTheResultAlone(t *testing.T) {
	base := treeOf(t, ground)
	prev := mustCompile(t, nil, base)
	bad := with(t, base, `{kind: Route, name: base, spec: {match: {path: {prefix: /x}}, forward: [{upstream: none}]}}`)
	if r, problems := Compile(nil, prev, bad, table.Version{}); r != nil || len(problems) != 1 {
		t.Fatalf("got %v, %v", r, problems)
	}
	again := mustCompile(t, prev, base)
	q := ask{method: "PURGE", host: "shop.test", path: "/api", fields: [][2]string{{"x-a", "b"}}}.toQuery()
	for _, r := range []*Result{prev, again} {
		if got := routeName(r.Table.Listener("web").Match(q)); got != "base" {
			t.Errorf("got %s", got)
		}
	}
}
