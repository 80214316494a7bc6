package controlplanetest

import (
	"encoding/json"
	"net/http"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// Holds is a node that runs the revision of an epoch before, and holds this one.
func Holds(id string, running uint64, loss api.Loss) api.NodeStatus {
	n := Node(id, api.Held, running, 0)
	n.Held = &loss
	n.Running.Epoch = Epoch - 1
	n.Problems = []api.Problem{{Got: "a new epoch", Expected: "an old one"}}
	return n
}

// epochLocked is the epoch. The caller holds mu.
func (s *Server) epochLocked() api.Epoch {
	e := api.Epoch{Version: s.head().entry.Version, ClusterID: "cdf818194e3a8c32", Accepted: s.accepted, Held: []api.HeldNode{}}
	for _, n := range s.nodes {
		if n.State == api.Held {
			e.Held = append(e.Held, api.HeldNode{ID: n.ID, Running: n.Running, Loss: *n.Held})
		}
	}
	return e
}

func (s *Server) showEpoch(w http.ResponseWriter, _ *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return writeJSON(w, http.StatusOK, api.EpochTag(Epoch), s.epochLocked())
}

// acceptEpoch lets the nodes that hold the epoch follow.
func (s *Server) acceptEpoch(w http.ResponseWriter, r *http.Request) error {
	var q api.AcceptRequest
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return api.NewError(api.TypeMalformed, "%v", err)
	}
	if q.Epoch != Epoch {
		return api.NewError(api.TypeStale, "the fleet is in epoch %d; nothing was accepted", Epoch)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted = true
	for i, n := range s.nodes {
		if n.State == api.Held {
			running := n.Wanted
			s.nodes[i].State, s.nodes[i].Held, s.nodes[i].Problems, s.nodes[i].Running = api.Synced, nil, nil, &running
			s.tell(api.Event{Type: api.EventNodeAcked, Node: &s.nodes[i]})
		}
	}
	return writeJSON(w, http.StatusOK, api.EpochTag(Epoch), s.epochLocked())
}
