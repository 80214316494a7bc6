package nodes

import "time"

const (
	// cutOffAfter is how long a control plane has not read its store when it is called cut
	// off: it reads at least every 30 s, so twice it got no answer, and had 10 s more.
	cutOffAfter = 70 * time.Second
	// awayFor is how long a node that was sent away, and came back, is let be: it may
	// have no better place.
	awayFor = 10 * time.Minute
)

// cutOff says whether what is wanted here may be old, and not be so elsewhere.
func (r *Registry) cutOff() bool { return !r.c.Alone && r.c.Publisher.Unread() >= cutOffAfter }

// sendAway ends the links of nodes that may find a control plane that is not cut off.
// A node goes to the next one of its list; where all are cut off it comes back, is
// served, and goes round again after awayFor.
func (r *Registry) sendAway() {
	r.mu.Lock()
	sent := 0
	for _, n := range r.nodes {
		if l := n.current; l != nil && !l.sent && n.sendOff(r.c.Now()) {
			l.sent = true
			close(l.away)
			sent++
		}
	}
	r.mu.Unlock()
	if sent > 0 {
		r.log.Warn("nodes: sent away, since this control plane is cut off from etcd", "nodes", sent, "unread_for", r.c.Publisher.Unread())
	}
}

// sendOff says whether the node is to be sent away, and notes that it is.
func (n *node) sendOff(now time.Time) bool {
	if !n.sentAway.IsZero() && now.Sub(n.sentAway) < awayFor {
		return false
	}
	n.sentAway = now
	return true
}
