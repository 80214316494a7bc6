package replicas

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/session"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func version(revision uint64) tree.Version {
	return tree.Version{Epoch: 1, Revision: revision, Root: tree.Hash{byte(revision)}}
}

// TestEachControlPlaneKnowsTheNodesOfTheOthers, those that came before it and what becomes of
// them.
func TestEachControlPlaneKnowsTheNodesOfTheOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a := f.open("a")
	first := a.join("n1", "boot")
	b := f.open("b")
	second := b.join("n2", "boot")
	a.eventually("a knows of b's", a.has("n2", "b"))
	b.eventually("b knows of a's", b.has("n1", "a"))
	if others := a.replicas.Others(); len(others) != 1 || others[0] != (Other{"b", "test"}) {
		t.Errorf("a knows of %v", others)
	}
	if !a.has("n1", "a")() || !b.has("n2", "b")() || a.replicas.Counters().Others != 1 {
		t.Errorf("a shows %+v, b shows %+v", a.nodes.Nodes(), b.nodes.Nodes())
	}

	first.Heard(&nodes.Standing{Running: version(3), Attested: tree.Hash{3}}, &fleetv1.Status{
		Connections: 7, UptimeSeconds: 60, VirtualIps: []*fleetv1.VipStatus{{Vip: "shop", Holds: true, Term: 4}},
	})
	first.Stepped(session.Synced, version(3), &nodes.Answer{})
	second.Stepped(session.Rejected, tree.Version{}, &nodes.Answer{Problems: []resource.Problem{{Kind: "Listener", Name: "web"}}})
	b.eventually("b knows what a's runs", func() bool {
		s, _ := b.status("n1")
		return s.State == api.Synced && s.Running != nil && s.Running.Revision == 3 && s.Connections == 7
	})
	b.eventually("b knows who holds", func() bool {
		reports := b.nodes.VIPs()["shop"]
		return len(reports) == 1 && reports[0].Node == "n1" && reports[0].Term == 4
	})
	a.eventually("a knows what b's refuses", func() bool {
		s, _ := a.status("n2")
		return s.State == api.Rejected && len(s.Problems) == 1 && s.Problems[0].Name == "web"
	})

	first.Leave()
	b.eventually("b knows that a's left", b.lacks("n1"))
	b.stop()
	a.eventually("a knows that b ended", a.lacks("n2"))
	if s, _ := a.status("n2"); s.LastSeen == nil || s.ControlPlane != "b" {
		t.Errorf("%+v", s)
	}
}

// TestANodeThatMovesIsAtOneControlPlane, the later one, for all: also while the one before has
// not noticed, and tells of its other nodes.
func TestANodeThatMovesIsAtOneControlPlane(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b, c := f.open("a"), f.open("b"), f.open("c")
	old := a.join("n", "boot")
	c.eventually("it is at a", c.has("n", "a"))
	b.join("n", "boot")
	c.eventually("it is at b", c.has("n", "b"))
	a.nodes.Hear(time.Now(), nil)
	// What else is told from there makes it no later: it is of the same record.
	same := neighbour("n")
	a.join(same, "boot")
	c.eventually("a tells of another node", c.has(same, "a"))
	if !c.has("n", "b")() {
		t.Error("it went back")
	}
	old.Leave()
	a.eventually("a has it at b", a.has("n", "b"))
	a.join("n", "boot")
	c.eventually("it came back to a", c.has("n", "a"))
}

// neighbour is another node of the same group.
func neighbour(id string) string {
	for i := 0; ; i++ {
		if other := fmt.Sprint("x", i); groupOf(other) == groupOf(id) {
			return other
		}
	}
}

// TestAControlPlaneThatIsCutOffIsNotBelieved, and tells all again when it is back.
func TestAControlPlaneThatIsCutOffIsNotBelieved(t *testing.T) {
	a, b, _ := two(t)
	b.join("n2", "boot")
	a.eventually("a knows of b's", a.has("n2", "b"))
	a.store.cut.Store(true)
	if err := b.store.EndLease(t.Context(), a.store.lease.Load()); err != nil { // as it will by itself
		t.Fatal(err)
	}
	b.eventually("b does not count on it", b.lacks("n1"))
	b.join("n3", "boot") // of which a does not hear
	a.store.cut.Store(false)
	b.eventually("b knows of a's again", b.has("n1", "a"))
	a.eventually("a knows of b's new one", a.has("n3", "b"))
	if !a.has("n2", "b")() {
		t.Error("a has lost what it knew")
	}
}

