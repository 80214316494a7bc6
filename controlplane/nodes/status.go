package nodes

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/session"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// conflictShown is how long a refused second machine is shown.
const conflictShown = time.Minute

// Nodes are all nodes that are known, sorted by id. Resource is not set.
func (r *Registry) Nodes() []api.NodeStatus {
	r.mu.Lock()
	now := r.c.Now()
	out := make([]api.NodeStatus, 0, len(r.nodes))
	judged := make([]tree.Version, 0, len(r.nodes))
	for _, n := range r.nodes {
		out, judged = append(out, n.status(now)), append(judged, n.judged)
	}
	r.mu.Unlock()
	// Asked without the lock: the publisher has one of its own.
	for i := range out {
		r.setWanted(&out[i], judged[i])
	}
	slices.SortFunc(out, func(a, b api.NodeStatus) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (r *Registry) setWanted(n *api.NodeStatus, judged tree.Version) {
	wanted := r.c.Publisher.WantedFor(n.ID)
	n.Wanted = versionAPI(wanted.Version)
	switch n.State {
	case api.Synced:
		if wanted.IsZero() || n.Running != nil && *n.Running == n.Wanted {
			return
		}
	case api.Rejected, api.Held:
		if wanted.Version == judged && (n.State != api.Held || !wanted.Accepted) {
			return
		}
	default:
		return
	}
	// Its driver is about to hear of it.
	n.State, n.Held = api.Updating, nil
}

func versionAPI(v tree.Version) api.Version {
	return api.Version{Epoch: v.Epoch, Revision: v.Revision, Digest: v.Root.String()}
}

// drainReported is what a node says of being drained; nil: nothing.
func drainReported(status *fleetv1.Status) *bool {
	if status == nil || status.Drained == nil {
		return nil
	}
	return new(status.GetDrained())
}

// status is the node as REST shows it, but for Wanted.
func (n *node) status(now time.Time) api.NodeStatus {
	spec := n.record.GetSpec()
	s := api.NodeStatus{
		ID: n.id, Labels: maps.Clone(n.record.GetLabels()),
		Expected: isExpected(spec),
		Cordoned: spec.GetCordoned(), Drained: spec.GetDrained(),
		DrainReported: drainReported(n.lastStatus),
		Connected:     n.alive(now),
		Build:         n.hello.GetBuild(),
		SchemaLevel:   n.hello.GetSchemaLevel(),
		UptimeSeconds: n.lastStatus.GetUptimeSeconds(),
		Requests:      n.lastStatus.GetRequests(),
		Connections:   n.lastStatus.GetConnections(),
		Errors:        n.lastStatus.GetErrors(),
	}
	s.State = n.apiState(s.Connected)
	if n.hello != nil {
		heard := n.heard
		s.LastSeen = &heard
		if s.Labels == nil {
			s.Labels = maps.Clone(n.hello.GetLabels())
		}
	}
	if ms := n.record.GetFirstSeenUnixMs(); ms != 0 {
		first := time.UnixMilli(ms)
		s.FirstSeen = &first
	}
	if !n.running.IsZero() {
		running := versionAPI(n.running)
		s.Running = &running
	}
	if !n.attested.IsZero() {
		s.Attested = n.attested.String()
	}
	if n.loss != nil && s.State == api.Held {
		s.Held = &api.Loss{
			Routes: n.loss.GetRoutes(), RoutesLost: n.loss.GetRoutesLost(),
			VirtualIPs: n.loss.GetVirtualIps(), VirtualIPsLost: n.loss.GetVirtualIpsLost(),
			Listeners: n.loss.GetListeners(), ListenersLost: n.loss.GetListenersLost(),
		}
	}
	for _, p := range n.problems {
		s.Problems = append(s.Problems, api.Problem(p))
	}
	if n.conflict != "" && now.Sub(n.conflictAt) < conflictShown {
		s.Problems = append(s.Problems, api.Problem{
			Kind: resource.Node, Name: n.id, Field: "name",
			Got:      "a second machine of this name, at " + n.conflict + ", which was refused",
			Expected: "one machine for each node id",
		})
	}
	return s
}

func (n *node) apiState(connected bool) api.NodeState {
	switch {
	case !connected:
		return api.Disconnected
	case n.drift:
		return api.Drift
	case n.state == session.Rejected || n.state == session.Retrying:
		return api.Rejected
	case n.state == session.Held:
		return api.Held
	case n.state == session.Synced:
		return api.Synced
	}
	return api.Updating
}

// MinSchemaLevel is the lowest schema level among the connected nodes and the
// node that has it; with no node, the level of this build and no name.
func (r *Registry) MinSchemaLevel() (level uint32, node string) {
	level = resource.SchemaLevel
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.nodes {
		if n.current == nil {
			continue
		}
		l := n.hello.GetSchemaLevel()
		// Of several the first by name, so that the same one is named each time.
		if l < level || l == level && level < resource.SchemaLevel && strings.Compare(n.id, node) < 0 {
			level, node = l, n.id
		}
	}
	return level, node
}
