package controlplanetest

import (
	"fmt"
	"net/http"
	"slices"

	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// Node is a node in the given state that runs revision running (0: nothing)
// while wanted is wanted.
func Node(id string, state api.NodeState, running, wanted uint64) api.NodeStatus {
	n := api.NodeStatus{
		ID: id, Expected: true, Connected: state != api.Disconnected, State: state,
		Wanted: api.Version{Epoch: Epoch, Revision: wanted},
		Build:  "v0.1.0-test", SchemaLevel: resource.SchemaLevel,
	}
	if running > 0 {
		n.Running = &api.Version{Epoch: Epoch, Revision: running}
	}
	return n
}

// nodeResource is a node as a resource.
func nodeResource(n api.NodeStatus) *fleetv1.Resource {
	node := &fleetv1.Node{Expected: proto.Bool(n.Expected)}
	if n.Drained {
		node.Drained = proto.Bool(true)
	}
	return &fleetv1.Resource{
		Kind: proto.String(resource.Node), Name: proto.String(n.ID), Labels: n.Labels,
		Spec: &fleetv1.Resource_Node{Node: node},
	}
}

// withResource fills in the node as a resource.
func withResource(n api.NodeStatus) (api.NodeStatus, error) {
	data, err := resource.AppendJSON(nil, nodeResource(n))
	n.Resource = data
	return n, err
}

func (s *Server) listNodes(w http.ResponseWriter, _ *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := api.NodeList{Wanted: s.head().entry.Version, ConfiguredAsOf: s.asOf, Items: []api.NodeStatus{}}
	for _, n := range s.nodes {
		if s.asOf == nil { // else nobody knows it
			var err error
			if n, err = withResource(n); err != nil {
				return err
			}
		}
		list.Items = append(list.Items, n)
	}
	return writeJSON(w, http.StatusOK, "", list)
}

// node is the index of the node that the path names. The caller holds mu.
func (s *Server) node(r *http.Request) (int, error) {
	i := slices.IndexFunc(s.nodes, func(n api.NodeStatus) bool { return n.ID == r.PathValue("name") })
	if i < 0 {
		return 0, api.NewError(api.TypeNotFound, "Node/%s: there is none", r.PathValue("name"))
	}
	return i, nil
}

func (s *Server) getNode(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.node(r)
	if err != nil {
		return err
	}
	if !wantsYAML(r) {
		n, err := withResource(s.nodes[i])
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, nodeTag(i), n)
	}
	res := nodeResource(s.nodes[i])
	canonical, err := resource.Canonical(res)
	if err != nil {
		return err
	}
	return writeResource(w, r, nodeTag(i), tree.Leaf{Key: resource.KeyOf(res), Bytes: canonical})
}

func nodeTag(i int) string { return fmt.Sprintf(`"%d"`, i+100) }

func (s *Server) putNode(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	docs, err := decode(body, func(tree.Key) bool { return true })
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.node(r)
	if err != nil {
		return err
	}
	if err := s.ifMatch(r, nodeTag(i)); err != nil {
		return err
	}
	s.nodes[i].Labels = docs[0].Resource.GetLabels()
	s.nodes[i].Expected = docs[0].Resource.GetNode().Expected == nil || docs[0].Resource.GetNode().GetExpected()
	s.nodes[i].Drained = docs[0].Resource.GetNode().GetDrained()
	return writeJSON(w, http.StatusOK, nodeTag(i), s.nodes[i])
}

func (s *Server) deleteNode(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.node(r)
	if err != nil {
		return err
	}
	s.nodes = slices.Delete(s.nodes, i, i+1)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
