package agent

import (
	"maps"
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
	"github.com/proxyfleet/proxyfleet/dataplane/vip"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// obey passes on what is wanted to Grants.
func (l *loop) obey(now int64) {
	if l.list != l.wanted.GetListRevision() {
		l.list = l.wanted.GetListRevision()
		l.listed = slices.Contains(l.wanted.GetList(), l.node)
		l.events = append(l.events, vip.Listed{List: vip.NewList(l.list, l.wanted.GetList()...)})
	}
	maps.DeleteFunc(l.left, func(address string, _ int64) bool { return l.find(address) == nil })
	l.configure()
	for _, h := range l.held {
		h.wanted = nil // its ports may be others
	}
	l.reportAt = now
}

// configure tells Grants the virtual IPs that this node may hold.
func (l *loop) configure() {
	var specs []vip.Spec
	for _, w := range l.wanted.GetVips() {
		if _, is := l.benched[w.GetAddress()]; !is {
			specs = append(specs, spec(w))
		}
	}
	l.events = append(l.events, vip.Configured{Specs: specs})
}

func spec(w *fleetv1.AgentVip) vip.Spec {
	s := vip.Spec{
		VIP: w.GetAddress(), Nodes: w.GetNodes(), Labels: member.Labels(w.GetLabels()),
		Preference: w.GetPreference(), Preempt: w.GetPreempt(),
	}
	switch w.GetPolicy() {
	case fleetv1.VirtualIP_MAJORITY:
		s.Policy = vip.Majority
	case fleetv1.VirtualIP_AVAILABILITY:
		s.Policy = vip.Availability
	default:
		s.Policy = vip.Default
	}
	return s
}

// find returns what is wanted at an address, or nil. Each turn asks for every virtual IP
// that is held.
func (l *loop) find(address string) *fleetv1.AgentVip {
	if l.indexed != l.wanted {
		l.indexed, l.byAddress = l.wanted, map[string]*fleetv1.AgentVip{}
		for _, w := range l.wanted.GetVips() {
			l.byAddress[w.GetAddress()] = w
		}
	}
	return l.byAddress[address]
}

// name is what the virtual IP of an address is called here.
func (l *loop) name(address string) string {
	if w := l.find(address); w != nil {
		return w.GetName()
	}
	return address
}
