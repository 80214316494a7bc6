package compile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// linked makes resources at random that refer to one another in every way that there
// is: certificates, virtual IPs, listeners of all protocols, upstreams and routes.
type linked struct {
	random
	pairs []*certificatetest.Pair
}

func (l linked) name(letter string, n int) string { return fmt.Sprintf("%s%d", letter, l.IntN(n)) }

// some is YAML and the key of what it defines.
func (l linked) some() (key tree.Key, yaml string) {
	switch l.IntN(7) {
	case 0:
		name, pair := l.name("c", 3), pick(l.random, l.pairs...)
		return tree.Key{Kind: resource.Certificate, Name: name},
			fmt.Sprintf("kind: Certificate\nname: %s\nspec:\n  chain: %s\n  key: %s\n", name, indented(pair.Chain), indented(pair.Key))
	case 1:
		name := l.name("v", 2)
		return tree.Key{Kind: resource.VirtualIP, Name: name}, vipYAML(name, pick(l.random, "192.0.2.1", "192.0.2.2", "192.0.2.3"), "")
	case 2:
		name := l.name("u", 3)
		secure := pick(l.random, "", "", ", tls: {serverName: a.test}", ", tls: {serverName: a.test, clientCertificate: "+l.name("c", 3)+"}")
		return tree.Key{Kind: resource.Upstream, Name: name},
			fmt.Sprintf("kind: Upstream\nname: %s\nspec: {endpoints: [{address: \"10.0.0.%d:80\"}]%s}\n", name, l.IntN(3), secure)
	case 3, 4:
		n := l.IntN(3)
		protocol := pick(l.random, "HTTP", "HTTP", "HTTPS, tls: {certificates: ["+l.name("c", 3)+"]}",
			"HTTPS, tls: {certificates: ["+pick(l.random, "c0, c1", "c2, c0", "c1, c2")+"]}", "TCP", "TLS_PASSTHROUGH")
		addresses := pick(l.random, "", "", ", addresses: [NODE]", ", addresses: [vip/"+l.name("v", 2)+"]", ", addresses: [NODE, vip/"+l.name("v", 2)+"]")
		return tree.Key{Kind: resource.Listener, Name: fmt.Sprint("l", n)},
			fmt.Sprintf("kind: Listener\nname: l%d\nspec: {port: %d, protocol: %s%s}\n", n, 8000+n, protocol, addresses)
	default:
		n := l.IntN(6)
		on := pick(l.random, "", "listeners: ["+l.name("l", 3)+"], ", "listeners: ["+l.name("l", 3)+"], ", "listeners: [l0, l1], ")
		hosts := pick(l.random, "", "", "hosts: [a.test], ")
		return tree.Key{Kind: resource.Route, Name: fmt.Sprint("r", n)},
			fmt.Sprintf("kind: Route\nname: r%d\nspec: {%s%spriority: %d, forward: [{upstream: %s}]}\n", n, on, hosts, n, l.name("u", 3))
	}
}

// portrait is all of a result that a node would notice, without its pointers.
func portrait(t *testing.T, r *Result) string {
	t.Helper()
	var b strings.Builder
	for i := range r.Table.Listeners {
		l := &r.Table.Listeners[i]
		fmt.Fprintln(&b, l.Name, l.Port, l.Protocol, l.EveryAddress, l.Addresses, namesOn(l))
		if l.TLS != nil {
			for _, c := range l.TLS.Certificates {
				fmt.Fprintln(&b, " ", c.Name, c.Names, c.Pair.Leaf.SerialNumber)
			}
		}
		for _, routes := range l.Routes.All() {
			for _, route := range routes {
				if route != r.Route(route.Name) {
					t.Errorf("route %s of listener %s is not the result's", route.Name, l.Name)
				}
			}
		}
	}
	for _, u := range r.Table.Upstreams {
		fmt.Fprintln(&b, u.Name, u.Endpoints)
		if u.TLS != nil {
			fmt.Fprintf(&b, "  %s %x\n", u.TLS.ServerName, u.TLS.Class)
		}
	}
	for i := range r.Table.VirtualIPs {
		v := &r.Table.VirtualIPs[i]
		fmt.Fprintln(&b, v.Name, v.IP, v.Ports)
	}
	var lines []string
	for leaf := range r.Tree.All() {
		lines = append(lines, fmt.Sprint(leaf.Key, " ", referrers(r, leaf.Key)))
		route := r.Route(leaf.Key.Name)
		if leaf.Key.Kind != resource.Route {
			continue
		}
		for _, target := range route.Targets {
			lines = append(lines, fmt.Sprint(leaf.Key, " to ", target.Upstream.Name))
			if r.Table.Upstream(target.Upstream.Name) != target.Upstream {
				t.Errorf("%s forwards to an upstream that is not the table's", leaf.Key)
			}
		}
	}
	slices.Sort(lines)
	return b.String() + strings.Join(lines, "\n")
}

// TestIncrementalResultIsTheFullOneWhateverRefersToWhat: certificates replaced while
// their listeners go, protocols changed under routes, virtual IPs under listeners, all
// in one change.
func TestIncrementalResultIsTheFullOneWhateverRefersToWhat(t *testing.T) {
	l := linked{}
	for range 4 {
		l.pairs = append(l.pairs, certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"a.test"}}))
	}
	good, seeds := 0, uint64(12)
	if raceEnabled {
		seeds = 3
	}
	for seed := range seeds {
		l.random = newRandom(1000 + seed)
		var prev *Result
		var last tree.Tree
		for step := range 150 {
			next := last
			for range 1 + l.IntN(8) {
				if key, yaml := l.some(); l.one(5) {
					next = next.Delete(key)
				} else {
					next = with(t, next, yaml)
				}
			}
			full, fullProblems := Compile(nil, nil, next, table.Version{Epoch: 1, Revision: uint64(step)})
			inc, incProblems := Compile(nil, prev, next, table.Version{Epoch: 1, Revision: uint64(step)})
			if (full == nil) != (inc == nil) || !slices.Equal(concerned(fullProblems), concerned(incProblems)) {
				t.Fatalf("seed %d, step %d: full tells\n%v\nincremental tells\n%v", seed, step, lines(fullProblems), lines(incProblems))
			}
			if full == nil {
				continue // as a control plane refuses the change
			}
			good++
			if a, b := portrait(t, full), portrait(t, inc); a != b {
				t.Fatalf("seed %d, step %d: full\n%s\nincremental\n%s", seed, step, a, b)
			}
			prev, last = inc, next
		}
	}
	t.Logf("%d states without problems", good)
	if good < 20*int(seeds) {
		t.Errorf("%d states without problems: the test hardly tests", good)
	}
}
