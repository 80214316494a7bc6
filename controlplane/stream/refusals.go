package stream

import (
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// refusedShown is for how long a refused node is told of: it tries again every few
	// seconds as long as it is refused.
	refusedShown = time.Minute
	// refusedLogged bounds the lines about refused nodes in refusedShown: a fleet whose
	// clocks are wrong would write hundreds a second.
	refusedLogged = 20
)

// refusals are of nodes that are not taken for what they say of themselves.
type refusals struct {
	mu    sync.Mutex
	since time.Time // guarded by mu: the first one that count has
	count int       // guarded by mu: in refusedShown since then
	at    time.Time // guarded by mu: the last one of a node that is not among the nodes
	last  string    // guarded by mu: what it was
}

// note takes note of one. It reports whether it may be logged.
func (r *refusals) note(now time.Time, address string, err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.since) >= refusedShown {
		r.since, r.count = now, 0
	}
	r.count++
	if status.Code(err) != codes.AlreadyExists { // which is told of the node of that name
		r.at, r.last = now, fmt.Sprintf("from %s: %s", address, status.Convert(err).Message())
	}
	return r.count <= refusedLogged
}

// refused notes that a stream was not taken, and why.
func (s *Server) refused(address string, err error) {
	s.counts.refused.Add(1)
	switch status.Code(err) {
	case codes.InvalidArgument, codes.ResourceExhausted, codes.AlreadyExists:
		if s.refusals.note(s.c.Now(), address, err) {
			s.log.Warn("node: refused", "address", address, "error", err)
		}
	default: // it went by itself, or is welcome elsewhere
		s.log.Debug("node: refused", "address", address, "error", err)
	}
}

// Notices are what people should know of nodes that are not among the nodes.
func (s *Server) Notices() []string {
	r := &s.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == "" || s.c.Now().Sub(r.at) >= refusedShown {
		return nil
	}
	return []string{"a node is refused, the last one " + r.last}
}
