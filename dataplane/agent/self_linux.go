package agent

import (
	"github.com/proxyfleet/proxyfleet/dataplane/gossip"
	"github.com/proxyfleet/proxyfleet/dataplane/member"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// reflect has gossip say what this node is now.
func (l *loop) reflect() {
	s := gossip.Self{Flags: l.flags(), ListRevision: l.list}
	if !l.moved && s.Flags == l.self.Flags && s.ListRevision == l.self.ListRevision {
		return
	}
	for address, h := range l.held {
		s.Holdings = append(s.Holdings, member.Holding{VIP: address, Term: h.term, SinceUnixMS: h.since.UnixMilli()})
	}
	l.self, l.moved = s, false
	l.gossip.SetSelf(s)
}

func (l *loop) flags() (f member.Flags) {
	if l.witness {
		f |= member.Witness
	}
	mode := l.wanted.GetMode()
	if l.alive && l.leaving == 0 && mode != fleetv1.AgentWanted_RESIGNED {
		f |= member.Eligible
		if l.healthy {
			f |= member.Healthy
		}
	}
	if mode == fleetv1.AgentWanted_HANDING_OVER {
		f |= member.Draining
	}
	return f
}
