package nodes

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes/nodestest"
	"github.com/proxyfleet/proxyfleet/controlplane/roster"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// withList are records that have a list.
func withList(list *fleetv1.ListRecord) *nodestest.Records {
	records := nodestest.New()
	records.Edit(func(c *nodestest.Content) { c.List = list })
	return records
}

// listOf is the list in the records.
func listOf(records *nodestest.Records) (list *fleetv1.ListRecord) {
	records.Look(func(c nodestest.Content) { list = c.List })
	return list
}

func TestTheFirstListHasTheNodesThatCameTogetherAndGrowsByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		r := open(t, records)
		a := join(t, r, &fleetv1.Hello{NodeId: "a"})
		b := join(t, r, &fleetv1.Hello{NodeId: "b", Witness: true})
		first := a.expects("a b")
		if first.GetListRevision() == 0 || first.GetListLineage() == 0 || first.GetMembers()[0].GetWitness() || !first.GetMembers()[1].GetWitness() {
			t.Errorf("%v", first)
		}
		b.expects("a b")
		b.inBackground()
		join(t, r, &fleetv1.Hello{NodeId: "c"}).inBackground()
		join(t, r, &fleetv1.Hello{NodeId: "d"}).inBackground()
		begin := time.Now()
		a.expects("a b c d")
		if took := time.Since(begin); took < roster.Settle || took > 3*roster.Settle {
			t.Errorf("two steps took %v", took)
		}
		if list := listOf(records); len(list.GetBefore()) != 3 || list.GetLineage() != first.GetListLineage() {
			t.Errorf("the last step was made from %v", list)
		}
	})
}

func TestNoFurtherStepWithoutReportsOfTheListBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := withList(&fleetv1.ListRecord{Revision: 10, Lineage: 3, Members: []string{"a", "b"}, Before: []string{"a", "b", "z"}})
		r := open(t, records)
		a := join(t, r, &fleetv1.Hello{NodeId: "a"})
		b := join(t, r, &fleetv1.Hello{NodeId: "b"})
		c := join(t, r, &fleetv1.Hello{NodeId: "c"})
		a.quiet, b.quiet, c.quiet = true, true, true
		for _, v := range []*voter{a, b, c} {
			v.alive()
		}
		a.expects("a b")
		b.expects("a b")
		a.report(10)
		c.report(10) // was not of the list before
		b.report(9)
		eventually(t, "what was reported is in the store", func() bool { return slices.Equal(listOf(records).GetReported(), []string{"a"}) })
		time.Sleep(10 * roster.Settle)
		if list := listOf(records); list.GetRevision() != 10 {
			t.Errorf("a step was made: %v", list)
		}
		b.report(10)
		b.quiet = false
		if next := a.expects("a b c"); next.GetListRevision() <= 10 || next.GetListLineage() != 3 {
			t.Errorf("%v", next)
		}
	})
}

func TestAWipedControlPlaneTakesOverTheListOfItsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		r := open(t, records)
		join(t, r, &fleetv1.Hello{NodeId: "new"}).inBackground() // the first to come knows nothing
		a := join(t, r, &fleetv1.Hello{NodeId: "a", List: []string{"a", "b", "c"}, ListRevision: 7, ListLineage: 5})
		a.quiet = true
		if s := a.expects("a b c"); s.GetListRevision() != 7 || s.GetListLineage() != 5 {
			t.Errorf("%v", s)
		}
		r.mu.Lock()
		if n := r.nodes["a"]; len(n.hello.GetList()) > 0 {
			t.Errorf("the list is kept for each node: %v", n.hello.GetList())
		}
		r.mu.Unlock()
		if list := listOf(records); !list.GetAdopted() {
			t.Errorf("%v", list)
		}
	})
}

// TestADrainIsToldThoughTheListCannotBeWritten, as in an etcd that has just run full.
func TestADrainIsToldThoughTheListCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		records.Edit(func(c *nodestest.Content) { c.FailList = errors.New("no room") })
		a := join(t, open(t, records), &fleetv1.Hello{NodeId: "a"})
		is := func(drained bool) func(*fleetv1.FleetState) bool {
			return func(s *fleetv1.FleetState) bool {
				return len(s.GetMembers()) == 1 && s.GetMembers()[0].GetDrained() == drained
			}
		}
		a.told("it is a member", is(false))
		time.Sleep(2 * roster.Gather) // the first list is due
		know(records, &fleetv1.NodeRecord{NodeId: "a", Spec: &fleetv1.Node{Drained: new(true)}})
		a.told("it is drained", is(true))
	})
}

