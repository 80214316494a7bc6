package table

import (
	"net/netip"
	"slices"
	"sort"
)

// MaxVirtualIPs is how many a node keeps grants of: no other is ever held.
const MaxVirtualIPs = 1024

// VirtualIP is an address that one node of the fleet holds at a time. Immutable.
type VirtualIP struct {
	Name     string
	IP       netip.Addr
	Announce Announce
	Policy   PartitionPolicy
	// Nodes and Labels choose who may hold it, see Eligible. Labels are sorted.
	Nodes  []string
	Labels []Label
	// Preference lists ids of nodes, the most wanted first.
	Preference []string
	Preempt    bool
	// Ports are those on which listeners listen on it, sorted, each once.
	Ports []uint16
}

// Label is a name with its value.
type Label struct{ Name, Value string }

// Eligible says whether the node of that id may hold the address: it is named, if
// any are, and has all the labels.
func (v *VirtualIP) Eligible(id string, label func(name string) (value string, ok bool)) bool {
	if len(v.Nodes) > 0 && !slices.Contains(v.Nodes, id) {
		return false
	}
	for _, want := range v.Labels {
		if value, ok := label(want.Name); !ok || value != want.Value {
			return false
		}
	}
	return true
}

// Announce is how the address comes to the node that holds it.
type Announce uint8

// The ways. Others are refused by the schema still.
const (
	// AnnounceBind: the holder listens on an address that it has anyway.
	AnnounceBind Announce = iota
)

// PartitionPolicy says what becomes of the address when the network is in parts.
type PartitionPolicy uint8

// The policies. PartitionDefault depends on how many members are expected.
const (
	PartitionDefault PartitionPolicy = iota
	PartitionMajority
	PartitionAvailability
)

// VirtualIP returns the virtual IP with the given name, or nil.
func (t *Table) VirtualIP(name string) *VirtualIP {
	i := sort.Search(len(t.VirtualIPs), func(i int) bool { return t.VirtualIPs[i].Name >= name })
	if i < len(t.VirtualIPs) && t.VirtualIPs[i].Name == name {
		return &t.VirtualIPs[i]
	}
	return nil
}
