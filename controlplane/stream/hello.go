package stream

import (
	"fmt"
	"unicode/utf8"

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

// checkHello refuses what must not be kept or shown.
func checkHello(h *fleetv1.Hello) error {
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
	for k, v := range h.GetLabels() {
		if k == "" || len(k) > maxLabelKey || len(v) > maxLabelValue || !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("node %q: label %.80q: expected a name of 1 to %d bytes and a value of at most %d", h.GetNodeId(), k, maxLabelKey, maxLabelValue)
		}
	}
	return nil
}
