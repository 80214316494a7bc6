package gossip

import (
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// delegate is what memberlist calls. It holds locks while it does: whatever is
// done here is quick and calls nothing of memberlist.
type delegate struct{ g *Gossip }

// NodeMeta implements memberlist.Delegate.
func (d delegate) NodeMeta(limit int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	m := d.g.view.With(d.g.member())
	self, _ := m.Get(d.g.c.NodeID) // its lists sorted
	return appendMeta(nil, &self, min(limit, maxMeta))
}

// NotifyMsg implements memberlist.Delegate. The buffer is memberlist's.
func (d delegate) NotifyMsg(b []byte) { d.g.c.Receive(slices.Clone(b)) }

// GetBroadcasts implements memberlist.Delegate: nothing bulky rides here.
func (d delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (d delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (d delegate) MergeRemoteState([]byte, bool) {}

// NotifyJoin implements memberlist.EventDelegate.
func (d delegate) NotifyJoin(n *memberlist.Node) { d.update(n) }

// NotifyUpdate implements memberlist.EventDelegate.
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.update(n) }

// update takes over what is said of another member. What is said of this node
// is known better.
func (d delegate) update(n *memberlist.Node) {
	g := d.g
	if n.Name == g.c.NodeID {
		return
	}
	ip, _ := netip.AddrFromSlice(n.Addr)
	m := member.Member{ID: n.Name, Address: netip.AddrPortFrom(ip.Unmap(), n.Port)}
	if err := parseMeta(n.Meta, &m); err != nil {
		// It is there, and can do nothing.
		m = member.Member{ID: m.ID, Address: m.Address}
		if g.mayComplain(n.Name, time.Now()) {
			g.log.Warn("gossip: a member says what cannot be read", "member", n.Name, "address", m.Address)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.remember(m.ID, m.Address.String())
	g.offer(g.view.With(m))
}

// NotifyLeave implements memberlist.EventDelegate: the member left or died.
func (d delegate) NotifyLeave(n *memberlist.Node) {
	if n.Name == d.g.c.NodeID {
		return
	}
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	d.g.offer(d.g.view.Without(n.Name))
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (d delegate) NotifyConflict(existing, other *memberlist.Node) {
	if !d.g.mayComplain(existing.Name, time.Now()) {
		return
	}
	d.g.log.Error("gossip: two nodes with one id: the second is not let in",
		"member", existing.Name, "address", existing.Address(), "other", other.Address())
}

// complainEach is between two words on what is wrong with one member: it stays so, and all the
// others repeat it.
const complainEach = time.Minute

// mayComplain says whether to tell of a member again.
func (g *Gossip) mayComplain(id string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at, told := g.complained[id]; told && now.Sub(at) < complainEach {
		return false
	}
	if len(g.complained) >= maxKnown {
		clear(g.complained)
	}
	g.complained[id] = now
	return true
}
