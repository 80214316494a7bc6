package vip

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// Policy says what a virtual IP does when the network is in parts.
type Policy uint8

const (
	// Default is Majority, but Availability for a list of two members: there
	// each would need the other.
	Default Policy = iota
	// Majority means that nobody holds without the grants of a majority of the expected
	// members. Never two holders.
	Majority
	// Availability means that where there is no majority the grants of all members
	// that answer suffice, and that a holder that lost its majority keeps on. Each part of
	// a network in parts may have a holder; when two hear of each other, the one
	// of lower rank lets go, or the one that goes by an older list. Where their
	// configurations differ in who that is, one is left after two seconds.
	Availability
)

// String returns the policy as it is written in a VirtualIP.
func (p Policy) String() string {
	switch p {
	case Majority:
		return "MAJORITY"
	case Availability:
		return "AVAILABILITY"
	case Default:
	}
	return "DEFAULT"
}

// Spec is what a VirtualIP says of who may hold it.
type Spec struct {
	// VIP names what has one holder. Nodes whose configurations differ for a while
	// must agree on it: it is the address, as a VirtualIP may be renamed.
	VIP string
	// Nodes are the ids of those that may hold it; none: any. Labels must all be
	// on the node. Both count.
	Nodes  []string
	Labels []member.Label
	// Preference lists ids, the most wanted first. Those that it leaves out come
	// last, alike.
	Preference []string
	// Preempt: a more preferred node takes over when it becomes able. Otherwise
	// the holder stays while it is able.
	Preempt bool
	Policy  Policy
}

func (s *Spec) equal(o *Spec) bool {
	return s.VIP == o.VIP && s.Preempt == o.Preempt && s.Policy == o.Policy &&
		slices.Equal(s.Nodes, o.Nodes) && slices.Equal(s.Labels, o.Labels) && slices.Equal(s.Preference, o.Preference)
}

// elector orders the members that may hold one virtual IP. It is immutable, but for the weights
// that it has worked out. Of each member of the list it keeps the weight, and more only where the
// Spec says more: a fleet has as many electors as virtual IPs.
type elector struct {
	spec Spec
	list List
	// By the members' place in the list.
	named  subset   // by Spec.Nodes; nil: all
	prefer []uint32 // place in Spec.Preference, its length for those that it leaves out; nil: alike
	weight []uint64 // 0: nobody asked for it yet
}

// newElector returns the elector of a virtual IP among the members of a list. before is
// another one of the same virtual IP, or nil: the weights that it has of members that are in
// both lists, which moved says the places of, are taken from it.
func newElector(spec Spec, list List, before *elector, moved *move) *elector {
	e := &elector{spec: spec, list: list, weight: make([]uint64, list.Len())}
	nodes, preference := places(spec.Nodes), places(spec.Preference)
	if len(spec.Nodes) > 0 {
		e.named = newSubset(list.Len())
	}
	if len(spec.Preference) > 0 {
		e.prefer = make([]uint32, list.Len())
	}
	for i := range list.Len() {
		id := list.ID(i)
		if e.named != nil {
			if _, named := nodes[id]; named {
				e.named.add(i)
			}
		}
		if e.prefer != nil {
			place, preferred := preference[id]
			if !preferred {
				place = len(spec.Preference)
			}
			e.prefer[i] = uint32(place) //nolint:gosec // of a list in memory
		}
		if was := moved.from(i); before != nil && was != nobody {
			e.weight[i] = before.weight[was]
		}
	}
	return e
}

// places says where each id stands first.
func places(ids []string) map[string]int {
	if len(ids) == 0 {
		return nil
	}
	at := make(map[string]int, len(ids))
	for i, id := range ids {
		if _, again := at[id]; !again {
			at[id] = i
		}
	}
	return at
}

// weight is the rendezvous hash: of the members that remain, the order does not
// depend on those that went, and each virtual IP has another order. It must be
// the same in every build: SHA-256 of name, 0, id, the first eight bytes.
func weight(vip, id string) uint64 {
	b := make([]byte, 0, 128)
	b = append(b, vip...)
	b = append(b, 0)
	b = append(b, id...)
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:])
}

// weigh returns the weight of a member. A thousand virtual IPs that come at one time would keep
// what is held from being renewed if each weighed all members, and few weights are ever asked
// for: see ahead.
func (e *elector) weigh(i int) uint64 {
	if e.weight[i] == 0 {
		e.weight[i] = weight(e.spec.VIP, e.list.ID(i))
	}
	return e.weight[i]
}

