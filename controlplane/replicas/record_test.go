package replicas

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// manyHere are so many nodes that run one version.
func manyHere(n, vips int) (here []nodes.Here) {
	v := version(7)
	for i := range n {
		id := fmt.Sprintf("edge-%04d.example.test", i)
		one := nodes.Here{ID: id, Link: 1, Sighting: &fleetv1.Sighting{
			NodeId: id, BootId: fmt.Sprintf("%032x", [2]uint64{rand.Uint64(), rand.Uint64()}), Build: "v0.1.0", SchemaLevel: 3, ToldFirst: int64(1000 + i),
			State: fleetv1.Sighting_SYNCED, Judged: v.Proto(), Running: v.Proto(), Attested: v.Root[:], Drained: new(false),
			UptimeSeconds: rand.Uint64N(1e6), Requests: rand.Uint64N(1e9), Connections: rand.Uint64N(1e4), Errors: rand.Uint64N(1e4),
		}}
		for v := range vips {
			one.VIPs = append(one.VIPs, &fleetv1.VipStatus{
				Vip: fmt.Sprintf("shop-%04d", v), State: fleetv1.VipStatus_WAITING, Holder: fmt.Sprintf("edge-%04d.example.test", v%n), Term: uint64(v + 3),
				SinceUnixMs: 1_700_000_000_000 + rand.Int64N(1e9), Alive: uint32(n), Expected: uint32(n), Needed: uint32(n/2 + 1), ListRevision: 1_700_000_000_123,
				Policy: fleetv1.VirtualIP_MAJORITY, Why: "",
			})
		}
		here = append(here, one)
	}
	return here
}

// TestWhatNodesTakeInEtcd is bounded: an etcd that nobody compacts keeps every write.
func TestWhatNodesTakeInEtcd(t *testing.T) {
	t.Parallel()
	var p packer
	for _, c := range []struct{ nodes, vips, most, mostVIPs int }{
		{3, 4, 600, 600},
		{100, 16, 16 << 10, 40 << 10},
		{1000, 16, 128 << 10, 256 << 10},
	} {
		by := map[int][]nodes.Here{}
		for _, n := range manyHere(c.nodes, c.vips) {
			by[groupOf(n.ID)] = append(by[groupOf(n.ID)], n)
		}
		total, vips, largest := 0, 0, 0
		for _, here := range by {
			record, err := p.sightings(here)
			if err != nil {
				t.Fatal(err)
			}
			reports, err := p.reports(here)
			if err != nil {
				t.Fatal(err)
			}
			total, vips, largest = total+len(record), vips+len(reports), max(largest, len(record))
		}
		t.Logf("%d nodes in %d records: %d bytes, the largest %d; of %d virtual IPs each: %d bytes", c.nodes, len(by), total, largest, c.vips, vips)
		if total > c.most || vips > c.mostVIPs {
			t.Errorf("expected at most %d and %d bytes", c.most, c.mostVIPs)
		}
	}
}

// TestTheLargestGroupFitsIntoARecord, with problems that are no two alike: then the nodes
// themselves, and fewer of these.
func TestTheLargestGroupFitsIntoARecord(t *testing.T) {
	t.Parallel()
	here := manyHere(160, 0)
	text := func() string {
		var b strings.Builder
		for range 160 {
			b.WriteByte(byte('a' + rand.IntN(26)))
		}
		return b.String()
	}
	for _, n := range here {
		for range maxProblems + 5 {
			n.Sighting.Problems = append(n.Sighting.Problems, &fleetv1.Problem{Field: text(), Got: text(), Expected: text()})
		}
		n.Sighting.State = fleetv1.Sighting_REJECTED
	}
	var p packer
	record, err := p.sightings(here)
	if err != nil || len(record) > maxRecord {
		t.Fatalf("%d bytes, %v", len(record), err)
	}
	if told, err := readSightings(record, 1); err != nil || len(told) != 160 {
		t.Errorf("%d nodes, %v", len(told), err)
	}
	here = manyHere(80, 64)
	for _, n := range here {
		for _, v := range n.VIPs {
			v.Why = text()
		}
	}
	if _, err := p.reports(here); err == nil {
		t.Error("a record of virtual IPs is larger than etcd takes")
	}
}

