package agent

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/vip"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// nextReport is when a report may be made.
func (l *loop) nextReport() int64 {
	pause := reportPause + int64(len(l.wanted.GetVips()))*reportEach
	return max(l.reportAt, l.reported+pause)
}

// tellLeases lets the main process's sockets listen on. A lease that is no longer than was
// told is left out.
func (l *loop) tellLeases(now int64) {
	var longer []*fleetv1.AgentLease
	for address, h := range l.held {
		if until, holds := l.grants.Until(address); holds && until > h.told {
			h.told = until
			longer = append(longer, &fleetv1.AgentLease{Address: address, Until: until})
		}
	}
	if len(longer) > 0 {
		l.out.lease(longer)
	}
	l.leasesTold, l.leasesAt = now, now+leaseEvery
	if len(l.held) == 0 {
		l.leasesAt = math.MaxInt64
	}
}

// report tells the main process how things stand.
func (l *loop) report(now int64) {
	r := &fleetv1.AgentReport{Serial: l.wanted.GetSerial(), ListRevision: l.list, InboxLost: l.lost.Load()}
	wall := time.Now()
	known := map[string]bool{}
	for _, s := range l.grants.Status() {
		known[s.VIP] = true
		r.Vips = append(r.Vips, l.status(s, now, wall))
	}
	for address, b := range l.benched {
		if !known[address] {
			r.Vips = append(r.Vips, &fleetv1.VipStatus{
				Vip: l.name(address), State: fleetv1.VipStatus_IDLE, ListRevision: l.list, NotEligible: "this node cannot have the address: " + b.problem,
			})
		}
	}
	l.reported, l.reportAt = now, now+reportIdle
	for m := range l.gossip.View().All() {
		shown := &fleetv1.AgentMember{
			NodeId: m.ID, Address: m.Address.String(), Flags: m.Flags.String(), ListRevision: m.ListRevision,
		}
		for _, h := range m.Holdings {
			shown.Holds = append(shown.Holds, l.name(h.VIP))
		}
		r.Members = append(r.Members, shown)
	}
	l.out.say(r)
}

// status is one virtual IP's.
func (l *loop) status(s vip.Status, now int64, wall time.Time) *fleetv1.VipStatus {
	out := &fleetv1.VipStatus{
		Vip: l.name(s.VIP), Holder: s.Holder, Term: s.Term, Why: s.Why, ListRevision: s.Revision,
		SinceUnixMs: wall.Add(-time.Duration(now - s.Since)).UnixMilli(),
		Alive:       uint32(s.Alive), Expected: uint32(s.Expected), Needed: uint32(s.Needed), //nolint:gosec // at most vip.MaxMembers
		State: [...]fleetv1.VipStatus_State{
			vip.Idle: fleetv1.VipStatus_IDLE, vip.Waiting: fleetv1.VipStatus_WAITING,
			vip.Asking: fleetv1.VipStatus_ASKING, vip.Holding: fleetv1.VipStatus_HOLDING,
		}[s.State],
	}
	if w := l.find(s.VIP); w != nil {
		out.NotEligible = l.notEligible(w)
	}
	switch s.Policy {
	case vip.Majority:
		out.Policy = fleetv1.VirtualIP_MAJORITY
	case vip.Availability:
		out.Policy = fleetv1.VirtualIP_AVAILABILITY
	case vip.Default:
	}
	if h := l.held[s.VIP]; h != nil {
		out.Holds = h.servesSome()
		if h.inUse {
			out.Conflict = "another process at " + h.lacks.String()
		}
	}
	if c, is := l.conflicts[s.VIP]; is {
		if now < c.until {
			out.Conflict = c.other
		} else {
			delete(l.conflicts, s.VIP)
		}
	}
	return out
}

// notEligible says why this node would not take a virtual IP, or only if nobody else can.
// Of several reasons it is the one that lasts longest. Empty: it would take it.
func (l *loop) notEligible(w *fleetv1.AgentVip) string {
	mode := l.wanted.GetMode()
	switch {
	case l.witness:
		return "a witness grants, and never holds"
	case l.list == 0:
		return "no list of expected members has come yet"
	case !l.listed && len(l.wanted.GetList()) >= vip.MaxMembers:
		return fmt.Sprintf("it is not an expected member: the list is full with %d", vip.MaxMembers)
	case !l.listed:
		return "it is not an expected member"
	case len(w.GetNodes()) > 0 && !slices.Contains(w.GetNodes(), l.node):
		return "spec.nodes leaves it out"
	case !l.hasLabels(w):
		return "it does not have the labels that spec.nodes asks for"
	case mode == fleetv1.AgentWanted_RESIGNED || l.leaving != 0:
		return HasResigned
	case mode == fleetv1.AgentWanted_HANDING_OVER:
		return HandsOver
	case !l.alive:
		return "its main process is stopped or hangs"
	case !l.healthy:
		return FailsItsSelfProbe
	}
	return ""
}

func (l *loop) hasLabels(w *fleetv1.AgentVip) bool {
	for name, value := range w.GetLabels() {
		if got, ok := l.labels[name]; !ok || got != value {
			return false
		}
	}
	return true
}
