package pressure

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// heapFloor is the size that the heap may reach, garbage included, before it is
	// collected. The Go runtime's own is 4 MiB, which a hundred handshakes fill:
	// collecting then costs a sixth of what they do.
	heapFloor = 16 << 20
	// heapShare bounds the floor where memory is limited, as a part of the limit.
	heapShare = 8
	// runtimeFloor is the Go runtime's floor at 100 percent; it grows with that.
	runtimeFloor = 4 << 20
	// percentStep is by which part the percentage must be off to be set anew, since
	// setting it stops the world.
	percentStep = 4
)

// liveHeap is what the last collection left.
const liveHeap = "/gc/heap/live:bytes"

// Collector lets garbage gather up to a floor while little is alive, and
// collects as Go does by default (at twice what is alive) when more is.
type Collector struct{ floor uint64 }

// NewCollector makes the collector for a memory limit in bytes; 0: there is none.
func NewCollector(limit uint64) *Collector {
	c := &Collector{floor: heapFloor}
	if limit > 0 {
		c.floor = min(c.floor, limit/heapShare)
	}
	return c
}

// Run looks after each collection how much is alive, until ctx ends, and leaves
// Go's default then. Where the environment has GOGC it changes nothing.
func (c *Collector) Run(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return nil
	}
	collected := make(chan struct{}, 1)
	set := defaultPercent
	defer func() { debug.SetGCPercent(defaultPercent) }()
	live := []metrics.Sample{{Name: liveHeap}}
	for {
		metrics.Read(live)
		if want := percentOf(live[0].Value.Uint64(), c.floor); differs(want, set) {
			debug.SetGCPercent(want)
			set = want
		}
		tellCollected(collected)
		select {
		case <-ctx.Done():
			return nil
		case <-collected:
		}
	}
}

// defaultPercent is how much garbage Go lets gather, of what is alive.
const defaultPercent = 100

// percentOf is GOGC for the floor to be reached and not passed.
func percentOf(live, floor uint64) int {
	percent := floor * 100 / runtimeFloor // what Go has for its own floor
	if live > 0 && floor > live {
		percent = min(percent, (floor-live)*100/live)
	}
	if floor <= live {
		percent = 0
	}
	return int(max(percent, defaultPercent))
}

// differs says that a percentage is off by a part that is worth setting it. Going
// back to the default always is: a heap that has grown must not double thrice.
func differs(want, set int) bool {
	return want != set && (want == defaultPercent || want > set+set/percentStep || want < set-set/percentStep)
}

// tellCollected sends, once, after the next collection.
func tellCollected(to chan<- struct{}) {
	type object struct{ _ *object } // not so small that it shares its memory
	runtime.AddCleanup(new(object), func(to chan<- struct{}) {
		select {
		case to <- struct{}{}:
		default:
		}
	}, to)
}