func TestARecordSaysWhatWasPutIntoIt(t *testing.T) {
	var p packer
	here := manyHere(5, 3)
	here[2].VIPs = nil
	record, err := p.reports(here)
	if err != nil {
		t.Fatal(err)
	}
	reports, err := readReports(record)
	if err != nil || len(reports) != 4 || reports[here[2].ID] != nil {
		t.Fatalf("%v, %v", reports, err)
	}
	for _, n := range here {
		if of := reports[n.ID]; of != nil && !slices.EqualFunc(of.VIPs, n.VIPs, func(a, b *fleetv1.VipStatus) bool { return a.String() == b.String() }) {
			t.Errorf("%s: %v", n.ID, of.VIPs)
		}
	}
	if record, err := p.reports(here[2:3]); record != nil || err != nil {
		t.Error("nothing is a record")
	}
	here[1].Sighting.ToldFirst = 0
	if record, err = p.sightings(here); err != nil {
		t.Fatal(err)
	}
	told, err := readSightings(record, 77)
	if err != nil || len(told) != 5 || told[0].Order != 1000 || told[1].Order != 77 || told[1].Node != here[1].ID {
		t.Errorf("%v, %v", told, err)
	}
}

// TestOfSeveralConnectionsTheLatestCounts, in whatever order they are read.
func TestOfSeveralConnectionsTheLatestCounts(t *testing.T) {
	told := func(order int64, boot string) record {
		of, err := nodes.NewTold(&fleetv1.Sighting{NodeId: "n", BootId: boot}, order)
		if err != nil {
			t.Fatal(err)
		}
		return record{revision: 1, told: []*nodes.Told{of}}
	}
	for range 20 { // maps have another order each time
		planes := map[string]*plane{}
		for name, order := range map[string]int64{"a": 5, "b": 9, "c": 7} {
			planes[name] = &plane{id: name, name: name, records: map[string]record{nameOf(name, kindNodes, groupOf("n")): told(order, "boot")}}
		}
		if e := merge(planes)["n"]; e.Replica != "b" || e.Order != 9 || e.Twice {
			t.Fatalf("%+v", e)
		}
		planes["c"].records[nameOf("c", kindNodes, groupOf("n"))] = told(7, "another")
		if e := merge(planes)["n"]; e.Replica != "b" || !e.Twice {
			t.Fatalf("%+v", e)
		}
	}
}

// TestTwoThatSpokeBesideEachOtherAreTwo, and not one of which only the later spoke.
func TestTwoThatSpokeBesideEachOtherAreTwo(t *testing.T) {
	told := func(order int64, boot, beside string) record {
		of, err := nodes.NewTold(&fleetv1.Sighting{NodeId: "n", BootId: boot, Beside: beside}, order)
		if err != nil {
			t.Fatal(err)
		}
		return record{revision: 1, told: []*nodes.Told{of}}
	}
	for _, c := range []struct {
		a, b record
		want bool
	}{
		{told(1, "x", "y"), told(2, "y", "x"), true},
		{told(1, "x", ""), told(2, "y", "x"), false},
		{told(1, "x", "y"), told(2, "y", ""), false},
		{told(1, "x", "z"), told(2, "y", "x"), false},
		{told(1, "x", ""), told(2, "x", ""), false},
	} {
		for range 20 { // maps have another order each time
			name := nameOf("", kindNodes, groupOf("n"))
			planes := map[string]*plane{
				"a": {id: "a", name: "a", records: map[string]record{name: c.a}},
				"b": {id: "b", name: "b", records: map[string]record{name: c.b}},
			}
			if e := merge(planes)["n"]; e.Two != c.want {
				t.Fatalf("%+v, want %t", e, c.want)
			}
		}
	}
}

func FuzzWhatOthersTellIsRead(f *testing.F) {
	var p packer
	here := manyHere(3, 2)
	sightings, err := p.sightings(here)
	if err != nil {
		f.Fatal(err)
	}
	reports, err := p.reports(here)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("x/nodes/00", sightings)
	f.Add("x/vips/00", reports)
	f.Add("x/self", []byte{})
	f.Fuzz(func(_ *testing.T, name string, value []byte) {
		h := hearing{planes: map[string]*plane{}}
		h.take(map[string]store.Told{name: {Value: append([]byte{}, value...), Revision: 1}}, "me", func(string, error) {})
		merge(h.planes)
	})
}
