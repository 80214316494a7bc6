package stream

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/proxyfleet/proxyfleet/controlplane/roster"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// voter is a node that takes every list at once.
type voter struct {
	*rawNode
	quiet bool // does not report
}

func newVoter(t *testing.T, p *plane, h *fleetv1.Hello) *voter {
	t.Helper()
	h.BootId = h.GetNodeId()
	return &voter{rawNode: dialRaw(t, p.address).hello(h)}
}

// expects receives until the node goes by a list of these members.
func (v *voter) expects(members string) *fleetv1.FleetState {
	v.t.Helper()
	for {
		var ids []string
		for _, m := range v.state.GetMembers() {
			if m.GetExpected() {
				ids = append(ids, m.GetNodeId())
			}
		}
		if slices.Equal(ids, strings.Fields(members)) {
			return v.state
		}
		before := v.state.GetListRevision()
		v.recv()
		if now := v.state.GetListRevision(); now != before && !v.quiet {
			v.report(now)
		}
	}
}

func (v *voter) report(revision uint64) { v.send(reportOf(revision)) }

func reportOf(revision uint64) *fleetv1.NodeMessage {
	return &fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Status{Status: &fleetv1.Status{ListRevision: revision}}}
}

// inBackground keeps a voter voting while others are looked at.
func (v *voter) inBackground() {
	go func() {
		for last := v.state.GetListRevision(); ; {
			m, err := v.stream.Recv()
			if err != nil {
				return
			}
			if now := m.GetFleetState().GetListRevision(); now > last {
				last = now
				_ = v.stream.Send(reportOf(now)) // the test may be over
			}
		}
	}()
}

func TestTheFirstListHasTheNodesThatCameTogetherAndGrowsByOne(t *testing.T) {
	t.Parallel()
	m := newMemory()
	p := newPlane(t, m, "")
	a := newVoter(t, p, &fleetv1.Hello{NodeId: "a"})
	b := newVoter(t, p, &fleetv1.Hello{NodeId: "b", Witness: true})
	first := a.expects("a b")
	if first.GetListRevision() == 0 || first.GetListLineage() == 0 || first.GetMembers()[0].GetWitness() || !first.GetMembers()[1].GetWitness() {
		t.Errorf("%v", first)
	}
	b.expects("a b")
	b.inBackground()
	newVoter(t, p, &fleetv1.Hello{NodeId: "c"}).inBackground()
	newVoter(t, p, &fleetv1.Hello{NodeId: "d"}).inBackground()
	begin := time.Now()
	a.expects("a b c d")
	t.Logf("two steps took %v", time.Since(begin))
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains([]int{3}, len(m.list.GetBefore())) || m.list.GetLineage() != first.GetListLineage() {
		t.Errorf("the last step was made from %v", m.list)
	}
}

func TestNoFurtherStepWithoutReportsOfTheListBefore(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.list = &fleetv1.ListRecord{Revision: 10, Lineage: 3, Members: []string{"a", "b"}, Before: []string{"a", "b", "z"}}
	p := newPlane(t, m, "")
	a := newVoter(t, p, &fleetv1.Hello{NodeId: "a"})
	b := newVoter(t, p, &fleetv1.Hello{NodeId: "b"})
	c := newVoter(t, p, &fleetv1.Hello{NodeId: "c"})
	a.quiet, b.quiet, c.quiet = true, true, true
	a.expects("a b")
	b.expects("a b")
	a.report(10)
	c.report(10) // was not of the list before
	b.report(9)
	eventually(t, "what was reported is in the store", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return slices.Equal(m.list.GetReported(), []string{"a"})
	})
	m.edit(func() { m.records["b"] = &fleetv1.NodeRecord{NodeId: "b", Labels: map[string]string{"x": "y"}} })
	eventually(t, "the fleet state is sent again", func() bool { return a.recv().GetFleetState() != nil })
	if a.state.GetListRevision() != 10 {
		t.Errorf("a step was made: %v", a.state)
	}
	b.report(10)
	b.quiet = false
	if next := a.expects("a b c"); next.GetListRevision() <= 10 || next.GetListLineage() != 3 {
		t.Errorf("%v", next)
	}
}

func TestAWipedControlPlaneTakesOverTheListOfItsNodes(t *testing.T) {
	t.Parallel()
	m := newMemory()
	p := newPlane(t, m, "")
	newVoter(t, p, &fleetv1.Hello{NodeId: "new"}).inBackground() // the first to come knows nothing
	kept := &fleetv1.Hello{NodeId: "a", List: []string{"a", "b", "c"}, ListRevision: 7, ListLineage: 5}
	a := newVoter(t, p, kept)
	a.quiet = true
	if s := a.expects("a b c"); s.GetListRevision() != 7 || s.GetListLineage() != 5 {
		t.Errorf("%v", s)
	}
	p.server.registry.mu.Lock()
	if n := p.server.registry.nodes["a"]; len(n.hello.GetList()) > 0 {
		t.Errorf("the list is kept for each node: %v", n.hello.GetList())
	}
	p.server.registry.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.list.GetAdopted() {
		t.Errorf("%v", m.list)
	}
}

