package stream

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes/nodestest"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

func TestThreeNodesConvergeOnOneEncoding(t *testing.T) {
	m := newMemory()
	p := newPlane(t, m, "")
	var nodes []*member
	for i := range 3 {
		nodes = append(nodes, newNode(t, fmt.Sprintf("n%d", i), p.address))
	}
	for _, n := range nodes {
		eventually(t, "the empty configuration runs", n.runs(0))
	}
	eventually(t, "all have said so", func() bool { return p.server.Counters().Acks == 3 })
	before := p.server.Counters()
	revision := m.commit(config(t, 100, 80))
	for _, n := range nodes {
		eventually(t, "runs the new version", n.runs(revision))
	}
	eventually(t, "all are shown as synced", func() bool {
		for _, n := range p.nodes.Nodes() {
			if n.State != api.Synced || n.Running == nil || *n.Running != n.Wanted || n.Attested != n.Wanted.Digest || n.Wanted.Revision != revision {
				return false
			}
		}
		return true
	})
	eventually(t, "all answers are counted", func() bool { return p.server.Counters().Spread.Count >= before.Spread.Count+3 })
	after := p.server.Counters()
	if after.Encodings-before.Encodings != 1 || after.Updates-before.Updates != 3 || after.Acks-before.Acks != 3 || after.NodesConnected != 3 {
		t.Fatalf("%+v", after)
	}
	eventually(t, "all nodes know all members", func() bool {
		for _, n := range nodes {
			if s := n.feed.FleetState(); s == nil || len(s.GetMembers()) != 3 || !s.GetMembers()[0].GetExpected() {
				return false
			}
		}
		return true
	})
	m.Look(func(c nodestest.Content) {
		if len(c.Nodes) != 3 || c.Nodes["n1"].GetFirstSeenUnixMs() == 0 {
			t.Fatalf("records: %v", c.Nodes)
		}
	})
}

func TestRefusingNodeKeepsItsTableAndSaysWhy(t *testing.T) {
	m := newMemory()
	p := newPlane(t, m, "")
	good, bad := newNode(t, "good", p.address), newNode(t, "bad", p.address)
	first := m.commit(config(t, 3, 80))
	eventually(t, "both run", func() bool { return good.runs(first)() && bad.runs(first)() })
	bad.set(errors.New("listener front: port 80 is in use"))
	second := m.commit(config(t, 3, 81))
	eventually(t, "the other runs the new one", good.runs(second))
	var shown api.NodeStatus
	eventually(t, "the refusal is shown", func() bool {
		shown, _ = p.status("bad")
		return shown.State == api.Rejected
	})
	if shown.Running.Revision != first || shown.Wanted.Revision != second || len(shown.Problems) != 1 || !strings.Contains(shown.Problems[0].Got, "in use") {
		t.Fatalf("%+v", shown)
	}
	if got := bad.live.Load().Version.Revision; got != first {
		t.Fatalf("live: %d", got)
	}
	bad.set(nil)
	eventually(t, "its own retry works", bad.runs(second))
	eventually(t, "and is shown", func() bool {
		shown, _ = p.status("bad")
		return shown.State == api.Synced && len(shown.Problems) == 0
	})
}

func TestUnchangedNodesReceiveNoConfigurationAfterARestart(t *testing.T) {
	m := newMemory()
	p := newPlane(t, m, "")
	var nodes []*member
	for i := range 3 {
		nodes = append(nodes, newNode(t, fmt.Sprintf("n%d", i), p.address))
	}
	revision := m.commit(config(t, 500, 80))
	for _, n := range nodes {
		eventually(t, "runs", n.runs(revision))
	}
	received := make([]uint64, len(nodes))
	for i, n := range nodes {
		received[i] = n.feed.Counters().ConfigBytes
	}
	p.stop()
	eventually(t, "the nodes notice", func() bool { return !nodes[0].feed.State().Connected })
	p = newPlane(t, m, p.address)
	eventually(t, "all are back and synced", func() bool {
		all := p.nodes.Nodes()
		return len(all) == 3 && !slices.ContainsFunc(all, func(n api.NodeStatus) bool { return n.State != api.Synced })
	})
	if c := p.server.Counters(); c.ConfigBytes != 0 || c.Updates != 0 {
		t.Fatalf("%+v", c)
	}
	for i, n := range nodes {
		if got := n.feed.Counters().ConfigBytes; got != received[i] || len(n.seen) == 0 {
			t.Fatalf("node %d received %d bytes more", i, got-received[i])
		}
	}
	// The base of the next delta comes from the history.
	next := m.commit(config(t, 500, 81))
	for _, n := range nodes {
		eventually(t, "runs the next", n.runs(next))
	}
	if c := p.server.Counters(); c.Wholes != 0 || c.Encodings != 1 || c.ConfigBytes > 3*1000 {
		t.Fatalf("%+v", c)
	}
	// A change that came while the control plane was down is a delta too.
	p.stop()
	last := m.commit(config(t, 500, 82))
	p = newPlane(t, m, p.address)
	for _, n := range nodes {
		eventually(t, "runs the last", n.runs(last))
	}
	if c := p.server.Counters(); c.Wholes != 0 || c.ConfigBytes > 3*1000 {
		t.Fatalf("%+v", c)
	}
	// Another epoch with the same content costs no resource.
	if _, err := m.NewEpoch(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		eventually(t, "knows its new number", func() bool { return n.feed.State().Running.Epoch == 2 })
	}
	if c := p.server.Counters(); c.ConfigBytes > 3*1000 || c.Wholes != 0 {
		t.Fatalf("%+v", c)
	}
}

