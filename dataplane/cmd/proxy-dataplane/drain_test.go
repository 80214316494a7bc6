package main

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// stuckEngine cannot be drained.
type stuckEngine struct{ asked atomic.Int32 }

func (e *stuckEngine) SetDrained(context.Context, bool) error {
	e.asked.Add(1)
	return errors.New("a loop does not answer")
}

func TestADrainThatFailedAndIsTakenBackLeavesTheNodeReadyToHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		e, v := &stuckEngine{}, &vips{}
		d := newDrainer("n1", e, v, slog.New(slog.DiscardHandler))
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		say := func(drained bool) {
			d.fleetState(&fleetv1.FleetState{Members: []*fleetv1.Member{{NodeId: "n1", Drained: drained}}})
			synctest.Wait()
		}
		resigned := func() bool {
			v.mu.Lock()
			defer v.mu.Unlock()
			return v.reason[isDrained]
		}
		if say(true); e.asked.Load() != 1 || !resigned() {
			t.Fatalf("asked %d times, resigned %v", e.asked.Load(), resigned())
		}
		if say(false); resigned() {
			t.Error("it serves, and takes no virtual IP")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