// TestADrainIsToldThoughTheListCannotBeWritten, as in an etcd that has just run full.
func TestADrainIsToldThoughTheListCannotBeWritten(t *testing.T) {
	t.Parallel()
	m, now := newMemory(), newClock()
	m.failList = errors.New("no room")
	p := newPlane(t, m, "", func(c *Config) { c.Now = now.now })
	a := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "a"})
	is := func(drained bool) {
		t.Helper()
		for len(a.state.GetMembers()) != 1 || a.state.GetMembers()[0].GetDrained() != drained {
			a.recv()
		}
	}
	is(false)
	now.add(roster.Gather) // the first list is due
	m.edit(func() { m.records["a"] = &fleetv1.NodeRecord{NodeId: "a", Spec: &fleetv1.Node{Drained: new(true)}} })
	is(true)
}

// TestADrainOutlivesAWipedStoreAndANewControlPlane: only the node knows of it still. A
// record that is there is right whatever the node says.
func TestADrainOutlivesAWipedStoreAndANewControlPlane(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.records["b"] = &fleetv1.NodeRecord{NodeId: "b", FirstSeenUnixMs: 1} // undrained while it was away
	p := newPlane(t, m, "")
	drained := func() feed.Decision { return feed.Decision{Drained: true} }
	newNodeWith(t, feed.Config{NodeID: "a", ControlPlanes: []string{p.address}, Decision: drained})
	newNodeWith(t, feed.Config{NodeID: "b", ControlPlanes: []string{p.address}, Decision: drained})
	newNode(t, "c", p.address)
	recorded := func(id string) bool { s, _ := p.status(id); return s.Connected && s.FirstSeen != nil }
	eventually(t, "all have records", func() bool { return recorded("a") && recorded("b") && recorded("c") })
	for id, want := range map[string]bool{"a": true, "b": false, "c": false} {
		if s, _ := p.status(id); s.Drained != want {
			t.Errorf("%s: drained %v, want %v", id, s.Drained, want)
		}
	}
}

// TestAStoreThatIsWipedUnderAControlPlaneForgetsNoNode: connected nodes say no Hello
// again, and without their records the list would lose one after the other, and the
// virtual IPs all candidates but one.
func TestAStoreThatIsWipedUnderAControlPlaneForgetsNoNode(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.list = &fleetv1.ListRecord{Revision: 10, Lineage: 3, Members: []string{"a", "b", "c"}, Before: []string{"a", "b"}}
	p := newPlane(t, m, "")
	for _, id := range m.list.GetMembers() {
		v := newVoter(t, p, &fleetv1.Hello{NodeId: id, List: []string{"a", "b", "c"}, ListRevision: 10, ListLineage: 3})
		v.expects("a b c")
		v.report(10)
		v.inBackground()
	}
	recorded := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.records)
	}
	eventually(t, "the nodes have records", func() bool { return recorded() == 3 })
	m.edit(func() { m.records["b"] = &fleetv1.NodeRecord{NodeId: "b", Spec: &fleetv1.Node{Drained: new(true)}} })
	eventually(t, "a node is drained", func() bool { s, _ := p.status("b"); return s.Drained })
	m.edit(func() { m.records, m.list, m.listMod = map[string]*fleetv1.NodeRecord{}, nil, 0 })
	eventually(t, "the nodes have records again, and are in the list", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.list != nil && (m.list.GetRevision() != 10 || len(m.list.GetMembers()) != 3) {
			t.Fatalf("a list that no node wants: %v", m.list)
		}
		return m.list != nil && len(m.records) == 3
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.records["b"].GetSpec().GetDrained() {
		t.Error("the node that was drained is not any more")
	}
}