func TestRestartedNodeGetsTheWhole(t *testing.T) {
	m := newMemory()
	p := newPlane(t, m, "")
	n := newNode(t, "n", p.address)
	revision := m.commit(config(t, 50, 80))
	eventually(t, "says that it runs", func() bool { s, _ := p.status("n"); return s.Running != nil && s.Running.Revision == revision })
	n.stop()
	eventually(t, "is gone", func() bool { s, _ := p.status("n"); return s.State == api.Disconnected })
	if s, _ := p.status("n"); s.Connected || s.Running.Revision != revision || s.LastSeen == nil || s.FirstSeen == nil {
		t.Fatalf("%+v", s)
	}
	wholes := p.server.Counters().Wholes
	n = newNode(t, "n", p.address)
	eventually(t, "runs again", n.runs(revision))
	if got := p.server.Counters().Wholes - wholes; got != 1 {
		t.Fatalf("%d whole configurations", got)
	}
}

func TestQuickPublishesEndAtTheLastWithOneInFlight(t *testing.T) {
	m := newMemory()
	p := newPlane(t, m, "")
	n := newNode(t, "n", p.address)
	eventually(t, "runs", n.runs(0))
	raw := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "raw"})
	u, _ := raw.update()

	var last uint64
	base := config(t, 50, 80)
	for i := range 100 {
		last = m.commit(with(t, base, 7, 1000+i))
	}
	eventually(t, "runs the last", n.runs(last))
	eventually(t, "is shown", func() bool { s, _ := p.status("n"); return s.State == api.Synced })
	if !slices.IsSorted(n.seen) {
		t.Fatalf("applied %v", n.seen)
	}
	// The other one has answered nothing, and been sent nothing more.
	if got := p.server.Counters(); got.ForeignAnswers != 0 {
		t.Fatalf("%+v", got)
	}
	raw.ack(u.GetTarget())
	u, _ = raw.update()
	if u.GetTarget().GetRevision() != last {
		t.Fatalf("after its answer it got %d, not the newest", u.GetTarget().GetRevision())
	}
}

func TestBaseMismatchIsHealedByTheWhole(t *testing.T) {
	m := newMemory()
	p := newPlane(t, m, "")
	// Claims to run a version that it does not have.
	first := m.commit(config(t, 5, 80))
	eventually(t, "is wanted", func() bool { return p.publisher.Wanted().Revision == first })
	root := p.publisher.Wanted().Root
	raw := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n", Running: &fleetv1.Version{Epoch: 1, Revision: first, Digest: root[:]}})
	second := m.commit(config(t, 5, 81))
	u, _ := raw.update()
	if tree.Hash(u.GetBase()) != root || len(u.GetUpserts()) != 1 || u.GetTarget().GetRevision() != second {
		t.Fatalf("%v", u)
	}
	raw.nack(u.GetTarget(), fleetv1.Nack_BASE_MISMATCH)
	u, _ = raw.update()
	if len(u.GetBase()) != 0 || len(u.GetUpserts()) != 5 || u.GetTarget().GetRevision() != second {
		t.Fatalf("%v", u)
	}
	if s, _ := p.status("n"); s.State != api.Updating || len(s.Problems) != 0 {
		t.Fatalf("%+v", s)
	}
	raw.nack(u.GetTarget(), fleetv1.Nack_BASE_MISMATCH)
	eventually(t, "is refused in the end", func() bool { s, _ := p.status("n"); return s.State == api.Rejected })
	third := m.commit(config(t, 5, 82))
	if u, _ = raw.update(); u.GetTarget().GetRevision() != third {
		t.Fatalf("%v", u)
	}
}

