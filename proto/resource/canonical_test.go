package resource

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// one decodes a document that is good.
func one(t *testing.T, text string) *fleetv1.Resource {
	t.Helper()
	docs, problems := Decode([]byte(text), DecodeOptions{})
	if len(problems) > 0 || len(docs) != 1 {
		t.Fatalf("%d documents, %v", len(docs), problems)
	}
	return docs[0].Resource
}

func TestParseRefusesWhatItDoesNotKnow(t *testing.T) {
	r := one(t, "kind: Route\nname: api\nspec: {match: {path: {prefix: /}}, forward: [{upstream: u}]}\n")
	canonical, err := Canonical(r)
	if err != nil {
		t.Fatal(err)
	}
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 900, protowire.VarintType), 7)
	wrongType := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 7)
	within := func(bytes []byte, fields ...protowire.Number) []byte {
		for i := len(fields) - 1; i >= 0; i-- {
			bytes = protowire.AppendBytes(protowire.AppendTag(nil, fields[i], protowire.BytesType), bytes)
		}
		return append(append([]byte(nil), canonical...), bytes...)
	}
	const route, match, path, forward, labels = 11, 3, 1, 5, 3
	tests := map[string]struct {
		bytes   []byte
		message string
		field   int32
	}{
		"a field of the resource":      {within(unknown), "Resource", 900},
		"a field of the spec":          {within(unknown, route), "Route", 900},
		"a field two messages below":   {within(unknown, route, match, path), "PathMatch", 900},
		"a field of a list's element":  {within(unknown, route, forward), "Forward", 900},
		"a field of another wire type": {within(wrongType, route, forward), "Forward", 1},
		"a label of another wire type": {within(protowire.AppendVarint(protowire.AppendTag(nil, labels, protowire.VarintType), 7)), "Resource", labels},
	}
	for name, test := range tests {
		_, err := Parse(test.bytes)
		var se *SchemaError
		if !errors.As(err, &se) {
			t.Errorf("%s: got %v, want a SchemaError", name, err)
			continue
		}
		if want := (SchemaError{Kind: Route, Name: "api", Message: test.message, Field: test.field}); *se != want {
			t.Errorf("%s: got %+v, want %+v", name, *se, want)
		}
		if !strings.Contains(err.Error(), "Route/api: field") || !strings.Contains(err.Error(), "needs a newer schema") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseRefusesWhatIsNoMessage(t *testing.T) {
	for _, b := range [][]byte{{0xff}, {10, 200}, []byte("\x0a\x01\xff")} {
		if r, err := Parse(b); err == nil {
			t.Errorf("%x is %v", b, r)
		}
	}
}

func TestCanonicalBytesHaveABound(t *testing.T) {
	r := &fleetv1.Resource{Kind: proto.String(Route), Name: proto.String("big"), Labels: map[string]string{"a": strings.Repeat("b", MaxSize)}}
	if _, err := Canonical(r); !errors.Is(err, ErrTooLarge) || !strings.HasPrefix(err.Error(), "Route/big: ") {
		t.Errorf("got %v", err)
	}
	if _, err := Parse(make([]byte, MaxSize+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestCheckRefusesWhatNoTextSays(t *testing.T) {
	upstream := func(change func(*fleetv1.Upstream)) *fleetv1.Resource {
		u := &fleetv1.Upstream{Endpoints: []*fleetv1.Endpoint{{Address: proto.String("10.0.0.1:80")}}}
		change(u)
		return &fleetv1.Resource{Kind: proto.String(Upstream), Name: proto.String("u"), Spec: &fleetv1.Resource_Upstream{Upstream: u}}
	}
	tests := map[string]struct {
		r     *fleetv1.Resource
		field string
	}{
		"no spec":           {&fleetv1.Resource{Kind: proto.String(Route), Name: proto.String("a")}, "kind"},
		"no kind":           {&fleetv1.Resource{}, "kind"},
		"another's spec":    {&fleetv1.Resource{Kind: proto.String(Route), Name: proto.String("a"), Spec: &fleetv1.Resource_Node{Node: &fleetv1.Node{}}}, "kind"},
		"an enum's zero":    {upstream(func(u *fleetv1.Upstream) { u.Protocol = fleetv1.Upstream_PROTOCOL_UNSPECIFIED.Enum() }), "spec.protocol"},
		"an unknown value":  {upstream(func(u *fleetv1.Upstream) { u.Protocol = fleetv1.Upstream_Protocol(99).Enum() }), "spec.protocol"},
		"negative duration": {upstream(func(u *fleetv1.Upstream) { u.Ttl = proto.Int64(-1) }), "spec.ttl"},
		"not a number": {upstream(func(u *fleetv1.Upstream) {
			u.OutlierDetection = &fleetv1.OutlierDetection{MaxEjected: proto.Float64(math.NaN())}
		}), "spec.outlierDetection.maxEjected"},
		"a rate per fortnight": {&fleetv1.Resource{Kind: proto.String(RateLimit), Name: proto.String("a"), Spec: &fleetv1.Resource_RateLimit{
			RateLimit: &fleetv1.RateLimit{Rate: &fleetv1.Rate{Count: proto.Uint64(1), Per: proto.Int64(14 * 24 * 3600e9)}},
		}}, "spec.rate"},
		"no element": {upstream(func(u *fleetv1.Upstream) { u.Endpoints = append(u.Endpoints, nil) }), "spec.endpoints[1].address"},
	}
	for name, test := range tests {
		problems := Check(test.r)
		if len(problems) == 0 || problems[len(problems)-1].Field != test.field {
			t.Errorf("%s: got %v, want a problem of %s", name, problems, test.field)
		}
	}
}

func TestWhatHasNoTextFormIsAnError(t *testing.T) {
	for name, r := range map[string]*fleetv1.Resource{
		"no spec":     {Kind: proto.String(Route), Name: proto.String("a")},
		"another's":   {Kind: proto.String(Route), Spec: &fleetv1.Resource_Node{Node: &fleetv1.Node{}}},
		"no UTF-8":    {Kind: proto.String(Node), Name: proto.String("\xff"), Spec: &fleetv1.Resource_Node{Node: &fleetv1.Node{}}},
		"enum's zero": {Kind: proto.String(Upstream), Spec: &fleetv1.Resource_Upstream{Upstream: &fleetv1.Upstream{Protocol: fleetv1.Upstream_PROTOCOL_UNSPECIFIED.Enum()}}},
		"negative":    {Kind: proto.String(Upstream), Spec: &fleetv1.Resource_Upstream{Upstream: &fleetv1.Upstream{Ttl: proto.Int64(-1)}}},
		"rate":        {Kind: proto.String(RateLimit), Spec: &fleetv1.Resource_RateLimit{RateLimit: &fleetv1.RateLimit{Rate: &fleetv1.Rate{}}}},
	} {
		for form, appendText := range map[string]func([]byte, *fleetv1.Resource) ([]byte, error){"YAML": AppendYAML, "JSON": AppendJSON} {
			if out, err := appendText([]byte("x"), r); err == nil || string(out) != "x" {
				t.Errorf("%s: %s is %q, %v", name, form, out, err)
			}
		}
	}
}

func TestTextFormIsStable(t *testing.T) {
	r := one(t, `{"kind":"Route","spec":{"responseHeaders":{"remove":["x-c"],"set":{"x-b":"1","x-a":"on"}},"respond":{"body":"a\nb\n","status":200},
		"hosts":["*.a.b"],"timeouts":{"request":"90s"}},"labels":{"b":"2","a":"1"},"name":"r"}`)
	const want = `kind: Route
name: r
labels:
  a: "1"
  b: "2"
spec:
  hosts:
    - "*.a.b"
  respond:
    status: 200
    body: |
      a
      b
  responseHeaders:
    set:
      x-a: "on"
      x-b: "1"
    remove:
      - x-c
  timeouts:
    request: 1m30s
`
	got, err := AppendYAML(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	const wantJSON = `{"kind":"Route","name":"r","labels":{"a":"1","b":"2"},"spec":{"hosts":["*.a.b"],"respond":{"status":200,"body":"a\nb\n"},` +
		`"responseHeaders":{"set":{"x-a":"on","x-b":"1"},"remove":["x-c"]},"timeouts":{"request":"1m30s"}}}`
	got, err = AppendJSON(nil, r)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantJSON, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultsAreThoseOfTheSchema(t *testing.T) {
	tests := map[string]struct{ written, want string }{
		"listener": {
			"kind: Listener\nname: a\nspec: {port: 80, protocol: HTTP, timeouts: {idle: 1s}}",
			`kind: Listener
name: a
spec:
  port: 80
  protocol: HTTP
  limits: {header: 64KiB, headerFields: 100}
  timeouts: {requestHead: 10s, idle: 1s, streamIdle: 5m}
  backlog: 4096
  tcpKeepAlive: {idle: 60s, interval: 10s, probes: 3}
  proxyProtocol: OFF
  errorFormat: TEXT
  mergeSlashes: false
  escapedSlashes: KEEP`,
		},
		"forward": {
			"kind: Route\nname: a\nspec: {match: {headers: [{name: a}, {name: b, exact: c}], query: [{name: a, invert: true}]}, forward: [{upstream: u}, {upstream: v, weight: 0}]}",
			`kind: Route
name: a
spec:
  match:
    headers: [{name: a, present: true, invert: false}, {name: b, exact: c, invert: false}]
    query: [{name: a, present: true, invert: true}]
  priority: 0
  forward: [{upstream: u, weight: 1}, {upstream: v, weight: 0}]
  timeouts: {request: 15s, tunnelIdle: 1h}
  retry: {attempts: 2, on: [CONNECT_FAILURE, RESET, REFUSED_STREAM], backoff: 25ms, budget: 20%, buffer: 64KiB, nonIdempotent: false}
  upgrades: [websocket]
  forwardRawPath: false`,
		},
		"redirect to a path": {
			"kind: Route\nname: a\nspec: {redirect: {path: /}}",
			"kind: Route\nname: a\nspec: {priority: 0, redirect: {path: /, status: 302, keepQuery: false}, timeouts: {request: 15s, tunnelIdle: 1h}, forwardRawPath: false}",
		},
		"redirect to a host": {
			"kind: Route\nname: a\nspec: {redirect: {host: b.c, status: 301}}",
			"kind: Route\nname: a\nspec: {priority: 0, redirect: {host: b.c, status: 301, keepQuery: true}, timeouts: {request: 15s, tunnelIdle: 1h}, forwardRawPath: false}",
		},
		"upstream": {
			"kind: Upstream\nname: a\nspec: {endpoints: [{address: \"10.0.0.1:80\"}], pool: {maxRequests: 9}}",
			`kind: Upstream
name: a
spec:
  endpoints: [{address: "10.0.0.1:80", weight: 1}]
  protocol: HTTP1
  loadBalancing: {algorithm: ROUND_ROBIN}
  pool: {maxConnections: 1024, maxIdle: 256, idleTimeout: 4s, maxRequests: 9}
  tcpKeepAlive: {idle: 60s, interval: 10s, probes: 3}
  timeouts: {connect: 5s}`,
		},
	}
	for name, test := range tests {
		r := one(t, test.written)
		before := proto.CloneOf(r)
		got := WithDefaults(r)
		if diff := cmp.Diff(one(t, test.want), got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if !proto.Equal(r, before) {
			t.Errorf("%s: the original changed", name)
		}
		if !proto.Equal(WithDefaults(got), got) {
			t.Errorf("%s: defaults change what has them", name)
		}
	}
}

func TestDefaultsNeverChangeWhatIsSet(t *testing.T) {
	for _, k := range Kinds() {
		r := &fleetv1.Resource{Kind: proto.String(k.Kind), Name: proto.String("a")}
		m := r.ProtoReflect().Mutable(fleetSchema.kinds[k.Kind].desc).Message()
		setAll(m)
		if diff := cmp.Diff(r, WithDefaults(r), protocmp.Transform()); diff != "" {
			t.Errorf("%s:\n%s", k.Kind, diff)
		}
	}
}

// setAll sets each field to a value that is no default.
func setAll(m protoreflect.Message) {
	fds := m.Descriptor().Fields()
	for i := range fds.Len() {
		switch fd := fds.Get(i); {
		case fd.IsMap():
			m.Mutable(fd).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
		case fd.IsList() && fd.Message() != nil:
			setAll(m.Mutable(fd).List().AppendMutable().Message())
		case fd.IsList():
			m.Mutable(fd).List().Append(m.Mutable(fd).List().NewElement())
		case fd.Message() != nil:
			setAll(m.Mutable(fd).Message())
		case fd.Enum() != nil:
			m.Set(fd, protoreflect.ValueOfEnum(7))
		default:
			m.Set(fd, fd.Default())
		}
	}
}
