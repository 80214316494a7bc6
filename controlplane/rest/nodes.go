package rest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// Nodes tells how the nodes are. Resource of a status is not set. Watch says
// "look again", coalesced, and is closed when ctx ends.
type Nodes interface {
	Nodes() []api.NodeStatus
	// VIPs are what connected nodes report of virtual IPs, by the names of those.
	VIPs() map[string][]api.VIPReport
	Watch(ctx context.Context) <-chan struct{}
	// MinSchemaLevel is the lowest schema level among the connected nodes, and
	// the node that has it; no name if none is below this build's.
	MinSchemaLevel() (level uint32, node string)
}

// Records keeps the nodes that the fleet knows. *store.Store is one; its errors
// are those of package store.
type Records interface {
	Nodes(ctx context.Context) (records []*fleetv1.NodeRecord, revision uint64, err error)
	Node(ctx context.Context, id string) (record *fleetv1.NodeRecord, seen int64, err error)
	PutNode(ctx context.Context, record *fleetv1.NodeRecord, seen int64) (int64, error)
	DeleteNode(ctx context.Context, id string) error
}

func (s *Server) listNodes(c *gin.Context) error {
	as, err := resourceForm(c.Request.Header["Accept"])
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	if as == formJSON {
		list, err := s.nodeList(ctx)
		if err != nil {
			return err
		}
		return answerJSON(c, http.StatusOK, list)
	}
	// YAML is of the records alone: without them there is no answer.
	records, _, err := s.cfg.Records.Nodes(ctx)
	if err != nil {
		return storeError{err}
	}
	now, err := s.current(ctx)
	if err != nil {
		return err
	}
	render := func(dst []byte, i int) ([]byte, error) { return resource.AppendYAML(dst, nodeResource(records[i])) }
	return streamList(c, as, version(now), len(records), render)
}