func TestPermanentRefusalIsNotResent(t *testing.T) {
	m := newMemory()
	p := newPlane(t, m, "")
	raw := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n"})
	u, _ := raw.update()
	raw.ack(u.GetTarget())
	bad := m.commit(config(t, 5, 80))
	u, _ = raw.update()
	raw.nack(u.GetTarget(), fleetv1.Nack_PERMANENT, resource.Problem{Kind: "Route", Name: "r", Got: "x", Expected: "y"}.Proto())
	eventually(t, "is shown", func() bool {
		s, _ := p.status("n")
		return s.State == api.Rejected && s.Wanted.Revision == bad && len(s.Problems) == 1 && s.Problems[0].Name == "r"
	})
	// A FleetState is the next message, not the version again.
	m.know(&fleetv1.NodeRecord{NodeId: "other"})
	for len(raw.state.GetMembers()) != 2 {
		if got := raw.recv(); got.GetUpdate() != nil {
			t.Fatalf("%v", got)
		}
	}
	next := m.commit(config(t, 5, 81))
	if u, _ = raw.update(); u.GetTarget().GetRevision() != next {
		t.Fatalf("%v", u)
	}
}

func TestProblemsOfANackAreBounded(t *testing.T) {
	nack := &fleetv1.Nack{}
	for range 500 {
		nack.Problems = append(nack.Problems, &fleetv1.Problem{Got: strings.Repeat("ü", 5000), Kind: "Route"})
	}
	ps := problemsOf(nack)
	if len(ps) != maxProblems || len(ps[0].Got) > maxProblemText+3 || ps[0].Kind != "Route" {
		t.Fatalf("%d problems of %d bytes", len(ps), len(ps[0].Got))
	}
}

func TestLargeConfigurationComesInParts(t *testing.T) {
	m := newMemory()
	big := config(t, 3, 80)
	text := strings.Repeat("x", 200<<10)
	for i := range 20 {
		big = put(t, big, &fleetv1.Resource{
			Kind: new(resource.Upstream), Name: new(fmt.Sprintf("big%d", i)), Labels: map[string]string{"a": text},
			Spec: &fleetv1.Resource_Upstream{Upstream: &fleetv1.Upstream{}},
		})
	}
	e := encode(nil, published(big), big.All(), nil)
	if len(e.parts) < 4 {
		t.Fatalf("%d parts", len(e.parts))
	}
	for i, part := range e.parts {
		if len(part) > partBytes+64<<10 {
			t.Fatalf("part %d has %d bytes", i, len(part))
		}
	}
	if e = encode(nil, published(m.versions[0].Tree), m.versions[0].Tree.All(), nil); len(e.parts) != 1 {
		t.Fatalf("the empty configuration has %d parts", len(e.parts))
	}
}

func TestWholesAreAdmittedFourAtATime(t *testing.T) {
	m := newMemory()
	p := newPlane(t, m, "")
	revision := m.commit(config(t, 3, 80))
	eventually(t, "is wanted", func() bool { return p.publisher.Wanted().Revision == revision })
	for range maxWhole {
		p.server.whole <- struct{}{}
	}
	raw := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n"})
	// Welcome and FleetState come all the same, and newer FleetStates too.
	if raw.recv().GetWelcome().GetBuild() != "test" {
		t.Fatal("no Welcome")
	}
	for len(raw.state.GetMembers()) != 1 {
		raw.recv()
	}
	m.know(&fleetv1.NodeRecord{NodeId: "other"})
	for len(raw.state.GetMembers()) != 2 {
		if raw.recv().GetUpdate() != nil {
			t.Fatal("sent without admission")
		}
	}
	// What waits is not sent when it is not wanted any more.
	newer := m.commit(config(t, 3, 81))
	eventually(t, "the newer one waits", func() bool { return p.server.Counters().Updates == 2 })
	<-p.server.whole
	u, _ := raw.update()
	if u.GetTarget().GetRevision() != newer || len(u.GetBase()) > 0 {
		t.Errorf("sent %v", u.GetTarget())
	}
	raw.ack(u.GetTarget())
	eventually(t, "the token is back", func() bool { return len(p.server.whole) == maxWhole-1 })
	// A node that goes away while it waits, or holds a token, keeps none.
	for range maxWhole - 1 {
		<-p.server.whole
	}
}

