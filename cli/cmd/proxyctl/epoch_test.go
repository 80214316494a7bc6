package main

import (
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/cli/controlplanetest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// withHeldEpoch is a shell whose control plane was wiped under three nodes, of
// which one had nothing to lose.
func withHeldEpoch(t *testing.T) *shell {
	sh := newShell(t)
	sh.server.SetNodes(
		controlplanetest.Holds("node-1", 12, api.Loss{Routes: 50, RoutesLost: 50, VirtualIPs: 2, VirtualIPsLost: 1, Listeners: 1}),
		controlplanetest.Holds("node-2", 11, api.Loss{Routes: 50, RoutesLost: 6, Listeners: 2, ListenersLost: 1}),
		controlplanetest.Node("node-3", api.Synced, 0, 0),
	)
	return sh
}

func TestEpochShowsWhoHoldsItAndWhatWouldBeLost(t *testing.T) {
	sh := withHeldEpoch(t)
	for name, args := range map[string]string{
		"epoch": "epoch", "epoch_json": "epoch -o json", "epoch_yaml": "epoch -o yaml", "epoch_help": "epoch --help",
	} {
		got := sh.must(strings.Fields(args)...)
		if name == "epoch_help" {
			got, _, _ = strings.Cut(got, "Global Flags")
		}
		golden(t, name, got)
	}
	r := sh.run("status")
	if r.status != statusFailed {
		t.Errorf("status %d, want %d", r.status, statusFailed)
	}
	golden(t, "status_held", r.stdout)
}

func TestAcceptedEpochIsFollowed(t *testing.T) {
	sh := withHeldEpoch(t)
	contains(t, sh.fails(statusFailed, "epoch", "accept", "--epoch", "6"), "the fleet is in epoch 7; nothing was accepted")
	contains(t, sh.must("epoch"), "accepted   no", "by 2 nodes")
	r := sh.run("epoch", "accept", "--epoch", "7", "--wait")
	if r.status != statusDone {
		t.Fatalf("status %d: %s", r.status, r.stderr)
	}
	golden(t, "epoch_accept", r.stdout)
	contains(t, r.stderr, "all 3 nodes are in sync")
	contains(t, sh.must("epoch", "accept"), "epoch 7 was accepted already")
	contains(t, sh.must("epoch"), "accepted   yes", "by no node")
	contains(t, sh.must("epoch", "accept", "-o", "json"), `"accepted": true`)
	sh.must("status")
}

func TestAcceptedBeforehandNobodyHoldsIt(t *testing.T) {
	sh := newShell(t)
	contains(t, sh.must("epoch", "accept"), "epoch 7 accepted; no node held it")
}

func TestWaitingForNodesThatHoldTheEpochSaysWhatToDo(t *testing.T) {
	sh := newShell(t)
	held := controlplanetest.Holds("node-1", 12, api.Loss{Routes: 50, RoutesLost: 49})
	held.Wanted.Revision = 1
	sh.server.SetNodes(held)
	got := sh.fails(statusFailed, "apply", "-f", firstFile, "--wait")
	contains(t, got, "epoch 7 is held by 1 node", "node-1: 49 of 50 routes", "proxyctl epoch accept")
}
