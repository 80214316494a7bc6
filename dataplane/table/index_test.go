package table

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// build adds routes one by one and fails on a refusal.
func build(t testing.TB, routes ...*Route) *Listener {
	t.Helper()
	var x Index
	e := x.Edit()
	for _, r := range routes {
		for _, err := range e.Add(r) {
			t.Fatal(err)
		}
	}
	return &Listener{Routes: e.Index()}
}

// describe says what a failed comparison was about.
func describe(q *Query) string {
	var fields []string
	for _, f := range q.Head.Fields {
		fields = append(fields, fmt.Sprintf("%s: %q", q.Head.Bytes(f.Name), q.Head.Bytes(f.Value)))
	}
	return fmt.Sprintf("%s host %q path %q query %q client %s fields %v", q.MethodName, q.Host, q.Path, q.RawQuery, q.Client, fields)
}

func describeRoute(r *Route) string {
	if r == nil {
		return "none"
	}
	return fmt.Sprintf("%s{hosts %v priority %d path %d %q conditions %+v}", r.Name, r.Hosts, r.Priority, r.Path.Kind, r.Path.Text, r.Conditions)
}

// churn edits an index at random, and holds every state against the oracle and
// against an index built afresh.
func churn(t *testing.T, r random, batches, queries int) {
	t.Helper()
	routes := map[string]*Route{}
	var x Index
	for range batches {
		before, kept := x, clone(routes)
		edit := x.Edit()
		for range 1 + r.IntN(30) {
			n := fmt.Sprintf("r%03d", r.IntN(120))
			if old := routes[n]; old != nil {
				edit.Remove(old)
				delete(routes, n)
				if r.IntN(2) == 0 {
					continue
				}
			}
			route := r.route(n)
			if refused := edit.Add(route); len(refused) == 0 {
				routes[n] = route
			} else if !isTwin(refused[0]) {
				t.Fatal(refused[0])
			} else {
				edit.Remove(route) // it may stand under its other hosts
			}
			if replaced := routes[n]; replaced != nil && r.IntN(5) == 0 {
				same := replaced.WithTargets(nil)
				edit.Replace(same)
				routes[n] = same
			}
		}
		x = edit.Index()
		compare(t, r, x, routes, queries)
		compare(t, r, before, kept, queries/4) // older versions stay as they were
	}
}

func isTwin(err error) bool {
	var twin *TwinError
	return errors.As(err, &twin)
}

func clone(m map[string]*Route) map[string]*Route {
	out := make(map[string]*Route, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func compare(t *testing.T, r random, x Index, routes map[string]*Route, queries int) {
	t.Helper()
	all := make([]*Route, 0, len(routes))
	for _, route := range routes {
		all = append(all, route)
	}
	o := newOracle(all)
	edited, fresh := &Listener{Routes: x}, build(t, all...)
	for range queries {
		q := r.query()
		want := o.match(q)
		if got := edited.Match(q); got != want {
			t.Fatalf("%s\n got %s\nwant %s", describe(q), describeRoute(got), describeRoute(want))
		}
		if got := fresh.Match(q); got != want {
			t.Fatalf("built afresh: %s\n got %s\nwant %s", describe(q), describeRoute(got), describeRoute(want))
		}
		var last Step
		edited.Explain(q, func(s Step) { last = s })
		if want != nil && (last.Route != want || last.Failed != ClauseNone) {
			t.Fatalf("explain: %s\n ends with %s %s\nwant %s", describe(q), describeRoute(last.Route), last.Failed, describeRoute(want))
		}
	}
}

func TestEditedIndexAgreesWithOracleAndWithOneBuiltAfresh(t *testing.T) {
	seeds := uint64(12)
	if raceEnabled {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { churn(t, newRandom(seed), 25, 200) })
	}
}

func FuzzMatch(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { churn(t, newRandom(seed), 6, 60) })
}

func TestEmptyIndexOfLargeOneIsTheZeroIndex(t *testing.T) {
	r := newRandom(7)
	var x Index
	edit := x.Edit()
	var routes []*Route
	for i := range 3000 {
		route := r.route(fmt.Sprint(i))
		if route.Path.Kind <= PathPrefix {
			route.Path.Text = fmt.Sprintf("/%d%s", i, route.Path.Text)
		}
		if len(edit.Add(route)) == 0 {
			routes = append(routes, route)
		} else {
			edit.Remove(route)
		}
	}
	x = edit.Index()
	edit = x.Edit()
	for _, route := range routes {
		edit.Remove(route)
	}
	x = edit.Index()
	if x.hosts.n != 0 || x.wild.n != 0 || x.hosts.root.branch != nil || !x.any.empty() || x.labels != 0 {
		t.Errorf("after all routes were removed: %d hosts, %d wildcards, labels %b", x.hosts.n, x.wild.n, x.labels)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes package regexp allocate")
	}
	r := newRandom(3)
	var routes []*Route
	var x Index
	edit := x.Edit()
	for i := range 400 {
		if route := r.route(fmt.Sprint(i)); len(edit.Add(route)) == 0 {
			routes = append(routes, route)
		} else {
			edit.Remove(route)
		}
	}
	l := &Listener{Routes: edit.Index()}
	queries := make([]*Query, 200)
	for i := range queries {
		queries[i] = r.query()
		l.Match(queries[i]) // grows its scratch memory
	}
	got := testing.AllocsPerRun(20, func() {
		for _, q := range queries {
			l.Match(q)
		}
	})
	if got != 0 {
		t.Errorf("%d queries among %d routes allocate %v times", len(queries), len(routes), got)
	}
}

