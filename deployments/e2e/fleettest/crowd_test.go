//go:build linux

package fleettest

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAMachineWhoseProcessorsAllSpinIsCrowded(t *testing.T) {
	var end atomic.Bool
	var wait sync.WaitGroup
	defer wait.Wait()
	defer end.Store(true)
	for range 4 * runtime.NumCPU() {
		wait.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for !end.Load() {
			}
		})
	}
	crowd := Crowd(t)
	Wait(t, 20*time.Second, "a crowd", func() bool { return crowd() > 1.5 })
	if f := crowd(); f > maxCrowd {
		t.Errorf("%.1f, at most %d", f, maxCrowd)
	}
}

func TestNothingIsSaidOfAMachineThatWasNotWatchedYet(t *testing.T) {
	if f := Crowd(t)(); f != 1 {
		t.Errorf("%.1f", f)
	}
}
