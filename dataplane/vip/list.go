package vip

import "slices"

// MaxMembers bounds a list: a holder sends to each of them at every Beat.
const MaxMembers = 1024

// List is the expected members of the fleet, whether they are there or not. It
// is immutable.
type List struct {
	// Revision names the list: lists of one revision are equal.
	Revision uint64
	ids      []string
}

// NewList returns the list of the ids, of which more than MaxMembers are left
// out.
func NewList(revision uint64, ids ...string) List {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if len(ids) > MaxMembers {
		ids = ids[:MaxMembers]
	}
	return List{revision, slices.Clip(ids)}
}

// Len is the number of expected members.
func (l List) Len() int { return len(l.ids) }

// ID is member i in the order of ids.
func (l List) ID(i int) string { return l.ids[i] }

// Index finds a member.
func (l List) Index(id string) (int, bool) { return slices.BinarySearch(l.ids, id) }

// Needed is how many members make a majority: more than half. Half of them is
// none, whichever it is: such a half of {a,b}, and a majority of {b}, the list
// that it was made from, would be disjoint (docs/adr/0007).
func (l List) Needed() int { return len(l.ids)/2 + 1 }

// Majority says whether that many votes are a majority.
func (l List) Majority(votes int) bool { return votes >= l.Needed() }

// equal says whether the lists have one revision and the same members.
func (l List) equal(o List) bool {
	return l.Revision == o.Revision && slices.Equal(l.ids, o.ids)
}
