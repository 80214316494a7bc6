package member

import "testing"

func TestListsGoForwardWithinALineage(t *testing.T) {
	have := List{Lineage: 7, Revision: 5}
	for _, c := range []struct {
		next List
		want bool
	}{
		{List{Lineage: 7, Revision: 6}, true},
		{List{Lineage: 7, Revision: 5}, false},
		{List{Lineage: 7, Revision: 4}, false},
		{List{Lineage: 8, Revision: 1}, true},
		{List{Lineage: 8}, false},
		{List{}, false},
	} {
		if got := have.Follows(c.next); got != c.want {
			t.Errorf("%+v: %v", c.next, got)
		}
	}
	if !(List{}).Follows(List{Revision: 1}) {
		t.Error("the first list is not taken")
	}
}
