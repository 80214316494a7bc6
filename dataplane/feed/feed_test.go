package feed

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNodeFollowsWholesDeltasAndRenumbering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		l, hello := n.accept()
		if hello.GetNodeId() != "n1" || hello.GetRunning() != nil || hello.GetSchemaLevel() != resource.SchemaLevel ||
			hello.GetLabels()["zone"] != "a" || len(hello.GetBootId()) != 32 || hello.GetBuild() != "test" {
			t.Fatalf("hello: %v", hello)
		}
		a := treeOf(t, upstream(t, "a", "10.0.0.1:80"))
		n.wantAck(l, l.send(nil, a, 1, 1))
		ab := a.Set(tree.Key{Kind: resource.Upstream, Name: "b"}, upstream(t, "b", "10.0.0.2:80"))
		n.wantAck(l, l.send(&a, ab, 1, 2))
		onlyB := ab.Delete(tree.Key{Kind: resource.Upstream, Name: "a"})
		v3 := l.send(&ab, onlyB, 1, 3)
		n.wantAck(l, v3)
		// The same content under another number: no resource travels, and the
		// base does not matter.
		n.wantAck(l, l.send(&onlyB, onlyB, 2, 3))
		n.wantAck(l, l.send(&a, onlyB, 2, 4))
		if got := n.live.Load(); got.Version != (table.Version{Epoch: 2, Revision: 4}) || got.Root != onlyB.Root() {
			t.Fatalf("live: %+v", got.Version)
		}
		// What runs already is acknowledged and not applied again.
		applied := len(n.tables)
		n.wantAck(l, l.send(&a, onlyB, 2, 4))
		if len(n.tables) != applied {
			t.Fatal("what runs was applied again")
		}
		// Nothing at all is a configuration too.
		n.wantAck(l, l.send(nil, tree.Tree{}, 2, 5))
	})
}

func TestStatusComesEveryFiveSecondsAndAfterEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, func(c *Config) {
			c.Numbers = func() Numbers { return Numbers{Requests: 7, Connections: 3, Errors: 1, Drained: true} }
		})
		begin := time.Now()
		l, _ := n.accept() // with the first
		a := treeOf(t, upstream(t, "a", "10.0.0.1:80"))
		v := l.send(nil, a, 1, 1)
		n.wantAck(l, v)
		for i := range 4 {
			s := (<-l.toServer).GetStatus()
			if s == nil || versionOf(s.GetRunning()) != v || tree.Hash(s.GetAttested()) != v.Root {
				t.Fatalf("status: %v", s)
			}
			if s.GetRequests() != 7 || s.GetConnections() != 3 || s.GetErrors() != 1 || !s.GetDrained() || s.GetUptimeSeconds() != uint64(5*i) {
				t.Fatalf("status: %v", s)
			}
			if got := time.Since(begin); got != time.Duration(5*i)*time.Second {
				t.Fatalf("status %d after %v", i, got)
			}
		}
	})
}

func TestVirtualIPsAreToldAtOnceAndTheKeptListWithHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := make(chan struct{}, 1)
		n := start(t, func(c *Config) {
			c.Witness, c.Changed = true, changed
			c.VIPs = func() VIPs {
				return VIPs{
					Kept: member.List{Lineage: 7, Revision: 9, IDs: []string{"n1", "n2"}}, GrantsBy: 8,
					Statuses: []*fleetv1.VipStatus{{Vip: "front", Holds: true}},
				}
			}
		})
		l, hello := n.accept()
		if !hello.GetWitness() || hello.GetListLineage() != 7 || hello.GetListRevision() != 9 || !slices.Equal(hello.GetList(), []string{"n1", "n2"}) {
			t.Fatalf("hello: %v", hello)
		}
		begin := time.Now()
		changed <- struct{}{}
		s := (<-l.toServer).GetStatus()
		if time.Since(begin) != 0 || s.GetListRevision() != 8 || len(s.GetVirtualIps()) != 1 || !s.GetVirtualIps()[0].GetHolds() {
			t.Fatalf("status after %v: %v", time.Since(begin), s)
		}
	})
}

