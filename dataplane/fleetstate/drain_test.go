package fleetstate

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/member"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
)

// holder holds virtual IPs until it resigned.
type holder struct {
	resigned atomic.Bool
	reports  int
}

// drainer is that of node n1.
func drainer(e Engine, h *holder) *Drainer {
	return NewDrainer(DrainerConfig{
		NodeID: "n1", Engine: e, Logger: slog.New(slog.DiscardHandler),
		Resign:  func(context.Context) { h.resigned.Store(true) },
		Resume:  func() { h.resigned.Store(false) },
		Changed: func() { h.reports++ },
	})
}

// stuckEngine cannot be drained.
type stuckEngine struct{ asked atomic.Int32 }

func (e *stuckEngine) SetDrained(context.Context, bool) error {
	e.asked.Add(1)
	return errors.New("a loop does not answer")
}

func TestADrainThatFailedAndIsTakenBackLeavesTheNodeReadyToHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, h := &stuckEngine{}, &holder{}
		d := drainer(e, h)
		lifecycletest.Run(t, d.Run)
		say := func(drained bool) {
			d.Take(&fleetv1.FleetState{Members: []*fleetv1.Member{{NodeId: "n1", Drained: drained}}})
			synctest.Wait()
		}
		if say(true); e.asked.Load() != 1 || !h.resigned.Load() {
			t.Fatalf("asked %d times, resigned %v", e.asked.Load(), h.resigned.Load())
		}
		if say(false); h.resigned.Load() {
			t.Error("it serves, and takes no virtual IP")
		}
	})
}

// obedientEngine does what it is told.
type obedientEngine struct{ drained atomic.Bool }

func (e *obedientEngine) SetDrained(_ context.Context, drained bool) error {
	e.drained.Store(drained)
	return nil
}

// TestAReplicaThatLagsUndoesNoDrain: the node moves to a control plane that has not
// heard of the drain, since etcd does not answer it.
func TestAReplicaThatLagsUndoesNoDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &obedientEngine{}
		d := drainer(e, &holder{})
		lifecycletest.Run(t, d.Run)
		for _, said := range []struct {
			revision        uint64
			drained, drains bool
		}{
			{7, false, false},
			{8, true, true},
			{7, false, true}, // older
			{8, true, true},
			{9, false, false},
			{8, true, false}, // older
		} {
			d.Take(&fleetv1.FleetState{
				Revision: said.revision, Members: []*fleetv1.Member{{NodeId: "n1", Drained: said.drained}},
			})
			synctest.Wait()
			if got := e.drained.Load(); got != said.drains {
				t.Errorf("after %+v: drained %v", said, got)
			}
		}
	})
}

