package stream

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// cutOffAfter is for how long the store was not read by a control plane that is cut
	// off from it: two times, and a little.
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
		if c := n.current; c != nil && !isStopping(c.away) && n.goesAway(r.s.c.Now()) {
			close(c.away)
			sent++
		}
	}
	r.mu.Unlock()
	if sent > 0 {
		r.s.log.Warn("nodes: sent away, since this control plane is cut off from etcd", "nodes", sent, "unread_for", r.s.c.Publisher.Unread())
	}
}

// goesAway says whether the node is to be sent away, and notes that it was.
func (n *node) goesAway(now time.Time) bool {
	if !n.sentAway.IsZero() && now.Sub(n.sentAway) < awayFor {
		return false
	}
	n.sentAway = now
	return true
}
