package rest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// vipLeaf is a virtual IP as the store has it.
func vipLeaf(t testing.TB) tree.Leaf {
	t.Helper()
	r := &fleetv1.Resource{
		Kind: proto.String(resource.VirtualIP), Name: proto.String("shop"),
		Spec: &fleetv1.Resource_VirtualIp{VirtualIp: &fleetv1.VirtualIP{Address: proto.String("127.0.0.100/32")}},
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return tree.Leaf{Key: resource.KeyOf(r), Bytes: b}
}

func TestAVIPIsShownAsItsHolderSeesItWithWhatIsWrong(t *testing.T) {
	holds := func(node string) api.VIPReport {
		return api.VIPReport{Node: node, State: api.VIPHolding, Holds: true, Holder: node, Term: 3, Alive: 3, Expected: 3, Needed: 2, Policy: "MAJORITY", ListRevision: 9}
	}
	waits := func(node, holder string) api.VIPReport {
		return api.VIPReport{Node: node, State: api.VIPWaiting, Holder: holder, Alive: 2, Expected: 3, Needed: 2, Policy: "MAJORITY", ListRevision: 9}
	}
	cut := waits("c", "")
	cut.Alive = 1
	other := waits("c", "a")
	other.ListRevision = 8
	sees := holds("a")
	sees.Conflict = "b"
	noon := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	took := func(node string, term uint64, from, reported time.Duration) api.VIPReport {
		r, at := holds(node), noon.Add(from)
		r.Term, r.HeldFrom, r.Reported = term, &at, noon.Add(reported)
		return r
	}
	heard := func(r api.VIPReport, at time.Duration) api.VIPReport {
		r.Reported = noon.Add(at)
		return r
	}
	unfit := holds("a")
	unfit.NotEligible = "it is drained"
	unfitToo := waits("b", "")
	unfitToo.NotEligible = "its self-probe fails"
	cases := []struct {
		name     string
		reports  []api.VIPReport
		holder   string
		alive    uint32
		problems []string
	}{
		{"held", []api.VIPReport{waits("b", "a"), holds("a"), waits("c", "a")}, "a", 3, nil},
		{"held by two", []api.VIPReport{holds("a"), holds("b")}, "", 3, []string{"a and b say that they hold it"}},
		{"taken over from one that has not been heard since", []api.VIPReport{took("a", 3, 0, 1), took("b", 4, 2, 5)}, "b", 3, nil},
		{"taken over from one that goes on saying it", []api.VIPReport{took("a", 3, 0, 3), took("b", 4, 2, 2)}, "", 3, []string{"a and b say that they hold it"}},
		{"held by nobody, who sees most is shown", []api.VIPReport{cut, waits("b", "")}, "", 2, []string{"nobody holds it"}},
		{"held by nobody, for want of members", []api.VIPReport{cut}, "", 1, []string{"nobody holds it: alive 1 of 3 expected, 2 needed"}},
		{"held by one that does not report", []api.VIPReport{waits("b", "z"), waits("c", "z")}, "", 2, []string{"z holds it, as others see it, and does not report"}},
		{"let go by one that others still see hold", []api.VIPReport{waits("a", ""), waits("b", "a")}, "", 2, []string{"nobody holds it"}},
		{"nodes disagree on the holder", []api.VIPReport{holds("a"), waits("b", "c")}, "a", 3, []string{"b takes c for the holder"}},
		{"who has said nothing since the holder took over does not disagree", []api.VIPReport{took("a", 3, 2, 3), heard(waits("b", "c"), 1)}, "a", 3, nil},
		{"who has does", []api.VIPReport{took("a", 3, 2, 3), heard(waits("b", "c"), 2)}, "a", 3, []string{"b takes c for the holder"}},
		{"a holder that should not hold says why", []api.VIPReport{unfit, waits("b", "a")}, "a", 3, []string{"a: it is drained"}},
		{"held by nobody, each says why", []api.VIPReport{unfitToo}, "", 2, []string{"nobody holds it", "b: its self-probe fails"}},
		{"nodes go by other lists", []api.VIPReport{holds("a"), other}, "a", 3, []string{"c goes by list 8 of expected members, others by 9"}},
		{"a conflict is told by who sees it", []api.VIPReport{sees}, "a", 3, []string{"a sees that b has it too"}},
		{"nobody reports", nil, "", 0, []string{"no node reports it: nodes take part with --gossip-address"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v, err := vipStatus(vipLeaf(t), c.reports, expectedOf([]api.NodeStatus{{ID: "z", Expected: true}, {ID: "left", Expected: false}}))
			if err != nil {
				t.Fatal(err)
			}
			if v.Holder != c.holder || v.Alive != c.alive || !slices.Equal(v.Problems, c.problems) || v.Address != "127.0.0.100/32" {
				t.Errorf("%+v", v)
			}
			if n := v.Nodes; len(n) != len(c.reports)+1 || n[len(n)-1].Node != "z" || n[len(n)-1].State != api.VIPUnknown {
				t.Errorf("nodes %+v", n)
			}
		})
	}
}

func TestEachNodeIsShownOnceOfAVIPWhetherItReportsOrNot(t *testing.T) {
	reports := []api.VIPReport{{Node: "d", State: api.VIPIdle}, {Node: "b", State: api.VIPIdle}, {Node: "e", State: api.VIPIdle}}
	expected := expectedOf([]api.NodeStatus{{ID: "f", Expected: true}, {ID: "c", Expected: true}, {ID: "a", Expected: true}, {ID: "d", Expected: true}, {ID: "g"}})
	var got []string
	for _, n := range withSilent(reports, expected) {
		got = append(got, n.Node+" "+string(n.State))
	}
	want := []string{"a unknown", "b idle", "c unknown", "d idle", "e idle", "f unknown"}
	for i := range want {
		want[i] = strings.NewReplacer("unknown", string(api.VIPUnknown), "idle", string(api.VIPIdle)).Replace(want[i])
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if reports[0].Node != "d" {
		t.Error("the reports are not left as they were")
	}
}

// BenchmarkAllVIPs is what a list of 1,024 virtual IPs of 256 nodes costs before it is
// written down, if half of the nodes report.
func BenchmarkAllVIPs(b *testing.B) {
	const nodes, vips = 256, 1024
	leaf := vipLeaf(b)
	var known []api.NodeStatus
	var reports []api.VIPReport
	for i := range nodes {
		id := fmt.Sprintf("edge-%04d", i*7919%nodes)
		known = append(known, api.NodeStatus{ID: id, Expected: true})
		if i%2 == 0 {
			reports = append(reports, api.VIPReport{Node: id, State: api.VIPWaiting, Holder: "edge-0000", Holds: id == "edge-0000", ListRevision: 9})
		}
	}
	for b.Loop() {
		expected := expectedOf(known)
		for range vips {
			if v, err := vipStatus(leaf, reports, expected); err != nil || len(v.Nodes) != nodes || v.Holder != "edge-0000" {
				b.Fatal(v.Holder, len(v.Nodes), err)
			}
		}
	}
}

// awayStore is a store that can be away.
type awayStore struct {
	Store
	away  atomic.Bool
	asked atomic.Int32 // for the history, while it was away
}

func (s *awayStore) History(ctx context.Context, before uint64, limit int) ([]*fleetv1.Change, error) {
	if s.away.Load() {
		s.asked.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Store.History(ctx, before, limit)
}

func (s *awayStore) Current(ctx context.Context) (store.Configuration, error) {
	if s.away.Load() {
		<-ctx.Done()
		return store.Configuration{}, ctx.Err()
	}
	return s.Store.Current(ctx)
}

// TestVIPsAreShownWhileTheStoreIsAway, and say of when their configuration is: who holds
// them the nodes say.
func TestVIPsAreShownWhileTheStoreIsAway(t *testing.T) {
	st := &awayStore{}
	var late atomic.Int64
	f := newFleet(t, func(c *Config) {
		st.Store, c.Store = c.Store, st
		c.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	})
	apply := f.do("POST", api.PathApply, "kind: VirtualIP\nname: shop\nspec: {address: 127.0.0.100/32, announce: BIND}\n")
	want[api.ApplyResult](t, apply, http.StatusOK)
	if v := want[api.VIPStatus](t, f.do("GET", api.VIPPath("shop"), ""), http.StatusOK); v.ConfiguredAsOf != nil {
		t.Errorf("%+v", v)
	}
	st.away.Store(true)
	late.Store(int64(time.Hour))
	list := want[api.VIPList](t, f.do("GET", api.PathVIPs, ""), http.StatusOK)
	one := want[api.VIPStatus](t, f.do("GET", api.VIPPath("shop"), ""), http.StatusOK)
	for _, v := range append(list.Items, one) {
		said := slices.ContainsFunc(v.Problems, func(p string) bool { return strings.Contains(p, "etcd does not answer") })
		if v.ConfiguredAsOf == nil || v.Address != "127.0.0.100/32" || !said {
			t.Errorf("%+v", v)
		}
	}
	if len(list.Items) != 1 {
		t.Errorf("%+v", list)
	}
	refused(t, f.do("GET", api.VIPPath("other"), ""), api.TypeNotFound)
	st.away.Store(false)
	if v := want[api.VIPStatus](t, f.do("GET", api.VIPPath("shop"), ""), http.StatusOK); v.ConfiguredAsOf != nil {
		t.Errorf("%+v", v)
	}
}

// awayRecords are those of a store that can be away.
type awayRecords struct {
	Records
	store *awayStore
}

func (r awayRecords) Nodes(ctx context.Context) ([]*fleetv1.NodeRecord, uint64, error) {
	if r.store.away.Load() {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	return r.Records.Nodes(ctx)
}

// newAwayFleet is a fleet with one route and one node, whose store can be away.
func newAwayFleet(t *testing.T) (*fleet, *awayStore) {
	t.Helper()
	st := &awayStore{}
	f := newFleet(t, func(c *Config) {
		st.Store, c.Store = c.Store, st
		c.Records = awayRecords{c.Records, st}
		c.Logger = slog.New(slog.DiscardHandler)
	})
	f.apply(ping("a", ""))
	f.join("node-1", resource.SchemaLevel, ack)
	f.nodeIn("node-1", api.Synced)
	return f, st
}

// TestTheFleetIsShownWhileTheStoreIsAway: what nodes run they say.
func TestTheFleetIsShownWhileTheStoreIsAway(t *testing.T) {
	f, st := newAwayFleet(t)
	if s := f.status(); s.ConfiguredAsOf != nil {
		t.Errorf("%+v", s)
	}
	st.away.Store(true)
	s := f.status()
	if s.ConfiguredAsOf == nil || s.Revision != 1 || s.Resources[resource.Route] != 1 || s.NodesConnected != 1 {
		t.Errorf("%+v", s)
	}
	list := want[api.NodeList](t, f.do("GET", api.PathNodes, ""), http.StatusOK)
	if list.ConfiguredAsOf == nil || list.Wanted.Revision != 1 || len(list.Items) != 1 || list.Items[0].State != api.Synced {
		t.Errorf("%+v", list)
	}
	st.away.Store(false)
	if s := f.status(); s.ConfiguredAsOf != nil || s.LastChange == nil {
		t.Errorf("%+v", s)
	}
}

func TestEventsOfNodesAreToldWhileTheStoreIsAway(t *testing.T) {
	f, st := newAwayFleet(t)
	events := f.events()
	next(t, events, api.EventStatus)
	st.away.Store(true)
	waittest.Until(t, "the store is asked", func() bool { return st.asked.Load() > 0 })
	begin := time.Now()
	f.join("node-2", resource.SchemaLevel, ack)
	for next(t, events, api.EventNodeConnected).Node.ID != "node-2" {
		continue // node-1, of which the hub had not told
	}
	if took := time.Since(begin); took > catchUpTimeout/2 {
		t.Errorf("it took %v", took)
	}
}

func TestThereAreNoVIPsWhereNoneIsConfigured(t *testing.T) {
	f := newFleet(t)
	if list := want[api.VIPList](t, f.do("GET", api.PathVIPs, ""), http.StatusOK); len(list.Items) != 0 {
		t.Errorf("%+v", list)
	}
	if e := refused(t, f.do("GET", api.VIPPath("shop"), ""), api.TypeNotFound); !strings.Contains(e.Detail, "VirtualIP/shop") {
		t.Errorf("%+v", e)
	}
}
