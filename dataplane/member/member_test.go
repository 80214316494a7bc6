package member

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

func TestAViewIsSortedAndHasEachIDOnce(t *testing.T) {
	v := NewView(Member{ID: "c"}, Member{ID: "a", Boot: 1}, Member{ID: "b"}, Member{ID: "a", Boot: 2})
	var ids []string
	for m := range v.All() {
		ids = append(ids, m.ID)
	}
	if !slices.Equal(ids, []string{"a", "b", "c"}) || v.Len() != 3 {
		t.Errorf("ids are %v", ids)
	}
	if a, ok := v.Get("a"); !ok || a.Boot != 2 {
		t.Errorf("of two members with one id the last counts, got boot %d", a.Boot)
	}
	if _, ok := v.Get("d"); ok {
		t.Error("a member that was never there was found")
	}
	if v.At(1).ID != "b" {
		t.Errorf("member 1 is %q", v.At(1).ID)
	}
}

func TestAViewDoesNotChangeWithWhatItWasMadeOf(t *testing.T) {
	labels := []Label{{"z", "1"}, {"a", "2"}}
	holdings := []Holding{{VIP: "y", Term: 1}, {VIP: "x", Term: 2}, {VIP: "y", Term: 3}}
	list := []Member{{ID: "a", Labels: labels, Holdings: holdings}}
	v := NewView(list...)
	w := v.With(Member{ID: "b", Labels: labels})
	labels[0] = Label{"changed", "changed"}
	holdings[0].Term = 99
	list[0].ID = "changed"

	a, _ := v.Get("a")
	if want := (Member{ID: "a", Labels: []Label{{"a", "2"}, {"z", "1"}}, Holdings: []Holding{{VIP: "x", Term: 2}, {VIP: "y", Term: 3}}}); !a.Equal(want) {
		t.Errorf("member is %+v", a)
	}
	if value, ok := a.Label("z"); !ok || value != "1" {
		t.Errorf("label z is %q, %v", value, ok)
	}
	if _, ok := a.Label("y"); ok {
		t.Error("a label was found that is not there")
	}
	if h, ok := a.Holding("y"); !ok || h.Term != 3 {
		t.Errorf("holding of y is %+v, %v", h, ok)
	}
	if _, ok := a.Holding("z"); ok {
		t.Error("a holding was found that is not there")
	}
	b, _ := w.Get("b")
	if value, _ := b.Label("a"); value != "2" || v.Len() != 1 {
		t.Error("With changed the View that it was called on, or kept the caller's list")
	}
}

func TestWithAndWithoutGiveTheViewOfTheRemainingMembers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var v View
	model := map[string]Member{}
	for range 2000 {
		m := Member{ID: fmt.Sprintf("n%02d", rnd.IntN(30)), Boot: rnd.Uint64(), Flags: Flags(rnd.IntN(16))}
		before, size := v, v.Len()
		if rnd.IntN(3) > 0 {
			v = v.With(m)
			model[m.ID] = m
		} else {
			v = v.Without(m.ID)
			delete(model, m.ID)
		}
		if before.Len() != size {
			t.Fatal("a View changed")
		}
		want := make([]Member, 0, len(model))
		for _, m := range model {
			want = append(want, m)
		}
		if !v.Equal(NewView(want...)) {
			t.Fatalf("view is %v, want %v", v, want)
		}
		replay := before
		for _, c := range Diff(before, v) {
			if c.Kind == Left {
				replay = replay.Without(c.ID())
			} else {
				replay = replay.With(c.New)
			}
		}
		if !replay.Equal(v) {
			t.Fatalf("the differences lead to %v, want %v", replay, v)
		}
	}
}

func TestDiffNamesWhatBecameOfEachMember(t *testing.T) {
	old := NewView(Member{ID: "gone"}, Member{ID: "same", Boot: 1}, Member{ID: "says", Boot: 2}, Member{ID: "starts", Boot: 3})
	next := NewView(Member{ID: "came"}, Member{ID: "same", Boot: 1},
		Member{ID: "says", Boot: 2, Address: netip.MustParseAddrPort("10.0.0.1:7946")}, Member{ID: "starts", Boot: 4, Flags: Healthy})
	var got []string
	for _, c := range Diff(old, next) {
		got = append(got, c.ID()+" "+c.Kind.String())
	}
	want := []string{"came joined", "gone left", "says updated", "starts restarted"}
	if !slices.Equal(got, want) {
		t.Errorf("differences are %q, want %q", got, want)
	}
	if d := Diff(next, next.Without("nobody")); d != nil {
		t.Errorf("a View differs from itself by %v", d)
	}
	if !next.Same(next) || old.Same(next) || !(View{}).Same(View{}) {
		t.Error("Same is not the identity of Views")
	}
	if Kind(0).String() != "unknown" {
		t.Error("a kind that there is not has a name")
	}
}

func TestFlagsReadWell(t *testing.T) {
	f := Eligible | Draining | 1<<7
	if got := f.Known().String(); got != "eligible,draining" || f.Known().Has(1<<7) {
		t.Errorf("flags read %q", got)
	}
	if !f.Has(Eligible|Draining) || f.Has(Eligible|Healthy) {
		t.Error("Has does not ask for all")
	}
}

func TestLabelsOfAMapAreSorted(t *testing.T) {
	got := Labels(map[string]string{"b": "2", "a": "1", "c": "3"})
	if !slices.Equal(got, []Label{{"a", "1"}, {"b", "2"}, {"c", "3"}}) {
		t.Errorf("labels are %v", got)
	}
}
