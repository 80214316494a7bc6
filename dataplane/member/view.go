package member

import (
	"iter"
	"slices"
	"strings"
)

// View is the members that a node knows to be there, itself among them, sorted
// by id. The zero View has none. A View never changes.
type View struct {
	members []Member
}

// NewView returns a View of the members. Of several with one id the last counts.
func NewView(members ...Member) View {
	list := sorted(members, func(m Member) string { return m.ID })
	for i := range list {
		list[i] = list[i].normal()
	}
	return View{list}
}

// Len is the number of members.
func (v View) Len() int { return len(v.members) }

// At returns member i in the order of ids.
func (v View) At(i int) Member { return v.members[i] }

// All yields the members in the order of their ids.
func (v View) All() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		for _, m := range v.members {
			if !yield(m) {
				return
			}
		}
	}
}

// Get returns the member called id.
func (v View) Get(id string) (Member, bool) {
	i, ok := v.find(id)
	if !ok {
		return Member{}, false
	}
	return v.members[i], true
}

// With returns a View in which m stands, instead of the member of that id if
// there was one.
func (v View) With(m Member) View {
	m = m.normal()
	i, ok := v.find(m.ID)
	if ok {
		list := slices.Clone(v.members)
		list[i] = m
		return View{list}
	}
	list := make([]Member, 0, len(v.members)+1)
	list = append(list, v.members[:i]...)
	list = append(list, m)
	return View{append(list, v.members[i:]...)}
}

// Without returns a View without the member called id.
func (v View) Without(id string) View {
	i, ok := v.find(id)
	if !ok {
		return v
	}
	return View{slices.Concat(v.members[:i], v.members[i+1:])}
}

// Same says whether v and o are one and the same View, at the cost of a
// comparison of pointers: if not, they may still be Equal.
func (v View) Same(o View) bool {
	return len(v.members) == len(o.members) && (len(v.members) == 0 || &v.members[0] == &o.members[0])
}

// Equal says whether v and o say the same.
func (v View) Equal(o View) bool {
	return v.Same(o) || slices.EqualFunc(v.members, o.members, Member.Equal)
}

func (v View) find(id string) (int, bool) {
	return slices.BinarySearchFunc(v.members, id, func(m Member, id string) int {
		return strings.Compare(m.ID, id)
	})
}
