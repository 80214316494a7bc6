// Package nodestest keeps the records of nodes in memory, for tests that need no etcd.
package nodestest

import (
	"context"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/controlplane/bell"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// Content is what Records hold, and how they fail.
type Content struct {
	Nodes map[string]*fleetv1.NodeRecord // replaced, never changed in place
	// List is nil before the first; it counts as changed with Seen.
	List *fleetv1.ListRecord
	Seen int64
	// FailNodes and FailList are what writing says; nil: it works.
	FailNodes, FailList error
}

// Records are node records and the list of expected members.
type Records struct {
	news bell.Bell

	mu       sync.Mutex
	content  Content // guarded by mu
	revision uint64  // guarded by mu
}

// New are no records.
func New() *Records {
	return &Records{content: Content{Nodes: map[string]*fleetv1.NodeRecord{}}}
}

// Edit changes the content, as somebody else does, and tells whoever watches.
func (r *Records) Edit(change func(*Content)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.content)
	r.changed()
}

// Look reads the content.
func (r *Records) Look(at func(Content)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at(r.content)
}

func (r *Records) changed() {
	r.revision++
	r.news.Ring()
}

// WatchNodes says "look again", coalesced, until ctx ends.
func (r *Records) WatchNodes(ctx context.Context) <-chan struct{} { return r.news.Listen(ctx) }

// Nodes are all records, sorted by id, and the number of changes.
func (r *Records) Nodes(context.Context) ([]*fleetv1.NodeRecord, uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*fleetv1.NodeRecord
	for _, n := range r.content.Nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *fleetv1.NodeRecord) int { return strings.Compare(a.GetNodeId(), b.GetNodeId()) })
	return out, r.revision, nil
}

// Node is one record; store.ErrNotFound: there is none.
func (r *Records) Node(_ context.Context, id string) (*fleetv1.NodeRecord, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.content.Nodes[id] == nil {
		return nil, 0, store.ErrNotFound
	}
	return proto.CloneOf(r.content.Nodes[id]), 1, nil
}

// PutNode writes a record; store.ErrExists: it was to be created, and is there.
func (r *Records) PutNode(_ context.Context, n *fleetv1.NodeRecord, seen int64) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.content.FailNodes != nil {
		return 0, r.content.FailNodes
	}
	if r.content.Nodes[n.GetNodeId()] != nil && seen == 0 {
		return 0, store.ErrExists
	}
	r.content.Nodes[n.GetNodeId()] = n
	r.changed()
	return 1, nil
}

// ExpectedList is the list; nil: there is none.
func (r *Records) ExpectedList(context.Context) (*fleetv1.ListRecord, int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.content.List, r.content.Seen, nil
}

// PutExpectedList writes the list in place of what was seen; store.ErrConflict: it changed
// since.
func (r *Records) PutExpectedList(_ context.Context, list *fleetv1.ListRecord, seen int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.content.FailList != nil:
		return r.content.FailList
	case seen != r.content.Seen:
		return store.ErrConflict
	}
	r.content.List = list
	r.content.Seen++
	r.changed()
	return nil
}
