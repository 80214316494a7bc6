package main

import (
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/controlplanetest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// withVIPs is a shell whose fleet has a virtual IP that is held, one that nobody
// holds, and one that two nodes say they hold.
func withVIPs(t *testing.T) *shell {
	sh := newShell(t)
	since := sh.server.Start.Add(-2 * time.Minute)
	report := func(node string, state api.VIPState, holder string) api.VIPReport {
		return api.VIPReport{
			Node: node, State: state, Holds: state == api.VIPHolding, Holder: holder, Since: &since,
			Alive: 3, Expected: 6, Needed: 4, Policy: "MAJORITY", ListRevision: 17,
		}
	}
	sh.server.SetNodes(controlplanetest.Node("node-1", api.Synced, 0, 0))
	sh.server.SetVIPs(
		api.VIPStatus{
			Name: "edge", Address: "192.0.2.10/32", Alive: 3, Expected: 6, Needed: 4, Policy: "MAJORITY", ListRevision: 17,
			Problems: []string{"nobody holds it: alive 3 of 6 expected, 4 needed"},
			Nodes: []api.VIPReport{
				report("node-1", api.VIPAsking, ""), report("node-2", api.VIPWaiting, ""),
				{Node: "node-3", State: api.VIPUnknown},
				{Node: "node-4", State: api.VIPIdle, NotEligible: "it is drained: proxyctl undrain node-4"},
			},
		},
		api.VIPStatus{
			Name: "pair", Address: "192.0.2.11", Holders: []string{"node-1", "node-2"}, Alive: 1, Expected: 2, Needed: 2,
			Policy: "AVAILABILITY", Why: "two expected members and no witness: each would need the other", ListRevision: 17,
			Problems: []string{"node-1 and node-2 say that they hold it", "node-1 sees that node-2 has it too"},
			Nodes:    []api.VIPReport{report("node-1", api.VIPHolding, "node-1"), report("node-2", api.VIPHolding, "node-2")},
		},
		api.VIPStatus{
			Name: "shop", Address: "127.0.0.100/32", Holder: "node-2", Term: 4, Since: &since, Alive: 3, Expected: 3, Needed: 2,
			Policy: "MAJORITY", ListRevision: 17,
			Nodes: []api.VIPReport{report("node-1", api.VIPWaiting, "node-2"), report("node-2", api.VIPHolding, "node-2")},
		},
	)
	return sh
}

func TestVIPShowsHoldersAndWhatIsWrong(t *testing.T) {
	sh := withVIPs(t)
	for name, args := range map[string][]string{
		"vip": {"vip"}, "vip_wide": {"vip", "-o", "wide"}, "vip_json": {"vip", "-o", "json"}, "vip_yaml": {"vip", "list", "-o", "yaml"},
	} {
		r := sh.run(args...)
		if r.status != statusFailed {
			t.Errorf("%v: status %d, want %d: two have no single holder", args, r.status, statusFailed)
		}
		golden(t, name, r.stdout)
	}
	golden(t, "vip_one", sh.must("vip", "shop"))
	contains(t, sh.fails(statusFailed, "vip", "nothing"), "VirtualIP/nothing: there is none")
	contains(t, newShell(t).must("vip"), "There is no virtual IP.")
}

func TestStatusNamesAVIPWithoutHolder(t *testing.T) {
	sh := withVIPs(t)
	r := sh.run("status")
	contains(t, r.stdout, "VirtualIP/edge: nobody holds it: alive 3 of 6 expected, 4 needed", "VirtualIP/pair: node-1 and node-2 say that they hold it")
	if r.status != statusDone {
		t.Errorf("status %d: what nodes run is in sync", r.status)
	}
}

// TestWhoHasSaidNothingSinceAnotherTookOverIsShownAsStaleWithItsAge has a holder that
// was stopped.
func TestWhoHasSaidNothingSinceAnotherTookOverIsShownAsStaleWithItsAge(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	text := nodesOfVIP(api.VIPStatus{Holder: "node-2", Nodes: []api.VIPReport{
		{Node: "node-1", State: api.VIPHolding, Holds: true, Stale: true, Reported: now.Add(-7 * time.Second)},
		{Node: "node-2", State: api.VIPHolding, Holds: true, Reported: now.Add(-time.Second)},
	}}, false, false, now)
	contains(t, text, string(api.VIPHolding)+" (stale, said 7s ago)")
	if strings.Count(text, "stale") != 1 {
		t.Errorf("the holder is not stale:\n%s", text)
	}
}

func TestAHolderThatDoesNotReportIsShownAsOthersSeeIt(t *testing.T) {
	v := api.VIPStatus{Nodes: []api.VIPReport{{Node: "node-1", State: api.VIPUnknown}}}
	if got := holderCell(v).text; got != "unknown" {
		t.Errorf("holder %q", got)
	}
	v = api.VIPStatus{Expected: 2, Nodes: []api.VIPReport{
		{Node: "node-1", State: api.VIPUnknown},
		{Node: "node-2", State: api.VIPWaiting, Holder: "node-1"},
	}}
	if got := holderCell(v).text; got != "node-1?" {
		t.Errorf("holder %q", got)
	}
	v.Nodes[0].State = api.VIPIdle // it let go
	if got := holderCell(v).text; got != "nobody" {
		t.Errorf("holder %q", got)
	}
}
