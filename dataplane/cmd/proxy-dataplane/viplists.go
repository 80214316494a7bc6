package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/proxyfleet/proxyfleet/dataplane/agent"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/fleetstate"
	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/member"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// vipLists is by which list of expected members the node grants virtual IPs: by the last one
// that it keeps, or, without gossip, by none.
type vipLists struct {
	// immutable
	nodeID     string
	logger     *slog.Logger
	supervisor *agent.Supervisor // nil: gossip is off
	lists      *fleetstate.Lists
	changed    wakeup.Signal   // a Status should be sent
	begin      <-chan struct{} // closed when this process is the node's
	dir        string          // where lists are kept; set by remember

	// guarded by mu
	mu           sync.Mutex
	forgot       bool // the list that was kept: see takesNoPart
	cannotForget bool
	told         uint64 // the revision of the last list, where the node takes no part
}

func newVIPLists(nodeID string, s *agent.Supervisor, begin <-chan struct{}, changed wakeup.Signal, logger *slog.Logger) *vipLists {
	l := &vipLists{nodeID: nodeID, logger: logger, supervisor: s, changed: changed, begin: begin}
	l.lists = fleetstate.NewLists(l.goBy, logger)
	return l
}

// remember takes up the list that was kept in a directory, or forgets it. It comes before
// run.
func (l *vipLists) remember(dir string) {
	l.dir = dir
	if l.takesNoPart() {
		return
	}
	if list := l.lists.Remember(dir); l.supervisor != nil && list.Revision != 0 {
		l.supervisor.SetList(list.Revision, list.IDs)
	}
}

// recall takes up what the process before this one kept last. It comes before the vip-agent
// grants, and before run.
func (l *vipLists) recall() { l.lists.Recall() }

// run keeps the lists that are taken, and goes by them, until ctx ends.
func (l *vipLists) run(ctx context.Context) { _ = l.lists.Run(ctx) } // it ends with ctx alone

// takesNoPart says that the node grants nothing, by whatever list, and will by none that
// there was: it does not gossip, and has forgotten the list that it kept when it did. So
// a fleet that turns gossip on goes by a list of then, whatever became of its machines. In
// an upgrade the process before may keep lists until this one serves.
func (l *vipLists) takesNoPart() bool {
	if l.supervisor != nil || !wakeup.Closed(l.begin) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.forgot || l.cannotForget {
		return l.forgot
	}
	if l.dir != "" {
		if err := lastgood.ForgetList(l.dir); err != nil {
			l.logger.Error("virtual IPs: this node counts as one that grants", "error", err)
			l.cannotForget = true
			return false
		}
	}
	l.forgot = true
	return true
}

// take takes the list of expected members, if the node goes by one. One that the control
// plane has for a node that grants nothing still may not be the latest: the next one tells.
func (l *vipLists) take(s *fleetv1.FleetState) {
	i := slices.IndexFunc(s.GetMembers(), func(m *fleetv1.Member) bool { return m.GetNodeId() == l.nodeID })
	switch {
	case l.takesNoPart():
		l.mu.Lock()
		news := l.told != s.GetListRevision()
		l.told = s.GetListRevision()
		l.mu.Unlock()
		if news { // a control plane of an older build waits for its word
			l.changed.Send()
		}
	case l.supervisor != nil && i >= 0 && s.GetMembers()[i].GetGrantsNothing():
	default:
		l.lists.Take(s)
	}
}

// goBy goes by a list that is kept from now on.
func (l *vipLists) goBy(list member.List) {
	if l.supervisor != nil {
		l.supervisor.SetList(list.Revision, list.IDs) // it says when that is in force
	} else {
		l.changed.Send()
	}
}

// say is what the control plane is told of lists.
func (l *vipLists) say() feed.VIPs {
	switch list := l.lists.List(); {
	case l.takesNoPart():
		l.mu.Lock()
		defer l.mu.Unlock()
		return feed.VIPs{GrantsBy: l.told, GrantsNothing: true}
	case l.supervisor != nil:
		return feed.VIPs{Kept: list, GrantsBy: l.supervisor.ListRevision()}
	default:
		return feed.VIPs{Kept: list, GrantsBy: list.Revision}
	}
}
