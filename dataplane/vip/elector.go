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

// elector orders the members that may hold one virtual IP. It is immutable.
type elector struct {
	spec Spec
	list List
	// By the members' place in the list.
	named  []bool
	prefer []int
	weight []uint64
}

// newElector returns the elector of a virtual IP among the members of a list.
func newElector(spec Spec, list List) *elector {
	e := &elector{
		spec: spec, list: list,
		named: make([]bool, list.Len()), prefer: make([]int, list.Len()), weight: make([]uint64, list.Len()),
	}
	nodes, preference := places(spec.Nodes), places(spec.Preference)
	for i := range list.Len() {
		id := list.ID(i)
		_, named := nodes[id]
		e.named[i] = named || len(spec.Nodes) == 0
		place, preferred := preference[id]
		if !preferred {
			place = len(spec.Preference)
		}
		e.prefer[i] = place
		e.weight[i] = weight(spec.VIP, id)
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

// order appends to dst the places of those that should hold the virtual IP, the best
// first: the expected members that are in the View, may hold it, can, are not
// draining and are healthy, and are not out. If none of them is healthy, health is
// ignored, and the incumbent comes first in any case: what makes every node unhealthy
// is more likely a bad configuration than the nodes, and must not take the address off
// the network. incumbent is the place of who holds, or nobody.
func (e *elector) order(dst []int, view member.View, incumbent int, out func(int) bool) []int {
	healthy := false
	for i := range e.list.Len() {
		m, ok := view.Get(e.list.ID(i))
		if !ok || out(i) || m.Flags.Has(member.Draining) || !e.able(i, m) {
			continue
		}
		fit := m.Flags.Has(member.Healthy)
		if fit && !healthy {
			dst, healthy = dst[:0], true
		}
		if fit == healthy {
			dst = append(dst, i)
		}
	}
	first := func(i int) int {
		if i == incumbent {
			return 0
		}
		return 1
	}
	slices.SortFunc(dst, func(a, b int) int {
		if !e.spec.Preempt || !healthy {
			if c := cmp.Compare(first(a), first(b)); c != 0 {
				return c
			}
		}
		return cmp.Or(cmp.Compare(e.prefer[a], e.prefer[b]), cmp.Compare(first(a), first(b)), e.byWeight(a, b))
	})
	return dst
}

// able says whether member i, of which m is known, can hold the virtual IP at
// all, well or badly.
func (e *elector) able(i int, m member.Member) bool {
	if !e.named[i] || !m.Flags.Has(member.Eligible) || m.Flags.Has(member.Witness) {
		return false
	}
	for _, want := range e.spec.Labels {
		if got, ok := m.Label(want.Name); !ok || got != want.Value {
			return false
		}
	}
	return true
}

func (e *elector) byWeight(a, b int) int {
	return cmp.Or(cmp.Compare(e.weight[b], e.weight[a]), cmp.Compare(a, b))
}

// outranks says whether a comes before b whatever their state: which of two
// holders stays.
func (e *elector) outranks(a, b int) bool {
	return cmp.Or(cmp.Compare(e.prefer[a], e.prefer[b]), e.byWeight(a, b)) < 0
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
