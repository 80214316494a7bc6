package member

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Flags are what a member says of itself.
type Flags uint8

const (
	// Eligible says that the node can hold a virtual IP now: its main process is
	// there, the interface has a carrier, it is not cordoned.
	Eligible Flags = 1 << iota
	// Healthy says that the node's loops turn and its probe through its own listener
	// is good.
	Healthy
	// Draining says that the node gives up what it holds as soon as another can
	// take it.
	Draining
	// Witness says that the node grants to others and never holds anything.
	Witness

	allFlags = Eligible | Healthy | Draining | Witness
)

// Has says whether all of f are set.
func (s Flags) Has(f Flags) bool { return s&f == f }

// Known drops the bits that this build does not know.
func (s Flags) Known() Flags { return s & allFlags }

// String lists the flags that are set, such as "eligible,healthy".
func (s Flags) String() string {
	var names []string
	for i, name := range []string{"eligible", "healthy", "draining", "witness"} {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Label is a name with its value.
type Label struct {
	Name, Value string
}

// Labels returns the labels of a map, in the order that a Member needs.
func Labels(m map[string]string) []Label {
	labels := make([]Label, 0, len(m))
	for name, value := range m {
		labels = append(labels, Label{name, value})
	}
	slices.SortFunc(labels, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	return labels
}

// Holding is a virtual IP that a member says it holds.
type Holding struct {
	// VIP is its address.
	VIP string
	// Term counts the tenures of the virtual IP: of two members that say they
	// hold it, the one with the higher term took it later.
	Term uint64
	// SinceUnixMS is for people: when the member took it, by its wall clock.
	SinceUnixMS int64
}

// Member is one node of the fleet. It is immutable, with what it refers to.
type Member struct {
	ID string
	// Boot is random, and another at each start of the member's process.
	Boot uint64
	// Address is where the member's gossip is reached.
	Address netip.AddrPort
	Flags   Flags
	// ListRevision is that of the list of expected members that the member goes
	// by.
	ListRevision uint64
	// Labels are sorted by name, each name once.
	Labels []Label
	// Holdings are sorted by VIP, each VIP once.
	Holdings []Holding
	// HoldingsCut: the member holds more than Holdings says.
	HoldingsCut bool
}

// Label returns the value of the label called name.
func (m Member) Label(name string) (value string, ok bool) {
	i, ok := slices.BinarySearchFunc(m.Labels, name, func(l Label, name string) int {
		return strings.Compare(l.Name, name)
	})
	if !ok {
		return "", false
	}
	return m.Labels[i].Value, true
}

// Holding returns what the member says of its hold on vip.
func (m Member) Holding(vip string) (Holding, bool) {
	i, ok := slices.BinarySearchFunc(m.Holdings, vip, func(h Holding, vip string) int {
		return strings.Compare(h.VIP, vip)
	})
	if !ok {
		return Holding{}, false
	}
	return m.Holdings[i], true
}

// Equal says whether nothing tells m and o apart.
func (m Member) Equal(o Member) bool {
	return m.ID == o.ID && m.Boot == o.Boot && m.Address == o.Address && m.Flags == o.Flags &&
		m.ListRevision == o.ListRevision && m.HoldingsCut == o.HoldingsCut &&
		slices.Equal(m.Labels, o.Labels) && slices.Equal(m.Holdings, o.Holdings)
}

// normal returns m with sorted lists of its own, so that whoever made it cannot
// change them any more.
func (m Member) normal() Member {
	m.Labels = sorted(m.Labels, func(l Label) string { return l.Name })
	m.Holdings = sorted(m.Holdings, func(h Holding) string { return h.VIP })
	return m
}

// sorted returns a sorted copy of list in which each key stands once, with what
// came last for it.
func sorted[T any](list []T, key func(T) string) []T {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	kept := list[:0]
	for i, e := range list {
		if i+1 == len(list) || key(list[i+1]) != key(e) {
			kept = append(kept, e)
		}
	}
	return slices.Clip(kept)
}
