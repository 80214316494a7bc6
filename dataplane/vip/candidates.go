package vip

import (
	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// What follows from a View, or from two lists, is worked out once and not for each of a
// thousand virtual IPs: the renewals of what is held wait for it.

// subset is some of the members of a list, by place.
type subset []uint64

func newSubset(members int) subset { return make(subset, (members+63)/64) }

func (s subset) has(i int) bool { return i >= 0 && i>>6 < len(s) && s[i>>6]>>(i&63)&1 != 0 }
func (s subset) add(i int)      { s[i>>6] |= 1 << (i & 63) }
func (s subset) remove(i int)   { s[i>>6] &^= 1 << (i & 63) }

func (s subset) empty() bool {
	for _, w := range s {
		if w != 0 {
			return false
		}
	}
	return true
}

// candidates are the members of a list that could hold anything, as a View has them.
type candidates struct {
	view  member.View
	fit   subset // healthy
	unfit subset
	at    []int32 // by place in the list: the place in the View, or nobody

	// holders are the members that say they hold a virtual IP, by its name; where several do,
	// the one with the highest term. The map is made when it is asked for first.
	holders map[string]holder
}

// holder is a member's word that it holds.
type holder struct {
	who  int // place in the list, or nobody
	term uint64
}

// newCandidates looks at a View. Both are in the order of ids.
func newCandidates(list List, view member.View) *candidates {
	c := &candidates{view: view, fit: newSubset(list.Len()), unfit: newSubset(list.Len()), at: make([]int32, list.Len())}
	j := 0
	for i := range list.Len() {
		id := list.ID(i)
		for j < view.Len() && view.At(j).ID < id {
			j++
		}
		if c.at[i] = nobody; j == view.Len() || view.At(j).ID != id {
			continue
		}
		c.at[i] = int32(j) //nolint:gosec // of a View in memory
		switch m := view.At(j); {
		case !couldHold(m) || m.Flags.Has(member.Draining):
		case m.Flags.Has(member.Healthy):
			c.fit.add(i)
		default:
			c.unfit.add(i)
		}
	}
	return c
}

// member is what is known of a member, which must be there.
func (c *candidates) member(place int) member.Member { return c.view.At(int(c.at[place])) }

// boot is the boot id of a member's process, if it is there.
func (c *candidates) boot(place int) (boot uint64, ok bool) {
	if c.at[place] == nobody {
		return 0, false
	}
	return c.member(place).Boot, true
}

// update takes a View that differs from the one before in what its members hold only.
func (c *candidates) update(view member.View) { c.view, c.holders = view, nil }

// holder is the member that says it holds a virtual IP.
func (c *candidates) holder(list List, vip string) (h holder, ok bool) {
	if c.holders == nil {
		c.holders = map[string]holder{}
		for m := range c.view.All() {
			for _, held := range m.Holdings {
				if h, ok := c.holders[held.VIP]; ok && h.term >= held.Term {
					continue
				}
				who, listed := list.Index(m.ID)
				if !listed {
					who = nobody
				}
				c.holders[held.VIP] = holder{who, held.Term}
			}
		}
	}
	h, ok = c.holders[vip]
	return h, ok
}

// move is where the members of one list stand in another. nil: they are the same list.
type move struct{ was, is []int32 }

// newMove compares two lists, both in the order of ids.
func newMove(old, next List) *move {
	m := &move{was: make([]int32, next.Len()), is: make([]int32, old.Len())}
	for i := range m.is {
		m.is[i] = nobody
	}
	j := 0
	for i := range next.Len() {
		for j < old.Len() && old.ID(j) < next.ID(i) {
			j++
		}
		if m.was[i] = nobody; j < old.Len() && old.ID(j) == next.ID(i) {
			m.was[i], m.is[j] = int32(j), int32(i) //nolint:gosec // MaxMembers
		}
	}
	return m
}

// from is where the member at a place of the new list stood, or nobody.
func (m *move) from(place int) int {
	if m == nil {
		return place
	}
	return int(m.was[place])
}

// to is where the member at a place of the old list stands, or nobody.
func (m *move) to(place int) int {
	if m == nil || place == nobody {
		return place
	}
	return int(m.is[place])
}
