package stream

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes/nodestest"
	"github.com/proxyfleet/proxyfleet/controlplane/roster"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

func TestSecondMachineOfOneNameIsRefusedAndSeen(t *testing.T) {
	m := newMemory()
	p := newPlane(t, m, "")
	first := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n", BootId: "one"})
	first.recv()
	second := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n", BootId: "two"})
	err := second.end()
	if status.Code(err) != codes.AlreadyExists || !strings.Contains(err.Error(), "another process with this id is connected") {
		t.Fatal(err)
	}
	s, _ := p.status("n")
	if !s.Connected || len(s.Problems) != 1 || !strings.Contains(s.Problems[0].Got, "second machine") {
		t.Fatalf("%+v", s)
	}
	// The same process takes over, and the old stream's end does not matter.
	again := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n", BootId: "one"})
	again.recv()
	if err := first.end(); status.Code(err) != codes.Aborted {
		t.Fatal(err)
	}
	if s, _ := p.status("n"); !s.Connected {
		t.Fatalf("%+v", s)
	}
	again.close()
	eventually(t, "is gone", func() bool { s, _ := p.status("n"); return !s.Connected })
	dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n", BootId: "two"}).recv()
}

func TestWhatIsNoHelloIsRefused(t *testing.T) {
	m := newMemory()
	p := newPlane(t, m, "", func(c *setup) { c.nodes.MaxNodes = 1 })
	labels := map[string]string{}
	for i := range maxLabels + 1 {
		labels[fmt.Sprintf("l%d", i)] = ""
	}
	for name, h := range map[string]*fleetv1.Hello{
		"no id":           {},
		"id with capital": {NodeId: "Node"},
		"long id":         {NodeId: strings.Repeat("x", 254)},
		"long boot id":    {NodeId: "n", BootId: strings.Repeat("x", 65)},
		"long build":      {NodeId: "n", Build: strings.Repeat("x", 129)},
		"many labels":     {NodeId: "n", Labels: labels},
		"long label":      {NodeId: "n", Labels: map[string]string{"a": strings.Repeat("x", 64)}},
		"short digest":    {NodeId: "n", Running: &fleetv1.Version{Revision: 1, Digest: []byte("x")}},
	} {
		if err := dialRaw(t, p.address).hello(h).end(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw := dialRaw(t, p.address)
	raw.ack(&fleetv1.Version{})
	if err := raw.end(); status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
	raw = dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n"})
	raw.hello(&fleetv1.Hello{NodeId: "n"})
	if err := raw.end(); status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
	if err := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n2"}).end(); status.Code(err) != codes.ResourceExhausted {
		t.Error(err)
	}
	if got := p.server.Counters().Refused; got != 10 {
		t.Errorf("%d refused", got)
	}
}

// TestARefusedNodeIsToldOf, as it is not among the nodes: status would show a fleet without
// nodes and without a reason.
func TestARefusedNodeIsToldOf(t *testing.T) {
	m, now := newMemory(), newClock()
	var log lines
	p := newPlane(t, m, "", func(c *setup) {
		c.setNow(now.now)
		c.stream.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	if got := p.server.Notices(); len(got) > 0 {
		t.Errorf("%q", got)
	}
	ahead := &fleetv1.Version{Epoch: uint64(now.now().Add(2 * roster.MaxAhead).UnixMilli()), Digest: make([]byte, 32)}
	for range 2 * refusedLogged {
		if err := dialRaw(t, p.address).hello(&fleetv1.Hello{NodeId: "n", Running: ahead}).end(); status.Code(err) != codes.InvalidArgument {
			t.Fatal(err)
		}
	}
	eventually(t, "it is told", func() bool {
		got := p.server.Notices()
		return len(got) == 1 && strings.Contains(got[0], `refused, the last one from 127.0.0.1:`) &&
			strings.Contains(got[0], `node "n": epoch`) && strings.Contains(got[0], "put the clock right")
	})
	eventually(t, "all were counted", func() bool { return p.server.Counters().Refused == 2*refusedLogged })
	if got := log.with("node: refused"); got != refusedLogged {
		t.Errorf("%d lines", got)
	}
	now.add(refusedShown)
	if got := p.server.Notices(); len(got) > 0 {
		t.Errorf("a minute later: %q", got)
	}
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) with(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), words)
}

// TestANodeThatRunsTheFleetsOwnVersionIsTakenWhateverTheClockSays: it was centuries
// ahead when the store began, and was put right since.
func TestANodeThatRunsTheFleetsOwnVersionIsTakenWhateverTheClockSays(t *testing.T) {
	m := newMemory()
	m.epoch = uint64(time.Now().Add(2 * roster.MaxAhead).UnixMilli())
	m.commit(config(t, 1, 80))
	list := &fleetv1.ListRecord{Lineage: 1, Revision: m.epoch, Members: []string{"n"}}
	m.Edit(func(c *nodestest.Content) { c.List = list })
	p := newPlane(t, m, "")
	eventually(t, "the store is read", func() bool {
		state, _ := p.nodes.FleetState()
		return state != nil && !p.publisher.Wanted().IsZero()
	})
	running := p.publisher.Wanted().Version.Proto()
	dialRaw(t, p.address).hello(&fleetv1.Hello{
		NodeId: "n", Running: running, ListLineage: 1, ListRevision: list.GetRevision(), List: list.GetMembers(),
	}).recv()
	for name, h := range map[string]*fleetv1.Hello{
		"epoch": {NodeId: "n2", Running: &fleetv1.Version{Epoch: running.GetEpoch() + 1, Digest: running.GetDigest()}},
		"list":  {NodeId: "n2", ListLineage: 1, ListRevision: list.GetRevision() + 1, List: []string{"n"}},
	} {
		if err := dialRaw(t, p.address).hello(h).end(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatANodeClaimsToKnowIsBounded(t *testing.T) {
	t.Parallel()
	p := newPlane(t, newMemory(), "")
	digest := make([]byte, 32)
	far := uint64(time.Now().Add(roster.MaxAhead + time.Hour).UnixMilli())
	for what, hello := range map[string]*fleetv1.Hello{
		"the last epoch":          {Running: &fleetv1.Version{Epoch: 1<<64 - 1, Digest: digest}},
		"an epoch far ahead":      {Running: &fleetv1.Version{Epoch: far, Digest: digest}},
		"a list far ahead":        {ListRevision: far},
		"a decision far ahead":    {Decision: far},
		"a list that is too long": {List: slices.Repeat([]string{"a"}, 1025)},
		"a list of no names":      {List: []string{"A B"}},
	} {
		hello.NodeId = "a"
		n := dialRaw(t, p.address).hello(hello)
		if _, err := n.stream.Recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
		n.close()
	}
}

// TestAClockThatWasYearsAheadKeepsNoNodeFromAControlPlaneThatLostItsStore: what the fleet
// numbered then is what its nodes say, and nothing here knows of it. The new epoch is above
// theirs.
func TestAClockThatWasYearsAheadKeepsNoNodeFromAControlPlaneThatLostItsStore(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.epoch = uint64(time.Now().UnixMilli())
	m.commit(config(t, 3, 80))
	p := newPlane(t, m, "")
	ahead := uint64(time.Now().Add(9 * 365 * 24 * time.Hour).UnixMilli())
	root := config(t, 2, 80).Root()
	n := dialRaw(t, p.address).hello(&fleetv1.Hello{
		NodeId: "n", Running: &fleetv1.Version{Epoch: ahead, Revision: 7, Digest: root[:]},
		ListLineage: 1, ListRevision: ahead + 1, List: []string{"n"}, Decision: ahead + 2, Drained: true,
	})
	if u, _ := n.update(); u.GetTarget().GetEpoch() <= ahead {
		t.Errorf("wanted: %v, of an epoch that is not above %d", u.GetTarget(), ahead)
	}
	for n.state.GetListRevision() != ahead+1 {
		n.recv()
	}
	if me := n.state.GetMembers()[0]; !me.GetExpected() || !me.GetDrained() || me.GetDecision() != ahead+2 {
		t.Errorf("of the node: %v", me)
	}
}
