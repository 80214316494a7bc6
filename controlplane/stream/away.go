package stream

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// cutOffAfter is how long a control plane has not read its store when it is called cut
	// off: it reads at least every 30 s, so twice it got no answer, and had 10 s more.
	cutOffAfter = 70 * time.Second
	// awayFor is how long a node that was sent away, and came back, is let be: it may
	// have no better place.
	awayFor = 10 * time.Minute
)

var errCutOff = status.Error(codes.Unavailable, "this control plane is cut off from etcd; another one may not be, and whoever comes back is served")

// cutOff says whether what is wanted here may be old.
func (s *Server) cutOff() bool { return s.c.Publisher.Unread() >= cutOffAfter }

// sendAway ends the streams of nodes that may find a control plane that is not cut off.
// A node goes to the next one of its list; where all are cut off it comes back, is
// served, and goes round again after awayFor.
func (r *registry) sendAway() {
	r.mu.Lock()
	sent := 0
	for _, n := range r.nodes {
		if c := n.current; c != nil && !isClosed(c.away) && n.sendOff(r.s.c.Now()) {
			close(c.away)
			sent++
		}
	}
	r.mu.Unlock()
	if sent > 0 {
		r.s.log.Warn("nodes: sent away, since this control plane is cut off from etcd", "nodes", sent, "unread_for", r.s.c.Publisher.Unread())
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
