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

// opinion is what a node knows beyond its View.
type opinion struct {
	incumbent string // empty: who the View says holds
	out       string // whom to leave out; empty: nobody
}

// order are the ids of those that are chosen, the best first.
func (c *choice) order() (ids []string) {
	if c.by == nil {
		return nil
	}
	ids = make([]string, c.by.list.Len())
	for i := range c.by.list.Len() {
		if c.in.has(i) {
			ids[c.ahead(i, c.by.list.Len())] = c.by.list.ID(i)
		}
	}
	return slices.DeleteFunc(ids, func(id string) bool { return id == "" })
}

// elected are the ids of those that should hold.
func (e *elector) elected(view member.View, o opinion) (ids []string) {
	all := newCandidates(e.list, view)
	incumbent, ok := e.list.Index(o.incumbent)
	if !ok {
		incumbent = nobody
	}
	if h, ok := all.holder(e.list, e.spec.VIP); ok && o.incumbent == "" {
		incumbent = h.who
	}
	out := newSubset(e.list.Len())
	if i, ok := e.list.Index(o.out); ok {
		out.add(i)
	}
	var c choice
	e.choose(&c, all, incumbent, out)
	return c.order()
}

func TestTheHolderIsTheLatestToHaveTaken(t *testing.T) {
	list := NewList(1, "a", "b", "c")
	all := newCandidates(list, member.NewView(
		member.Member{ID: "a", Holdings: []member.Holding{{VIP: "x", Term: 3}}},
		member.Member{ID: "b", Holdings: []member.Holding{{VIP: "x", Term: 5}, {VIP: "y", Term: 1}}},
		member.Member{ID: "c", Holdings: []member.Holding{{VIP: "x", Term: 5}}},
		member.Member{ID: "d", Holdings: []member.Holding{{VIP: "w", Term: 1}}},
	))
	if h, ok := all.holder(list, "x"); !ok || list.ID(h.who) != "b" || h.term != 5 {
		t.Errorf("x: %+v, %t", h, ok)
	}
	if h, ok := all.holder(list, "w"); !ok || h.who != nobody {
		t.Errorf("w, which a member holds that the list leaves out: %+v, %t", h, ok)
	}
	if h, ok := all.holder(list, "z"); ok {
		t.Errorf("z, which nobody holds: %+v", h)
	}
}

func TestTheElectionIsAFunctionOfTheView(t *testing.T) {
	prefer := Spec{Preference: []string{"a", "b", "c", "d"}}
	preempt := Spec{Preference: []string{"a", "b", "c", "d"}, Preempt: true}
	cases := []struct {
		name, view string
		spec       Spec
		opinion    opinion
		want       string
	}{
		{"preference decides", "a b c", prefer, opinion{}, "abc"},
		{"the holder comes first", "a b c*", prefer, opinion{}, "cab"},
		{"unless it can be preempted", "a b c*", preempt, opinion{}, "abc"},
		{"a better informed node's opinion goes before the View", "a b c*", prefer, opinion{incumbent: "b"}, "bac"},
		{"a holder that is left out is not first", "a b c*", prefer, opinion{out: "c"}, "ab"},
		{"members that are not there do not count", "b d", prefer, opinion{}, "bd"},
		{"members that are not expected do not count", "b z", prefer, opinion{}, "b"},
		{"the ineligible do not count", "a0 b c", prefer, opinion{}, "bc"},
		{"witnesses do not count", "aw b c", prefer, opinion{}, "bc"},
		{"the draining do not count", "a! b c*!", prefer, opinion{}, "b"},
		{"the unhealthy do not count", "a- b c*-", prefer, opinion{}, "b"},
		{"unless nobody is healthy: then the holder stays", "a- b- c*-", prefer, opinion{}, "cab"},
		{"also with preempt", "a- b- c*-", preempt, opinion{}, "cab"},
		{"a healthy witness does not make the others count less", "aw b- c*-", prefer, opinion{}, "cb"},
		{"nor does a healthy node that drains", "a! b- c*-", prefer, opinion{}, "cb"},
		{"only the named", "a b c d", Spec{Preference: prefer.Preference, Nodes: []string{"c", "b"}}, opinion{}, "bc"},
		{"only those with the labels", "a b c d", Spec{Preference: prefer.Preference, Labels: []member.Label{{Name: "zone", Value: "c"}}}, opinion{}, "c"},
		{"only those with all labels", "a b c d", Spec{Labels: []member.Label{{Name: "zone", Value: "c"}, {Name: "rack", Value: "1"}}}, opinion{}, ""},
		{"the unlisted come after the preferred", "a b c d", Spec{Preference: []string{"d"}, Nodes: []string{"a", "d"}}, opinion{}, "da"},
		{"with preempt the holder goes before its equals", "a b c*", Spec{Preempt: true, Nodes: []string{"b", "c"}}, opinion{}, "cb"},
		{"nobody", "", prefer, opinion{}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.spec.VIP = "x"
			e := newElector(c.spec, NewList(1, "d", "c", "b", "a", "b"), nil, nil)
			if got := strings.Join(e.elected(fleet(c.view), c.opinion), ""); got != c.want {
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
		e := newElector(Spec{VIP: fmt.Sprint("vip-", i)}, list, nil, nil)
		before, after := e.elected(all, opinion{}), e.elected(without, opinion{})
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
	if got := strings.Join(newElector(Spec{VIP: "edge"}, list, nil, nil).elected(all, opinion{}), ""); got != "adcbe" {
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
		e := newElector(spec, list, nil, nil)
		for a := range 5 {
			for b := range a {
				if e.outranks(a, b) == e.outranks(b, a) {
					t.Fatalf("%+v: %d and %d", spec, a, b)
				}
			}
		}
	}
}

// Whoever asks for how many stand before a member learns either that, or that they are as many
// as he asked for, whatever he asked for before.
func TestAheadCountsAsFarAsItIsAsked(t *testing.T) {
	var ids []string
	for i := range 100 {
		ids = append(ids, fmt.Sprintf("%02d", i))
	}
	list := NewList(1, ids...)
	rnd := rand.New(rand.NewPCG(3, 3))
	for i := range 100 {
		var c choice
		in := newSubset(list.Len())
		for j := range list.Len() {
			if rnd.IntN(4) > 0 {
				in.add(j)
			}
		}
		spec := Spec{VIP: fmt.Sprint(i), Preempt: rnd.IntN(2) == 0}
		for range rnd.IntN(3) {
			spec.Preference = append(spec.Preference, ids[rnd.IntN(len(ids))])
		}
		newElector(spec, list, nil, nil).choose(&c, &candidates{fit: in}, rnd.IntN(list.Len()+1)-1, nil)
		for range 5 {
			of := rnd.IntN(list.Len())
			all := 0
			for j := range list.Len() {
				if in.has(j) && j != of && c.before(j, of) {
					all++
				}
			}
			for range 5 {
				limit := rnd.IntN(list.Len())
				if got := c.ahead(of, limit); got > all || got < min(limit, all) {
					t.Fatalf("case %d: at least %d are before %d, and %d are: got %d", i, limit, of, all, got)
				}
			}
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
		got, why := newElector(Spec{VIP: "x", Policy: c.policy}, c.list, nil, nil).policy()
		if got != c.want || (why != "") != c.why {
			t.Errorf("%v among %d: %v, %q", c.policy, c.list.Len(), got, why)
		}
	}
	if got := fmt.Sprint(Default, Majority, Availability); got != "DEFAULT MAJORITY AVAILABILITY" {
		t.Error(got)
	}
}
