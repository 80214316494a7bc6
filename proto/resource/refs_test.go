package resource

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

func TestReferencesAreThoseOfSupportedFields(t *testing.T) {
	docs, _ := Decode([]byte(`kind: Route
name: a
spec:
  listeners: [web, admin]
  forward: [{upstream: u}, {upstream: v, weight: 2}]
  mirror: {upstream: shadow}
  rateLimits: [per-client]
---
kind: Listener
name: l
spec: {port: 80, protocol: HTTPS, addresses: [NODE, vip/shop], tls: {certificates: [site]}}
---
kind: Policy
name: p
spec: {rateLimits: [x]}
`), DecodeOptions{})
	want := []map[string]Key{
		{
			"spec.listeners[0]":        {Kind: Listener, Name: "web"},
			"spec.listeners[1]":        {Kind: Listener, Name: "admin"},
			"spec.forward[0].upstream": {Kind: Upstream, Name: "u"},
			"spec.forward[1].upstream": {Kind: Upstream, Name: "v"},
		},
		{
			"spec.addresses[1]":        {Kind: VirtualIP, Name: "shop"},
			"spec.tls.certificates[0]": {Kind: Certificate, Name: "site"},
		},
		{},
	}
	for i, d := range docs {
		got := map[string]Key{}
		for field, key := range References(d.Resource) {
			got[field] = key
		}
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Errorf("%s: %s", d.Key, diff)
		}
	}
	for range References(docs[0].Resource) {
		break // must not be called again after this
	}
	for field := range References(&fleetv1.Resource{Kind: proto.String(Route)}) {
		t.Errorf("a resource without a spec refers by %s", field)
	}
}

func TestDanglingCountsWhatTheInputDeclares(t *testing.T) {
	docs, _ := Decode([]byte(`kind: Route
name: a
spec: {listeners: [wbe], forward: [{upstream: declared}, {upstream: brokn}, {upstream: there}, {upstream: far-away}, {upstream: "no name"}]}
---
kind: Upstream
name: declared
spec: {endpoints: [{address: "10.0.0.1:80"}]}
---
kind: Upstream
name: broken
spec: {endpoints: []}
`), DecodeOptions{File: "f"})
	exists := func(k Key) bool { return k == Key{Kind: Upstream, Name: "there"} }
	got := Dangling(docs, exists, Key{Kind: Upstream, Name: "there"}, Key{Kind: Listener, Name: "web"})
	want := []Problem{
		{
			File: "f", Document: 1, Line: 3, Kind: Route, Name: "a", Field: "spec.forward[1].upstream", Got: `"brokn"`,
			Expected: "the name of an Upstream; there is none named brokn", Suggestion: "broken",
		},
		{
			File: "f", Document: 1, Line: 3, Kind: Route, Name: "a", Field: "spec.forward[3].upstream", Got: `"far-away"`,
			Expected: "the name of an Upstream; there is none named far-away",
		},
		{
			File: "f", Document: 1, Line: 3, Kind: Route, Name: "a", Field: "spec.listeners[0]", Got: `"wbe"`,
			Expected: "the name of a Listener; there is none named wbe", Suggestion: "web",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestKindsAreTheSchemas(t *testing.T) {
	kinds := Kinds()
	if len(kinds) != len(fleetSchema.kinds) {
		t.Errorf("%d kinds, %d in the schema", len(kinds), len(fleetSchema.kinds))
	}
	for _, k := range kinds {
		if fleetSchema.kinds[k.Kind] == nil {
			t.Errorf("%s is not in the schema", k.Kind)
		}
		if kind, ok := KindByPlural(k.Plural); !ok || kind != k.Kind {
			t.Errorf("%s is %q", k.Plural, kind)
		}
		if k.Configuration != (k.Kind != Node) {
			t.Errorf("%s: configuration is %v", k.Kind, k.Configuration)
		}
	}
	if _, ok := KindByPlural("Route"); ok {
		t.Error("Route is a plural")
	}
}

// The options of the schema must fit the fields that they stand on: nothing else
// notices when they do not.
func TestSchemaOptionsFitTheirFields(t *testing.T) {
	seen := map[string]bool{}
	var visit func(ms *messageSchema, depth int)
	visit = func(ms *messageSchema, depth int) {
		if depth > 8 {
			t.Fatalf("%s nests deeper than maxDepth allows for", ms.name)
		}
		for _, f := range ms.fields {
			name := string(f.desc.FullName())
			if want := kindOfFormat(f.format); want != "" && want != f.desc.Kind().String() && !f.dict {
				t.Errorf("%s: format %v on a field of type %v", name, f.format, f.desc.Kind())
			}
			if f.dict && f.format != fleetv1.Format_FORMAT_UNSPECIFIED && f.format != fleetv1.Format_FIELD_VALUE {
				t.Errorf("%s: format %v on a map", name, f.format)
			}
			if f.dict && (f.desc.MapKey().Kind().String() != "string" || f.desc.MapValue().Kind().String() != "string") {
				t.Errorf("%s: a map that is not of strings", name)
			}
			if f.ref != "" && (fleetSchema.kinds[f.ref] == nil || f.desc.Kind().String() != "string") {
				t.Errorf("%s: refers to %q", name, f.ref)
			}
			if f.min != nil && f.max != nil && *f.min > *f.max {
				t.Errorf("%s: bounds %d to %d", name, *f.min, *f.max)
			}
			if !f.dict && !f.rate && f.message == nil && f.expects() == "" {
				t.Errorf("%s: nothing is expected", name)
			}
			if f.message != nil && !seen[name] {
				seen[name] = true
				visit(f.message, depth+1)
			}
		}
	}
	visit(fleetSchema.resource, 0)
}

func kindOfFormat(f fleetv1.Format) string {
	switch f {
	case fleetv1.Format_FORMAT_UNSPECIFIED:
		return ""
	case fleetv1.Format_DURATION:
		return "int64"
	case fleetv1.Format_SIZE:
		return "uint64"
	case fleetv1.Format_PERCENT:
		return "double"
	default:
		return "string"
	}
}
