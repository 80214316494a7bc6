//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// bindSeries gives what a table names its slots in the metrics, before it goes
// live, and gives up those of names that it does not have. Routes get theirs with
// their first request.
func bindSeries(set *stats.Set, t *table.Table) {
	set.Listeners.Retain(func(k stats.Key) bool { return t.Listener(k.Name) != nil })
	set.Upstreams.Retain(func(k stats.Key) bool { return t.Upstream(k.Name) != nil })
	set.Endpoints.Retain(func(k stats.Key) bool { return hasEndpoint(t, k) })
	if t.HasRoute != nil {
		set.Routes.Retain(func(k stats.Key) bool { return t.HasRoute(k.Name) })
	}
	for i := range t.Listeners {
		setSeries(&t.Listeners[i].Series, set.Listeners.Acquire(stats.Key{Name: t.Listeners[i].Name}))
	}
	for _, u := range t.Upstreams {
		setSeries(&u.Series, set.Upstreams.Acquire(stats.Key{Name: u.Name}))
		for i := range u.Endpoints {
			to := &u.Endpoints[i]
			setSeries(&to.Series, set.Endpoints.Acquire(stats.Key{Parent: u.Name, Name: to.Address}))
		}
	}
}

func hasEndpoint(t *table.Table, k stats.Key) bool {
	u := t.Upstream(k.Parent)
	if u == nil {
		return false
	}
	for i := range u.Endpoints {
		if u.Endpoints[i].Address == k.Name {
			return true
		}
	}
	return false
}

// setSeries writes only what is new: objects that a live table shares are being
// read by the loops.
func setSeries(series *uint32, slot stats.Slot) {
	if *series != slot {
		*series = slot
	}
}

// routeSeries is the slot of a route, found with its first request.
func (l *Loop) routeSeries(r *table.Route) stats.Slot {
	slot, known := r.Series.Load()
	if !known {
		slot = l.engine.stats.Routes.Acquire(stats.Key{Name: r.Name})
		r.Series.Store(slot)
	}
	return slot
}
