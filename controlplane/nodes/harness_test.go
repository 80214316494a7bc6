package nodes

import (
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes/nodestest"
	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests, in virtual time.
const patience = time.Minute

// publisher wants nothing.
type publisher struct{ cut atomic.Bool }

func (p *publisher) WantedFor(string) publish.Published { return publish.Published{} }

func (p *publisher) Unread() time.Duration {
	if p.cut.Load() {
		return cutOffAfter
	}
	return 0
}

// open runs a registry until the test ends.
func open(t *testing.T, records *nodestest.Records, configure ...func(*Config)) *Registry {
	t.Helper()
	c := Config{Publisher: &publisher{}, Records: records, Logger: slog.New(slog.DiscardHandler)}
	for _, f := range configure {
		f(&c)
	}
	r := New(c)
	lifecycletest.Run(t, r.Run)
	return r
}

// status is a node as people see it.
func (r *Registry) statusOf(id string) (api.NodeStatus, bool) {
	i := slices.IndexFunc(r.Nodes(), func(n api.NodeStatus) bool { return n.ID == id })
	if i < 0 {
		return api.NodeStatus{}, false
	}
	return r.Nodes()[i], true
}

// eventually waits for what must become true. It is called in a bubble.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	waittest.Until(t, what, ok)
	synctest.Wait()
}

// know gives a node a record.
func know(records *nodestest.Records, record *fleetv1.NodeRecord) {
	records.Edit(func(c *nodestest.Content) { c.Nodes[record.GetNodeId()] = record })
}

// voter is a node that takes every list at once.
type voter struct {
	t     *testing.T
	r     *Registry
	link  *Link
	state *fleetv1.FleetState // the last
	quiet bool                // does not report
}

// join connects a node. Its id is its boot id, unless the hello says another.
func join(t *testing.T, r *Registry, hello *fleetv1.Hello) *voter {
	t.Helper()
	if hello.BootId == "" {
		hello.BootId = hello.GetNodeId()
	}
	link, err := r.Admit(hello, tree.Version{}, "192.0.2.1:5000")
	if err != nil {
		t.Fatal(err)
	}
	return &voter{t: t, r: r, link: link}
}

// hear takes the next state, or reports that the test is over or that there is none.
func (v *voter) hear() bool {
	for {
		state, replaced := v.r.FleetState()
		if state != nil && state != v.state {
			before := v.state.GetListRevision()
			v.state = state
			if now := state.GetListRevision(); now != before && !v.quiet {
				v.report(now)
			}
			return true
		}
		select {
		case <-replaced:
		case <-v.t.Context().Done():
			return false
		case <-time.After(patience):
			return false
		}
	}
}

// told waits for a state.
func (v *voter) told(what string, ok func(*fleetv1.FleetState) bool) *fleetv1.FleetState {
	v.t.Helper()
	for v.state == nil || !ok(v.state) {
		if !v.hear() {
			v.t.Fatalf("%s is not told that %s; the last it heard is %v", v.link.Node, what, v.state)
		}
	}
	return v.state
}

// expects waits until the node goes by a list of these members.
func (v *voter) expects(members string) *fleetv1.FleetState {
	v.t.Helper()
	return v.told("the expected members are "+members, func(s *fleetv1.FleetState) bool {
		var ids []string
		for _, m := range s.GetMembers() {
			if m.GetExpected() {
				ids = append(ids, m.GetNodeId())
			}
		}
		return slices.Equal(ids, strings.Fields(members))
	})
}

func (v *voter) report(revision uint64) {
	v.link.Heard(&Standing{}, &fleetv1.Status{ListRevision: revision})
}

// inBackground keeps a voter alive and voting while others are looked at.
func (v *voter) inBackground() {
	go func() {
		for v.t.Context().Err() == nil {
			v.hear()
		}
	}()
	v.alive()
}

// alive keeps a node from falling silent.
func (v *voter) alive() {
	go func() {
		tick := time.NewTicker(silentAfter / 3)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				v.link.Heard(nil, nil)
			case <-v.t.Context().Done():
				return
			}
		}
	}()
}
