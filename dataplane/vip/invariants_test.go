package vip

import "slices"

// check finds two holders.
func (w *world) check(vip string) {
	var holders []string
	for _, m := range w.nodes {
		a := m.address[vip]
		switch {
		case a == nil || m.frozen:
		case (m.stopped || a.excuse > 0) && w.now <= a.excuse:
		default:
			holders = append(holders, m.id)
		}
	}
	if len(holders) > 1 && w.strict {
		w.fault("%s is held by %v", vip, holders)
	}
}

// covered finds a holder whose majority is not bound to it any more: nothing but
// luck keeps another from holding.
func (w *world) covered(m *machine, vip string) {
	a := m.address[vip]
	if a == nil || !w.strict || !m.up || m.stopped || m.frozen || w.now <= a.excuse {
		return
	}
	votes := 0
	for _, other := range w.nodes {
		grants := other.promised
		if other.up {
			if o := other.g.find(vip); o != nil {
				grants = append(slices.Clip(grants), grantOf{vip, o.granted})
			}
		}
		// Its own grant is given back with the address, in one go.
		if other == m || slices.ContainsFunc(grants, func(p grantOf) bool {
			return p.vip == vip && p.grant.id == m.id && p.grant.to.boot == m.boot && p.grant.live(w.clock(other))
		}) {
			votes++
		}
	}
	if !w.list.Majority(votes) {
		w.fault("%s holds %s by %d grants", m.id, vip, votes)
	}
}

// checkAll is for times at which an excuse may have ended.
func (w *world) checkAll() {
	for _, s := range w.specs {
		w.check(s.VIP)
		for _, m := range w.nodes {
			w.covered(m, s.VIP)
		}
	}
}