func TestRefusedVersionsLeaveTheLastGoodOneLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		l, _ := n.accept()
		a := treeOf(t, upstream(t, "a", "10.0.0.1:80"))
		good := l.send(nil, a, 5, 10)
		n.wantAck(l, good)
		live := n.live.Load()

		broken := a.Set(tree.Key{Kind: resource.Route, Name: "r"}, dangling(t, "r"))
		n.wantNack(l, l.send(&a, broken, 5, 11), fleetv1.Nack_PERMANENT, "missing")
		if s := n.feed.State(); s.Running != good || s.Wanted.Revision != 11 || len(s.Problems) == 0 {
			t.Fatalf("state: %+v", s)
		}

		b := treeOf(t, upstream(t, "b", "10.0.0.2:80"))
		n.wantNack(l, l.send(&a, b, 5, 9), fleetv1.Nack_PERMANENT, "after 5/10/")
		n.wantNack(l, l.send(&a, b, 5, 10), fleetv1.Nack_PERMANENT, "after 5/10/")
		n.wantNack(l, l.send(nil, b, 4, 99), fleetv1.Nack_PERMANENT, "after 5/10/")
		n.wantNack(l, l.send(&b, b.Delete(tree.Key{}).Set(tree.Key{Kind: "Upstream", Name: "c"}, upstream(t, "c", "10.0.0.3:80")), 5, 12),
			fleetv1.Nack_BASE_MISMATCH, "base differs")

		// A delta that does not lead where it says.
		v := tree.Version{Epoch: 5, Revision: 13, Root: b.Root()}
		root := a.Root()
		l.update(&fleetv1.Update{Base: root[:], Target: v.Proto(), Last: true})
		n.wantNack(l, v, fleetv1.Nack_BASE_MISMATCH, "base differs")
		// A whole one that does not: nothing heals that.
		l.update(&fleetv1.Update{Target: v.Proto(), Last: true, Upserts: [][]byte{upstream(t, "x", "10.0.0.3:80")}})
		n.wantNack(l, v, fleetv1.Nack_PERMANENT, "the result has root")
		// Bytes that are no resource.
		l.update(&fleetv1.Update{Target: v.Proto(), Last: true, Upserts: [][]byte{{0xff}}})
		n.wantNack(l, v, fleetv1.Nack_PERMANENT, "resource")
		// A field of a newer schema.
		newer := append(upstream(t, "z", "10.0.0.3:80"), 0xfa, 0x7f, 0x01, 'x')
		n.wantNack(l, l.send(&a, treeOf(t, newer), 5, 14), fleetv1.Nack_PERMANENT, "schema")

		if n.live.Load() != live || n.feed.State().Running != good {
			t.Fatal("the live table changed")
		}
		n.wantAck(l, l.send(&a, b, 5, 15))
		c := n.feed.Counters()
		if c.NacksPermanent != 7 || c.NacksMismatch != 2 || c.Acks != 2 {
			t.Fatalf("counters: %+v", c)
		}
	})
}

func TestLocalFailureIsRetriedWithBackoffUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		l, _ := n.accept()
		n.setRefuse(errors.New("port 80: in use"))
		a := treeOf(t, upstream(t, "a", "10.0.0.1:80"))
		v := l.send(nil, a, 1, 1)
		var last time.Time
		for i := range 9 {
			n.wantNack(l, v, fleetv1.Nack_LOCAL, "in use")
			if s := n.feed.State(); !s.Retrying || !s.Running.IsZero() {
				t.Fatalf("state: %+v", s)
			}
			if i > 0 {
				pause, most := time.Since(last), min(2*time.Second<<(i-1), time.Minute)
				if pause < most/2 || pause > most {
					t.Fatalf("try %d after %v, want %v to %v", i, pause, most/2, most)
				}
			}
			last = time.Now()
		}
		n.setRefuse(nil)
		n.wantAck(l, v)
		if c := n.feed.Counters(); c.Retries != 8 || c.NacksLocal != 9 {
			t.Fatalf("counters: %+v", c)
		}
	})
}

func TestNewerVersionReplacesWhatIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		l, _ := n.accept()
		a, b := treeOf(t, upstream(t, "a", "10.0.0.1:80")), treeOf(t, upstream(t, "b", "10.0.0.1:80"))
		n.setRefuse(errors.New("port 80: in use"))
		n.wantNack(l, l.send(nil, a, 1, 1), fleetv1.Nack_LOCAL, "in use")
		n.setRefuse(nil)
		n.wantAck(l, l.send(nil, b, 1, 2))
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if len(n.tables) != 1 || n.tables[0].Version.Revision != 2 {
			t.Fatalf("%d tables applied", len(n.tables))
		}
	})
}

