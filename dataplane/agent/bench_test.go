//go:build linux

package agent

import (
	"testing"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

func TestANodeAsksForNoAddressAgainThatItCannotHave(t *testing.T) {
	const at = int64(benchFor)
	for address, again := range map[string]bool{
		"127.0.0.1": true,
		"192.0.2.1": false, // an address of nobody (RFC 5737)
	} {
		l := &loop{
			env:     &env{},
			wanted:  &fleetv1.AgentWanted{Vips: []*fleetv1.AgentVip{{Name: "x", Address: address, Ports: []*fleetv1.AgentPort{{Port: 20000}}}}},
			benched: map[string]bench{address: {until: at}, "127.0.0.9": {until: at}}, // which nobody wants
		}
		if l.serveHeld(at - 1); len(l.benched) != 2 {
			t.Errorf("%s: asked for too soon", address)
		}
		l.serveHeld(at)
		l.configure()
		b, waits := l.benched[address]
		if waits == again || waits && b.until != 2*at || len(l.benched) > 1 {
			t.Errorf("%s: left to others: %+v", address, l.benched)
		}
	}
}
