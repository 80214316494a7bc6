package fleettest

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// crowdEvery is between two bursts of crowdBurst of processor time: a twentieth of
	// one processor.
	crowdEvery = 20 * time.Millisecond
	crowdBurst = time.Millisecond
	// maxCrowd bounds what a crowded machine excuses.
	maxCrowd = 10
)

// Crowd watches how crowded the machine is until the test's end. Factor is how many
// times longer than alone short work took so far, from 1 to 10: bounds of time grow by
// it, as a test cannot have a machine of its own.
func Crowd(t testing.TB) (factor func() float64) {
	var wall, ran atomic.Int64
	end, ended := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(end); <-ended })
	go func() {
		defer close(ended)
		runtime.LockOSThread() // whose processor time is looked at
		defer runtime.UnlockOSThread()
		tick := time.NewTicker(crowdEvery)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case due := <-tick.C:
				from := threadTime()
				for threadTime()-from < crowdBurst {
				}
				wall.Add(int64(time.Since(due)))
				ran.Add(int64(crowdBurst))
			}
		}
	}()
	return func() float64 {
		if ran.Load() == 0 {
			return 1
		}
		return min(max(float64(wall.Load())/float64(ran.Load()), 1), maxCrowd)
	}
}
