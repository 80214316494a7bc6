package nodes

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes/nodestest"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

func TestSilentNodeIsShownAsDisconnectedAndMayBeReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, nodestest.New())
		first := join(t, r, &fleetv1.Hello{NodeId: "n", BootId: "one"})
		changes := r.Watch(t.Context())
		time.Sleep(silentAfter - 1)
		synctest.Wait()
		if s, _ := r.statusOf("n"); !s.Connected {
			t.Fatalf("%+v", s)
		}
		for len(changes) > 0 {
			<-changes
		}
		time.Sleep(time.Nanosecond)
		if s, _ := r.statusOf("n"); s.Connected || s.State != api.Disconnected {
			t.Fatalf("%+v", s)
		}
		<-changes // its silence is noticed
		first.link.Heard(&Standing{}, &fleetv1.Status{Requests: 5, Drained: new(true)})
		if s, _ := r.statusOf("n"); !s.Connected || s.Requests != 5 || s.DrainReported == nil || !*s.DrainReported {
			t.Fatalf("%+v", s)
		}
		if _, err := r.Admit(&fleetv1.Hello{NodeId: "n", BootId: "two"}, tree.Version{}, "x"); !errors.Is(err, ErrTwice) {
			t.Fatal(err)
		}
		time.Sleep(silentAfter)
		second := join(t, r, &fleetv1.Hello{NodeId: "n", BootId: "two"})
		if !wakeup.Closed(first.link.Replaced()) || first.link.Leave() || wakeup.Closed(second.link.Replaced()) {
			t.Error("the second has not taken over")
		}
		if s, _ := r.statusOf("n"); !s.Connected {
			t.Errorf("%+v", s)
		}
	})
}

func TestANodeIsSentAwayFromAControlPlaneThatIsCutOffOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{}
		r := open(t, nodestest.New(), func(c *Config) { c.Publisher = p })
		n := join(t, r, &fleetv1.Hello{NodeId: "n"})
		p.cut.Store(true)
		<-n.link.Away()
		n.link.Leave()
		n = join(t, r, &fleetv1.Hello{NodeId: "n"}) // it has no better place
		synctest.Wait()
		if _, err := r.Admit(&fleetv1.Hello{NodeId: "new"}, tree.Version{}, "x"); !errors.Is(err, ErrCutOff) {
			t.Error(err)
		}
		join(t, r, &fleetv1.Hello{NodeId: "new"})
		time.Sleep(awayFor - 2*houseEvery)
		if wakeup.Closed(n.link.Away()) {
			t.Error("it is sent round and round")
		}
		time.Sleep(3 * houseEvery)
		if !wakeup.Closed(n.link.Away()) {
			t.Error("it does not look for another one")
		}
	})
}

// TestWhereNoOtherControlPlaneCanBeNodesAreNotSentToOne: its etcd is its own, and may answer
// nobody for minutes while its file is written anew.
func TestWhereNoOtherControlPlaneCanBeNodesAreNotSentToOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &publisher{}
		p.cut.Store(true)
		r := open(t, nodestest.New(), func(c *Config) { c.Publisher, c.Alone = p, true })
		n := join(t, r, &fleetv1.Hello{NodeId: "n"})
		time.Sleep(awayFor)
		if wakeup.Closed(n.link.Away()) {
			t.Error("it is sent away")
		}
	})
}

// TestNodesThatCameAndWentUseNothingUp while the store does not answer: they are in no
// record, and will not be.
func TestNodesThatCameAndWentUseNothingUp(t *testing.T) {
	r := New(Config{Publisher: &publisher{}, Records: nodestest.New(), MaxNodes: 3}) // and does not run
	join(t, r, &fleetv1.Hello{NodeId: "stays"})
	for i := range 10 {
		join(t, r, &fleetv1.Hello{NodeId: fmt.Sprintf("n%d", i)}).link.Leave()
	}
	if known, connected := r.Size(); known > 3 || connected != 1 || len(r.missing) != known {
		t.Errorf("%d known, %d connected, %d missing", known, connected, len(r.missing))
	}
	join(t, r, &fleetv1.Hello{NodeId: "b"})
	join(t, r, &fleetv1.Hello{NodeId: "c"})
	_, err := r.Admit(&fleetv1.Hello{NodeId: "d"}, tree.Version{}, "x")
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "3 nodes are known already, which is the limit; 3 of them are connected") {
		t.Error(err)
	}
}

func TestLowestSchemaLevelIsNamed(t *testing.T) {
	r := New(Config{Publisher: &publisher{}, Records: nodestest.New()})
	if level, node := r.MinSchemaLevel(); level != resource.SchemaLevel || node != "" {
		t.Fatal(level, node)
	}
	for i, level := range []uint32{resource.SchemaLevel, resource.SchemaLevel + 1} {
		join(t, r, &fleetv1.Hello{NodeId: fmt.Sprint(i), SchemaLevel: level})
	}
	if level, node := r.MinSchemaLevel(); level != resource.SchemaLevel || node != "" {
		t.Fatal(level, node)
	}
	for _, id := range []string{"c", "b", "d"} {
		join(t, r, &fleetv1.Hello{NodeId: id, SchemaLevel: resource.SchemaLevel - 1})
	}
	join(t, r, &fleetv1.Hello{NodeId: "a"}).link.Leave()
	if level, node := r.MinSchemaLevel(); level != resource.SchemaLevel-1 || node != "b" {
		t.Fatal(level, node)
	}
}
