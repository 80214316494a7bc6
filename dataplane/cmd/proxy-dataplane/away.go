package main

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/dataplane/agent"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// away is a reason for which the node holds nothing.
type away uint8

const (
	isDrained away = iota
	handsOver
	leavesForGood
	reasons
)

// says is the reason for people.
func (a away) says(node string) string {
	switch a {
	case isDrained:
		return "it is drained: proxyctl undrain " + node
	case handsOver:
		return "it is being upgraded"
	case leavesForGood:
		return "it stops"
	case reasons:
	}
	return ""
}

// resign lets go of what the node holds, to a successor if one is ready in time,
// and takes nothing until the reason is gone.
func (v *vips) resign(ctx context.Context, why away) {
	v.mu.Lock()
	v.reason[why] = true
	v.mu.Unlock()
	if v.supervisor != nil {
		v.supervisor.Resign(ctx)
	}
}

// resume takes a reason back.
func (v *vips) resume(why away) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reason[why] = false
	if v.supervisor != nil && v.reason == ([reasons]bool{}) {
		v.supervisor.Resume()
	}
}

// whyAway is a reason for taking no virtual IP that only the main process knows; empty:
// there is none. mu is held.
func (v *vips) whyAway() string {
	for why := range reasons {
		if v.reason[why] {
			return why.says(v.options.nodeID)
		}
	}
	if v.probe != nil && v.probe.Fault() != "" {
		return "its self-probe fails: " + v.probe.Fault()
	}
	return ""
}

// withReason gives the reason to those that have none, or the agent's less telling one of
// the same. What else the agent says stands: it would keep the node from that virtual
// IP without this reason too.
func withReason(statuses []*fleetv1.VipStatus, why string) []*fleetv1.VipStatus {
	if why == "" {
		return statuses
	}
	for i, s := range statuses {
		switch s.GetNotEligible() {
		case "", agent.HasResigned, agent.HandsOver, agent.FailsItsSelfProbe:
		default:
			continue
		}
		s = proto.CloneOf(s) // it is shared
		s.NotEligible = why
		statuses[i] = s
	}
	return statuses
}
