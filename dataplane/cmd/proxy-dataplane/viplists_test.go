package main

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/proxyfleet/proxyfleet/dataplane/agent"
	"github.com/proxyfleet/proxyfleet/dataplane/fleetstate"
	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/member"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// TestListsGoForwardAcrossAnUpgrade: the process before keeps the next list while this
// one starts, and the control plane's comes as soon as this one serves.
func TestListsGoForwardAcrossAnUpgrade(t *testing.T) {
	dir := t.TempDir()
	save := func(revision uint64) {
		t.Helper()
		if err := lastgood.SaveList(dir, member.List{Lineage: 1, Revision: revision, IDs: []string{"n1"}}); err != nil {
			t.Fatal(err)
		}
	}
	kept := func() uint64 {
		t.Helper()
		list, err := lastgood.LoadList(dir)
		if err != nil {
			t.Fatal(err)
		}
		return list.Revision
	}
	save(4)
	synctest.Test(t, func(t *testing.T) {
		begin := make(chan struct{})
		v := newVIPs(options{resources: "none"}, nil, begin, nil, slog.New(slog.DiscardHandler))
		v.lists.cannotForget = true // so that it goes by lists without an agent
		v.lists.remember(dir)
		lifecycletest.Run(t, v.Run)
		v.lists.take(&fleetv1.FleetState{ListLineage: 1, ListRevision: 6})
		synctest.Wait()
		if got := kept(); got != 4 {
			t.Errorf("list %d is kept while the process before goes by 4", got)
		}
		save(5)
		close(begin)
		synctest.Wait()
		if by, on := v.say().GrantsBy, kept(); by != 6 || on != 6 {
			t.Errorf("it goes by %d, and has kept %d", by, on)
		}
	})
}

// TestANodeWithoutGossipKeepsNoList: by one of its disk it would grant when gossip is turned
// on, whatever the fleet has gone on to without it. In an upgrade the process before may go
// by it until this one serves.
func TestANodeWithoutGossipKeepsNoList(t *testing.T) {
	dir := t.TempDir()
	if err := lastgood.SaveList(dir, member.List{Lineage: 1, Revision: 4, IDs: []string{"n1", "gone"}}); err != nil {
		t.Fatal(err)
	}
	begin := make(chan struct{})
	changed := wakeup.NewSignal()
	l := newVIPLists("n1", nil, begin, changed, slog.New(slog.DiscardHandler))
	l.remember(dir)
	if list, err := lastgood.LoadList(dir); err != nil || list.Revision != 4 || l.say().GrantsNothing {
		t.Errorf("before it serves: %+v %v, %+v", list, err, l.say())
	}
	close(begin)
	if said := l.say(); !said.GrantsNothing || said.GrantsBy != 0 || said.Kept.Revision != 0 {
		t.Errorf("it says %+v", said)
	}
	l.take(&fleetv1.FleetState{ListLineage: 1, ListRevision: 6})
	if list, err := lastgood.LoadList(dir); err != nil || list.Revision != 0 {
		t.Errorf("it keeps %+v %v", list, err)
	}
	if said := l.say(); said.GrantsBy != 6 || len(changed) == 0 {
		t.Errorf("of list 6 it says %+v, at once: %t", said, len(changed) > 0)
	}
	again := newVIPLists("n1", nil, begin, changed, slog.New(slog.DiscardHandler))
	if again.remember(dir); !again.say().GrantsNothing {
		t.Errorf("after the next start: %+v", again.say())
	}
}

// TestAListOfATimeBeforeItTookPartIsNotGoneBy: the control plane's record says still that the
// node grants nothing, so a step may have been made that did not wait for it.
func TestAListOfATimeBeforeItTookPartIsNotGoneBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &vipLists{nodeID: "n1", supervisor: agent.New(agent.Config{Logger: slog.New(slog.DiscardHandler)})}
		var goesBy uint64
		l.lists = fleetstate.NewLists(func(l member.List) { goesBy = l.Revision }, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { l.run(ctx) })
		for _, c := range []struct {
			revision uint64
			nothing  bool // as the record has it
			want     uint64
		}{{7, true, 0}, {8, false, 8}} {
			l.take(&fleetv1.FleetState{
				ListLineage: 1, ListRevision: c.revision,
				Members: []*fleetv1.Member{{NodeId: "n0", GrantsNothing: true}, {NodeId: "n1", GrantsNothing: c.nothing}},
			})
			synctest.Wait()
			if goesBy != c.want {
				t.Errorf("after list %d it goes by %d", c.revision, goesBy)
			}
		}
		cancel()
		wait.Wait()
	})
}