// choice is who should hold one virtual IP, and in which order: the expected members that
// are in the View, may hold it, can, are not draining and are healthy, and are not out. If
// none of them is healthy, health is ignored, and the incumbent comes first in any case: what
// makes every node unhealthy is more likely a bad configuration than the nodes, and must not
// take the address off the network.
type choice struct {
	by        *elector
	in        subset
	incumbent int // the place of who holds, or nobody
	healthy   bool

	// How far ahead has come: of whom, up to which place, and how many it found.
	of, next, found int
}

// choose makes c the choice among candidates, without those that are out.
func (e *elector) choose(c *choice, all *candidates, incumbent int, out subset) {
	c.by, c.incumbent, c.healthy, c.of = e, incumbent, true, nobody
	if c.in = e.among(c.in, all, all.fit, out); c.in.empty() {
		c.in, c.healthy = e.among(c.in, all, all.unfit, out), false
	}
}

// among makes dst those of a subset of the candidates that may hold this virtual IP.
func (e *elector) among(dst subset, all *candidates, of, out subset) subset {
	dst = append(dst[:0], of...)
	for w := range dst {
		if e.named != nil {
			dst[w] &= e.named[w]
		}
		if out != nil {
			dst[w] &^= out[w]
		}
	}
	if len(e.spec.Labels) > 0 {
		for i := range e.list.Len() {
			if dst.has(i) && !e.labelled(all.member(i)) {
				dst.remove(i)
			}
		}
	}
	return dst
}

// none makes c the choice of nobody.
func (c *choice) none() { c.by, c.in = nil, c.in[:0] }

// before says whether a stands before b, both of which are chosen.
func (c *choice) before(a, b int) bool {
	first := func(i int) int {
		if i == c.incumbent {
			return 0
		}
		return 1
	}
	if !c.by.spec.Preempt || !c.healthy {
		if c := cmp.Compare(first(a), first(b)); c != 0 {
			return c < 0
		}
	}
	if r := cmp.Or(c.by.byPreference(a, b), cmp.Compare(first(a), first(b))); r != 0 {
		return r < 0
	}
	return c.by.byWeight(a, b) < 0
}

// precedes says whether a is chosen, and stands before b if b is too.
func (c *choice) precedes(a, b int) bool {
	return c.in.has(a) && (!c.in.has(b) || c.before(a, b))
}

// ahead is how many are known to stand before a member that is chosen, which is all that do if
// it is fewer than limit. It looks at no more members than it takes to say so, and goes on there
// when it is asked again: with weights that is some ten members for the first, however many there
// are, since most members have many before them.
func (c *choice) ahead(of, limit int) int {
	if c.of != of {
		c.of, c.next, c.found = of, 0, 0
	}
	for ; c.found < limit && c.next < c.by.list.Len(); c.next++ {
		if c.next != of && c.in.has(c.next) && c.before(c.next, of) {
			c.found++
		}
	}
	return c.found
}

// able says whether member i, of which m is known, can hold the virtual IP at
// all, well or badly.
func (e *elector) able(i int, m member.Member) bool {
	return (e.named == nil || e.named.has(i)) && couldHold(m) && e.labelled(m)
}

// couldHold says whether a member can hold anything.
func couldHold(m member.Member) bool {
	return m.Flags.Has(member.Eligible) && !m.Flags.Has(member.Witness)
}

// labelled says whether a member has the labels.
func (e *elector) labelled(m member.Member) bool {
	for _, want := range e.spec.Labels {
		if got, ok := m.Label(want.Name); !ok || got != want.Value {
			return false
		}
	}
	return true
}

func (e *elector) byPreference(a, b int) int {
	if e.prefer == nil {
		return 0
	}
	return cmp.Compare(e.prefer[a], e.prefer[b])
}

func (e *elector) byWeight(a, b int) int {
	return cmp.Or(cmp.Compare(e.weigh(b), e.weigh(a)), cmp.Compare(a, b))
}

// outranks says whether a comes before b whatever their state: which of two
// holders stays.
func (e *elector) outranks(a, b int) bool {
	if r := e.byPreference(a, b); r != 0 {
		return r < 0
	}
	return e.byWeight(a, b) < 0
}

// policy is the one in force, and why if it is not what the Spec says.
func (e *elector) policy() (p Policy, why string) {
	if e.spec.Policy != Default {
		return e.spec.Policy, ""
	}
	if e.list.Len() == 2 {
		return Availability, "two expected members and no witness: each would need the other"
	}
	return Majority, ""
}
