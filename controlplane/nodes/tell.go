package nodes

import (
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/controlplane/session"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// matter is what of a node is another than other control planes were told.
type matter uint8

const (
	itself  matter = 1 << iota // that it is here, what it runs, and how it is
	itsVIPs                    // what it reports of virtual IPs
)

// changed notes that of a node here is something else to be shown, and told. The caller holds
// mu.
func (r *Registry) changed(n *node, what matter) {
	r.news.Ring()
	r.untell(n, what)
}

// untell notes that other control planes do not know a node any more. The caller holds mu.
func (r *Registry) untell(n *node, what matter) {
	if r.c.Alone || what == 0 {
		return
	}
	r.untold[n.id] |= what
	r.tell.Send()
}

// toTell is what a Status says that other control planes are to be told at once. How many
// requests and connections there are they are told with other things only, or there would be
// no end of it; but for a node that is drained, since somebody may wait for its last one.
func (n *node) toTell(status *fleetv1.Status) (what matter) {
	before := n.lastStatus
	drained := status.GetDrained() || n.record.GetSpec().GetDrained()
	if before == nil || (before.Drained == nil) != (status.Drained == nil) || before.GetDrained() != status.GetDrained() ||
		drained && before.GetConnections() != status.GetConnections() {
		what |= itself
	}
	if !slices.EqualFunc(before.GetVirtualIps(), status.GetVirtualIps(), equalVIPs) {
		what |= itsVIPs
	}
	return what
}

// equalVIPs says whether all is equal: there may be a thousand in each of a thousand Statuses,
// every 5 seconds.
func equalVIPs(a, b *fleetv1.VipStatus) bool {
	return a.GetVip() == b.GetVip() && a.GetState() == b.GetState() && a.GetHolder() == b.GetHolder() && a.GetTerm() == b.GetTerm() &&
		a.GetHolds() == b.GetHolds() && a.GetSinceUnixMs() == b.GetSinceUnixMs() && a.GetAlive() == b.GetAlive() &&
		a.GetExpected() == b.GetExpected() && a.GetNeeded() == b.GetNeeded() && a.GetPolicy() == b.GetPolicy() &&
		a.GetWhy() == b.GetWhy() && a.GetListRevision() == b.GetListRevision() && a.GetConflict() == b.GetConflict() &&
		a.GetNotEligible() == b.GetNotEligible()
}

// ToTell says that there is something to tell other control planes. It is for one reader.
func (r *Registry) ToTell() <-chan struct{} { return r.tell }

// Untold are the nodes of which other control planes are to be told something else than what
// Here gave before, since Untold was called last: of themselves, and of virtual IPs.
func (r *Registry) Untold() (themselves, vips []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, what := range r.untold {
		if what&itself != 0 {
			themselves = append(themselves, id)
		}
		if what&itsVIPs != 0 {
			vips = append(vips, id)
		}
	}
	clear(r.untold)
	return themselves, vips
}

// Here is a node that is connected to this control plane and not silent.
type Here struct {
	ID string
	// Link is another one for each connection of the node here.
	Link uint64
	// Sighting is what others are to know of it, but for ToldFirst. It is the caller's.
	Sighting *fleetv1.Sighting
	// VIPs are what it reports of virtual IPs. Nobody may change them.
	VIPs []*fleetv1.VipStatus
}

// Here are the nodes that are here and that the caller asks for, sorted by id.
func (r *Registry) Here(asks func(id string) bool) []Here {
	r.mu.Lock()
	now := r.c.Now()
	var here []Here
	for id, n := range r.nodes {
		if n.alive(now) && asks(id) {
			here = append(here, Here{ID: id, Link: n.links, Sighting: n.sighting(), VIPs: n.lastStatus.GetVirtualIps()})
		}
	}
	r.mu.Unlock()
	slices.SortFunc(here, func(a, b Here) int { return strings.Compare(a.ID, b.ID) })
	return here
}

// sighting is what the account holds, for other control planes.
func (a *account) sighting() *fleetv1.Sighting {
	s := &fleetv1.Sighting{
		NodeId: a.hello.GetNodeId(), BootId: a.hello.GetBootId(), Build: a.hello.GetBuild(), SchemaLevel: a.hello.GetSchemaLevel(),
		Judged: a.judged.Proto(), Running: a.running.Proto(), Drift: a.drift, Loss: a.loss,
		UptimeSeconds: a.lastStatus.GetUptimeSeconds(), Requests: a.lastStatus.GetRequests(),
		Connections: a.lastStatus.GetConnections(), Errors: a.lastStatus.GetErrors(),
		Drained: drainReported(a.lastStatus), Beside: a.beside,
	}
	if attested := a.attested; !attested.IsZero() {
		s.Attested = attested[:]
	}
	switch a.state {
	case session.Synced:
		s.State = fleetv1.Sighting_SYNCED
	case session.Rejected, session.Retrying:
		s.State = fleetv1.Sighting_REJECTED
	case session.Held:
		s.State = fleetv1.Sighting_HELD
	}
	for _, p := range a.problems {
		s.Problems = append(s.Problems, p.Proto())
	}
	return s
}

// accountOf is what another control plane holds in its account.
func accountOf(s *fleetv1.Sighting) (a account, err error) {
	a = account{
		hello: &fleetv1.Hello{NodeId: s.GetNodeId(), BootId: s.GetBootId(), Build: s.GetBuild(), SchemaLevel: s.GetSchemaLevel()},
		drift: s.GetDrift(), loss: s.GetLoss(), beside: s.GetBeside(), state: session.InFlight,
		lastStatus: &fleetv1.Status{
			UptimeSeconds: s.GetUptimeSeconds(), Requests: s.GetRequests(), Connections: s.GetConnections(), Errors: s.GetErrors(),
			Drained: s.Drained,
		},
	}
	if a.running, err = tree.VersionFromProto(s.GetRunning()); err != nil {
		return account{}, err
	}
	if a.judged, err = tree.VersionFromProto(s.GetJudged()); err != nil {
		return account{}, err
	}
	if len(s.GetAttested()) > 0 {
		if a.attested, err = tree.HashFromBytes(s.GetAttested()); err != nil {
			return account{}, err
		}
	}
	switch s.GetState() {
	case fleetv1.Sighting_SYNCED:
		a.state = session.Synced
	case fleetv1.Sighting_REJECTED:
		a.state = session.Rejected
	case fleetv1.Sighting_HELD:
		a.state = session.Held
	default:
	}
	for _, p := range s.GetProblems() {
		a.problems = append(a.problems, resource.ProblemFromProto(p))
	}
	return a, nil
}
