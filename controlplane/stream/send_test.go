package stream

import (
	"fmt"
	"strings"
	"testing"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// large is a tree of so many MiB, which no stream takes that is not read.
func large(t testing.TB, mib int) tree.Tree {
	t.Helper()
	var out tree.Tree
	for i := range mib * 17 {
		out = put(t, out, &fleetv1.Resource{
			Kind: new(resource.Route), Name: new(fmt.Sprintf("r%d", i)),
			Spec: &fleetv1.Resource_Route{Route: &fleetv1.Route{
				Match:   &fleetv1.Match{Path: &fleetv1.PathMatch{Exact: new(fmt.Sprintf("/%d", i))}},
				Respond: &fleetv1.Respond{Status: new(uint32(200)), Body: new(strings.Repeat("x", 60<<10))},
			}},
		})
	}
	return out
}

// TestNodesOnASlowLineKeepNobodyWaiting: as many as are sent whole configurations at a time
// take theirs, and read no more of it.
func TestNodesOnASlowLineKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	m := newMemory()
	revision := m.commit(large(t, 8))
	p := newPlane(t, m, "")
	eventually(t, "the version is wanted", func() bool { return p.publisher.Wanted().Revision == revision })
	for i := range maxWhole {
		dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: fmt.Sprintf("slow%d", i)}).recv()
	}
	eventually(t, "they have all tokens", func() bool { return len(p.server.whole) == maxWhole })
	n := newNode(t, "fast", p.address)
	eventually(t, "a node on a fast line runs the version", n.runs(revision))
	eventually(t, "it gave back what it held", func() bool {
		return len(p.server.whole) == 0 && p.server.Counters().WholesUnderWay == maxWhole
	})
	// One that reads nothing is replaced at once, and holds nothing then.
	again := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "slow0"})
	if u, _ := again.update(); u.GetTarget().GetRevision() != revision {
		t.Fatal(u.GetTarget())
	}
	eventually(t, "the replaced stream gave back what it held", func() bool {
		return p.server.Counters().WholesUnderWay == maxWhole-1
	})
}