// TestTheLaterDecisionCountsWhoeverHasIt: the store was put back from a backup, or wiped,
// and the control plane began anew.
func TestTheLaterDecisionCountsWhoeverHasIt(t *testing.T) {
	t.Parallel()
	type decision struct {
		number            uint64
		drained, expected bool
	}
	for name, c := range map[string]struct {
		store      *decision // nil: no record
		node, want decision
	}{
		"drained since the backup":      {&decision{5, false, true}, decision{7, true, true}, decision{7, true, true}},
		"never decided in the backup":   {&decision{0, false, true}, decision{7, true, true}, decision{7, true, true}},
		"undrained since the backup":    {&decision{5, true, true}, decision{7, false, true}, decision{7, false, true}},
		"undrained while it was away":   {&decision{9, false, true}, decision{7, true, true}, decision{9, false, true}},
		"the same":                      {&decision{7, false, true}, decision{7, true, true}, decision{7, false, true}},
		"of a build without numbers":    {&decision{0, false, true}, decision{0, true, true}, decision{0, false, true}},
		"not expected since the backup": {&decision{5, false, true}, decision{7, false, false}, decision{7, false, false}},
		"wiped":                         {nil, decision{7, true, false}, decision{7, true, false}},
		"wiped under a node as usual":   {nil, decision{7, false, true}, decision{7, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMemory()
			if s := c.store; s != nil {
				m.records["n"] = &fleetv1.NodeRecord{NodeId: "n", Decision: s.number, Spec: &fleetv1.Node{
					Drained: &s.drained, Expected: &s.expected, Cordoned: new(true),
				}}
			}
			p := newPlane(t, m, "")
			n := dialRaw(t, p.address).hello(&fleetv1.Hello{
				NodeId: "n", Drained: c.node.drained, NotExpected: !c.node.expected, Decision: c.node.number,
			})
			for {
				if ms := n.state.GetMembers(); len(ms) == 1 && ms[0].GetDecision() == c.want.number {
					if ms[0].GetDrained() != c.want.drained || ms[0].GetNotExpected() == c.want.expected || !n.state.GetDecisions() {
						t.Errorf("told %v, want %+v", n.state, c.want)
					}
					break
				}
				n.recv()
			}
			record, _, err := m.Node(t.Context(), "n")
			spec := record.GetSpec()
			if err != nil || record.GetDecision() != c.want.number || spec.GetDrained() != c.want.drained || isExpected(spec) != c.want.expected {
				t.Errorf("recorded %v, %v; want %+v", record, err, c.want)
			}
			if c.store != nil && !spec.GetCordoned() {
				t.Error("what nodes do not keep is lost")
			}
		})
	}
}

// TestAStoreThatIsPutBackUnderAControlPlaneUndoesNoDrain: connected nodes say no Hello again.
func TestAStoreThatIsPutBackUnderAControlPlaneUndoesNoDrain(t *testing.T) {
	t.Parallel()
	m := newMemory()
	p := newPlane(t, m, "")
	dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n"}).recv()
	has := func(drained bool) func() bool {
		return func() bool {
			s, _ := p.status("n")
			m.mu.Lock()
			defer m.mu.Unlock()
			return s.FirstSeen != nil && s.Drained == drained && m.records["n"].GetSpec().GetDrained() == drained
		}
	}
	eventually(t, "the node has a record", has(false))
	var backup *fleetv1.NodeRecord
	m.edit(func() { backup = m.records["n"] })
	m.edit(func() {
		m.records["n"] = &fleetv1.NodeRecord{NodeId: "n", FirstSeenUnixMs: 1, Decision: 7, Spec: &fleetv1.Node{Drained: new(true)}}
	})
	eventually(t, "the node is drained", has(true))
	m.edit(func() { m.records["n"] = backup })
	eventually(t, "the node is drained again", has(true))
	m.edit(func() {
		m.records["n"] = &fleetv1.NodeRecord{NodeId: "n", FirstSeenUnixMs: 1, Decision: 8, Spec: &fleetv1.Node{}}
	})
	eventually(t, "the node is undrained", has(false))
}

func TestADeletedNodeIsAMemberUntilTheListLeftItOut(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.list = &fleetv1.ListRecord{Revision: 10, Lineage: 3, Members: []string{"a", "gone"}, Before: []string{"a"}}
	p := newPlane(t, m, "")
	a := newVoter(t, p, &fleetv1.Hello{NodeId: "a"})
	a.expects("a gone")
	if s := a.expects("a"); len(s.GetMembers()) != 1 {
		t.Errorf("%v", s)
	}
}

func TestWhatANodeClaimsToKnowIsBounded(t *testing.T) {
	t.Parallel()
	p := newPlane(t, newMemory(), "")
	digest := make([]byte, 32)
	for what, hello := range map[string]*fleetv1.Hello{
		"the last epoch":          {Running: &fleetv1.Version{Epoch: 1<<64 - 1, Digest: digest}},
		"an epoch of next week":   {Running: &fleetv1.Version{Epoch: uint64(time.Now().Add(7 * 24 * time.Hour).UnixMilli()), Digest: digest}},
		"a list of next week":     {ListRevision: uint64(time.Now().Add(7 * 24 * time.Hour).UnixMilli())},
		"a decision of next week": {Decision: uint64(time.Now().Add(7 * 24 * time.Hour).UnixMilli())},
		"a list that is too long": {List: slices.Repeat([]string{"a"}, 1025)},
		"a list of no names":      {List: []string{"A B"}},
	} {
		hello.NodeId = "a"
		n := dialRaw(t, p.address).hello(hello)
		if _, err := n.stream.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
		n.close()
	}
	dialRaw(t, p.address).hello(&fleetv1.Hello{
		NodeId: "a", Running: &fleetv1.Version{Epoch: uint64(time.Now().Add(time.Hour).UnixMilli()), Digest: digest},
	}).recv()
}