// TestAControlPlaneThatCannotTellDoesNotKeepItsLease: others would believe what is old.
func TestAControlPlaneThatCannotTellDoesNotKeepItsLease(t *testing.T) {
	a, b, _ := two(t)
	a.store.mute.Store(true)
	a.join("n2", "boot")
	failures := func(more uint64) func() bool {
		from := a.replicas.Counters().Failures
		return func() bool { return a.replicas.Counters().Failures >= from+more }
	}
	a.eventually("it cannot tell", failures(1))
	a.ahead.Store(int64(tellWithin))
	a.eventually("it knows that it cannot", failures(1))
	kept := a.store.kept.Load()
	a.eventually("it tried for longer than a lease is not kept", failures(uint64(keepEvery/tellEvery)+1))
	if now := a.store.kept.Load(); now != kept {
		t.Errorf("its lease was kept %d times meanwhile", now-kept)
	}
	a.store.mute.Store(false)
	b.eventually("b is told", b.has("n2", "a"))
	a.eventually("the lease is kept again", func() bool { return a.store.kept.Load() > kept })
}

// TestWhatIsGoneFromEtcdIsToldAgain, as where that was put back from a backup, without a change
// of any node.
func TestWhatIsGoneFromEtcdIsToldAgain(t *testing.T) {
	a, b, _ := two(t)
	name := nameOf(a.replicas.me, kindNodes, groupOf("n1"))
	if _, err := client.Delete(t.Context(), a.prefix+"replicas/"+name); err != nil {
		t.Fatal(err)
	}
	b.eventually("b knows of a's again", func() bool {
		told, err := b.store.AllTold(t.Context(), nil)
		return err == nil && told[name].Value != nil && b.has("n1", "a")()
	})
}

// TestWhatWasNotToldIsTakenBack: a write of which no answer came may take place after all, and
// tell of a node that has left since.
func TestWhatWasNotToldIsTakenBack(t *testing.T) {
	a, b, _ := two(t)
	var p packer
	ghost := manyHere(1, 0)
	record, err := p.sightings(ghost)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), a.prefix+"replicas/"+nameOf(a.replicas.me, kindNodes, groupOf(ghost[0].ID)), string(record)); err != nil {
		t.Fatal(err)
	}
	b.eventually("b is not told of what is not there", func() bool {
		s, _ := b.status(ghost[0].ID)
		told, err := b.store.AllTold(t.Context(), nil)
		return err == nil && !s.Connected && len(told) == 3 && b.has("n1", "a")()
	})
}

// TestTwoControlPlanesOfOneNameAreTwo, as where a machine was copied.
func TestTwoControlPlanesOfOneNameAreTwo(t *testing.T) {
	a, b, _ := two(t)
	again := a.open("a")
	again.join("n2", "boot")
	b.eventually("those of the other are known", b.has("n2", "a"))
	b.eventually("and of both", b.has("n1", "a"))
	again.eventually("each knows of the other", again.has("n1", "a"))
}

// TestAControlPlaneThatWasKilledIsGoneOnceItIsThereAgain: its nodes may be anywhere.
func TestAControlPlaneThatWasKilledIsGoneOnceItIsThereAgain(t *testing.T) {
	a, b, _ := two(t)
	a.store.cut.Store(true) // it says no word any more
	a.stop()
	began := time.Now()
	again := a.open("a")
	b.eventually("its node is not counted on", b.lacks("n1"))
	if took := time.Since(began); took >= leaseTTL {
		t.Errorf("it took %v, as its lease", took)
	}
	if again.has("n1", "a")() {
		t.Error("it takes the nodes of before for its own")
	}
	again.join("n1", "boot")
	b.eventually("its node is back", b.has("n1", "a"))
}

