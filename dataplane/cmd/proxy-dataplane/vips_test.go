package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/proxyfleet/proxyfleet/dataplane/agent"
	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/member"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/dataplane/vip"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// unfit is a self-probe that says why.
type unfit string

func (unfit) Run(context.Context) error { return nil }
func (u unfit) Fault() string           { return string(u) }

func TestWhyANodeTakesNoVirtualIPIsSaidByTheMostTellingReason(t *testing.T) {
	v := &vips{options: options{nodeID: "n1"}, probe: unfit("")}
	why := func() string {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.whyAway()
	}
	if got := why(); got != "" {
		t.Errorf("nothing is wrong: %q", got)
	}
	v.probe = unfit(`listener "web": no answer`)
	if got := why(); got != `its self-probe fails: listener "web": no answer` {
		t.Error(got)
	}
	v.resign(t.Context(), leavesForGood)
	if got := why(); got != "it stops" {
		t.Error(got)
	}
	v.resign(t.Context(), handsOver)
	if got := why(); got != "it is being upgraded" {
		t.Error(got)
	}
	v.resign(t.Context(), isDrained)
	if got := why(); got != "it is drained: proxyctl undrain n1" {
		t.Error(got)
	}
}

func TestAReasonIsAddedWithoutChangingWhatIsShared(t *testing.T) {
	shared := &fleetv1.VipStatus{Vip: "shop", NotEligible: "it has resigned"}
	got := explain([]*fleetv1.VipStatus{shared}, "it stops")
	if got[0].GetNotEligible() != "it stops" || shared.GetNotEligible() != "it has resigned" {
		t.Errorf("%v, shared %v", got[0], shared)
	}
	if got := explain([]*fleetv1.VipStatus{shared}, ""); got[0] != shared {
		t.Errorf("%v", got[0])
	}
}

// TestTheAgentsOwnReasonsStand: what else keeps a node from a virtual IP keeps it
// from that also when the main process's reason is gone.
func TestTheAgentsOwnReasonsStand(t *testing.T) {
	const why = "it is drained: proxyctl undrain n1"
	for agents, said := range map[string]string{
		"":                                  why,
		agent.HasResigned:                   why,
		agent.HandsOver:                     why,
		agent.FailsItsSelfProbe:             why,
		"a witness grants, and never holds": "a witness grants, and never holds",
		"spec.nodes leaves it out":          "spec.nodes leaves it out",
		"this node cannot have the address: in use":         "this node cannot have the address: in use",
		"the vip-agent is silent: nothing listens any more": "the vip-agent is silent: nothing listens any more",
	} {
		if got := explain([]*fleetv1.VipStatus{{NotEligible: agents}}, why)[0].GetNotEligible(); got != said {
			t.Errorf("%q became %q, expected %q", agents, got, said)
		}
	}
}

// TestListsGoForwardAcrossAnUpgrade: the process before keeps the next list while this
// one starts, and the control plane's comes as soon as this one serves.
func TestListsGoForwardAcrossAnUpgrade(t *testing.T) {
	dir := t.TempDir()
	save := func(revision uint64) {
		t.Helper()
		if err := lastgood.SaveList(dir, member.List{Lineage: 1, Revision: revision, IDs: []string{"n1"}}); err != nil {
			t.Fatal(err)
		}
	}
	kept := func() uint64 {
		t.Helper()
		list, err := lastgood.LoadList(dir)
		if err != nil {
			t.Fatal(err)
		}
		return list.Revision
	}
	save(4)
	synctest.Test(t, func(t *testing.T) {
		v := newVIPs(options{resources: "none"}, nil, nil, slog.New(slog.DiscardHandler))
		v.remember(dir)
		begin := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- v.Run(ctx, begin) }()
		v.lists.Take(&fleetv1.FleetState{ListLineage: 1, ListRevision: 6})
		synctest.Wait()
		if got := kept(); got != 4 {
			t.Errorf("list %d is kept while the process before goes by 4", got)
		}
		save(5)
		close(begin)
		synctest.Wait()
		if by, on := v.say().GrantsBy, kept(); by != 6 || on != 6 {
			t.Errorf("it goes by %d, and has kept %d", by, on)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestTheAgentKeepsGrantsOfAsManyVirtualIPsAsATableMayHave(t *testing.T) {
	if table.MaxVirtualIPs > vip.MaxVIPs {
		t.Errorf("a table may have %d, the agent keeps %d", table.MaxVirtualIPs, vip.MaxVIPs)
	}
}

func TestTheAgentIsToldThePortsOfEachVirtualIP(t *testing.T) {
	on := func(names ...string) (all []table.Address) {
		for _, name := range names {
			all = append(all, table.Address{Kind: table.AddressVIP, VIP: name})
		}
		return append(all, table.Address{Kind: table.AddressNode})
	}
	tab := &table.Table{
		VirtualIPs: []table.VirtualIP{{Name: "a"}, {Name: "b"}, {Name: "c"}},
		Listeners: []table.Listener{
			{Name: "both", Port: 80, Backlog: 16, Addresses: on("a", "b")},
			{Name: "first", Port: 443, Backlog: 32, Addresses: on("a")},
			{Name: "none", Port: 8080, Addresses: on()},
		},
	}
	var got []string
	for _, v := range agentVIPs(tab) {
		text := v.GetName()
		for _, p := range v.GetPorts() {
			text += fmt.Sprintf(" %d/%d", p.GetPort(), p.GetBacklog())
		}
		got = append(got, text)
	}
	if want := []string{"a 80/16 443/32", "b 80/16", "c"}; !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
}

// What applying a table costs for the agent's sake, where a thousand virtual IPs have ten
// listeners each.
func BenchmarkAgentVIPs(b *testing.B) {
	tab := &table.Table{}
	var all []table.Address
	for i := range table.MaxVirtualIPs {
		name := fmt.Sprintf("vip-%04d", i)
		tab.VirtualIPs = append(tab.VirtualIPs, table.VirtualIP{Name: name})
		all = append(all, table.Address{Kind: table.AddressVIP, VIP: name})
	}
	for i := range 10 {
		tab.Listeners = append(tab.Listeners, table.Listener{Port: uint16(8000 + i), Addresses: all}) //nolint:gosec // a port
	}
	for b.Loop() {
		agentVIPs(tab)
	}
}
