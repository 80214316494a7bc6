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
		v := r.view(n, now)
		out, judged = append(out, n.status(v, now)), append(judged, v.judged)
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

// view is what is shown of a node: what this control plane knows, or another one tells.
type view struct {
	*account
	connected bool
	seen      time.Time // when it was heard last, at the least
	at        string    // the control plane that it is connected to, or was last
	counted   time.Time // when the numbers of lastStatus were told; zero: they are its last
}

// view picks the node's connection here while there is one, else the latest of others, else
// whichever was last. The caller holds mu.
func (r *Registry) view(n *node, now time.Time) view {
	here := view{account: &n.account, connected: n.alive(now), seen: n.heard, at: r.c.Name}
	if here.connected || n.there == nil {
		return here
	}
	there := view{
		account: &n.there.account, connected: r.aliveThere(n, now), seen: r.seenThere(n.there),
		at: n.there.Replica, counted: n.there.toldAt,
	}
	if there.connected || !there.seen.Before(here.seen) {
		return there
	}
	return here
}

// status is the node as REST shows it, but for Wanted.
func (n *node) status(v view, now time.Time) api.NodeStatus {
	spec := n.record.GetSpec()
	s := api.NodeStatus{
		ID: n.id, Labels: maps.Clone(n.record.GetLabels()),
		Expected: isExpected(spec),
		Cordoned: spec.GetCordoned(), Drained: spec.GetDrained(),
		DrainReported: drainReported(v.lastStatus),
		Connected:     v.connected,
		State:         v.apiState(),
		Build:         v.hello.GetBuild(),
		SchemaLevel:   v.hello.GetSchemaLevel(),
		UptimeSeconds: v.lastStatus.GetUptimeSeconds(),
		Requests:      v.lastStatus.GetRequests(),
		Connections:   v.lastStatus.GetConnections(),
		Errors:        v.lastStatus.GetErrors(),
	}
	if v.hello != nil {
		s.ControlPlane, s.LastSeen = v.at, &v.seen
		if s.Labels == nil {
			s.Labels = maps.Clone(v.hello.GetLabels())
		}
	}
	if !v.counted.IsZero() {
		s.CountedAt = &v.counted
		if s.Connected && s.UptimeSeconds > 0 {
			s.UptimeSeconds += uint64(now.Sub(v.counted) / time.Second) //nolint:gosec // not negative
		}
	}
	if ms := n.record.GetFirstSeenUnixMs(); ms != 0 {
		first := time.UnixMilli(ms)
		s.FirstSeen = &first
	}
	if !v.running.IsZero() {
		running := versionAPI(v.running)
		s.Running = &running
	}
	if !v.attested.IsZero() {
		s.Attested = v.attested.String()
	}
	if v.loss != nil && s.State == api.Held {
		s.Held = &api.Loss{
			Routes: v.loss.GetRoutes(), RoutesLost: v.loss.GetRoutesLost(),
			VirtualIPs: v.loss.GetVirtualIps(), VirtualIPsLost: v.loss.GetVirtualIpsLost(),
			Listeners: v.loss.GetListeners(), ListenersLost: v.loss.GetListenersLost(),
		}
	}
	for _, p := range v.problems {
		s.Problems = append(s.Problems, api.Problem(p))
	}
	if second := n.second(now); second != "" {
		s.Problems = append(s.Problems, api.Problem{
			Kind: resource.Node, Name: n.id, Field: "name", Got: "a second machine of this name, " + second,
			Expected: "one machine for each node id",
		})
	}
	return s
}

// second is where another machine with the node's id is; empty: nowhere.
func (n *node) second(now time.Time) string {
	switch {
	case n.conflict != "" && now.Sub(n.conflictAt) < conflictShown:
		return "at " + n.conflict + ", which was refused"
	case n.isTwo(now):
		return "and both are served: they are connected to different control planes"
	default:
		return ""
	}
}

func (v view) apiState() api.NodeState {
	switch {
	case !v.connected:
		return api.Disconnected
	case v.drift:
		return api.Drift
	case v.state == session.Rejected || v.state == session.Retrying:
		return api.Rejected
	case v.state == session.Held:
		return api.Held
	case v.state == session.Synced:
		return api.Synced
	}
	return api.Updating
}

// MinSchemaLevel is the lowest schema level among the nodes that are connected, to
// whichever control plane, and the node that has it; with no node, the level of this build
// and no name.
func (r *Registry) MinSchemaLevel() (level uint32, node string) {
	level = resource.SchemaLevel
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Now()
	for _, n := range r.nodes {
		v := r.view(n, now)
		if n.current == nil && !v.connected {
			continue
		}
		l := v.hello.GetSchemaLevel()
		// Of several the first by name, so that the same one is named each time.
		if l < level || l == level && level < resource.SchemaLevel && strings.Compare(n.id, node) < 0 {
			level, node = l, n.id
		}
	}
	return level, node
}