func TestDriftIsShownAndTold(t *testing.T) {
	m := newMemory()
	events := make(chan Event, 100)
	p := newPlane(t, m, "", func(c *setup) { c.stream.OnEvent = func(e Event) { events <- e } })
	raw := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n"})
	u, _ := raw.update()
	raw.ack(u.GetTarget())
	eventually(t, "synced", func() bool { s, _ := p.status("n"); return s.State == api.Synced })
	other := tree.Sum([]byte("other"))
	drifted := &fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Status{Status: &fleetv1.Status{Running: u.GetTarget(), Attested: other[:]}}}
	raw.send(drifted)
	raw.send(drifted)
	eventually(t, "drift", func() bool {
		s, _ := p.status("n")
		return s.State == api.Drift && s.Attested == other.String()
	})
	raw.ack(u.GetTarget()) // foreign, but says that all is well
	eventually(t, "no drift", func() bool { s, _ := p.status("n"); return s.State == api.Synced })
	eventually(t, "counted", func() bool { return p.server.Counters().ForeignAnswers == 1 })
	raw.close()
	var kinds []EventKind
	for e := range events {
		if e.Node != "n" || e.Time.IsZero() {
			t.Fatalf("%+v", e)
		}
		if kinds = append(kinds, e.Kind); e.Kind == Disconnected {
			break
		}
	}
	if !slices.Equal(kinds, []EventKind{Connected, Acked, Drifted, Disconnected}) || p.server.Counters().Drifts != 1 {
		t.Fatalf("%v", kinds)
	}
}

// TestTheLongestStatusIsTaken: a node whose stream it ended would say it on the next one too.
func TestTheLongestStatusIsTaken(t *testing.T) {
	p := newPlane(t, newMemory(), "")
	raw := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n"})
	raw.recv()
	name, text := strings.Repeat("n", 250), strings.Repeat("why ", 128)
	said := &fleetv1.Status{}
	for i := range table.MaxVirtualIPs {
		said.VirtualIps = append(said.VirtualIps, &fleetv1.VipStatus{
			Vip: fmt.Sprintf("%s%03x", name, i), Holder: name, Conflict: name, Why: text, NotEligible: text,
			Term: 1 << 62, SinceUnixMs: 1 << 42, Alive: 1024, Expected: 1024, Needed: 513, ListRevision: 1 << 42,
		})
	}
	raw.send(&fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Status{Status: said}})
	eventually(t, "it is known", func() bool {
		if s, _ := p.status("n"); !s.Connected {
			t.Fatal(raw.end())
		}
		return len(p.nodes.VIPs()) == table.MaxVirtualIPs
	})
}

func TestRecordsAreCreatedOnceTheStoreTakesThem(t *testing.T) {
	m := newMemory()
	m.Edit(func(c *nodestest.Content) { c.FailNodes = errors.New("no leader") })
	p := newPlane(t, m, "")
	n := newNode(t, "n", p.address)
	revision := m.commit(config(t, 3, 80))
	eventually(t, "runs without a record", n.runs(revision))
	m.Edit(func(c *nodestest.Content) { c.FailNodes = nil })
	eventually(t, "has a record", func() bool { return len(n.feed.FleetState().GetMembers()) == 1 })
	// A node that is not connected and loses its record is forgotten.
	m.know(&fleetv1.NodeRecord{NodeId: "gone", Spec: &fleetv1.Node{Expected: new(false)}})
	eventually(t, "is known", func() bool { s, ok := p.status("gone"); return ok && !s.Expected && s.State == api.Disconnected })
	m.Edit(func(c *nodestest.Content) { delete(c.Nodes, "gone") })
	eventually(t, "is forgotten", func() bool { _, ok := p.status("gone"); return !ok })
}

func TestPlaintextIsForLoopbackUnlessInsecure(t *testing.T) {
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{})
	if err := s.Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "--insecure") {
		t.Fatal(err)
	}
	if _, err := l.Accept(); err == nil {
		t.Fatal("the listener is open")
	}
}

func TestManyNodesComeAndGo(t *testing.T) {
	m := newMemory()
	p := newPlane(t, m, "")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for range 3 {
				n, err := startNode(t, feed.Config{NodeID: fmt.Sprintf("n%d", i), ControlPlanes: []string{p.address}})
				if err != nil {
					t.Error(err)
					return
				}
				if !waittest.Soon(func() bool { return n.live.Load() != nil }) {
					t.Errorf("node %d runs nothing", i)
				}
				n.stop()
			}
		})
	}
	for i := range 20 {
		m.commit(config(t, 10, 1000+i))
	}
	all.Wait()
	eventually(t, "all are gone and nothing is held", func() bool {
		c := p.server.Counters()
		return c.NodesConnected == 0 && c.WholesUnderWay == 0
	})
}
