package agent

import (
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// VIPs are a table's virtual IPs, and the ports on which its listeners listen there, as
// SetVIPs takes them.
func VIPs(t *table.Table) []*fleetv1.AgentVip {
	var all []*fleetv1.AgentVip
	byName := make(map[string]*fleetv1.AgentVip, len(t.VirtualIPs))
	for i := range t.VirtualIPs {
		w := agentVIP(&t.VirtualIPs[i])
		all = append(all, w)
		byName[w.GetName()] = w
	}
	// Each address of each listener once: where listeners name none they have all virtual IPs.
	for i := range t.Listeners {
		l := &t.Listeners[i]
		for _, a := range l.Addresses {
			if w := byName[a.VIP]; w != nil && a.Kind == table.AddressVIP {
				w.Ports = append(w.Ports, &fleetv1.AgentPort{Port: uint32(l.Port), Backlog: int32(l.Backlog)}) //nolint:gosec // bounded by the schema
			}
		}
	}
	return all
}

// agentVIP is a virtual IP as the agent is told it, without its ports.
func agentVIP(v *table.VirtualIP) *fleetv1.AgentVip {
	w := &fleetv1.AgentVip{
		Name: v.Name, Address: v.IP.String(), Nodes: v.Nodes, Preference: v.Preference, Preempt: v.Preempt,
		Labels: map[string]string{},
	}
	for _, l := range v.Labels {
		w.Labels[l.Name] = l.Value
	}
	switch v.Policy {
	case table.PartitionMajority:
		w.Policy = fleetv1.VirtualIP_MAJORITY
	case table.PartitionAvailability:
		w.Policy = fleetv1.VirtualIP_AVAILABILITY
	case table.PartitionDefault:
	}
	return w
}