// TestAnEtcdThatWasPutBackUndoesNoDecision: its records are from before, and any change of
// another node's makes its revision the latest.
func TestAnEtcdThatWasPutBackUndoesNoDecision(t *testing.T) {
	dir := t.TempDir()
	// life is that of one process, which is told these, and drained or not then.
	type said struct {
		revision, decision   uint64
		drained, notExpected bool
		drains               bool
	}
	life := func(name string, begins bool, states ...said) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				e := &obedientEngine{}
				d := drainer(e, &holder{})
				if err := d.Remember(dir, true); err != nil || e.drained.Load() != begins {
					t.Fatalf("it begins drained: %v, %v", e.drained.Load(), err)
				}
				ended := make(chan error, 1)
				go func() { ended <- d.Run(ctx) }()
				for _, s := range states {
					d.Take(&fleetv1.FleetState{Revision: s.revision, Decisions: true, Members: []*fleetv1.Member{
						{NodeId: "n1", Drained: s.drained, NotExpected: s.notExpected, Decision: s.decision},
					}})
					synctest.Wait()
					if got := e.drained.Load(); got != s.drains {
						t.Errorf("after %+v: drained %v", s, got)
					}
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
	life("drained", false,
		said{revision: 10, drains: false},
		said{revision: 20, decision: 20, drained: true, drains: true},
		said{revision: 10, drains: true},
		said{revision: 30, drains: true}) // another node's record was written
	life("started again", true,
		said{revision: 31, drains: true},
		said{revision: 32, decision: 20, drained: true, drains: true},
		said{revision: 33, decision: 33, drains: false},
		said{revision: 34, decision: 20, drained: true, drains: false}) // a backup from when it was drained
	life("started undrained", false,
		said{revision: 35, decision: 20, drained: true, drains: false},
		// The clock of the control plane is slow. That is no reason not to do what people say.
		said{revision: 5, decision: 34, drained: true, notExpected: true, drains: true})
	if got, err := lastgood.LoadDecision(dir); err != nil || got != (member.Decision{Number: 34, Drained: true, NotExpected: true}) {
		t.Errorf("kept: %+v, %v", got, err)
	}
}

// TestAControlPlaneWithoutDecisionsIsFollowed: one of several is of a build before.
func TestAControlPlaneWithoutDecisionsIsFollowed(t *testing.T) {
	d := drainer(&obedientEngine{}, &holder{})
	say := func(revision, decision uint64, drained, numbered bool) {
		d.Take(&fleetv1.FleetState{Revision: revision, Decisions: numbered, Members: []*fleetv1.Member{
			{NodeId: "n1", Drained: drained, Decision: decision},
		}})
	}
	say(7, 7, false, true)
	say(8, 0, true, false)
	if got := d.Decision(); !got.Drained || got.Number != 7 {
		t.Errorf("%+v", got)
	}
	say(9, 7, true, true) // it wrote the record, and no number
	say(10, 10, false, true)
	if got := d.Decision(); got.Drained || got.Number != 10 {
		t.Errorf("%+v", got)
	}
}

// TestADrainThatIsDoneIsReported at once, and not before: proxyctl drain --wait goes by it.
func TestADrainThatIsDoneIsReported(t *testing.T) {
	ctx := t.Context()
	h := &holder{}
	stuck, d := drainer(&stuckEngine{}, h), drainer(&obedientEngine{}, h)
	for _, drained := range []bool{true, false} {
		d.wanted.Store(drained)
		if !d.follow(ctx) || h.reports != 1 {
			t.Errorf("drained %v: %d reports", drained, h.reports)
		}
		h.reports = 0
	}
	stuck.wanted.Store(true)
	if stuck.follow(ctx) || h.reports != 0 || stuck.Drained() {
		t.Errorf("it is not drained, and %d reports say so", h.reports)
	}
}

// fullDisk makes a directory that takes no file, by root either, until the function that
// it returns is called.
func fullDisk(t *testing.T) (dir string, free func()) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "state")
	if err := os.Symlink("nowhere", dir); err != nil {
		t.Fatal(err)
	}
	return dir, func() {
		err := os.Remove(dir)
		if err == nil {
			err = os.Mkdir(dir, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestBeingDrainedIsNotedWhenTheDiskHasRoomAgain: else a node that is killed and started
// while nobody answers takes the traffic that was taken off it.
func TestBeingDrainedIsNotedWhenTheDiskHasRoomAgain(t *testing.T) {
	dir, free := fullDisk(t)
	synctest.Test(t, func(t *testing.T) {
		d := drainer(&obedientEngine{}, &holder{})
		if err := d.Remember(dir, true); err != nil {
			t.Fatal(err)
		}
		lifecycletest.Run(t, d.Run)
		say := func(revision uint64, drained bool) {
			d.Take(&fleetv1.FleetState{Revision: revision, Members: []*fleetv1.Member{{NodeId: "n1", Drained: drained}}})
			synctest.Wait()
		}
		noted := func(want bool) {
			t.Helper()
			if got, err := lastgood.LoadDecision(dir); got.Drained != want || err != nil {
				t.Errorf("noted as drained: %v, %v, want %v", got.Drained, err, want)
			}
		}
		say(1, true)
		noted(false)
		free()
		time.Sleep(2 * keepRetry)
		noted(true)
		say(2, false)
		noted(false)
	})
}
