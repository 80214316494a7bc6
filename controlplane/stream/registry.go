package stream

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/proxyfleet/proxyfleet/controlplane/session"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// conflictShown is how long a refused second machine is shown.
const conflictShown = time.Minute

// registry is what is known of the nodes.
type registry struct {
	s *Server

	// guarded by mu
	mu       sync.Mutex
	nodes    map[string]*node
	watchers map[chan struct{}]struct{}
}

// node is one node, guarded by registry.mu.
type node struct {
	id      string
	record  *fleetv1.NodeRecord // nil: none yet
	current *conn               // nil: no stream
	hello   *fleetv1.Hello      // the last; nil: never heard
	heard   time.Time           // the last message
	silent  bool                // noticed

	running  tree.Version
	attested tree.Hash
	drift    bool
	state    session.State
	judged   tree.Version    // what was wanted when state came about
	problems []resource.Problem // of the last refusal, while it stands
	loss     *fleetv1.Loss      // by what it holds; nil: it holds nothing

	lastStatus *fleetv1.Status
	statusAt   time.Time            // when lastStatus came
	heldFrom   map[string]time.Time // of what lastStatus says it holds: when that was first heard, by virtual IP

	sentAway   time.Time // last, since this control plane was cut off; zero: never
	conflict   string    // address of a second machine with this id
	conflictAt time.Time
}

// conn is one stream. Its fields are immutable.
type conn struct {
	node     string
	boot     string
	address  string
	running  tree.Version // by its Hello
	since    time.Time
	replaced chan struct{} // closed when another stream took over
	away     chan struct{} // closed when the node should look for another control plane
}

func newRegistry(s *Server) *registry {
	return &registry{s: s, nodes: map[string]*node{}, watchers: map[chan struct{}]struct{}{}}
}

// admit makes the stream the node's own, or says why not. One that is new to a control
// plane that is cut off is sent away first.
func (r *registry) admit(hello *fleetv1.Hello, running tree.Version, address string) (*conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, now := hello.GetNodeId(), r.s.c.Now()
	n := r.nodes[id]
	if n == nil {
		if len(r.nodes) >= r.s.c.MaxNodes {
			return nil, status.Errorf(codes.ResourceExhausted, "node %q: %d nodes are known already, which is the limit", id, len(r.nodes))
		}
		n = &node{id: id}
		r.nodes[id] = n
	}
	if r.s.cutOff() && n.sendOff(now) {
		return nil, errCutOff
	}
	if old := n.current; old != nil {
		if old.boot != hello.GetBootId() && now.Sub(n.heard) < silentAfter {
			n.conflict, n.conflictAt = address, now
			r.changed()
			return nil, status.Errorf(codes.AlreadyExists,
				"node %q: another process with this id is connected from %s and alive; give each node an id of its own", id, old.address)
		}
		close(old.replaced)
	}
	c := &conn{
		node: id, boot: hello.GetBootId(), address: address, running: running, since: now,
		replaced: make(chan struct{}), away: make(chan struct{}),
	}
	n.current, n.hello, n.heard, n.silent = c, hello, now, false
	n.running, n.attested, n.drift = running, tree.Hash{}, false
	n.state, n.judged = session.AwaitingHello, tree.Version{}
	n.problems, n.loss, n.lastStatus = nil, nil, nil
	r.changed()
	return c, nil
}

// leave takes the stream off, unless another one took over.
func (r *registry) leave(c *conn) bool {
	return r.update(c, func(n *node) {
		n.current, n.state = nil, session.Closed
		r.changed()
	})
}

// update changes what is known of the node, if the stream is still its own.
func (r *registry) update(c *conn, change func(*node)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[c.node]
	if n == nil || n.current != c {
		return false
	}
	change(n)
	return true
}

// noteHeard notes a sign of life.
func (n *node) noteHeard(r *registry, now time.Time) {
	n.heard = now
	if n.silent {
		n.silent = false
		r.changed()
	}
}

// standing notes what the node runs and from what it says that was built. It
// reports whether the node drifted just now.
func (n *node) standing(r *registry, running tree.Version, attested tree.Hash) bool {
	changed := n.running != running
	n.running, n.attested = running, attested
	drift := !running.IsZero() && attested != running.Root
	news := drift && !n.drift
	changed = changed || drift != n.drift
	n.drift = drift
	if changed {
		r.changed()
	}
	return news
}

// listRevisions is by which list connected nodes say that they go, by id.
func (r *registry) listRevisions() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	reported := make(map[string]uint64, len(r.nodes))
	for id, n := range r.nodes {
		if revision := n.lastStatus.GetListRevision(); n.current != nil && revision != 0 {
			reported[id] = revision
		}
	}
	return reported
}

// noticeSilence tells watchers about nodes that have just become silent.
func (r *registry) noticeSilence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.s.c.Now()
	for _, n := range r.nodes {
		if n.current != nil && !n.silent && now.Sub(n.heard) >= silentAfter {
			n.silent = true
			r.changed()
		}
	}
}

// changed tells watchers to look again. The caller holds mu.
func (r *registry) changed() {
	for w := range r.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// Watch says "look at Nodes again" when a node came, went, answered, drifted or
// became silent; counters that only grow are no reason. It is coalesced, and
// closed when ctx ends.
func (s *Server) Watch(ctx context.Context) <-chan struct{} {
	r := s.registry
	w := make(chan struct{}, 1)
	r.mu.Lock()
	r.watchers[w] = struct{}{}
	r.mu.Unlock()
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, w)
		close(w)
	})
	return w
}

// Nodes are all nodes that are known, sorted by id. Resource is not set.
func (s *Server) Nodes() []api.NodeStatus {
	r := s.registry
	r.mu.Lock()
	now := s.c.Now()
	out := make([]api.NodeStatus, 0, len(r.nodes))
	judged := make([]tree.Version, 0, len(r.nodes))
	for _, n := range r.nodes {
		out, judged = append(out, n.status(now)), append(judged, n.judged)
	}
	r.mu.Unlock()
	// Asked without the lock: the publisher has one of its own.
	for i := range out {
		s.setWanted(&out[i], judged[i])
	}
	slices.SortFunc(out, func(a, b api.NodeStatus) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (s *Server) setWanted(n *api.NodeStatus, judged tree.Version) {
	wanted := s.c.Publisher.WantedFor(n.ID)
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
func drainReported(numbers *fleetv1.Status) *bool {
	if numbers == nil || numbers.Drained == nil {
		return nil
	}
	return new(numbers.GetDrained())
}

// status is the node as REST shows it, but for Wanted.
func (n *node) status(now time.Time) api.NodeStatus {
	spec := n.record.GetSpec()
	s := api.NodeStatus{
		ID: n.id, Labels: maps.Clone(n.record.GetLabels()),
		Expected: isExpected(spec),
		Cordoned: spec.GetCordoned(), Drained: spec.GetDrained(),
		DrainReported: drainReported(n.lastStatus),
		Connected:     n.current != nil && now.Sub(n.heard) < silentAfter,
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
func (s *Server) MinSchemaLevel() (level uint32, node string) {
	level = resource.SchemaLevel
	r := s.registry
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
