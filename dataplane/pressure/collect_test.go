package pressure

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestTheFloorIsReachedAndNotPassed(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct{ live, floor, goal uint64 }{
		{0, 16 * mib, 16 * mib},
		{1 * mib, 16 * mib, 16 * mib},
		{5 * mib, 16 * mib, 16 * mib},
		{8 * mib, 16 * mib, 16 * mib},
		{10 * mib, 16 * mib, 20 * mib}, // as Go does
		{100 * mib, 16 * mib, 200 * mib},
		{0, mib, 4 * mib},
	} {
		percent := uint64(percentOf(c.live, c.floor))
		goal := max(c.live+c.live*percent/100, runtimeFloor*percent/100)
		if goal > c.goal || goal < c.goal-c.goal/50 {
			t.Errorf("%d MiB alive, floor %d: %d percent collect at %d MiB, want %d", c.live/mib, c.floor/mib, percent, goal/mib, c.goal/mib)
		}
	}
	if got := NewCollector(64 * mib).floor; got != 8*mib {
		t.Errorf("a floor of %d MiB under a limit of 64", got/mib)
	}
}

// collections counts those while so many bytes become garbage.
func collections(bytes int) uint32 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range bytes >> 12 {
		garbage = make([]byte, 1<<12)
	}
	garbage = nil
	runtime.ReadMemStats(&after)
	return after.NumGC - before.NumGC
}

var garbage, held []byte

// TestLittleIsCollectedLessOftenAndMuchAsEver holds a heap below the floor and
// above it.
func TestLittleIsCollectedLessOftenAndMuchAsEver(t *testing.T) {
	t.Setenv("GOGC", "")
	const mib = 1 << 20
	alone := collections(256 * mib)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- NewCollector(0).Run(ctx) }()
	percent := func(what string, good func(int) bool) {
		t.Helper()
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			runtime.GC() // the collector may have been about to wait for the next one
			metrics.Read(sample)
			if good(int(sample[0].Value.Uint64())) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d percent", what, sample[0].Value.Uint64())
			}
		}
	}
	percent("little is alive", func(p int) bool { return p > 2*defaultPercent })
	if rare := collections(256 * mib); 2*rare > alone {
		t.Errorf("%d collections, %d without", rare, alone)
	}
	held = make([]byte, 32*mib)
	percent("much is alive", func(p int) bool { return p == defaultPercent })
	runtime.KeepAlive(held)
	held = nil
	percent("little is alive again", func(p int) bool { return p > 2*defaultPercent })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left := debug.SetGCPercent(defaultPercent); left != defaultPercent {
		t.Errorf("%d percent are left", left)
	}
}
