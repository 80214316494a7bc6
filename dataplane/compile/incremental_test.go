package compile

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// walk edits a fleet at random and compiles each state twice, from the last good
// result and from nothing. Both must tell problems or neither; the tables must be
// equal; and every request must get the route that the oracle finds.
func walk(t *testing.T, r random, steps, routes, asks int) (good int) {
	t.Helper()
	f := fleet{}
	for _, name := range listenerNames {
		f[tree.Key{Kind: resource.Listener, Name: name}] = r.listener(name)
	}
	for _, name := range upstreamNames {
		f[tree.Key{Kind: resource.Upstream, Name: name}] = r.upstream(name)
	}
	var prev *Result
	last := maps.Clone(f)
	for step := range steps {
		if step > 0 {
			f.edit(r, routes)
		}
		next := treeOfFleet(t, f)
		version := table.Version{Epoch: 1, Revision: uint64(step)}
		full, fullProblems := Compile(nil, nil, next, version)
		inc, incProblems := Compile(nil, prev, next, version)
		if (full == nil) != (inc == nil) || !slices.Equal(concerned(fullProblems), concerned(incProblems)) {
			t.Fatalf("step %d: full tells\n%v\nincremental tells\n%v", step, lines(fullProblems), lines(incProblems))
		}
		if full == nil {
			f = maps.Clone(last) // as a control plane refuses the change
			continue
		}
		good++
		if a, b := plain(full.Table), plain(inc.Table); a != b {
			t.Fatalf("step %d: full\n%s\nincremental\n%s", step, a, b)
		}
		compareResults(t, r, f, full, inc, asks)
		prev, last = inc, maps.Clone(f)
	}
	return good
}

// concerned are the resources that problems are about. Of three twins any two may
// be told, so only twins' being there counts.
func concerned(problems []resource.Problem) []string {
	var out []string
	for _, p := range problems {
		if p.Field == "spec.match" {
			p.Name = "twins"
		}
		out = append(out, p.Kind+"/"+p.Name+" "+p.Field)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func compareResults(t *testing.T, r random, f fleet, full, inc *Result, asks int) {
	t.Helper()
	for key := range f {
		if a, b := referrers(full, key), referrers(inc, key); !slices.Equal(a, b) {
			t.Fatalf("referrers of %s: full %v, incremental %v", key, a, b)
		}
		if key.Kind != resource.Route {
			continue
		}
		for _, target := range inc.Route(key.Name).Targets {
			if inc.Table.Upstream(target.Upstream.Name) != target.Upstream {
				t.Fatalf("%s forwards to an upstream that is not the table's", key)
			}
		}
	}
	for i := range inc.Table.Listeners {
		l, m := &inc.Table.Listeners[i], &full.Table.Listeners[i]
		for range asks {
			a := r.ask()
			q := a.toQuery()
			want := f.oracle(l.Name, a)
			got := l.Match(q)
			if routeName(got) != want || routeName(m.Match(q)) != want {
				t.Fatalf("listener %s, %+v: incremental %s, full %s, want %s", l.Name, a, routeName(got), routeName(m.Match(q)), want)
			}
			if got != nil && got != inc.Route(got.Name) {
				t.Fatalf("route %s in the index is not that of the result", got.Name)
			}
			var last table.Step
			l.Explain(q, func(s table.Step) { last = s })
			if got != nil && (last.Route != got || last.Failed != table.ClauseNone) {
				t.Fatalf("explain ends with %s, match with %s", routeName(last.Route), got.Name)
			}
		}
	}
}

func treeOfFleet(t testing.TB, f fleet) tree.Tree {
	t.Helper()
	var next tree.Tree
	for _, res := range f {
		next = set(t, next, res)
	}
	return next
}

func TestIncrementalResultIsTheFullOne(t *testing.T) {
	good, seeds := 0, uint64(20)
	if raceEnabled {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { good += walk(t, newRandom(seed), 60, 12, 40) })
	}
	for seed := range seeds / 4 {
		t.Run(fmt.Sprint("many routes ", seed), func(t *testing.T) { good += walk(t, newRandom(100+seed), 60, 90, 40) })
	}
	t.Logf("%d states without problems", good)
	if good < 10*int(seeds) {
		t.Errorf("%d states without problems: the test hardly tests", good)
	}
}

// TestManyCandidatesFromOneResult: a Result serves any number of candidates.
func TestManyCandidatesFromOneResult(t *testing.T) {
	r := newRandom(5)
	f := fleet{}
	for _, name := range listenerNames {
		f[tree.Key{Kind: resource.Listener, Name: name}] = r.listener(name)
	}
	for _, name := range upstreamNames {
		f[tree.Key{Kind: resource.Upstream, Name: name}] = r.upstream(name)
	}
	base := mustCompile(t, nil, treeOfFleet(t, f))
	for range 100 {
		candidate := maps.Clone(f)
		candidate.edit(r, 20)
		result, problems := Compile(nil, base, treeOfFleet(t, candidate), table.Version{})
		if len(problems) > 0 {
			continue
		}
		full := mustCompile(t, nil, treeOfFleet(t, candidate))
		compareResults(t, r, candidate, full, result, 20)
	}
}

// FuzzCompile: no set of resources, and no bytes, make Compile panic; and what
// compiles obeys the oracle.
func FuzzCompile(f *testing.F) {
	r := newRandom(1)
	for range 5 {
		b, err := resource.Canonical(r.route("raw"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(r.Uint64(), b)
	}
	f.Fuzz(func(t *testing.T, seed uint64, raw []byte) {
		r := newRandom(seed)
		walk(t, r, 4, 10, 10)
		fl := fleet{}
		fl.edit(r, 10)
		next := treeOfFleet(t, fl).Set(tree.Key{Kind: "Route", Name: "raw"}, raw)
		result, problems := Compile(nil, nil, next, table.Version{})
		if (result == nil) == (len(problems) == 0) {
			t.Fatalf("result %v, problems %v", result, problems)
		}
		if result == nil {
			return
		}
		if parsed, err := resource.Parse(raw); err == nil {
			reach(t, result, parsed)
		}
	})
}

// reach: a request made for a route gets it, or one that comes before it.
func reach(t *testing.T, result *Result, res *fleetv1.Resource) {
	t.Helper()
	route := result.Route(res.GetName())
	a := ask{host: "none.invalid", path: "/zz", client: "10.0.0.1"}
	if len(route.Hosts) > 0 {
		a.host = route.Hosts[0]
		if a.host[0] == '*' {
			a.host = "x" + a.host[1:]
		}
	}
	if route.Path.Kind == table.PathExact || route.Path.Kind == table.PathPrefix {
		a.path = route.Path.Text
	}
	for i := range result.Table.Listeners {
		l := &result.Table.Listeners[i]
		seen := false
		got := l.Match(a.toQuery())
		l.Explain(a.toQuery(), func(s table.Step) { seen = seen || s.Route == route })
		here := len(route.Listeners) == 0 || slices.Contains(route.Listeners, l.Name)
		if here && !seen && (got == nil || route.Path.Kind != table.PathRegex && table.Compare(got, route) > 0 && slices.Equal(got.Hosts, route.Hosts)) {
			t.Fatalf("%+v: route %s is neither looked at nor shadowed (%s)", a, route.Name, routeName(got))
		}
	}
}
