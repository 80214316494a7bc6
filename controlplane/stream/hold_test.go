package stream

import (
	"fmt"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// site is a tree of the routes from first to last.
func site(t testing.TB, first, last int) tree.Tree {
	t.Helper()
	var out tree.Tree
	for i := first; i <= last; i++ {
		out = put(t, out, &fleetv1.Resource{
			Kind: new(resource.Route), Name: new(fmt.Sprintf("r%d", i)),
			Spec: &fleetv1.Resource_Route{Route: &fleetv1.Route{
				Match:   &fleetv1.Match{Path: &fleetv1.PathMatch{Exact: new(fmt.Sprintf("/%d", i))}},
				Respond: &fleetv1.Respond{Status: new(uint32(200))},
			}},
		})
	}
	return out
}

// wipe puts an empty store in the place of the one before, as a deleted data
// directory does.
func (m *memory) wipe() {
	m.edit(func() {
		m.epoch++
		m.versions = m.versions[:1]
	})
}

func (p *plane) isIn(t *testing.T, id string, state api.NodeState) api.NodeStatus {
	t.Helper()
	var shown api.NodeStatus
	eventually(t, fmt.Sprintf("%s is %s", id, state), func() bool {
		shown, _ = p.status(id)
		return shown.State == state
	})
	return shown
}

// fifty is a plane on a store that was wiped after two nodes ran 50 routes.
func fifty(t *testing.T) (*memory, *plane, []*member) {
	t.Helper()
	m := newMemory()
	before := m.commit(site(t, 1, 50))
	p := newPlane(t, m, "")
	nodes := []*member{newNode(t, "a", p.address), newNode(t, "b", p.address)}
	for _, n := range nodes {
		eventually(t, "the routes run", n.runs(before))
	}
	p.stop()
	m.wipe()
	p = newPlane(t, m, p.address)
	for _, id := range []string{"a", "b"} {
		shown := p.isIn(t, id, api.Held)
		if h := shown.Held; h == nil || *h != (api.Loss{Routes: 50, RoutesLost: 50}) || len(shown.Problems) != 1 {
			t.Fatalf("%s: %+v, %+v", id, h, shown.Problems)
		}
		if shown.Running == nil || shown.Running.Revision != before || shown.Wanted.Epoch != m.epoch {
			t.Fatalf("%s: %+v", id, shown)
		}
	}
	return m, p, nodes
}

func TestWipedStoreIsHeldUntilItIsAccepted(t *testing.T) {
	m, p, nodes := fifty(t)
	few := m.commit(site(t, 1, 2)) // not enough
	for _, id := range []string{"a", "b"} {
		eventually(t, "the other version is held too", func() bool {
			shown, _ := p.status(id)
			return shown.State == api.Held && shown.Wanted.Revision == few && shown.Held.RoutesLost == 48
		})
	}
	updates := p.server.Counters().Updates
	if nodes[0].live.Load().Root != site(t, 1, 50).Root() {
		t.Fatal("the live table changed")
	}
	m.edit(func() { m.accepted = m.epoch })
	for _, n := range nodes {
		eventually(t, "what was accepted runs", n.runs(few))
	}
	for _, id := range []string{"a", "b"} {
		if shown := p.isIn(t, id, api.Synced); shown.Held != nil || len(shown.Problems) > 0 {
			t.Fatalf("%+v", shown)
		}
	}
	if c := p.server.Counters(); c.NacksHeld < 2 || c.NacksPermanent != 0 || c.Updates != updates+2 {
		t.Fatalf("%+v, %d updates before", c, updates)
	}
}

func TestRestoredFilesNeedNoAcceptance(t *testing.T) {
	m, p, nodes := fifty(t)
	again := m.commit(site(t, 1, 50))
	for _, n := range nodes {
		eventually(t, "the restored configuration runs", n.runs(again))
	}
	if shown := p.isIn(t, "a", api.Synced); shown.Held != nil || len(shown.Problems) > 0 {
		t.Fatalf("%+v", shown)
	}
}

func TestNodesThatComeLaterFindTheEpochAccepted(t *testing.T) {
	m := newMemory()
	m.edit(func() { m.epoch, m.accepted = 9, 9 })
	p := newPlane(t, m, "")
	last := &table.Configuration{Tree: site(t, 1, 50)}
	last.Version.Epoch, last.Version.Revision = 8, 7
	n := newNodeWith(t, feed.Config{NodeID: "n", ControlPlanes: []string{p.address}, Boot: last})
	eventually(t, "the empty beginning runs", func() bool { return n.feed.State().Running.Epoch == 9 })
	p.isIn(t, "n", api.Synced)
	// One that is not accepted is held from the start.
	m.edit(func() { m.epoch = 10 })
	last.Version.Epoch = 9
	late := newNodeWith(t, feed.Config{NodeID: "late", ControlPlanes: []string{p.address}, Boot: last})
	p.isIn(t, "late", api.Held)
	if late.live.Load().Root != last.Tree.Root() {
		t.Fatal("the live table changed")
	}
}
