package api

// Epoch is a life of the store, and which nodes do not follow into it.
type Epoch struct {
	// Version is the head, of this epoch.
	Version
	// ClusterID is that of the etcd cluster that the epoch belongs to, in hex.
	ClusterID string `json:"clusterID"`
	// Accepted: nodes follow the epoch whatever they lose by it. One that was not
	// accepted is followed by nodes that lose no virtual IP and at most a tenth of
	// their routes.
	Accepted bool `json:"accepted"`
	// Held are the nodes that hold the epoch, by id.
	Held []HeldNode `json:"held"`
}

// HeldNode is a node that holds an epoch.
type HeldNode struct {
	ID string `json:"id"`
	// Running is what the node serves meanwhile; nil: nothing yet.
	Running *Version `json:"running,omitempty"`
	// Loss is what the node would lose.
	Loss Loss `json:"loss"`
}

// AcceptRequest is the body of POST /v1/epoch/accept.
type AcceptRequest struct {
	// Epoch that is accepted: it must be the one in force.
	Epoch uint64 `json:"epoch"`
}