// TestARecordThatCannotBeReadHarmsNothing: it is of a newer build, or damaged.
func TestARecordThatCannotBeReadHarmsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for _, name := range []string{"x/nodes/00", "x/vips/01", "x/self", "x/other/00", "x", "/", "x/nodes/"} {
		if _, err := client.Put(t.Context(), f.prefix+"replicas/"+name, "\xff\x00nonsense"); err != nil {
			t.Fatal(err)
		}
	}
	a, b := f.open("a"), f.open("b")
	a.join("n", "boot")
	b.eventually("b knows of a's", b.has("n", "a"))
}

// TestQuietNodesWriteNothing: that a control plane is there its lease says.
func TestQuietNodesWriteNothing(t *testing.T) {
	a, b, link := two(t)
	var before Counters
	a.eventually("all is told", func() bool {
		same := a.replicas.Counters().Writes == before.Writes && before.Writes > 0
		before = a.replicas.Counters()
		return same
	})
	heard := b.replicas.Counters().Heard
	for i := range 5 {
		link.Heard(nil, &fleetv1.Status{Requests: uint64(i), Connections: uint64(i)})
		if i == 0 { // its first is news
			b.eventually("b knows it", func() bool {
				s, _ := b.status("n1")
				return a.replicas.Counters().Writes > before.Writes && s.Connected
			})
			before = a.replicas.Counters()
		}
	}
	b.eventually("b looked again", func() bool { return b.replicas.Counters().Heard.After(heard.Add(lookEvery)) })
	if now := a.replicas.Counters(); now.Writes != before.Writes {
		t.Errorf("%d writes of nothing", now.Writes-before.Writes)
	}
}

// TestWhereNobodyHearsItAControlPlaneTellsNothing but who it is: what it told to one that has
// gone does not wait for the next, unless that comes soon.
func TestWhereNobodyHearsItAControlPlaneTellsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a := f.open("a")
	a.join("n", "boot")
	stands := func(names ...string) func() bool {
		return func() bool {
			told, err := a.store.AllTold(t.Context(), nil)
			for _, name := range names {
				if told[name].Value == nil {
					return false
				}
			}
			return err == nil && len(told) == len(names)
		}
	}
	self := a.replicas.selfName()
	a.eventually("it tells who it is", stands(self))
	b := f.open("b")
	b.eventually("who comes is told of its nodes", b.has("n", "a"))
	b.stop()
	a.eventually("b has ended", func() bool { return a.replicas.Counters().Others == 0 })
	if told, err := a.store.AllTold(t.Context(), nil); err != nil || len(told) < 2 {
		t.Errorf("what was told is taken back at once: %v, %v", told, err)
	}
	a.ahead.Store(int64(heardFor))
	a.eventually("nothing is left of that", stands(self))
	if n, ok := a.status("n"); !ok || !n.Connected {
		t.Errorf("%+v", n)
	}
	c := f.open("c")
	c.eventually("the next is told again", c.has("n", "a"))
}

// TestThatNothingIsToldOrHeardIsSaid to people, with the reason.
func TestThatNothingIsToldOrHeardIsSaid(t *testing.T) {
	now := time.Unix(1e9, 0)
	r := New(Config{Name: "a", Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	r.noteTold(&r.shown.told, errCut)
	r.noteHeard(now, errCut)
	r.shown.counters.Others, r.shown.others = 1, []Other{{"b", "test"}}
	if got := r.Notices(); len(got) > 0 || len(r.Others()) != 1 {
		t.Errorf("after a moment: %q", got)
	}
	now = now.Add(noticedAfter)
	r.noteTold(&r.shown.told, context.DeadlineExceeded)
	r.noteTold(&r.shown.leased, nil)
	if got := r.Notices(); len(got) != 2 || !strings.Contains(got[0], "not told of the nodes here for 15s") || !strings.Contains(got[0], "deadline") ||
		!strings.Contains(got[1], "nothing is heard of other control planes for 15s") {
		t.Errorf("%q", got)
	}
	if len(r.Others()) > 0 {
		t.Error("others are shown to be there of which nothing is heard")
	}
	r.noteTold(&r.shown.told, nil)
	r.noteHeard(now, nil)
	if got := r.Notices(); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