// nodeList is what is known of all nodes: by the store, or where that does not answer
// by what they said themselves.
func (s *Server) nodeList(ctx context.Context) (api.NodeList, error) {
	now, asOf, err := s.currentOrLast(ctx)
	if err != nil {
		return api.NodeList{}, err
	}
	list := api.NodeList{Wanted: version(now), ConfiguredAsOf: asOf, Items: []api.NodeStatus{}}
	if asOf != nil {
		list.Items = append(list.Items, s.cfg.Nodes.Nodes()...)
		return list, nil
	}
	records, _, err := s.cfg.Records.Nodes(ctx)
	if err != nil {
		return api.NodeList{}, storeError{err}
	}
	statuses := s.cfg.Nodes.Nodes()
	for _, record := range records {
		i := slices.IndexFunc(statuses, func(n api.NodeStatus) bool { return n.ID == record.GetNodeId() })
		known := api.NodeStatus{State: api.Disconnected, Wanted: version(now)}
		if i >= 0 {
			known = statuses[i]
			statuses = slices.Delete(statuses, i, i+1)
		}
		if known, err = withRecord(known, record); err != nil {
			return api.NodeList{}, err
		}
		list.Items = append(list.Items, known)
	}
	// What is left has no record: it is connected and about to get one, or has
	// just been forgotten.
	for _, n := range statuses {
		if n.Connected {
			list.Items = append(list.Items, n)
		}
	}
	slices.SortFunc(list.Items, func(a, b api.NodeStatus) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// withRecord completes what the stream knows of a node with what the store has,
// which may be newer.
func withRecord(n api.NodeStatus, record *fleetv1.NodeRecord) (api.NodeStatus, error) {
	spec := record.GetSpec()
	n.ID, n.Labels = record.GetNodeId(), maps.Clone(record.GetLabels())
	n.Expected = spec == nil || spec.Expected == nil || spec.GetExpected()
	n.Cordoned, n.Drained = spec.GetCordoned(), spec.GetDrained()
	if ms := record.GetFirstSeenUnixMs(); ms != 0 {
		first := time.UnixMilli(ms).UTC()
		n.FirstSeen = &first
	}
	text, err := resource.AppendJSON(nil, nodeResource(record))
	n.Resource = text
	return n, err
}

// nodeResource is a record as people write it.
func nodeResource(record *fleetv1.NodeRecord) *fleetv1.Resource {
	spec := record.GetSpec()
	if spec == nil {
		spec = &fleetv1.Node{}
	}
	return &fleetv1.Resource{
		Kind: proto.String(resource.Node), Name: proto.String(record.GetNodeId()),
		Labels: record.GetLabels(), Spec: &fleetv1.Resource_Node{Node: spec},
	}
}

func (s *Server) getNode(c *gin.Context) error {
	as, err := resourceForm(c.Request.Header["Accept"])
	if err != nil {
		return err
	}
	id, err := pathValue(c, "id")
	if err != nil {
		return err
	}
	record, seen, err := s.cfg.Records.Node(c.Request.Context(), id)
	if err != nil {
		return storeError{err}
	}
	c.Header("ETag", nodeTag(seen))
	if as == formYAML {
		text, err := resource.AppendYAML(nil, nodeResource(record))
		if err != nil {
			return err
		}
		c.Data(http.StatusOK, api.MediaYAML, text)
		return nil
	}
	return s.answerNode(c, http.StatusOK, record)
}

func (s *Server) answerNode(c *gin.Context, status int, record *fleetv1.NodeRecord) error {
	n, _ := s.node(record.GetNodeId())
	if n.ID == "" {
		now, err := s.current(c.Request.Context())
		if err != nil {
			return err
		}
		n = api.NodeStatus{State: api.Disconnected, Wanted: version(now)}
	}
	n, err := withRecord(n, record)
	if err != nil {
		return err
	}
	return answerJSON(c, status, n)
}

func (s *Server) node(id string) (api.NodeStatus, bool) {
	for _, n := range s.cfg.Nodes.Nodes() {
		if n.ID == id {
			return n, true
		}
	}
	return api.NodeStatus{}, false
}

// putNode writes a node's labels and spec, and keeps what the control plane
// notes about it by itself.
func (s *Server) putNode(c *gin.Context) error {
	id, err := pathValue(c, "id")
	if err != nil {
		return err
	}
	match, err := readTags(c.Request.Header["If-Match"])
	if err != nil {
		return err
	}
	none, err := createOnly(c.Request)
	if err != nil {
		return err
	}
	sub, done, err := s.decoded(c, func(kind string) bool { return kind == resource.Node })
	if err != nil {
		return err
	}
	defer done()
	r, err := sub.one(resource.Key{Kind: resource.Node, Name: id})
	if err != nil {
		return err
	}
	ctx := c.Request.Context()
	for range commitAttempts {
		record, seen, err := s.cfg.Records.Node(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			record, seen = &fleetv1.NodeRecord{NodeId: id}, 0
		case err != nil:
			return storeError{err}
		}
		if none && seen != 0 {
			return api.NewError(api.TypeExists, "Node/%s exists; nothing was changed", id)
		}
		if !match.holdsNode(seen) {
			return api.NewError(api.TypeStale, "Node/%s was changed since; nothing was changed", id)
		}
		record.Labels, record.Spec = r.GetLabels(), r.GetNode()
		record.Decision = max(record.GetDecision()+1, uint64(max(s.cfg.Now().UnixMilli(), 0)))
		now, err := s.cfg.Records.PutNode(ctx, record, seen)
		switch {
		case errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrExists):
			continue // read again, and with If-Match refused
		case err != nil:
			return storeError{err}
		}
		status := http.StatusOK
		if seen == 0 {
			status = http.StatusCreated
		}
		c.Header("ETag", nodeTag(now))
		if err := s.answerNode(c, status, record); err != nil {
			return fmt.Errorf("%w: %w", errMade, err)
		}
		return nil
	}
	return api.NewError(api.TypeConflict, "Node/%s: %d other changes won in a row; nothing was changed", id, commitAttempts)
}

// deleteNode forgets a node. One that is connected would be back at once.
func (s *Server) deleteNode(c *gin.Context) error {
	id, err := pathValue(c, "id")
	if err != nil {
		return err
	}
	if n, _ := s.node(id); n.Connected {
		return api.NewError(api.TypeConflict, "Node/%s is connected and would be back at once: stop it first; nothing was changed", id)
	}
	if err := s.cfg.Records.DeleteNode(c.Request.Context(), id); err != nil {
		return storeError{err}
	}
	c.Status(http.StatusNoContent)
	c.Writer.WriteHeaderNow()
	return nil
}
