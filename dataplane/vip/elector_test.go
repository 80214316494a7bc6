package vip

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// fleet makes a View of "a+ b- c d!": healthy, unhealthy, not there to hold
// (ineligible), draining; "w" after it makes a witness, "*" the holder of x.
func fleet(text string) member.View {
	var v member.View
	for _, word := range strings.Fields(text) {
		m := member.Member{ID: word[:1], Flags: member.Eligible | member.Healthy, Labels: []member.Label{{Name: "zone", Value: word[:1]}}}
		for _, mark := range word[1:] {
			switch mark {
			case '-':
				m.Flags &^= member.Healthy
			case '0':
				m.Flags &^= member.Eligible
			case '!':
				m.Flags |= member.Draining
			case 'w':
				m.Flags |= member.Witness
			case '*':
				m.Holdings = []member.Holding{{VIP: "x", Term: 1}}
			}
		}
		v = v.With(m)
	}
	return v
}

func TestTheElectionIsAFunctionOfTheView(t *testing.T) {
	prefer := Spec{Preference: []string{"a", "b", "c", "d"}}
	preempt := Spec{Preference: []string{"a", "b", "c", "d"}, Preempt: true}
	cases := []struct {
		name, view string
		spec       Spec
		opinion    Opinion
		want       string
	}{
		{"preference decides", "a b c", prefer, Opinion{}, "abc"},
		{"the holder comes first", "a b c*", prefer, Opinion{}, "cab"},
		{"unless it can be preempted", "a b c*", preempt, Opinion{}, "abc"},
		{"a better informed node's opinion goes before the View", "a b c*", prefer, Opinion{Incumbent: "b"}, "bac"},
		{"a holder that is left out is not first", "a b c*", prefer, Opinion{Out: func(id string) bool { return id == "c" }}, "ab"},
		{"members that are not there do not count", "b d", prefer, Opinion{}, "bd"},
		{"members that are not expected do not count", "b z", prefer, Opinion{}, "b"},
		{"the ineligible do not count", "a0 b c", prefer, Opinion{}, "bc"},
		{"witnesses do not count", "aw b c", prefer, Opinion{}, "bc"},
		{"the draining do not count", "a! b c*!", prefer, Opinion{}, "b"},
		{"the unhealthy do not count", "a- b c*-", prefer, Opinion{}, "b"},
		{"unless nobody is healthy: then the holder stays", "a- b- c*-", prefer, Opinion{}, "cab"},
		{"also with preempt", "a- b- c*-", preempt, Opinion{}, "cab"},
		{"a healthy witness does not make the others count less", "aw b- c*-", prefer, Opinion{}, "cb"},
		{"nor does a healthy node that drains", "a! b- c*-", prefer, Opinion{}, "cb"},
		{"only the named", "a b c d", Spec{Preference: prefer.Preference, Nodes: []string{"c", "b"}}, Opinion{}, "bc"},
		{"only those with the labels", "a b c d", Spec{Preference: prefer.Preference, Labels: []member.Label{{Name: "zone", Value: "c"}}}, Opinion{}, "c"},
		{"only those with all labels", "a b c d", Spec{Labels: []member.Label{{Name: "zone", Value: "c"}, {Name: "rack", Value: "1"}}}, Opinion{}, ""},
		{"the unlisted come after the preferred", "a b c d", Spec{Preference: []string{"d"}, Nodes: []string{"a", "d"}}, Opinion{}, "da"},
		{"with preempt the holder goes before its equals", "a b c*", Spec{Preempt: true, Nodes: []string{"b", "c"}}, Opinion{}, "cb"},
		{"nobody", "", prefer, Opinion{}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.spec.VIP = "x"
			e := NewElector(c.spec, NewList(1, "d", "c", "b", "a", "b"))
			if got := strings.Join(e.Order(fleet(c.view), c.opinion), ""); got != c.want {
				t.Errorf("order is %q, want %q", got, c.want)
			}
		})
	}
}

func TestRendezvousSpreadsAndMovesOnlyWhatMust(t *testing.T) {
	list := NewList(1, "a", "b", "c", "d", "e")
	all, without := fleet("a b c d e"), fleet("a b d e")
	owners := map[string]int{}
	for i := range 1000 {
		e := NewElector(Spec{VIP: fmt.Sprint("vip-", i)}, list)
		before, after := e.Order(all, Opinion{}), e.Order(without, Opinion{})
		owners[before[0]]++
		if !slices.Equal(slices.DeleteFunc(before, func(id string) bool { return id == "c" }), after) {
			t.Fatalf("vip-%d: without c the order is %v, and was %v", i, after, before)
		}
	}
	for id, n := range owners {
		if n < 150 || n > 250 {
			t.Errorf("%s is first for %d of 1000", id, n)
		}
	}
	// Pinned: nodes of different builds must agree.
	if got := strings.Join(NewElector(Spec{VIP: "edge"}, list).Order(all, Opinion{}), ""); got != "adcbe" {
		t.Errorf("the order for edge is %q", got)
	}
}

func TestOfTwoMembersExactlyOneOutranksTheOther(t *testing.T) {
	list := NewList(1, "a", "b", "c", "d", "e")
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 200 {
		spec := Spec{VIP: fmt.Sprint(i)}
		for range rnd.IntN(4) {
			spec.Preference = append(spec.Preference, list.ID(rnd.IntN(5)))
		}
		e := NewElector(spec, list)
		for a := range 5 {
			for b := range a {
				if e.Outranks(list.ID(a), list.ID(b)) == e.Outranks(list.ID(b), list.ID(a)) {
					t.Fatalf("%+v: %d and %d", spec, a, b)
				}
			}
		}
		if !e.Outranks("a", "z") || e.Outranks("z", "a") {
			t.Fatal("somebody who is not expected outranks a member")
		}
	}
}

func TestAPairWithoutWitnessIsUnderAvailabilityUnlessToldOtherwise(t *testing.T) {
	pair, trio := NewList(1, "a", "b"), NewList(1, "a", "b", "w")
	for _, c := range []struct {
		policy Policy
		list   List
		want   Policy
		why    bool
	}{
		{Default, pair, Availability, true},
		{Default, trio, Majority, false},
		{Majority, pair, Majority, false},
		{Availability, trio, Availability, false},
	} {
		got, why := NewElector(Spec{VIP: "x", Policy: c.policy}, c.list).Policy()
		if got != c.want || (why != "") != c.why {
			t.Errorf("%v among %d: %v, %q", c.policy, c.list.Len(), got, why)
		}
	}
	if got := fmt.Sprint(Default, Majority, Availability); got != "DEFAULT MAJORITY AVAILABILITY" {
		t.Error(got)
	}
}
