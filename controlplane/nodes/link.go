package nodes

import (
	"errors"
	"fmt"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/roster"
	"github.com/proxyfleet/proxyfleet/controlplane/session"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// Why a link is not admitted. What Admit returns says more.
var (
	// ErrFull: no more nodes may be known.
	ErrFull = errors.New("too many nodes are known")
	// ErrTwice: another process with this id is connected and alive.
	ErrTwice = errors.New("two nodes go by one id")
	// ErrCutOff: the node may find a control plane that is not cut off.
	ErrCutOff = errors.New("this control plane is cut off from etcd; another one may not be, and whoever comes back is served")
)

// refusal is one of these, in words of its own.
type refusal struct {
	kind error
	text string
}

func (r refusal) Error() string { return r.text }
func (r refusal) Unwrap() error { return r.kind }

func refuse(kind error, format string, args ...any) error {
	return refusal{kind, fmt.Sprintf(format, args...)}
}

// Link is one Sync stream of a node. Its fields are immutable, but for sent.
type Link struct {
	Node    string
	Address string
	// Since is when it was admitted.
	Since time.Time

	r        *Registry
	boot     string
	replaced chan struct{} // closed when another link took over
	away     chan struct{} // closed when the node should look for another control plane
	sent     bool          // guarded by r.mu: away is closed
}

// Replaced is closed when another link of the node took over.
func (l *Link) Replaced() <-chan struct{} { return l.replaced }

// Away is closed when the node should look for another control plane.
func (l *Link) Away() <-chan struct{} { return l.away }

// Admit makes the link the node's own and sees to it that the node has a record, or says
// why not. A node that is new to a control plane that is cut off is sent away first. The
// hello, which must have been checked, belongs to the registry from then on.
func (r *Registry) Admit(hello *fleetv1.Hello, running tree.Version, address string) (*Link, error) {
	id, now, cutOff := hello.GetNodeId(), r.c.Now(), r.cutOff()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[id]
	if n == nil {
		if len(r.nodes) >= r.c.MaxNodes && !r.makeRoom() {
			known, connected := r.size()
			return nil, refuse(ErrFull,
				"node %q: %d nodes are known already, which is the limit; %d of them are connected: delete those that are gone (proxyctl nodes delete), and give nodes ids that they keep",
				id, known, connected)
		}
		n = &node{id: id}
		r.nodes[id] = n
	}
	if cutOff && n.sendOff(now) {
		return nil, ErrCutOff
	}
	if old := n.current; old != nil {
		if old.boot != hello.GetBootId() && n.alive(now) {
			n.conflict, n.conflictAt = address, now
			r.news.Ring()
			return nil, refuse(ErrTwice,
				"node %q: another process with this id is connected from %s and alive; give each node an id of its own", id, old.Address)
		}
		close(old.replaced)
	}
	l := &Link{
		Node: id, Address: address, Since: now,
		r: r, boot: hello.GetBootId(), replaced: make(chan struct{}), away: make(chan struct{}),
	}
	r.missing[id] = recordOf(hello, now)
	r.roster.Heard(now, roster.Kept{Lineage: hello.GetListLineage(), Revision: hello.GetListRevision(), Members: hello.GetList()})
	// The roster has it, and the Hello of each node is kept: of a thousand nodes that would
	// be a million names.
	hello.List = nil
	n.current, n.heard, n.silent = l, now, false
	n.account = account{hello: hello, running: running, state: session.AwaitingHello}
	n.links++
	r.changed(n, itself|itsVIPs)
	r.look()
	return l, nil
}

// makeRoom forgets a node that has neither a record nor a connection, as it comes and goes while
// the store does not answer, and says whether there was one. The caller holds mu.
func (r *Registry) makeRoom() bool {
	for id, n := range r.nodes {
		if n.record == nil && n.current == nil && !n.isThere() {
			delete(r.nodes, id)
			delete(r.missing, id)
			return true
		}
	}
	return false
}

// update changes what is known of the node, if the link is still its own.
func (l *Link) update(change func(*node)) bool {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	n := l.r.nodes[l.Node]
	if n == nil || n.current != l {
		return false
	}
	change(n)
	return true
}

// Leave takes the link off, unless another one took over.
func (l *Link) Leave() bool {
	return l.update(func(n *node) {
		n.current, n.state = nil, session.Closed
		l.r.changed(n, itself|itsVIPs)
	})
}

// alive says whether the node has a link and is not silent.
func (n *node) alive(now time.Time) bool { return n.current != nil && now.Sub(n.heard) < silentAfter }

// Standing is what a node says it runs, and from what that was built.
type Standing struct {
	Running  tree.Version
	Attested tree.Hash
}

// Heard notes a message: what the node says of its standing and the Status, each nil if it
// says nothing of that. The status belongs to the registry from then on. It reports
// whether the node drifted just now.
func (l *Link) Heard(standing *Standing, status *fleetv1.Status) (drifted bool) {
	r := l.r
	l.update(func(n *node) {
		now := r.c.Now()
		n.heard = now
		if n.silent {
			n.silent = false
			r.changed(n, itself|itsVIPs)
		}
		if n.speaksBeside(now) {
			r.changed(n, itself)
		}
		if standing != nil {
			drifted = n.stands(r, *standing)
		}
		if status != nil {
			n.says(r, status, now)
		}
	})
	return drifted
}

// stands notes a node's standing, and reports whether it drifted just now.
func (n *node) stands(r *Registry, s Standing) bool {
	changed := n.running != s.Running
	n.running, n.attested = s.Running, s.Attested
	drift := !s.Running.IsZero() && s.Attested != s.Running.Root
	news := drift && !n.drift
	changed = changed || drift != n.drift
	n.drift = drift
	if changed {
		r.changed(n, itself)
	}
	return news
}

// says notes a node's Status.
func (n *node) says(r *Registry, status *fleetv1.Status, now time.Time) {
	if status.GetListRevision() != n.lastStatus.GetListRevision() {
		r.look()
	}
	if !sameVIPs(status, n.lastStatus) {
		r.news.Ring()
	}
	r.untell(n, n.toTell(status))
	n.heldFrom = heldFrom(n.heldFrom, status, now)
	n.lastStatus, n.statusAt = status, now
}

// Answer is what a node said to an update. An Ack has neither.
type Answer struct {
	Problems []resource.Problem
	Loss     *fleetv1.Loss
}

// Stepped notes where the node's session stands and what is wanted of it; after an answer
// that people should see, also that.
func (l *Link) Stepped(state session.State, wanted tree.Version, answer *Answer) {
	l.update(func(n *node) {
		changed := n.state != state || n.judged != wanted || answer != nil
		n.state, n.judged = state, wanted
		if answer != nil {
			n.problems, n.loss = answer.Problems, answer.Loss
		}
		if state == session.Synced {
			n.problems = nil // whatever was refused is not wanted any more
		}
		if state != session.Held {
			n.loss = nil
		}
		if changed {
			l.r.news.Ring()
		}
		// Whoever hears what a node runs sees by that what it has yet to answer.
		if changed && state != session.InFlight {
			l.r.untell(n, itself)
		}
	})
}
