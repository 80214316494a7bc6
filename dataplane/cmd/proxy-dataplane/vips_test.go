package main

import (
	"context"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/agent"
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
	got := withReason([]*fleetv1.VipStatus{shared}, "it stops")
	if got[0].GetNotEligible() != "it stops" || shared.GetNotEligible() != "it has resigned" {
		t.Errorf("%v, shared %v", got[0], shared)
	}
	if got := withReason([]*fleetv1.VipStatus{shared}, ""); got[0] != shared {
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
		if got := withReason([]*fleetv1.VipStatus{{NotEligible: agents}}, why)[0].GetNotEligible(); got != said {
			t.Errorf("%q became %q, expected %q", agents, got, said)
		}
	}
}