// TestAStoreThatIsWipedUnderAControlPlaneForgetsNoNode: connected nodes say no Hello
// again, and without their records the list would lose one after the other, and the
// virtual IPs all candidates but one.
func TestAStoreThatIsWipedUnderAControlPlaneForgetsNoNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := withList(&fleetv1.ListRecord{Revision: 10, Lineage: 3, Members: []string{"a", "b", "c"}, Before: []string{"a", "b"}})
		r := open(t, records)
		for _, id := range []string{"a", "b", "c"} {
			v := join(t, r, &fleetv1.Hello{NodeId: id, List: []string{"a", "b", "c"}, ListRevision: 10, ListLineage: 3})
			v.expects("a b c")
			v.inBackground()
		}
		recorded := func() (n int) {
			records.Look(func(c nodestest.Content) { n = len(c.Nodes) })
			return n
		}
		eventually(t, "the nodes have records", func() bool { return recorded() == 3 })
		know(records, &fleetv1.NodeRecord{NodeId: "b", Spec: &fleetv1.Node{Drained: new(true)}})
		eventually(t, "a node is drained", func() bool { s, _ := r.statusOf("b"); return s.Drained })
		records.Edit(func(c *nodestest.Content) { c.Nodes, c.List, c.Seen = map[string]*fleetv1.NodeRecord{}, nil, 0 })
		eventually(t, "the nodes have records again, and are in the list", func() bool {
			list := listOf(records)
			if list != nil && (list.GetRevision() != 10 || len(list.GetMembers()) != 3) {
				t.Fatalf("a list that no node wants: %v", list)
			}
			return list != nil && recorded() == 3
		})
		records.Look(func(c nodestest.Content) {
			if !c.Nodes["b"].GetSpec().GetDrained() {
				t.Error("the node that was drained is not any more")
			}
		})
	})
}

func TestADeletedNodeIsAMemberUntilTheListLeftItOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, withList(&fleetv1.ListRecord{Revision: 10, Lineage: 3, Members: []string{"a", "gone"}, Before: []string{"a"}}))
		a := join(t, r, &fleetv1.Hello{NodeId: "a"})
		a.expects("a gone")
		if s := a.expects("a"); len(s.GetMembers()) != 1 {
			t.Errorf("%v", s)
		}
	})
}

// TestTheStateOfTheLargestFleetFitsIntoAMessage, however much its nodes say of themselves: a
// node whose stream brings more than it takes ends that, and hears of nothing any more.
func TestTheStateOfTheLargestFleetFitsIntoAMessage(t *testing.T) {
	const most = 16 << 20 // of package feed: a message that a node takes
	labels := map[string]string{}
	for i := range 64 {
		labels[fmt.Sprintf("%s/%03d", strings.Repeat("l", 250), i)] = strings.Repeat("v", 63)
	}
	list := &fleetv1.ListRecord{Lineage: 1 << 63, Revision: 1 << 41}
	records := make([]*fleetv1.NodeRecord, defaultMaxNodes)
	for i := range records {
		id := fmt.Sprintf("%s%05d", strings.Repeat("n", 248), i)
		records[i] = &fleetv1.NodeRecord{
			NodeId: id, Labels: labels, Decision: 1 << 41,
			Spec: &fleetv1.Node{Drained: new(true), Expected: new(false)},
		}
		if i < roster.MaxMembers {
			list.Members = append(list.Members, id)
		}
	}
	if size := proto.Size(fleetState(records, list, 1<<41)); size > most/2 {
		t.Errorf("%d bytes", size)
	}
}

// TestAFleetWithoutGossipHasNoList, so that none of machines that are long gone is in force
// when it is turned on.
func TestAFleetWithoutGossipHasNoList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		r := open(t, records)
		for _, id := range []string{"a", "b", "c"} { // which are replaced
			gone := join(t, r, &fleetv1.Hello{NodeId: id, GrantsNothing: true})
			gone.inBackground()
			time.Sleep(2 * roster.Gather)
			gone.link.Leave()
		}
		d := join(t, r, &fleetv1.Hello{NodeId: "d", GrantsNothing: true})
		d.inBackground()
		time.Sleep(2 * roster.Gather)
		if list := listOf(records); list != nil {
			t.Fatalf("%v", list)
		}
		d.link.Leave()
		e := join(t, r, &fleetv1.Hello{NodeId: "e"})
		e.expects("e")
		d = join(t, r, &fleetv1.Hello{NodeId: "d", BootId: "again"})
		d.expects("d e")
	})
}

// TestAListDoesNotWaitForThoseWhoGrantNothing, as where gossip was turned off, and the machines
// have gone since.
func TestAListDoesNotWaitForThoseWhoGrantNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := withList(&fleetv1.ListRecord{Revision: 10, Lineage: 3, Members: []string{"a", "b", "c", "d"}, Before: []string{"a", "b", "c"}})
		for _, id := range []string{"a", "b", "c"} {
			know(records, &fleetv1.NodeRecord{NodeId: id, GrantsNothing: true})
		}
		know(records, &fleetv1.NodeRecord{NodeId: "d"})
		r := open(t, records)
		d := join(t, r, &fleetv1.Hello{NodeId: "d"})
		d.expects("d")
		// One of them that takes part again is told so before it may go by a list.
		b := join(t, r, &fleetv1.Hello{NodeId: "b"})
		state := b.expects("b d")
		if i := slices.IndexFunc(state.GetMembers(), func(m *fleetv1.Member) bool { return m.GetNodeId() == "b" }); state.GetMembers()[i].GetGrantsNothing() {
			t.Errorf("%v", state)
		}
	})
}
