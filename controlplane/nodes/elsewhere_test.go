package nodes

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes/nodestest"
	"github.com/proxyfleet/proxyfleet/controlplane/session"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// here is a name for the control plane of a test.
func here(c *Config) { c.Name = "here:7401" }

// toldBy is what one registry has another one hear, through the bytes that etcd would hold.
func toldBy(t *testing.T, r *Registry, order int64) map[string]Elsewhere {
	t.Helper()
	told := map[string]Elsewhere{}
	for _, n := range r.Here(func(string) bool { return true }) {
		data, err := proto.Marshal(n.Sighting)
		if err != nil {
			t.Fatal(err)
		}
		s := &fleetv1.Sighting{}
		if err := proto.Unmarshal(data, s); err != nil {
			t.Fatal(err)
		}
		of, err := NewTold(s, order)
		if err != nil {
			t.Fatal(err)
		}
		told[n.ID] = Elsewhere{Told: of, Replica: "there:7401", Reports: &Reports{n.VIPs}}
	}
	return told
}

func version(revision uint64) tree.Version {
	return tree.Version{Epoch: 1, Revision: revision, Root: tree.Hash{byte(revision)}}
}

// TestANodeIsShownByEachControlPlaneAsByTheOneThatHasIt: its state, why it is so, and what it
// says of itself.
func TestANodeIsShownByEachControlPlaneAsByTheOneThatHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		there, r := open(t, records, func(c *Config) { c.Name = "there:7401" }), open(t, records, here)
		for id, stand := range map[string]func(*Link){
			"new":    func(*Link) {},
			"synced": func(l *Link) { l.Stepped(session.Synced, version(1), nil) },
			"drifts": func(l *Link) {
				l.Heard(&Standing{Running: version(2), Attested: tree.Hash{9}}, nil)
				l.Stepped(session.Synced, version(2), nil)
			},
			"rejects": func(l *Link) {
				l.Stepped(session.Rejected, tree.Version{}, &Answer{Problems: []resource.Problem{{Kind: "Listener", Name: "web", Field: "spec.port", Got: "in use"}}})
			},
			"retries": func(l *Link) { l.Stepped(session.Retrying, tree.Version{}, &Answer{}) },
			"holds": func(l *Link) {
				l.Stepped(session.Held, tree.Version{}, &Answer{Loss: &fleetv1.Loss{Routes: 7, RoutesLost: 5}})
			},
			"says": func(l *Link) {
				l.Heard(&Standing{Running: version(1), Attested: tree.Hash{1}}, &fleetv1.Status{
					Requests: 4, Connections: 3, Errors: 2, UptimeSeconds: 60, Drained: new(false),
				})
			},
		} {
			stand(join(t, there, &fleetv1.Hello{NodeId: id, Build: "v1", SchemaLevel: 3}).link)
		}
		eventually(t, "all have records", func() bool {
			list := r.Nodes()
			return len(list) == 7 && !slices.ContainsFunc(list, func(n api.NodeStatus) bool { return n.FirstSeen == nil })
		})
		changes := r.Watch(t.Context())
		r.Hear(time.Now(), toldBy(t, there, 1))
		<-changes
		for i, want := range there.Nodes() {
			got := r.Nodes()[i]
			if got.ControlPlane != "there:7401" || got.CountedAt == nil || got.LastSeen == nil || want.CountedAt != nil {
				t.Errorf("%+v", got)
			}
			got.CountedAt, want.LastSeen = nil, got.LastSeen
			if !reflect.DeepEqual(got, want) || !got.Connected {
				t.Errorf("it is shown as\n%+v, not as\n%+v", got, want)
			}
		}
	})
}

func TestANodeThatMovesIsWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		there, r := open(t, records, func(c *Config) { c.Name = "there:7401" }), open(t, records, here)
		is := func(connected bool, at string) {
			t.Helper()
			if s, ok := r.statusOf("n"); !ok || s.Connected != connected || s.ControlPlane != at || (s.State == api.Disconnected) == connected {
				t.Errorf("%+v", s)
			}
			if len(r.Nodes()) != 1 {
				t.Error("it is shown twice")
			}
		}
		first := join(t, r, &fleetv1.Hello{NodeId: "n"})
		is(true, "here:7401")
		second := join(t, there, &fleetv1.Hello{NodeId: "n"})
		r.Hear(time.Now(), toldBy(t, there, 2))
		is(true, "here:7401") // it is heard here still
		first.link.Leave()
		is(true, "there:7401")
		seen := time.Now()
		time.Sleep(time.Second)
		second.link.Leave()
		r.Hear(time.Now(), map[string]Elsewhere{})
		is(false, "there:7401")
		if s, _ := r.statusOf("n"); !s.LastSeen.Equal(seen) {
			t.Errorf("last seen at %v, when it was known to be there at %v", s.LastSeen, seen)
		}
		join(t, r, &fleetv1.Hello{NodeId: "n"}).link.Leave()
		is(false, "here:7401")
	})
}

// TestWhereNothingIsHeardOfOthersTheirNodesCountAsDisconnected, since nobody knows.
func TestWhereNothingIsHeardOfOthersTheirNodesCountAsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		there, r := New(Config{Publisher: &publisher{}, Records: nodestest.New()}), open(t, nodestest.New(), here)
		join(t, there, &fleetv1.Hello{NodeId: "n", SchemaLevel: resource.SchemaLevel - 1})
		r.Hear(time.Now(), toldBy(t, there, 1))
		synctest.Wait()
		changes := r.Watch(t.Context())
		time.Sleep(deafAfter - 1)
		if s, _ := r.statusOf("n"); !s.Connected {
			t.Errorf("%+v", s)
		}
		time.Sleep(houseEvery + 1)
		if s, _ := r.statusOf("n"); s.Connected || s.State != api.Disconnected || s.ControlPlane != "there:7401" {
			t.Errorf("%+v", s)
		}
		if _, node := r.MinSchemaLevel(); node != "" {
			t.Errorf("%s is asked what it can run", node)
		}
		<-changes
		r.Hear(time.Now(), nil)
		<-changes
		if s, _ := r.statusOf("n"); !s.Connected {
			t.Errorf("%+v", s)
		}
		if _, node := r.MinSchemaLevel(); node != "n" {
			t.Error("a node elsewhere may be sent what it cannot run")
		}
	})
}

// TestANodeThatIsHeardOfElsewhereAloneIsForgottenWithThat, if the store has none of it.
func TestANodeThatIsHeardOfElsewhereAloneIsForgottenWithThat(t *testing.T) {
	there, r := New(Config{Publisher: &publisher{}, Records: nodestest.New()}), New(Config{Publisher: &publisher{}, Records: nodestest.New(), MaxNodes: 3})
	for i := range 5 {
		join(t, there, &fleetv1.Hello{NodeId: fmt.Sprint("n", i)})
	}
	r.Hear(time.Now(), toldBy(t, there, 1))
	if known, connected := r.Size(); known != 3 || connected != 0 {
		t.Errorf("%d are known, %d connected here", known, connected)
	}
	r.setRecords(nil)
	if known, _ := r.Size(); known != 3 {
		t.Errorf("%d are known", known)
	}
	r.Hear(time.Now(), map[string]Elsewhere{})
	if known, _ := r.Size(); known != 0 {
		t.Errorf("%d are known", known)
	}
}

func TestWhatNodesElsewhereReportOfVirtualIPsIsAsOldAsItCanBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		there, r := open(t, records), open(t, records, here)
		holds := func(term uint64) *fleetv1.Status {
			return &fleetv1.Status{VirtualIps: []*fleetv1.VipStatus{{Vip: "shop", Holds: true, Term: term, State: fleetv1.VipStatus_HOLDING}}}
		}
		n := join(t, there, &fleetv1.Hello{NodeId: "n"})
		n.alive()
		n.link.Heard(nil, holds(3))
		begin := time.Now()
		r.Hear(begin, toldBy(t, there, 1))
		report := func() api.VIPReport {
			t.Helper()
			if reports := r.VIPs()["shop"]; len(reports) == 1 {
				return reports[0]
			}
			t.Fatalf("%+v", r.VIPs())
			return api.VIPReport{}
		}
		if got := report(); got.Node != "n" || !got.Reported.Equal(begin) || !got.HeldFrom.Equal(begin) || got.Term != 3 {
			t.Errorf("%+v", got)
		}
		// Nothing else is told, and it may have been silent for a while.
		later := begin.Add(time.Minute)
		time.Sleep(time.Minute)
		r.Hear(later, nil)
		if got := report(); !got.Reported.Equal(later.Add(-silentAfter-vipsLate)) || !got.HeldFrom.Equal(begin) {
			t.Errorf("%+v", got)
		}
		n.link.Heard(nil, holds(4))
		r.Hear(later, toldBy(t, there, 1))
		if got := report(); !got.Reported.Equal(later) || !got.HeldFrom.Equal(later) || got.Term != 4 {
			t.Errorf("%+v", got)
		}
		r.Hear(later, map[string]Elsewhere{})
		if len(r.VIPs()) > 0 {
			t.Errorf("%+v", r.VIPs())
		}
	})
}