func TestRetryGoesOnWithoutControlPlaneAndIsDroppedByTheNextStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		l, _ := n.accept()
		a := treeOf(t, upstream(t, "a", "10.0.0.1:80"))
		n.setRefuse(errors.New("port 80: in use"))
		v := l.send(nil, a, 1, 1)
		n.wantNack(l, v, fleetv1.Nack_LOCAL, "in use")
		n.setFail(errors.New("nobody there"))
		l.Close()
		time.Sleep(time.Minute)
		n.setRefuse(nil)
		time.Sleep(time.Minute)
		n.setFail(nil)
		l, hello := n.accept()
		if versionOf(hello.GetRunning()) != v {
			t.Fatalf("hello: %v", hello)
		}

		b := treeOf(t, upstream(t, "b", "10.0.0.1:80"))
		n.setRefuse(errors.New("port 80: in use"))
		n.wantNack(l, l.send(&a, b, 1, 2), fleetv1.Nack_LOCAL, "in use")
		l.Close()
		l, hello = n.accept()
		n.setRefuse(nil)
		if versionOf(hello.GetRunning()) != v {
			t.Fatalf("hello: %v", hello)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := n.feed.State().Running; got != v {
			t.Fatalf("runs %v, which nobody wanted on this stream", got)
		}
		n.wantAck(l, l.send(&a, b, 1, 2))
	})
}

func TestReconnectsWithBackoffOverAllControlPlanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := startFailing(t, errors.New("nobody there"), func(c *Config) {
			c.ControlPlanes = []string{"127.0.0.1:1", "[::1]:2", "localhost:3", "unix:/run/x"}
		})
		time.Sleep(40 * time.Second)
		synctest.Wait()
		n.mu.Lock()
		dials := n.dials
		n.mu.Unlock()
		for i := 1; i < len(dials); i++ {
			pause, most := dials[i].Sub(dials[i-1]), min(200*time.Millisecond<<(i-1), 5*time.Second)
			if pause < most/2 || pause > most {
				t.Fatalf("dial %d after %v, want %v to %v", i, pause, most/2, most)
			}
		}
		if s := n.feed.State(); s.Connected || s.LastError != "nobody there" {
			t.Fatalf("state: %+v", s)
		}
		n.setFail(nil)
		seen := map[string]bool{}
		for range 8 {
			l, _ := n.accept()
			seen[l.address] = true
			l.Close()
		}
		if len(seen) != 4 {
			t.Fatalf("tried %v", seen)
		}
		// After a stream that held, the first pause is short again.
		l, _ := n.accept()
		time.Sleep(10 * time.Second)
		l.Close()
		closed := time.Now()
		n.accept()
		if pause := time.Since(closed); pause > 200*time.Millisecond {
			t.Fatalf("reconnected after %v", pause)
		}
	})
}

func TestFleetStateIsKeptAndHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan *fleetv1.FleetState, 1)
		n := start(t, func(c *Config) { c.FleetState = func(s *fleetv1.FleetState) { got <- s } })
		l, _ := n.accept()
		want := &fleetv1.FleetState{Revision: 3, Members: []*fleetv1.Member{{NodeId: "n1"}}}
		l.toNode <- &fleetv1.ServerMessage{Message: &fleetv1.ServerMessage_FleetState{FleetState: want}}
		if <-got != want || n.feed.FleetState() != want {
			t.Fatal("another state")
		}
		// Messages of a newer control plane are passed over.
		l.toNode <- &fleetv1.ServerMessage{}
		l.toNode <- &fleetv1.ServerMessage{Message: &fleetv1.ServerMessage_Order{Order: &fleetv1.Order{}}}
		n.wantAck(l, l.send(nil, tree.Tree{}, 1, 1))
	})
}

func TestProtocolViolationEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		l, _ := n.accept()
		l.update(&fleetv1.Update{Target: &fleetv1.Version{Digest: []byte("short")}})
		<-l.done
		l, _ = n.accept()
		n.wantAck(l, l.send(nil, tree.Tree{}, 1, 1))
	})
}

func TestHungApplyBecomesALocalNack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, func(c *Config) {
			c.Apply = func(ctx context.Context, _ *table.Table) error { <-ctx.Done(); return ctx.Err() }
		})
		l, _ := n.accept()
		n.wantNack(l, l.send(nil, tree.Tree{}, 1, 1), fleetv1.Nack_LOCAL, "deadline")
	})
}

func TestNackIsBounded(t *testing.T) {
	a := answer{kind: fleetv1.Nack_PERMANENT}
	for range 1000 {
		a.problems = append(a.problems, resource.Problem{Got: strings.Repeat("ü", 4096) + "\xff"})
	}
	nack := a.message().GetNack()
	if got := len(nack.GetProblems()); got != maxProblems+1 {
		t.Fatalf("%d problems", got)
	}
	if got := nack.GetProblems()[maxProblems].GetGot(); got != "900 more problems" {
		t.Fatalf("last: %q", got)
	}
	for _, p := range nack.GetProblems() {
		if len(p.GetGot()) > maxProblemText+4 || strings.ToValidUTF8(p.GetGot(), "") != p.GetGot() {
			t.Fatalf("text of %d bytes", len(p.GetGot()))
		}
	}
}
