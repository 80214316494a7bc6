package vip

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// What a beat costs: a member reads a renewal, renews its grant and writes the
// answer; the holder reads that.
func BenchmarkBeat(b *testing.B) { benchmarkBeat(b, 1) }

// The same of as many virtual IPs as there can be, all of one holder.
func BenchmarkBeatOfAll(b *testing.B) { benchmarkBeat(b, MaxVIPs) }

func benchmarkBeat(b *testing.B, number int) {
	list := NewList(1, "a", "b", "c")
	var specs []Spec
	for i := range number {
		specs = append(specs, Spec{VIP: fmt.Sprintf("192.0.%d.%d", i/256, i%256), Preference: []string{"a"}})
	}
	view := fleet("a b c")
	holder, err := New(Config{Self: "a", Boot: 1, List: list, Specs: specs})
	if err != nil {
		b.Fatal(err)
	}
	member, err := New(Config{Self: "b", Boot: 2, List: list, Specs: specs})
	if err != nil {
		b.Fatal(err)
	}
	now := int64(GrantFor)
	var buf []byte
	// relay passes on what is sent, one datagram after another.
	relay := func(actions []Action, to *Grants) (answers []Action) {
		for _, a := range actions {
			if s, ok := a.(Send); ok {
				buf, _ = s.Message.Append(buf[:0])
				m, err := Decode(buf)
				if err != nil {
					b.Fatal(err)
				}
				answers = append(answers, to.Step(now, view, Received{m})...)
				to.NextDeadline()
			}
		}
		return answers
	}
	holder.Step(0, view)
	member.Step(0, view)
	b.ReportAllocs()
	for b.Loop() {
		answers := relay(holder.Step(now, view), member)
		relay(answers, holder)
		now += int64(Beat)
	}
	for _, s := range holder.Status() {
		if s.State != Holding {
			b.Fatalf("%+v", s)
		}
	}
}

// largeFleet is a node of a fleet of many members and as many virtual IPs as there can be, of
// which it holds none.
func largeFleet(tb testing.TB, members int) (g *Grants, view member.View, next List) {
	tb.Helper()
	g, view = largeList(tb, members)
	g.Step(0, view, allVIPs())
	return g, view, NewList(2, g.list.ids[:members-1]...)
}

// largeList is a node of a fleet of many members, without any virtual IP.
func largeList(tb testing.TB, members int) (g *Grants, view member.View) {
	tb.Helper()
	var ids []string
	var all []member.Member
	for i := range members {
		ids = append(ids, fmt.Sprintf("node-%04d.example", i))
		all = append(all, member.Member{ID: ids[i], Boot: uint64(i) + 1, Flags: member.Eligible | member.Healthy}) //nolint:gosec // small
	}
	g, err := New(Config{Self: ids[0], Boot: 1, List: NewList(1, ids...)})
	if err != nil {
		tb.Fatal(err)
	}
	return g, member.NewView(all...)
}

func allVIPs() Configured {
	var specs []Spec
	for i := range MaxVIPs {
		specs = append(specs, Spec{VIP: fmt.Sprintf("192.0.%d.%d", i/256, i%256)})
	}
	return Configured{specs}
}

// How long all else waits when the first configuration comes, with as many virtual IPs as there
// can be, all of which want a holder.
func BenchmarkNewVIPs(b *testing.B) {
	all := allVIPs()
	for b.Loop() {
		b.StopTimer()
		g, view := largeList(b, 256)
		g.Step(int64(GrantFor), view)
		b.StartTimer()
		g.Step(int64(GrantFor), view, all)
	}
}

// TestNewVIPsAreNotWeighedForAllMembers: a turn that lasts as long as a lease ends what is held.
// To know that it is not first takes a node few weights.
func TestNewVIPsAreNotWeighedForAllMembers(t *testing.T) {
	const members, each = 256, 16
	g, view := largeList(t, members)
	now, weighed := int64(GrantFor), 0
	for range 20 {
		g.Step(now, view, allVIPs())
		before := weighed
		weighed = 0
		for _, o := range g.offices {
			for _, w := range o.elector.weight {
				if w != 0 {
					weighed++
				}
			}
		}
		if weighed-before > each*MaxVIPs {
			t.Errorf("%v after the start: %d weights at once, want at most %d", time.Duration(now), weighed-before, each*MaxVIPs)
		}
		now += g.t.slot
	}
	t.Logf("%d weights of %d in the end", weighed, members*MaxVIPs)
}

// How long all else waits when a member comes, goes, or says that it is not healthy.
func BenchmarkElectionOfAll(b *testing.B) {
	g, view, _ := largeFleet(b, 256)
	other := view.At(7)
	for b.Loop() {
		other.Flags ^= member.Healthy
		view = view.With(other)
		g.Step(0, view)
	}
}

// And when the list of expected members is another one.
func BenchmarkNextList(b *testing.B) {
	g, view, next := largeFleet(b, 256)
	lists := [2]List{g.list, next}
	i := 0
	for b.Loop() {
		i++
		lists[i&1].Revision = uint64(i) + 1 //nolint:gosec // small
		g.Step(0, view, Listed{lists[i&1]})
	}
}

// TestWhatALargeFleetTakes: members that never had a part in a virtual IP take little more
// than a weight each.
func TestWhatALargeFleetTakes(t *testing.T) {
	const members, each = 256, 20
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	g, view, _ := largeFleet(t, members)
	per := float64(heap()-before) / members / MaxVIPs
	runtime.KeepAlive(g)
	runtime.KeepAlive(view)
	t.Logf("%.1f bytes for each member of each virtual IP", per)
	if per > each && !raceEnabled {
		t.Errorf("more than %d", each)
	}
}