// TestTwoMachinesOfOneNameAtTwoControlPlanesAreTold: neither refuses its own.
func TestTwoMachinesOfOneNameAtTwoControlPlanesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		there, r := open(t, records), open(t, records, here)
		join(t, there, &fleetv1.Hello{NodeId: "n", BootId: "one"}).alive()
		own := join(t, r, &fleetv1.Hello{NodeId: "n", BootId: "two"})
		own.alive()
		told := func() bool { s, _ := r.statusOf("n"); return len(s.Problems) > 0 }
		r.Hear(time.Now(), toldBy(t, there, 1))
		if told() {
			t.Error("one that started again is taken for two")
		}
		time.Sleep(twiceAfter)
		r.Hear(time.Now(), nil)
		if !told() {
			t.Error("nobody is told of it")
		}
		own.link.Leave()
		r.Hear(time.Now(), nil)
		if told() {
			t.Error("there is one left")
		}
		both := toldBy(t, there, 1)
		twice := both["n"]
		twice.Twice = true
		r.Hear(time.Now(), map[string]Elsewhere{"n": twice})
		time.Sleep(twiceAfter)
		r.Hear(time.Now(), nil)
		if !told() {
			t.Error("nobody is told of two elsewhere")
		}
	})
}

// TestTwoMachinesAreToldWhenEachSpokeBesideTheOther, which takes no more than the time of
// their words: of a node that started again one is silent.
func TestTwoMachinesAreToldWhenEachSpokeBesideTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		a, b := open(t, records, here), open(t, records, here)
		first := join(t, a, &fleetv1.Hello{NodeId: "n", BootId: "one"})
		exchange := func() { a.Hear(time.Now(), toldBy(t, b, 2)); b.Hear(time.Now(), toldBy(t, a, 1)) }
		told := func(r *Registry) bool { s, _ := r.statusOf("n"); return len(s.Problems) > 0 }
		exchange()
		second := join(t, b, &fleetv1.Hello{NodeId: "n", BootId: "two"})
		exchange()
		first.link.Heard(nil, nil)
		second.link.Heard(nil, nil)
		exchange()
		time.Sleep(besideAfter)
		exchange()
		second.link.Heard(nil, nil)
		a.Untold()
		first.link.Heard(nil, nil)
		if themselves, _ := a.Untold(); len(themselves) != 1 {
			t.Error("it spoke, and that is not to be told")
		}
		if told(a) || told(b) {
			t.Error("one word is taken for a proof: it may have been under way")
		}
		exchange()
		if !told(a) || !told(b) {
			t.Errorf("it is told here: %t, there: %t", told(a), told(b))
		}
		first.link.Heard(nil, nil)
		if themselves, _ := a.Untold(); len(themselves) > 0 {
			t.Error("its words are told for ever")
		}
		c := open(t, records, here)
		both := toldBy(t, a, 1)
		n := both["n"]
		n.Two = n.Beside(toldBy(t, b, 2)["n"].Told)
		c.Hear(time.Now(), map[string]Elsewhere{"n": n})
		if !told(c) {
			t.Error("a third is not told")
		}
		first.link.Leave()
		exchange()
		if told(a) || told(b) {
			t.Error("there is one left")
		}
		// It comes back as another process, and the second one is silent from then on.
		first = join(t, a, &fleetv1.Hello{NodeId: "n", BootId: "three"})
		exchange()
		time.Sleep(besideAfter)
		first.link.Heard(nil, nil)
		exchange()
		if told(a) || told(b) {
			t.Error("what was said beside another process counts")
		}
	})
}

