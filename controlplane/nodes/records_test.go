package nodes

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes/nodestest"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// TestADrainOutlivesAWipedStoreAndANewControlPlane: only the node knows of it still. A
// record that is there is right whatever the node says.
func TestADrainOutlivesAWipedStoreAndANewControlPlane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		know(records, &fleetv1.NodeRecord{NodeId: "b", FirstSeenUnixMs: 1}) // undrained while it was away
		r := open(t, records)
		join(t, r, &fleetv1.Hello{NodeId: "a", Drained: true})
		join(t, r, &fleetv1.Hello{NodeId: "b", Drained: true})
		join(t, r, &fleetv1.Hello{NodeId: "c"})
		recorded := func(id string) bool { s, _ := r.statusOf(id); return s.Connected && s.FirstSeen != nil }
		eventually(t, "all have records", func() bool { return recorded("a") && recorded("b") && recorded("c") })
		for id, want := range map[string]bool{"a": true, "b": false, "c": false} {
			if s, _ := r.statusOf(id); s.Drained != want {
				t.Errorf("%s: drained %v, want %v", id, s.Drained, want)
			}
		}
	})
}

// TestTheLaterDecisionCountsWhoeverHasIt: the store was put back from a backup, or wiped,
// and the control plane began anew.
func TestTheLaterDecisionCountsWhoeverHasIt(t *testing.T) {
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
			synctest.Test(t, func(t *testing.T) {
				records := nodestest.New()
				if s := c.store; s != nil {
					know(records, &fleetv1.NodeRecord{NodeId: "n", Decision: s.number, Spec: &fleetv1.Node{
						Drained: &s.drained, Expected: &s.expected, Cordoned: new(true),
					}})
				}
				n := join(t, open(t, records), &fleetv1.Hello{
					NodeId: "n", Drained: c.node.drained, NotExpected: !c.node.expected, Decision: c.node.number,
				})
				told := n.told("its decision counts", func(s *fleetv1.FleetState) bool {
					return len(s.GetMembers()) == 1 && s.GetMembers()[0].GetDecision() == c.want.number
				})
				m := told.GetMembers()[0]
				if m.GetDrained() != c.want.drained || m.GetNotExpected() == c.want.expected || !told.GetDecisions() {
					t.Errorf("told %v, want %+v", told, c.want)
				}
				record, _, err := records.Node(t.Context(), "n")
				spec := record.GetSpec()
				if err != nil || record.GetDecision() != c.want.number || spec.GetDrained() != c.want.drained || isExpected(spec) != c.want.expected {
					t.Errorf("recorded %v, %v; want %+v", record, err, c.want)
				}
				if c.store != nil && !spec.GetCordoned() {
					t.Error("what nodes do not keep is lost")
				}
			})
		})
	}
}

// TestAStoreThatIsPutBackUnderAControlPlaneUndoesNoDrain: connected nodes say no Hello again.
func TestAStoreThatIsPutBackUnderAControlPlaneUndoesNoDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		r := open(t, records)
		join(t, r, &fleetv1.Hello{NodeId: "n"})
		has := func(drained bool) func() bool {
			return func() bool {
				s, _ := r.statusOf("n")
				record, _, err := records.Node(t.Context(), "n")
				return err == nil && s.FirstSeen != nil && s.Drained == drained && record.GetSpec().GetDrained() == drained
			}
		}
		eventually(t, "the node has a record", has(false))
		backup, _, _ := records.Node(t.Context(), "n")
		know(records, &fleetv1.NodeRecord{NodeId: "n", FirstSeenUnixMs: 1, Decision: 7, Spec: &fleetv1.Node{Drained: new(true)}})
		eventually(t, "the node is drained", has(true))
		know(records, backup)
		eventually(t, "the node is drained again", has(true))
		know(records, &fleetv1.NodeRecord{NodeId: "n", FirstSeenUnixMs: 1, Decision: 8, Spec: &fleetv1.Node{}})
		eventually(t, "the node is undrained", has(false))
	})
}

func TestRecordsAreCreatedOnceTheStoreTakesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		records.Edit(func(c *nodestest.Content) { c.FailNodes = errors.New("no leader") })
		r := open(t, records)
		n := join(t, r, &fleetv1.Hello{NodeId: "n"})
		synctest.Wait()
		if s, ok := r.statusOf("n"); !ok || !s.Connected || s.FirstSeen != nil {
			t.Errorf("%+v", s)
		}
		records.Edit(func(c *nodestest.Content) { c.FailNodes = nil })
		n.told("it is a member", func(s *fleetv1.FleetState) bool { return len(s.GetMembers()) == 1 })
		// A node that is not connected and loses its record is forgotten.
		know(records, &fleetv1.NodeRecord{NodeId: "gone", Spec: &fleetv1.Node{Expected: new(false)}})
		eventually(t, "is known", func() bool { s, ok := r.statusOf("gone"); return ok && !s.Expected && !s.Connected })
		records.Edit(func(c *nodestest.Content) { delete(c.Nodes, "gone") })
		eventually(t, "is forgotten", func() bool { _, ok := r.statusOf("gone"); return !ok })
	})
}

// TestAStoreThatTakesNoRecordsFillsNoLog: it is asked for each node's once a second.
func TestAStoreThatTakesNoRecordsFillsNoLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		records := nodestest.New()
		records.Edit(func(c *nodestest.Content) { c.FailNodes = store.ErrFull })
		r := open(t, records, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		for i := range 100 {
			join(t, r, &fleetv1.Hello{NodeId: fmt.Sprint(i)})
		}
		time.Sleep(10 * recordsRetry)
		synctest.Wait()
		if n := strings.Count(log.String(), "\n"); n < 10 || n > 50 {
			t.Errorf("%d lines", n)
		}
		if !strings.Contains(log.String(), "nodes=100") || !strings.Contains(log.String(), store.ErrFull.Error()) {
			t.Errorf("%.500s", log.String())
		}
	})
}

// TestNodesThatLeaveBeforeTheyHaveARecordAreForgotten: an etcd that has run full is read and
// not written, and where names are those of containers each start is another node.
func TestNodesThatLeaveBeforeTheyHaveARecordAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		records.Edit(func(c *nodestest.Content) { c.FailNodes = errors.New("no room") })
		r := open(t, records)
		for i := range 20 {
			n := join(t, r, &fleetv1.Hello{NodeId: fmt.Sprintf("n%d", i)})
			synctest.Wait()
			n.link.Leave()
		}
		join(t, r, &fleetv1.Hello{NodeId: "there"})
		time.Sleep(2 * recordsRetry)
		r.mu.Lock()
		if len(r.missing) != 1 || len(r.nodes) != 1 {
			t.Errorf("%d records are missing, of %d nodes", len(r.missing), len(r.nodes))
		}
		r.mu.Unlock()
		records.Edit(func(c *nodestest.Content) { c.FailNodes = nil })
		time.Sleep(2 * recordsRetry)
		records.Look(func(c nodestest.Content) {
			if len(c.Nodes) != 1 || c.Nodes["there"] == nil {
				t.Errorf("recorded: %v", c.Nodes)
			}
		})
	})
}
