package nodes

import (
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

const (
	// deafAfter is how long nothing must have been heard of other control planes until what
	// they told counts no more: as long as a node may be silent.
	deafAfter = silentAfter
	// tellLate is how old, beyond silentAfter, what others tell of a node may be: who cannot
	// tell for so long lets its lease run out. vipsLate is that of virtual IPs, of which there
	// may be too many to tell each change.
	tellLate = 5 * time.Second
	vipsLate = 15 * time.Second
	// besideAfter is for how long a process must have been known elsewhere when another one
	// speaks beside it: what that one said while it was alive has been read by then.
	besideAfter = 2 * time.Second
	// twiceAfter is how long two control planes must have a node of one id, each another
	// process of it, until these are called two machines although it is not known that each
	// spoke beside the other: older builds do not say so, and of one that started again both
	// are known for a while.
	twiceAfter = 2 * (silentAfter + tellLate)
)

// Told is what another control plane tells of a node that is connected to it. It never
// changes.
type Told struct {
	Node string
	// Order tells which of several control planes has the latest connection of a node: the
	// one with the highest.
	Order   int64
	account account
}

// NewTold takes a sighting, which must not be changed any more. Its order is the given one,
// unless it says another.
func NewTold(s *fleetv1.Sighting, order int64) (*Told, error) {
	if first := s.GetToldFirst(); first != 0 {
		order = first
	}
	a, err := accountOf(s)
	if err != nil {
		return nil, err
	}
	return &Told{Node: s.GetNodeId(), Order: order, account: a}, nil
}

// Boot is the process of the node.
func (t *Told) Boot() string { return t.account.hello.GetBootId() }

// Beside says whether two processes of one node each spoke beside the other.
func (t *Told) Beside(o *Told) bool { return t.account.besideEachOther(&o.account) }

func (a *account) besideEachOther(o *account) bool {
	return a.beside != "" && a.beside == o.hello.GetBootId() && o.beside == a.hello.GetBootId()
}

// Reports are what a node at another control plane reports of virtual IPs. They never change.
type Reports struct{ VIPs []*fleetv1.VipStatus }

// Elsewhere is a node that is connected to another control plane.
type Elsewhere struct {
	*Told
	// Replica is the name of that control plane.
	Replica string
	Reports *Reports // nil: none were told
	// Twice: a third control plane has it too, and another process of it. Two: each of both
	// spoke beside the other.
	Twice, Two bool
}

// place is where else a node is, or was, connected. Its fields are guarded by Registry.mu.
type place struct {
	Elsewhere
	account           // as told, and statusAt is when the reports came
	toldAt  time.Time // when the account came
	from    time.Time // since when this process of the node is known there
	left    time.Time // when it was last known to be there; zero: it is
	twice   time.Time // since when another process of it is known; zero: none is
}

// otherPlanes is what is known of other control planes, guarded by Registry.mu.
type otherPlanes struct {
	heard time.Time // as of when what they tell is known; zero: it never was
	deaf  bool      // noticed
}

// isThere says whether the node was at another control plane when those were heard last. The
// caller holds Registry.mu.
func (n *node) isThere() bool { return n.there != nil && n.there.left.IsZero() }

// aliveThere says whether it is. The caller holds mu.
func (r *Registry) aliveThere(n *node, now time.Time) bool {
	return n.isThere() && now.Sub(r.others.heard) < deafAfter
}

// seenThere is when a node was heard at the least. The caller holds mu.
func (r *Registry) seenThere(p *place) time.Time {
	if !p.left.IsZero() {
		return p.left
	}
	return later(p.toldAt, r.others.heard.Add(-silentAfter-tellLate))
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// Hear takes what other control planes tell, as of a time: of each node its latest
// connection. Nil is the same as before.
func (r *Registry) Hear(asOf time.Time, told map[string]Elsewhere) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, news := r.c.Now(), r.others.deaf
	if told != nil {
		news = r.leaveOut(told) || news
		for id, e := range told {
			news = r.settle(id, e, now) || news
		}
	}
	r.others = otherPlanes{heard: asOf}
	for _, n := range r.nodes {
		if n.isThere() {
			n.noteTwice(now)
		}
	}
	if news {
		r.news.Ring()
	}
}

// leaveOut notes which nodes are elsewhere no more, and reports whether there are any. The
// caller holds mu.
func (r *Registry) leaveOut(told map[string]Elsewhere) (news bool) {
	for id, n := range r.nodes {
		if _, there := told[id]; there || !n.isThere() {
			continue
		}
		news = true
		n.there.left = r.others.heard
		if n.record == nil && n.current == nil {
			delete(r.nodes, id)
		}
	}
	return news
}

// settle notes where a node is, and reports whether that is news. The caller holds mu.
func (r *Registry) settle(id string, e Elsewhere, now time.Time) bool {
	n := r.nodes[id]
	if n == nil {
		if len(r.nodes) >= r.c.MaxNodes && !r.makeRoom() {
			return false
		}
		n = &node{id: id}
		r.nodes[id] = n
	}
	if n.there == nil {
		n.there = &place{}
	}
	before, next := n.there, &place{Elsewhere: e, account: e.account, toldAt: n.there.toldAt, from: n.there.from, twice: n.there.twice}
	if before.Elsewhere == e && before.left.IsZero() {
		return false
	}
	if before.Told != e.Told {
		next.toldAt = now
	}
	if before.Told == nil || before.Boot() != e.Boot() || !before.left.IsZero() {
		next.from = now
	}
	next.statusAt = before.statusAt
	if before.Reports != e.Reports {
		next.statusAt = now
	}
	if e.Reports != nil {
		next.lastStatus = withReports(e.account.lastStatus, e.Reports)
	}
	next.heldFrom = heldFrom(before.heldFrom, next.lastStatus, now)
	n.there = next
	return true
}

// withReports is a Status with reports of virtual IPs.
func withReports(s *fleetv1.Status, reports *Reports) *fleetv1.Status {
	return &fleetv1.Status{
		UptimeSeconds: s.GetUptimeSeconds(), Requests: s.GetRequests(), Connections: s.GetConnections(), Errors: s.GetErrors(),
		Drained: s.Drained, VirtualIps: reports.VIPs,
	}
}

// noteTwice notes whether another process of the node is elsewhere than the one that is
// known there. The caller holds Registry.mu.
func (n *node) noteTwice(now time.Time) {
	p := n.there
	switch here := n.alive(now) && n.hello.GetBootId() != p.Boot(); {
	case !here && !p.Twice:
		p.twice = time.Time{}
	case p.twice.IsZero():
		p.twice = now
	}
}

// speaksBeside notes that the node spoke while another process of it is known elsewhere, and
// reports whether that is news. The caller holds Registry.mu.
func (n *node) speaksBeside(now time.Time) bool {
	p := n.there
	if !n.isThere() || p.Boot() == n.hello.GetBootId() || p.Boot() == n.beside || now.Sub(p.from) < besideAfter {
		return false
	}
	n.beside = p.Boot()
	return true
}

// isTwo says whether two machines go by the node's id, each served by another control plane.
// The caller holds Registry.mu.
func (n *node) isTwo(now time.Time) bool {
	p := n.there
	switch {
	case !n.isThere():
		return false
	case p.Two, n.alive(now) && n.besideEachOther(&p.account):
		return true
	default:
		return !p.twice.IsZero() && now.Sub(p.twice) >= twiceAfter
	}
}

// noticeDeafness tells watchers when what others told begins to count no more. The caller
// holds mu.
func (r *Registry) noticeDeafness(now time.Time) {
	if r.others.deaf || r.others.heard.IsZero() || now.Sub(r.others.heard) < deafAfter {
		return
	}
	r.others.deaf = true
	for _, n := range r.nodes {
		if n.isThere() {
			r.news.Ring()
			return
		}
	}
}
