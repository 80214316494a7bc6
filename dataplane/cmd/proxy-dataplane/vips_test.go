package main

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/proxyfleet/proxyfleet/dataplane/agent"
	"github.com/proxyfleet/proxyfleet/dataplane/fleetstate"
	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/member"
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
		v.cannotForget = true // so that it goes by lists without an agent
		v.remember(dir)
		begin := make(chan struct{})
		v.begin = begin
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- v.Run(ctx) }()
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

// TestANodeWithoutGossipKeepsNoList: by one of its disk it would grant when gossip is turned
// on, whatever the fleet has gone on to without it. In an upgrade the process before may go
// by it until this one serves.
func TestANodeWithoutGossipKeepsNoList(t *testing.T) {
	dir := t.TempDir()
	if err := lastgood.SaveList(dir, member.List{Lineage: 1, Revision: 4, IDs: []string{"n1", "gone"}}); err != nil {
		t.Fatal(err)
	}
	begin := make(chan struct{})
	v := newVIPs(options{resources: "none"}, nil, nil, slog.New(slog.DiscardHandler))
	v.begin = begin
	v.remember(dir)
	if list, err := lastgood.LoadList(dir); err != nil || list.Revision != 4 || v.say().GrantsNothing {
		t.Errorf("before it serves: %+v %v, %+v", list, err, v.say())
	}
	close(begin)
	if said := v.say(); !said.GrantsNothing || said.GrantsBy != 0 || said.Kept.Revision != 0 {
		t.Errorf("it says %+v", said)
	}
	v.take(&fleetv1.FleetState{ListLineage: 1, ListRevision: 6})
	if list, err := lastgood.LoadList(dir); err != nil || list.Revision != 0 {
		t.Errorf("it keeps %+v %v", list, err)
	}
	if said := v.say(); said.GrantsBy != 6 || len(v.changed) == 0 {
		t.Errorf("of list 6 it says %+v, at once: %t", said, len(v.changed) > 0)
	}
	again := newVIPs(options{resources: "none"}, nil, nil, slog.New(slog.DiscardHandler))
	again.begin = begin
	if again.remember(dir); !again.say().GrantsNothing {
		t.Errorf("after the next start: %+v", again.say())
	}
}

// TestAListOfATimeBeforeItTookPartIsNotGoneBy: the control plane's record says still that the
// node grants nothing, so a step may have been made that did not wait for it.
func TestAListOfATimeBeforeItTookPartIsNotGoneBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vips{options: options{nodeID: "n1"}, supervisor: agent.New(agent.Config{Logger: slog.New(slog.DiscardHandler)})}
		var goesBy uint64
		v.lists = fleetstate.NewLists(func(l member.List) { goesBy = l.Revision }, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- v.lists.Run(ctx) }()
		for _, c := range []struct {
			revision uint64
			nothing  bool // as the record has it
			want     uint64
		}{{7, true, 0}, {8, false, 8}} {
			v.take(&fleetv1.FleetState{
				ListLineage: 1, ListRevision: c.revision,
				Members: []*fleetv1.Member{{NodeId: "n0", GrantsNothing: true}, {NodeId: "n1", GrantsNothing: c.nothing}},
			})
			synctest.Wait()
			if goesBy != c.want {
				t.Errorf("after list %d it goes by %d", c.revision, goesBy)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
