package compile

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// treeOf makes a tree of YAML documents, as the control plane does.
func treeOf(t testing.TB, yaml string) tree.Tree {
	t.Helper()
	return with(t, tree.Tree{}, yaml)
}

func with(t testing.TB, base tree.Tree, yaml string) tree.Tree {
	t.Helper()
	docs, problems := resource.Decode([]byte(yaml), resource.DecodeOptions{File: "test.yaml"})
	for _, p := range problems {
		t.Fatal(p)
	}
	for _, d := range docs {
		base = set(t, base, d.Resource)
	}
	return base
}

func set(t testing.TB, base tree.Tree, r *fleetv1.Resource) tree.Tree {
	t.Helper()
	b, err := resource.Canonical(r)
	if err != nil {
		t.Fatal(err)
	}
	return base.Set(resource.KeyOf(r), b)
}

// mustCompile fails on problems.
func mustCompile(t testing.TB, prev *Result, next tree.Tree) *Result {
	t.Helper()
	r, problems := Compile(nil, prev, next, table.Version{Epoch: 1, Revision: 1})
	for _, p := range problems {
		t.Error(p)
	}
	if len(problems) > 0 {
		t.FailNow()
	}
	return r
}

// ask is a request, in few words: "GET shop.test/api?x=1".
type ask struct {
	method, host, path, query string
	fields                    [][2]string
	client                    string
}

func (a ask) toQuery() *table.Query {
	if a.method == "" {
		a.method = "GET"
	}
	q := &table.Query{
		Method: message.LookupMethod([]byte(a.method)), MethodName: []byte(a.method),
		Host: []byte(a.host), Path: []byte(a.path), RawQuery: []byte(a.query), HasQuery: a.query != "",
		Head: &message.Head{}, Client: netip.MustParseAddr("192.0.2.1"),
	}
	if a.client != "" {
		q.Client = netip.MustParseAddr(a.client)
	}
	for _, f := range a.fields {
		add := func(s string) message.Span {
			start := len(q.Head.Arena)
			q.Head.Arena = append(q.Head.Arena, s...)
			return message.Span{Start: uint32(start), End: uint32(len(q.Head.Arena))}
		}
		q.Head.Fields = append(q.Head.Fields, message.Field{
			Name: add(f[0]), Value: add(f[1]), ID: message.LookupField([]byte(f[0])),
		})
	}
	return q
}

func (a ask) String() string { return fmt.Sprintf("%s %s%s?%s", a.method, a.host, a.path, a.query) }

func routeName(r *table.Route) string {
	if r == nil {
		return "none"
	}
	return r.Name
}