func TestManyRoutesOfOnePathAreRefused(t *testing.T) {
	var x Index
	edit := x.Edit()
	for i := range MaxSharing + 2 {
		r := &Route{
			Name: fmt.Sprint(i), Hosts: []string{"a.test"}, Path: PathMatch{Kind: PathPrefix, Text: "/"},
			Conditions: &Conditions{Headers: []ValueMatch{{Name: "x-tenant", Kind: TextExact, Text: fmt.Sprint(i)}}},
		}
		refused := edit.Add(r)
		var sharing *SharingError
		if want := i >= MaxSharing; want != (len(refused) == 1 && errors.As(refused[0], &sharing)) {
			t.Fatalf("route %d: refused %v", i, refused)
		}
	}
}

func TestTwinIsNamed(t *testing.T) {
	var x Index
	edit := x.Edit()
	edit.Add(&Route{Name: "one", Hosts: []string{"a.test", "b.test"}, Path: PathMatch{Kind: PathExact, Text: "/x"}})
	refused := edit.Add(&Route{Name: "two", Hosts: []string{"b.test", "c.test"}, Path: PathMatch{Kind: PathExact, Text: "/x"}})
	if len(refused) != 1 || !strings.Contains(refused[0].Error(), `route "two": matches exactly what route "one" matches on host b.test`) {
		t.Errorf("refused: %v", refused)
	}
	if refused := edit.Add(&Route{Name: "three", Hosts: []string{"a.test"}, Priority: 1, Path: PathMatch{Kind: PathExact, Text: "/x"}}); len(refused) > 0 {
		t.Errorf("another priority is no twin: %v", refused)
	}
}

// TestTheDeepestHostsAndPathsAreMatched: a client may send deeper ones than any route has,
// and what is looked up on the way has room for as many as routes can have.
func TestTheDeepestHostsAndPathsAreMatched(t *testing.T) {
	deepest := strings.TrimSuffix(strings.Repeat("a.", MaxWildcardLabels), ".")
	near := &Route{Name: "near", Hosts: []string{"*.a"}, Path: PathMatch{Kind: PathAny}}
	far := &Route{Name: "far", Hosts: []string{"*." + deepest}, Path: PathMatch{Kind: PathAny}}
	hosts := build(t, near, far)
	for labels, want := range map[int]*Route{1: nil, 2: near, MaxWildcardLabels: near, MaxWildcardLabels + 1: far, 127: far} {
		host := strings.TrimSuffix(strings.Repeat("a.", labels), ".")
		if got := hosts.Match(&Query{Host: []byte(host), Path: []byte("/")}); got != want {
			t.Errorf("of %d labels: %s", labels, describeRoute(got))
		}
	}
	for _, priority := range []int32{0, 1} { // with any, the lists of all that fits are made first
		var routes []*Route
		add := func(kind PathKind, text string) {
			r := &Route{Name: fmt.Sprint(kind, text), Path: PathMatch{Kind: kind, Text: text}, Priority: priority}
			if kind == PathRegex {
				r.Path.Regex = regexp.MustCompile(`\A(?:` + text + `)\z`)
			}
			routes = append(routes, r)
		}
		add(PathPrefix, "/")
		prefix := ""
		for range MaxPrefixSegments {
			prefix += "/a"
			add(PathPrefix, prefix)
			add(PathPrefix, prefix+"/")
		}
		add(PathExact, prefix+"/b")
		add(PathRegex, "/.*")
		add(PathAny, "")
		paths := build(t, routes...)
		for path, want := range map[string]string{
			"/": "1/", "/b": "1/", "/a": "1/a", "/a/": "1/a/", "": "1/",
			prefix: "1" + prefix, prefix + "/": "1" + prefix + "/", prefix + "/b": "0" + prefix + "/b",
			prefix + strings.Repeat("/a", 1000): "1" + prefix + "/",
		} {
			if got := paths.Match(&Query{Path: []byte(path)}); got == nil || got.Name != want {
				t.Errorf("priority %d, path %.100q: %s", priority, path, describeRoute(got))
			}
		}
	}
}
