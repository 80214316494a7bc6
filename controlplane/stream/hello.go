package stream

import (
	"fmt"
	"unicode/utf8"

	"github.com/proxyfleet/proxyfleet/controlplane/roster"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// Bounds of what a node says about itself.
const (
	maxLabels     = 64
	maxLabelKey   = 317 // a DNS name, "/" and 63
	maxLabelValue = 63
	maxBuild      = 128
	maxBootID     = 64
)

// ahead is the highest epoch, list of expected members and decision that a node may know:
// all are Unix milliseconds, unless a clock went backwards. A node that claims more than
// roster.MaxAhead would push the fleet's own numbers, which go above, to their end. The
// fleet's own are allowed wherever the clock is.
type ahead struct{ epoch, list, decision uint64 }

func (s *Server) ahead(node string) ahead {
	latest := uint64(max(s.c.Now().Add(roster.MaxAhead).UnixMilli(), 0))
	list, decision := s.nodes.Known(node)
	return ahead{
		epoch:    max(latest, s.c.Publisher.WantedFor(node).Epoch),
		list:     max(latest, list),
		decision: max(latest, decision),
	}
}

// checkHello refuses what must not be kept or shown.
func checkHello(h *fleetv1.Hello, most ahead) error {
	switch {
	case h == nil:
		return fmt.Errorf("expected Hello as the first message")
	case !resource.ValidName(h.GetNodeId()):
		return fmt.Errorf("node id %.80q: expected lower-case letters, digits, - and ., beginning and ending with a letter or digit, at most 253", h.GetNodeId())
	case h.GetBootId() == "" || len(h.GetBootId()) > maxBootID:
		return fmt.Errorf("node %q: boot id of %d bytes: expected 1 to %d", h.GetNodeId(), len(h.GetBootId()), maxBootID)
	case len(h.GetBuild()) > maxBuild:
		return fmt.Errorf("node %q: build of %d bytes: expected at most %d", h.GetNodeId(), len(h.GetBuild()), maxBuild)
	case len(h.GetLabels()) > maxLabels:
		return fmt.Errorf("node %q: %d labels: expected at most %d", h.GetNodeId(), len(h.GetLabels()), maxLabels)
	}
	switch {
	case h.GetRunning().GetEpoch() > most.epoch:
		return fmt.Errorf("node %q: epoch %d is more than a century ahead of this control plane's clock: delete the node's state directory, or put the clock right", h.GetNodeId(), h.GetRunning().GetEpoch())
	case h.GetListRevision() > most.list:
		return fmt.Errorf("node %q: list %d of expected members is more than a century ahead of this control plane's clock: delete the node's state directory, or put the clock right", h.GetNodeId(), h.GetListRevision())
	case h.GetDecision() > most.decision:
		return fmt.Errorf("node %q: decision %d about it is more than a century ahead of this control plane's clock: delete the node's state directory, or put the clock right", h.GetNodeId(), h.GetDecision())
	case len(h.GetList()) > roster.MaxMembers:
		return fmt.Errorf("node %q: a list of %d expected members: expected at most %d", h.GetNodeId(), len(h.GetList()), roster.MaxMembers)
	}
	for _, id := range h.GetList() {
		if !resource.ValidName(id) {
			return fmt.Errorf("node %q: expected member %.80q: that is no node id", h.GetNodeId(), id)
		}
	}
	for k, v := range h.GetLabels() {
		if k == "" || len(k) > maxLabelKey || len(v) > maxLabelValue || !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("node %q: label %.80q: expected a name of 1 to %d bytes and a value of at most %d", h.GetNodeId(), k, maxLabelKey, maxLabelValue)
		}
	}
	return nil
}
