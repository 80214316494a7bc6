package api

import (
	"slices"
	"time"
)

// VIPState is a node's own part in one virtual IP.
type VIPState string

// The states of a node towards a virtual IP.
const (
	// VIPHolding: it has the grants that it needs.
	VIPHolding VIPState = "HOLDING"
	// VIPAsking: it asks for them.
	VIPAsking VIPState = "ASKING"
	// VIPWaiting: a candidate whose turn it is not.
	VIPWaiting VIPState = "WAITING"
	// VIPIdle: no candidate.
	VIPIdle VIPState = "IDLE"
	// VIPUnknown: expected, and does not report: it is not connected, does not run
	// the virtual IP yet, or takes no part in gossip.
	VIPUnknown VIPState = "UNKNOWN"
)

// VIPReport is how one node sees one virtual IP.
type VIPReport struct {
	Node  string   `json:"node"`
	State VIPState `json:"state"`
	// Holds: the node accepts connections to the address now.
	Holds bool `json:"holds"`
	// Holder is who holds, as far as the node knows.
	Holder string     `json:"holder,omitempty"`
	Term   uint64     `json:"term,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
	// Alive of the Expected members are there; Needed make a majority.
	Alive    uint32 `json:"alive"`
	Expected uint32 `json:"expected"`
	Needed   uint32 `json:"needed"`
	// Policy is the partition policy in force, Why says why if the VirtualIP does
	// not say so.
	Policy string `json:"policy,omitempty"`
	Why    string `json:"why,omitempty"`
	// NotEligible is why the node does not take the virtual IP, or only if nobody else
	// can.
	NotEligible string `json:"notEligible,omitempty"`
	// ListRevision is that of the list of expected members that the node goes by.
	ListRevision uint64 `json:"listRevision,omitempty"`
	// Conflict is another node that has the address too, as this one sees it.
	Conflict string `json:"conflict,omitempty"`
	// Reported is when the control plane heard it, HeldFrom when it first heard of
	// this term that the node holds.
	Reported time.Time  `json:"reported,omitzero"`
	HeldFrom *time.Time `json:"heldFrom,omitempty"`
	// Stale: the node said that it holds before another one took over in a later
	// term, and has said nothing since.
	Stale bool `json:"stale,omitempty"`
}

// VIPStatus is how a virtual IP stands: what its holder says, else what the node
// says that knows the newest list and sees the most members.
type VIPStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// Holder is the node that says it holds; empty: none does, or Holders do.
	Holder string `json:"holder,omitempty"`
	// Holders are several nodes that say so, which must not be.
	Holders  []string   `json:"holders,omitempty"`
	Term     uint64     `json:"term,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
	Alive    uint32     `json:"alive"`
	Expected uint32     `json:"expected"`
	Needed   uint32     `json:"needed"`
	Policy   string     `json:"policy,omitempty"`
	Why      string     `json:"why,omitempty"`
	// ListRevision is that of the list of expected members.
	ListRevision uint64 `json:"listRevision,omitempty"`
	// ConfiguredAsOf is set where etcd does not answer the control plane: name and
	// address are as they were configured then. What nodes report does not go by etcd.
	ConfiguredAsOf *time.Time `json:"configuredAsOf,omitempty"`
	// Problems are what is wrong, for people: nobody holds, several do, nodes
	// disagree.
	Problems []string `json:"problems,omitempty"`
	// Nodes are what the nodes report, by id.
	Nodes []VIPReport `json:"nodes"`
}

// SeenHolder is the node that others take for the holder and that reports nothing
// itself, as it is not connected to this control plane; empty: there is none.
func (v VIPStatus) SeenHolder() string {
	if v.Holder != "" || len(v.Holders) > 0 {
		return ""
	}
	for _, n := range v.Nodes {
		silent := !slices.ContainsFunc(v.Nodes, func(r VIPReport) bool {
			return r.Node == n.Holder && r.State != VIPUnknown
		})
		if n.Holder != "" && silent {
			return n.Holder
		}
	}
	return ""
}

// VIPList is every virtual IP, by name.
type VIPList struct {
	Items []VIPStatus `json:"items"`
}
