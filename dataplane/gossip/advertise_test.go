package gossip

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// addresses are those of a machine.
func addresses(t *testing.T, all ...string) (list []net.Addr) {
	t.Helper()
	for _, a := range all {
		ip, network, err := net.ParseCIDR(a)
		if err != nil {
			t.Fatal(err)
		}
		network.IP = ip
		list = append(list, network)
	}
	return list
}

func TestANodeMovesOnlyToWhereOthersReachIt(t *testing.T) {
	for _, c := range []struct {
		name, local, routed string
		here                []string
		want                string
	}{
		{"there is no network yet", "127.0.0.1", "", []string{"127.0.0.1/8"}, ""},
		{"and then there is", "127.0.0.1", "", []string{"127.0.0.1/8", "10.0.0.5/24"}, "10.0.0.5"},
		{"a way to others goes before the first address", "127.0.0.1", "192.0.2.7", []string{"127.0.0.1/8", "172.17.0.1/16", "192.0.2.7/24"}, "192.0.2.7"},
		{"others are on loopback", "127.0.0.1", "127.0.0.1", []string{"127.0.0.1/8", "10.0.0.5/24"}, ""},
		{"the address is another one", "10.0.0.5", "10.0.0.9", []string{"127.0.0.1/8", "10.0.0.9/24"}, "10.0.0.9"},
		{"the interface is gone for a while", "10.0.0.5", "", []string{"127.0.0.1/8", "172.17.0.1/16"}, ""},
		{"and the way leads nowhere", "10.0.0.5", "127.0.0.1", []string{"127.0.0.1/8"}, ""},
		{"of IPv6", "::1", "2001:db8::5", []string{"::1/128", "2001:db8::5/64"}, "2001:db8::5"},
	} {
		var routed net.IP
		if c.routed != "" {
			routed = net.ParseIP(c.routed)
		}
		got := ""
		if to := moved(netip.MustParseAddr(c.local), routed, addresses(t, c.here...)); to != nil {
			got = to.String()
		}
		if got != c.want {
			t.Errorf("%s: moves to %q, want %q", c.name, got, c.want)
		}
	}
	here := addresses(t, "10.0.0.5/24", "2001:db8::5/64")
	for a, want := range map[string]bool{"10.0.0.5": true, "10.0.0.6": false, "2001:db8::5": true} {
		if got := hasAddress(here, netip.MustParseAddr(a)); got != want {
			t.Errorf("%s is here: %t", a, got)
		}
	}
}

// TestANodeThatBeganWithoutANetworkBeginsAnewWhenThereIsOne: others would answer to their own
// loopback for as long as it runs.
func TestANodeThatBeganWithoutANetworkBeginsAnewWhenThereIsOne(t *testing.T) {
	var network atomic.Bool
	c := Config{NodeID: "a", Address: ":0", Insecure: true, Timing: Timing{Rejoin: time.Millisecond}}
	c.here = func() ([]net.Addr, error) {
		if network.Load() {
			return addresses(t, "127.0.0.1/8", "10.1.2.3/24"), nil
		}
		return addresses(t, "127.0.0.1/8"), nil
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Run(t.Context()) }()
	<-g.Ready()
	if a := g.LocalAddress().Addr(); !a.IsLoopback() {
		t.Fatalf("it advertises %s", a)
	}
	network.Store(true)
	select {
	case err := <-ended:
		if !errors.Is(err, ErrMoved) {
			t.Error(err)
		}
	case <-time.After(soon):
		t.Error("it goes on as 127.0.0.1")
	}
}

func TestANodeHasToDoWithTheFamiliesThatItsSocketHas(t *testing.T) {
	const four, six = "10.0.0.6:7946", "[2001:db8::6]:7946"
	for _, c := range []struct {
		address   string
		four, six bool
	}{
		{":7946", true, false},
		{"10.0.0.5:7946", true, false},
		{"[::]:7946", true, true},
		{"[2001:db8::5]:7946", false, true},
	} {
		for join, want := range map[string]bool{four: c.four, six: c.six, "node.example:7946": true} {
			if _, err := New(Config{NodeID: "a", Address: c.address, Insecure: true, Join: []string{join}}); (err == nil) != want {
				t.Errorf("at %s, join %s: %v", c.address, join, err)
			}
		}
		g, err := New(Config{NodeID: "a", Address: c.address, Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		all := addresses(t, "fd00::5/64", "10.0.0.5/24")
		for ip, want := range map[string]bool{"10.0.0.5": c.four, "fd00::5": c.six} {
			if got := hasAddress(g.reachable(all), netip.MustParseAddr(ip)); got != want {
				t.Errorf("at %s %s is reachable: %t", c.address, ip, got)
			}
		}
	}
}
