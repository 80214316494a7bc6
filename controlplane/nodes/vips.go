package nodes

import (
	"slices"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// VIPs are what connected nodes report of the virtual IPs, by the names of those.
// A node that is silent says nothing. When one at another control plane reported is not
// known, and so it counts as long ago as it can be.
func (r *Registry) VIPs() map[string][]api.VIPReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Now()
	out := map[string][]api.VIPReport{}
	for id, n := range r.nodes {
		view := r.view(n, now)
		if !view.connected {
			continue
		}
		reported := view.statusAt
		if !view.counted.IsZero() {
			reported = later(reported, r.others.heard.Add(-silentAfter-vipsLate))
		}
		for _, v := range view.lastStatus.GetVirtualIps() {
			report := vipReport(id, v)
			report.Reported = reported.UTC()
			if h, ok := view.heldFrom[v.GetVip()]; ok {
				from := h.from.UTC()
				report.HeldFrom = &from
			}
			out[v.GetVip()] = append(out[v.GetVip()], report)
		}
	}
	return out
}

func vipReport(node string, v *fleetv1.VipStatus) api.VIPReport {
	r := api.VIPReport{
		Node: node, State: vipState(v.GetState()), Holds: v.GetHolds(), Holder: v.GetHolder(), Term: v.GetTerm(),
		Alive: v.GetAlive(), Expected: v.GetExpected(), Needed: v.GetNeeded(), Why: v.GetWhy(),
		ListRevision: v.GetListRevision(), Conflict: v.GetConflict(), NotEligible: v.GetNotEligible(),
	}
	switch v.GetPolicy() {
	case fleetv1.VirtualIP_MAJORITY, fleetv1.VirtualIP_AVAILABILITY:
		r.Policy = v.GetPolicy().String()
	default:
	}
	if ms := v.GetSinceUnixMs(); ms != 0 {
		since := time.UnixMilli(ms).UTC()
		r.Since = &since
	}
	return r
}

func vipState(s fleetv1.VipStatus_State) api.VIPState {
	switch s {
	case fleetv1.VipStatus_HOLDING:
		return api.VIPHolding
	case fleetv1.VipStatus_ASKING:
		return api.VIPAsking
	case fleetv1.VipStatus_WAITING:
		return api.VIPWaiting
	case fleetv1.VipStatus_IDLE:
		return api.VIPIdle
	default:
		return api.VIPUnknown
	}
}

// held is one term of what a node says it holds.
type held struct {
	term uint64
	from time.Time // when that was first heard
}

// heldFrom is what a Status says that its node holds: an earlier one, of which before is,
// may have said it of the same term.
func heldFrom(before map[string]held, s *fleetv1.Status, now time.Time) map[string]held {
	var from map[string]held
	for _, v := range s.GetVirtualIps() {
		if !v.GetHolds() {
			continue
		}
		if from == nil {
			from = map[string]held{}
		}
		h := before[v.GetVip()]
		if h.from.IsZero() || h.term != v.GetTerm() {
			h = held{v.GetTerm(), now}
		}
		from[v.GetVip()] = h
	}
	return from
}

// sameVIPs says whether two Statuses say the same of who holds what, and of who
// would not, and why.
func sameVIPs(a, b *fleetv1.Status) bool {
	return slices.EqualFunc(a.GetVirtualIps(), b.GetVirtualIps(), func(x, y *fleetv1.VipStatus) bool {
		return x.GetVip() == y.GetVip() && x.GetState() == y.GetState() && x.GetHolds() == y.GetHolds() &&
			x.GetHolder() == y.GetHolder() && x.GetConflict() == y.GetConflict() && x.GetAlive() == y.GetAlive() &&
			x.GetNotEligible() == y.GetNotEligible()
	})
}