// TestOthersAreToldWhatChangedAndNoTraffic, which changes all the time.
func TestOthersAreToldWhatChangedAndNoTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := nodestest.New()
		r := open(t, records)
		untold := func(what string, wantItself, wantVIPs bool) {
			t.Helper()
			themselves, vips := r.Untold()
			if slices.Contains(themselves, "n") != wantItself || slices.Contains(vips, "n") != wantVIPs || len(themselves)+len(vips) > 2 {
				t.Errorf("%s: untold are %v, and of virtual IPs %v", what, themselves, vips)
			}
			if told := len(r.ToTell()) > 0; told != (wantItself || wantVIPs) {
				t.Errorf("%s: it is to be told: %t", what, told)
			} else if told {
				<-r.ToTell()
			}
		}
		says := func(connections uint64, drained bool, holder string) *fleetv1.Status {
			return &fleetv1.Status{Connections: connections, Drained: &drained, VirtualIps: []*fleetv1.VipStatus{{Vip: "shop", Holder: holder}}}
		}
		n := join(t, r, &fleetv1.Hello{NodeId: "n"})
		untold("it came", true, true)
		n.link.Heard(nil, says(1, false, "a"))
		untold("its first words", true, true)
		n.link.Heard(nil, says(2, false, "a"))
		untold("traffic", false, false)
		n.link.Heard(nil, says(3, false, "b"))
		untold("another holder", false, true)
		n.link.Stepped(session.InFlight, version(2), nil)
		untold("an update is on its way", false, false)
		n.link.Heard(&Standing{Running: version(2), Attested: tree.Hash{2}}, nil)
		untold("it runs another version", true, false)
		n.link.Stepped(session.Synced, version(2), &Answer{})
		untold("it answered", true, false)
		n.link.Heard(nil, says(3, true, "b"))
		untold("it is drained", true, false)
		n.link.Heard(nil, says(2, true, "b"))
		untold("the connections of a drained node", true, false)
		time.Sleep(silentAfter + houseEvery)
		untold("it is silent", true, true)
		if len(r.Here(func(string) bool { return true })) > 0 {
			t.Error("it is told as if it was here")
		}
		n.link.Heard(nil, nil)
		untold("it is heard again", true, true)
		n.link.Leave()
		untold("it left", true, true)
	})
}

func TestAControlPlaneThatIsAloneNotesNothingToTell(t *testing.T) {
	r := New(Config{Publisher: &publisher{}, Records: nodestest.New(), Alone: true})
	join(t, r, &fleetv1.Hello{NodeId: "n"})
	if themselves, vips := r.Untold(); len(themselves)+len(vips)+len(r.ToTell()) > 0 {
		t.Error(themselves, vips)
	}
}

// TestEachConnectionOfANodeHasAnotherNumber, by which others know it from the one before.
func TestEachConnectionOfANodeHasAnotherNumber(t *testing.T) {
	r := New(Config{Publisher: &publisher{}, Records: nodestest.New()})
	seen := map[uint64]bool{}
	for range 3 {
		join(t, r, &fleetv1.Hello{NodeId: "n"})
		seen[r.Here(func(string) bool { return true })[0].Link] = true
	}
	if len(seen) != 3 {
		t.Errorf("%v", slices.Collect(maps.Keys(seen)))
	}
}

// TestNoReportIsTakenForAnEqualOne whichever of its fields differs.
func TestNoReportIsTakenForAnEqualOne(t *testing.T) {
	fields := (&fleetv1.VipStatus{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		a, b := &fleetv1.VipStatus{}, &fleetv1.VipStatus{}
		if !equalVIPs(a, b) {
			t.Fatal("equal ones differ")
		}
		b.ProtoReflect().Set(fields.Get(i), otherThanDefault(t, fields.Get(i)))
		if equalVIPs(a, b) {
			t.Errorf("%s does not count", fields.Get(i).Name())
		}
	}
}

// otherThanDefault is a value for a field of a message of scalars.
func otherThanDefault(t *testing.T, f protoreflect.FieldDescriptor) protoreflect.Value {
	t.Helper()
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	default:
		t.Fatalf("a field %s of kind %s", f.Name(), f.Kind())
		return protoreflect.Value{}
	}
}
