//go:build linux

package agent

import (
	"math"
	"net/netip"
	"slices"
	"testing"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// TestThePortsThatCanBeHadAreServedWhateverHasTheOthers gives a node two ports of three.
func TestThePortsThatCanBeHadAreServedWhateverHasTheOthers(t *testing.T) {
	now := int64(1)
	taken := []uint16{80}
	e := &env{
		clock: func() int64 { return now }, out: newOutbox(),
		open: func(a netip.AddrPort, _ int) (int, error) {
			if slices.Contains(taken, a.Port()) {
				return noFD, errInUse
			}
			return openListening(netipLoopback, 1)
		},
	}
	w := &fleetv1.AgentVip{Address: "127.0.0.1", Ports: []*fleetv1.AgentPort{{Port: 443}, {Port: 80}, {Port: 22}}}
	h := &holding{}
	defer h.end(e)
	after := func(passed int64) {
		now += passed
		h.serve(w, now, math.MaxInt64, e)
	}
	after(0)
	if len(h.sockets) != 2 || h.serves() || !h.inUse || h.lacks.Port() != 80 {
		t.Fatalf("%d sockets, lacks %s: %s", len(h.sockets), h.lacks, h.problem)
	}
	if after(int64(bindPause)); h.hopeless(now, false) {
		t.Error("it is left to others at once")
	}
	after(int64(bindFor))
	if !h.hopeless(now, false) {
		t.Error("it is not left to others, who may do better")
	}
	if h.hopeless(now, true) {
		t.Error("it is left to others again, who could not do better")
	}
	taken = nil
	if after(int64(bindLater)); !h.serves() || len(h.sockets) != 3 {
		t.Errorf("%d sockets when all can be had", len(h.sockets))
	}

	nothing := &holding{}
	taken = []uint16{22, 80, 443}
	nothing.serve(w, now, math.MaxInt64, e)
	now += int64(bindFor)
	nothing.serve(w, now, math.MaxInt64, e)
	if !nothing.hopeless(now, true) || nothing.servesSome() {
		t.Error("a node that can have none of it keeps it from the others")
	}
}
