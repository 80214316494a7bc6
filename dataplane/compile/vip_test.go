package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func vipYAML(name, address, more string) string {
	return fmt.Sprintf("kind: VirtualIP\nname: %s\nspec: {address: %s, announce: BIND%s}\n---\n", name, address, more)
}

func listenerYAML(name string, port int, addresses string) string {
	if addresses != "" {
		addresses = ", addresses: [" + addresses + "]"
	}
	return fmt.Sprintf("kind: Listener\nname: %s\nspec: {port: %d, protocol: HTTP%s}\n---\n", name, port, addresses)
}

// layout is what listens where: "web NODE shop=192.0.2.1; shop [80]".
func layout(t *table.Table) string {
	var parts []string
	for i := range t.Listeners {
		words := []string{t.Listeners[i].Name}
		for _, a := range t.Listeners[i].Addresses {
			switch a.Kind {
			case table.AddressNode:
				words = append(words, "NODE")
			case table.AddressVIP:
				words = append(words, a.VIP+"="+a.IP.String())
			default:
				words = append(words, a.IP.String())
			}
		}
		parts = append(parts, strings.Join(words, " "))
	}
	for i := range t.VirtualIPs {
		parts = append(parts, fmt.Sprint(t.VirtualIPs[i].Name, " ", t.VirtualIPs[i].Ports))
	}
	return strings.Join(parts, "; ")
}

func TestListenersListenOnTheVIPsThatTheyNameOrOnAll(t *testing.T) {
	steps := []struct {
		name, yaml string
		removed    []tree.Key
		want       string
	}{
		{"a listener without addresses", listenerYAML("web", 80, ""), nil, "web NODE"},
		{"takes a virtual IP that comes", vipYAML("shop", "192.0.2.1/32", ""), nil, "web NODE shop=192.0.2.1; shop [80]"},
		{"and another", vipYAML("edge", "2001:db8::1", ""), nil, "web NODE edge=2001:db8::1 shop=192.0.2.1; edge [80]; shop [80]"},
		{"one that names a virtual IP takes that alone", listenerYAML("a", 81, "vip/shop"), nil, "a shop=192.0.2.1; web NODE edge=2001:db8::1 shop=192.0.2.1; edge [80]; shop [80 81]"},
		{"a virtual IP changes its address", vipYAML("shop", "192.0.2.2", ""), nil, "a shop=192.0.2.2; web NODE edge=2001:db8::1 shop=192.0.2.2; edge [80]; shop [80 81]"},
		{"one that is named by nobody goes", "", []tree.Key{{Kind: resource.VirtualIP, Name: "edge"}}, "a shop=192.0.2.2; web NODE shop=192.0.2.2; shop [80 81]"},
		{"a listener goes", "", []tree.Key{{Kind: resource.Listener, Name: "a"}}, "web NODE shop=192.0.2.2; shop [80]"},
		{"a listener says where it listens", listenerYAML("web", 80, "NODE"), nil, "web NODE; shop []"},
		{"NODE and a virtual IP on one port, of two listeners", listenerYAML("vip", 80, "vip/shop"), nil, "vip shop=192.0.2.2; web NODE; shop [80]"},
	}
	var now tree.Tree
	var prev *Result
	for _, step := range steps {
		if step.yaml != "" {
			now = with(t, now, step.yaml)
		}
		for _, key := range step.removed {
			now = now.Delete(key)
		}
		before := ""
		if prev != nil {
			before = layout(prev.Table)
		}
		next := mustCompile(t, prev, now)
		if got, full := layout(next.Table), layout(mustCompile(t, nil, now).Table); got != step.want || full != step.want {
			t.Errorf("%s: incremental %q, from nothing %q, want %q", step.name, got, full, step.want)
		}
		if next.Table.Root != now.Root() {
			t.Errorf("%s: the root is not attested", step.name)
		}
		if prev != nil && layout(prev.Table) != before {
			t.Errorf("%s: the table before was changed", step.name)
		}
		prev = next
	}
}

func TestAVIPSaysWhoMayHoldIt(t *testing.T) {
	r := mustCompile(t, nil, treeOf(t,
		vipYAML("all", "192.0.2.1", "")+
			vipYAML("named", "192.0.2.2", ", nodes: {names: [a, b]}, preference: [b, a], preempt: true, partitionPolicy: AVAILABILITY")+
			vipYAML("labelled", "192.0.2.3", ", nodes: {labels: {zone: x, role: edge}}, partitionPolicy: MAJORITY")+
			vipYAML("both", "192.0.2.4", ", nodes: {names: [a], labels: {zone: x}}")))
	labels := map[string]map[string]string{"a": {"zone": "x", "role": "edge"}, "b": {"zone": "x"}, "c": nil}
	for name, want := range map[string]string{"all": "a b c", "named": "a b", "labelled": "a", "both": "a"} {
		v := r.Table.VirtualIP(name)
		var able []string
		for _, id := range []string{"a", "b", "c"} {
			if v.Eligible(id, func(name string) (string, bool) { value, ok := labels[id][name]; return value, ok }) {
				able = append(able, id)
			}
		}
		if got := strings.Join(able, " "); got != want {
			t.Errorf("%s may be held by %q, want %q", name, got, want)
		}
	}
	named := r.Table.VirtualIP("named")
	if named.IP != netip.MustParseAddr("192.0.2.2") || !named.Preempt || !slices.Equal(named.Preference, []string{"b", "a"}) || named.Policy != table.PartitionAvailability {
		t.Errorf("%+v", named)
	}
	if p := r.Table.VirtualIP("labelled").Policy; p != table.PartitionMajority || r.Table.VirtualIP("all").Policy != table.PartitionDefault {
		t.Errorf("policies %v", p)
	}
	if r.Table.VirtualIP("nobody") != nil {
		t.Error("a virtual IP that there is none of")
	}
}

func TestWhatIsWrongWithVIPsIsTold(t *testing.T) {
	good := vipYAML("shop", "192.0.2.1", "") + listenerYAML("web", 80, "vip/shop")
	cases := []struct{ name, yaml, want string }{
		{"one address twice", good + vipYAML("twin", "192.0.2.1/32", ""), "VirtualIP/twin: spec.address: got 192.0.2.1, which VirtualIP/shop has too, expected an address of its own"},
		{"a name that is none", good + listenerYAML("b", 81, "NODE, vip/shopp"), "Listener/b: spec.addresses[1]"},
		{"two listeners on one port of one", good + listenerYAML("b", 80, "vip/shop"), "which b has too on vip/shop"},
		{"a literal that is one", good + listenerYAML("b", 80, "192.0.2.1"), "has too on 192.0.2.1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			now := treeOf(t, c.yaml)
			for _, prev := range []*Result{nil, mustCompile(t, nil, treeOf(t, good))} {
				_, problems := Compile(nil, prev, now, table.Version{})
				if len(problems) != 1 || !strings.Contains(problems[0].Error(), c.want) {
					t.Errorf("told %v, want %q", problems, c.want)
				}
			}
		})
	}
}

func TestMoreVIPsThanNodesKeepGrantsOfAreRefused(t *testing.T) {
	var yaml strings.Builder
	for i := range table.MaxVirtualIPs {
		yaml.WriteString(vipYAML(fmt.Sprintf("v%04d", i), fmt.Sprintf("10.0.%d.%d", i/250, i%250), ""))
	}
	most := mustCompile(t, nil, treeOf(t, yaml.String()))
	yaml.WriteString(vipYAML("v9999", "10.1.1.1", ""))
	for _, prev := range []*Result{nil, most} {
		_, problems := Compile(nil, prev, treeOf(t, yaml.String()), table.Version{})
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), "VirtualIP/v9999: got 1025 virtual IPs, expected at most 1024") {
			t.Errorf("told %v", problems)
		}
	}
}

func TestAVIPThatIsNamedIsReferredTo(t *testing.T) {
	now := treeOf(t, vipYAML("shop", "192.0.2.1", "")+listenerYAML("all", 80, "")+listenerYAML("web", 81, "vip/shop"))
	r := mustCompile(t, nil, now)
	key := tree.Key{Kind: resource.VirtualIP, Name: "shop"}
	if got := referrers(r, key); !slices.Equal(got, []tree.Key{{Kind: resource.Listener, Name: "web"}}) {
		t.Errorf("referrers %v", got)
	}
	_, problems := Compile(nil, r, now.Delete(key), table.Version{})
	if len(problems) != 1 || problems[0].Name != "web" {
		t.Errorf("told %v", problems)
	}
}
